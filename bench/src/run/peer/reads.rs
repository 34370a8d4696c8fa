//! What only Stoker has, beside the load that it always has: reading the API, and from a fault to the mail about it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use tokio::time::sleep_until;

use super::board::Board;
use super::target::{Setup, Who, stoker};
use crate::api::Api;
use crate::device::logins;
use crate::generator::Load;
use crate::histogram::Histogram;
use crate::report::Report;
use crate::run::faults::Faults;
use crate::run::readings::Running;

/// Devices that publish while others read.
const CONNECTIONS: u32 = 50;
/// Messages a second of all of them together.
const RATE: f64 = 1_000.0;
/// Requests a second, each at its time whether or not the one before was quick; a time counts from when it was due.
const READS: u32 = 100;
/// What is published first, so that there is something to read.
const WARM_UP: Duration = Duration::from_secs(2);

/// What is read, in turns.
const PATHS: [(&str, &str); 3] = [
    ("newest value of each key", "/devices/bench-1/telemetry/latest"),
    ("newest 100 points", "/devices/bench-1/telemetry?limit=100"),
    ("50 devices", "/devices?limit=50"),
];

/// One round.
pub(super) async fn measure(
    setup: &Setup<'_>,
    measure: Duration,
    board: &mut Board,
    report: &mut Report,
) -> Result<()> {
    let logins = logins(CONNECTIONS);
    let platform = stoker(setup, &logins).await?;
    let api = platform.api()?;
    let plan = Load { window: 32, rate: Some(RATE), warm_up: WARM_UP, measure };
    let running = Running::begin(platform.mqtt, &logins, 1, plan).await?;
    running.warmed_up().await;
    let mut times = [const { None }; PATHS.len()];
    let start = Instant::now();
    let count = (measure.as_secs_f64() * f64::from(READS)) as u32;
    for number in 0..count {
        let due = start + Duration::from_secs_f64(f64::from(number) / f64::from(READS));
        sleep_until(due.into()).await;
        let index = usize::try_from(number)? % PATHS.len();
        let (_, path) = PATHS.get(index).context("no path")?;
        read(&api, path).await?;
        let times = times.get_mut(index).context("no path")?;
        times.get_or_insert_with(Histogram::default).record(due.elapsed());
    }
    running.measured().await;
    let outcome = running.outcome().await?;
    report.exactly("messages that were never acknowledged", 0, outcome.unanswered);
    for ((what, _), times) in PATHS.iter().zip(times.iter().flatten()) {
        let p99 = times.quantile(0.99).as_secs_f64() * 1e3;
        board.note(Who::Stoker, &format!("API beside 1,000 messages/s: {what}, p99"), "ms", p99);
    }
    platform.finish(report)
}

async fn read(api: &Api, path: &str) -> Result<()> {
    let answer = api.request(Method::GET, path).send().await?;
    let status = answer.status();
    ensure!(status.is_success(), "{path} was answered by {status}");
    answer.bytes().await?;
    Ok(())
}

/// One round of faults.
pub(super) async fn faults(
    setup: &Setup<'_>,
    plan: &Faults,
    board: &mut Board,
    report: &mut Report,
) -> Result<()> {
    let (one, raised) = plan.measure(setup.common).await?;
    report.promise(one.holds(), "each fault was told by exactly one mail, and so was its end");
    for (part, share) in [("p50", 0.5), ("p99", 0.99)] {
        let took = raised.quantile(share).as_secs_f64() * 1e3;
        board.note(Who::Stoker, &format!("fault to mail accepted by SMTP, {part}"), "ms", took);
    }
    Ok(())
}
