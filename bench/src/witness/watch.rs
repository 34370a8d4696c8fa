//! Gives orders to a fleet and looks again and again at what became of them.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::{Api, Command};
use crate::random::Random;

/// Between two looks at all that is open.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Ended commands that are looked at again each time: they must stay as they are.
const ENDED_AGAIN: usize = 8;
/// A request that is not answered by then was sent to a process that is no more.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How many of the lost ones are shown.
const EXAMPLES: u64 = 5;

/// Who gives orders.
pub(crate) struct Watch {
    pub(crate) api: Api,
    pub(crate) devices: Vec<String>,
    pub(crate) rate: f64,
    pub(crate) expires_in_s: [u32; 2],
    pub(crate) random: Random,
}

/// What became of the orders whose making was answered.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// As each was seen last.
    pub(crate) seen: HashMap<String, Command>,
    /// Orders whose making was not answered: they may exist or not.
    pub(crate) unanswered: u64,
    /// How often a command was seen in another state than the one it had ended in, or with another end.
    pub(crate) changed_after_end: u64,
    /// How often a state went back.
    pub(crate) went_back: u64,
    /// Commands that could not be found at the end.
    pub(crate) lost: u64,
    /// How often a command was looked at.
    pub(crate) looks: u64,
}

impl Orders {
    /// Takes a look at one into account.
    pub(crate) fn saw(&mut self, command: Command) {
        self.looks += 1;
        if let Some(before) = self.seen.get(&command.id) {
            if before.is_final() {
                self.changed_after_end += u64::from(*before != command);
            } else if command.rank() < before.rank() {
                self.went_back += 1;
            }
        }
        self.seen.insert(command.id.clone(), command);
    }

    /// Looks at all of them once; those that can't be found are lost.
    pub(crate) async fn observe_all(&mut self, api: &Api) {
        self.observe(api, self.seen.keys().cloned().collect()).await;
    }

    /// Looks once at all that have no end yet; those that can't be found are lost.
    pub(crate) async fn observe_open(&mut self, api: &Api) {
        let open = self.seen.values().filter(|command| !command.is_final());
        self.observe(api, open.map(|command| command.id.clone()).collect()).await;
    }

    async fn observe(&mut self, api: &Api, ids: Vec<String>) {
        for id in ids {
            match api.get(&format!("/commands/{id}")).await {
                Ok(command) => self.saw(command),
                Err(error) => {
                    if self.lost < EXAMPLES {
                        eprintln!("a command can't be found: {error:#}");
                    }
                    self.lost += 1;
                }
            }
        }
    }
}

impl Watch {
    /// Orders until the one, looks until the other.
    pub(crate) async fn run(
        mut self,
        orders_end: CancellationToken,
        end: CancellationToken,
    ) -> Result<Orders> {
        let mut orders = Orders::default();
        let mut next = interval(Duration::from_secs_f64(1.0 / self.rate.clamp(0.01, 1_000.0)));
        next.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = end.cancelled() => return Ok(orders),
                _ = next.tick(), if !orders_end.is_cancelled() => self.order(&mut orders).await,
                _ = look.tick() => self.look(&mut orders).await,
            }
        }
    }

    async fn order(&mut self, orders: &mut Orders) {
        let count = u64::try_from(self.devices.len()).unwrap_or(u64::MAX);
        let chosen = usize::try_from(self.random.below(count)).unwrap_or(0);
        let Some(device) = self.devices.get(chosen) else { return };
        let [short, long] = self.expires_in_s;
        let expires_in_s = if self.random.below(2) == 0 { short } else { long };
        let asked = self.api.command(device, "read_temperature", expires_in_s);
        match timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok(command)) => orders.saw(command),
            _ => orders.unanswered += 1,
        }
    }

    async fn look(&mut self, orders: &mut Orders) {
        let open = orders.seen.values().filter(|command| !command.is_final()).map(|c| c.id.clone());
        let mut ids: Vec<String> = open.collect();
        let ended: Vec<&Command> = orders.seen.values().filter(|command| command.is_final()).collect();
        for _ in 0..ENDED_AGAIN.min(ended.len()) {
            let count = u64::try_from(ended.len()).unwrap_or(u64::MAX);
            let chosen = usize::try_from(self.random.below(count)).unwrap_or(0);
            ids.extend(ended.get(chosen).map(|command| command.id.clone()));
        }
        for id in ids {
            match timeout(ANSWER_WITHIN, self.api.get(&format!("/commands/{id}"))).await {
                Ok(Ok(command)) => orders.saw(command),
                // The platform is away; the rest would not be answered either.
                _ => {
                    sleep(Duration::from_millis(50)).await;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(state: &str) -> Command {
        Command {
            id: "cmd-00-1-1".into(),
            number: 1,
            device: "boiler-1".into(),
            state: state.into(),
            outcome: None,
            reply: None,
            ended_at: None,
        }
    }

    #[test]
    fn a_state_that_goes_back_and_an_end_that_changes_are_seen() {
        let mut orders = Orders::default();
        for state in ["queued", "delivered", "sent", "succeeded", "succeeded"] {
            orders.saw(command(state));
        }
        assert_eq!((orders.went_back, orders.changed_after_end), (1, 0));
        orders.saw(command("expired"));
        assert_eq!((orders.changed_after_end, orders.looks), (1, 6));
    }
}
