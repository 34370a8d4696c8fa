//! Who gives orders to the fleet at a pace, and waits for the end of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;
use stoker_sim::SimConfig;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::moves::Order;
use crate::api::{Api, Command};
use crate::random::Random;
use crate::witness::Orders;

/// An order runs out after that time: longer than any device is away.
const EXPIRES_S: u32 = 60;
/// Longer than the platform looks for an owner.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// So long the platform is asked to wait for an end, in seconds, and a little more until it has said that there is none.
const WAIT_S: u64 = 10;
/// Who knows no end by then has been waiting for longer than the order can stand.
const ASKS_FOR: Duration = Duration::from_secs(120);
/// Between two questions of which the first was not answered.
const PAUSE: Duration = Duration::from_millis(100);
/// Orders that are under way; one more is not given.
const UNDER_WAY_MOST: usize = 512;

/// Who gives orders.
pub(super) struct Caller {
    pub(super) api: Api,
    pub(super) config: SimConfig,
    /// Orders a second.
    pub(super) rate: f64,
    pub(super) random: Random,
    /// Where those that were accepted are put once their end is known, or given up.
    pub(super) done: Arc<Mutex<Vec<Order>>>,
}

/// What was seen of one order; nothing when its making was not answered.
struct Seen {
    order: Order,
    looks: Vec<Command>,
}

async fn order(api: Api, id: String, device: u32) -> Option<Seen> {
    let asked = Instant::now();
    let made = timeout(ANSWER_WITHIN, api.command(&id, "read_temperature", EXPIRES_S)).await.ok()?.ok()?;
    let path = format!("/commands/{}?wait_s={WAIT_S}", made.id);
    let mut seen = Seen { order: Order { device, asked, ended: None, succeeded: false }, looks: vec![made] };
    while asked.elapsed() < ASKS_FOR {
        let within = Duration::from_secs(WAIT_S) + ANSWER_WITHIN;
        let Ok(Ok(command)) = timeout(within, api.get::<Command>(&path)).await else {
            sleep(PAUSE).await;
            continue;
        };
        let (is_final, succeeded) = (command.is_final(), command.state == "succeeded");
        seen.looks.push(command);
        if is_final {
            seen.order.ended = Some(Instant::now());
            seen.order.succeeded = succeeded;
            break;
        }
    }
    Some(seen)
}

impl Caller {
    /// Gives orders until the end, and waits for those that are under way.
    pub(super) async fn run(mut self, end: CancellationToken) -> Result<Orders> {
        let (mut all, mut under_way) = (Orders::default(), JoinSet::new());
        let mut next = interval(Duration::from_secs_f64(1.0 / self.rate.clamp(0.01, 1_000.0)));
        next.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = end.cancelled() => break,
                _ = next.tick(), if under_way.len() < UNDER_WAY_MOST => {
                    let number = u32::try_from(self.random.below(self.config.devices.into()))?;
                    let device = self.config.first + number;
                    under_way.spawn(order(self.api.clone(), self.config.device_id(device), device));
                }
                Some(seen) = under_way.join_next() => self.take(seen?, &mut all),
            }
        }
        while let Some(seen) = under_way.join_next().await {
            self.take(seen?, &mut all);
        }
        Ok(all)
    }

    fn take(&self, seen: Option<Seen>, all: &mut Orders) {
        match seen {
            Some(Seen { order, looks }) => {
                looks.into_iter().for_each(|command| all.saw(command));
                self.done.lock().push(order);
            }
            None => all.unanswered += 1,
        }
    }
}
