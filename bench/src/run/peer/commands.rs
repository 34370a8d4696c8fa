//! From an order to the device's answer, and back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use super::board::Board;
use super::target::{Server, Setup, Who, stoker};
use crate::device::{Device, Incoming, Login, logins};
use crate::histogram::Histogram;
use crate::mosquitto::Keeping;
use crate::report::Report;
use crate::run::commands::Commands;

/// Where all replies of devices of a mosquitto are published to.
const REPLIES: &str = "v1/devices/+/rpc/response/+";
/// How long the last answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

fn note(board: &mut Board, who: Who, times: &Histogram) {
    for (part, share) in [("p50", 0.5), ("p99", 0.99)] {
        let took = times.quantile(share).as_secs_f64() * 1e3;
        board.note(who, &format!("order to reply, {part}"), "ms", took);
    }
}

/// One round of one of them. Stoker is asked over HTTP, and asked again for the end; with mosquitto who orders is a client
/// like any other, and hears the reply by a subscription.
pub(super) async fn measure(
    setup: &Setup<'_>,
    who: Who,
    plan: Commands,
    board: &mut Board,
    report: &mut Report,
) -> Result<()> {
    let logins = logins(plan.devices);
    match who {
        Who::Stoker => {
            let platform = stoker(setup, &logins).await?;
            let ended = plan.order(&platform, &logins).await?;
            let succeeded = ended.states.get("succeeded").copied().unwrap_or_default();
            report.exactly("commands succeeded", plan.count.into(), succeeded);
            note(board, who, &ended.ended);
            platform.finish(report)
        }
        Who::Mosquitto => {
            let server = Server::mosquitto(setup, Keeping::Nothing).await?;
            let times = order(&server, &logins, plan).await?;
            note(board, who, &times);
            server.finish(report)
        }
    }
}

/// Does whatever it is told, at once, as long as the connection lasts.
async fn obey(mut device: Device, id: String) -> Result<()> {
    loop {
        if let Incoming::Order { number, packet_id } = device.next().await? {
            device.reply_on(&format!("v1/devices/{id}/rpc/response/{number}"), packet_id).await?;
        }
    }
}

async fn order(server: &Server, logins: &[Login], plan: Commands) -> Result<Histogram> {
    let mut devices = JoinSet::new();
    for login in logins {
        let mut device = Device::connect(server.mqtt(), None, login, 3_600).await?;
        device.subscribe_to(&Who::Mosquitto.orders(login)).await?;
        devices.spawn(obey(device, login.id.clone()));
    }
    let login = Login { id: "orders".to_owned(), token: "orders".to_owned() };
    let mut who = Device::connect(server.mqtt(), None, &login, 3_600).await?;
    who.subscribe_to(REPLIES).await?;
    let start = Instant::now();
    let due = |number: u32| start + Duration::from_secs_f64(f64::from(number) / plan.rate);
    let deadline = due(plan.count) + ANSWER_WITHIN;
    let mut times = Histogram::default();
    let mut ordered: Vec<Instant> = Vec::new();
    let mut replied = 0;
    while replied < plan.count {
        let next = u32::try_from(ordered.len())?;
        tokio::select! {
            () = sleep_until(due(next).into()), if next < plan.count => {
                let login = logins.get(usize::try_from(next % plan.devices)?).context("no device")?;
                ordered.push(Instant::now());
                let topic = format!("v1/devices/{}/rpc/request/{next}", login.id);
                who.publish(&topic, br#"{"method":"write_setpoint","params":{}}"#).await?;
            }
            incoming = timeout_at(deadline.into(), who.next()) => {
                if let Incoming::Order { number, packet_id } = incoming.context("an order was not answered")?? {
                    let at = ordered.get(usize::try_from(number)?).context("a reply to no order")?;
                    times.record(at.elapsed());
                    replied += 1;
                    if let Some(packet_id) = packet_id {
                        who.acknowledge(packet_id).await?;
                    }
                }
            }
        }
    }
    ensure!(devices.try_join_next().is_none(), "a device has lost its connection");
    Ok(times)
}
