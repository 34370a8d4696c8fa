//! One device speaks, many listen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::spawn_blocking;
use tokio::time::{sleep_until, timeout};

use super::board::Board;
use super::target::{Server, Setup, Who};
use crate::device::{Device, EVENTS, Incoming, Login, logins};
use crate::listeners::{Heard, Listeners, Written, said};
use crate::process;
use crate::report::{Report, grouped};
use crate::run::{per, percent};

/// Where Stoker tells events, and nothing else.
const FEED: &str = "/api/v1/live?types=event";
/// How long the last of it may take to be heard, and a PUBACK.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// How much is said to how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) sockets: u32,
    /// A second.
    pub(super) events: u32,
    pub(super) seconds: u32,
}

/// One round of one of them.
pub(super) async fn measure(
    setup: &Setup<'_>,
    who: Who,
    plan: Plan,
    board: &mut Board,
    report: &mut Report,
) -> Result<()> {
    let logins = logins(1);
    let login = logins.first().context("no device")?;
    let server = Server::start(setup, who, &logins).await?;
    let listeners = gather(&server, plan.sockets).await?;
    let pid = server.pid()?;
    let numbers = plan.events * plan.seconds;
    let written = Written::default();
    let deadline = Instant::now() + Duration::from_secs(plan.seconds.into()) + HEARD_WITHIN;
    let heard = Arc::clone(&written);
    let cpu = process::cpu(pid)?;
    let listening = spawn_blocking(move || listeners.run(&heard, numbers.into(), deadline));
    speak(&server, login, plan, &written).await?;
    let heard = listening.await??;
    let spent = process::cpu(pid)?.saturating_sub(cpu).as_secs_f64();
    let sockets = grouped(plan.sockets.into());
    let name = format!("{} events a second to {sockets} listeners", plan.events);
    note(board, who, &name, &heard);
    board.note(who, &format!("{name}: CPU per delivery"), "µs", per(spent * 1e6, heard.count));
    let shares = [("CPU of the load's thread", heard.ran), ("the load waited for a core", heard.starved)];
    for (of, time) in shares {
        let share = percent(time.as_secs_f64(), plan.seconds.into());
        board.load(who, &format!("feed: {of}"), "%", share);
    }
    let expected = u64::from(numbers) * u64::from(plan.sockets);
    report.exactly(format!("heard of {}", who.name()), expected, heard.count);
    server.finish(report)
}

fn note(board: &mut Board, who: Who, name: &str, heard: &Heard) {
    for (part, time) in [("p50", heard.times.quantile(0.5)), ("p99", heard.times.quantile(0.99))] {
        board.note(who, &format!("{name}, {part}"), "ms", time.as_secs_f64() * 1e3);
    }
}

async fn gather(server: &Server, count: u32) -> Result<Listeners> {
    let mqtt = server.mqtt();
    match server {
        Server::Stoker(platform) => {
            let (http, token) = (platform.http, platform.token()?);
            spawn_blocking(move || Listeners::web_sockets(http, FEED, &token, count)).await?
        }
        Server::Mosquitto(_) => spawn_blocking(move || Listeners::subscribers(mqtt, EVENTS, count)).await?,
    }
}

/// Says one number after the other, each at its time, and waits for its PUBACK.
async fn speak(server: &Server, login: &Login, plan: Plan, written: &Written) -> Result<()> {
    let mut device = Device::connect(server.mqtt(), None, login, 3_600).await?;
    let start = Instant::now();
    for number in 0..plan.events * plan.seconds {
        let due = start + Duration::from_secs_f64(f64::from(number) / f64::from(plan.events));
        sleep_until(due.into()).await;
        written.lock().push(Instant::now());
        device.publish(EVENTS, said(number.into()).as_bytes()).await?;
        loop {
            let incoming = timeout(HEARD_WITHIN, device.next()).await.context("no PUBACK came")??;
            if matches!(incoming, Incoming::Acked(_)) {
                break;
            }
        }
    }
    Ok(())
}
