//! Readings: the same rows by Stoker and by the bare driver, in turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stoker_e2e::Services;

use super::bare::Bare;
use super::{Beside, median};
use crate::api::Api;
use crate::checks::for_each;
use crate::device::{Login, logins};
use crate::generator::{Generator, Load, POINTS};
use crate::process;
use crate::report::Report;

/// Between two turns, so that what one has left to be done counts less for the other.
const PAUSE: Duration = Duration::from_secs(2);

/// One turn.
struct Turn {
    /// Points in a second.
    rate: f64,
    /// CPU of Cassandra for a point, in µs.
    cpu: f64,
}

fn cassandra_cpu(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| process::cpu(*pid)).sum()
}

fn turn(points: u64, took: Duration, cpu: Duration) -> Turn {
    let points = points as f64;
    Turn { rate: points / took.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / points }
}

pub(super) async fn run(
    plan: &Beside,
    services: &mut Services,
    api: &Api,
    bare: &Arc<Bare>,
    report: &mut Report,
) -> Result<()> {
    let pids = plan.lab.cassandra_pids().await?;
    let lasts = plan.turn()?;
    let logins = logins(plan.connections);
    api.import(&logins.iter().map(Login::import_line).collect::<Vec<_>>()).await?;
    let gateway = services.gateways.first_mut().context("there is no gateway")?;
    let (address, load) = (
        gateway.address,
        Load { window: usize::try_from(plan.window)?, rate: None, warm_up: Duration::ZERO, measure: lasts },
    );
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut acked: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    let (mut unanswered, mut puback) = (0, crate::histogram::Histogram::default());
    for _ in 0..plan.turns {
        let part = logins.clone();
        let generator =
            tokio::task::spawn_blocking(move || Generator::connect(address, &part, load)).await??;
        let (begun, before) = (Instant::now(), cassandra_cpu(&pids)?);
        let outcome = tokio::task::spawn_blocking(move || generator.run(Instant::now())).await??;
        let messages: u64 = outcome.acked.iter().map(|(_, count)| count).sum();
        ours.push(turn(messages * POINTS, begun.elapsed(), cassandra_cpu(&pids)? - before));
        unanswered += outcome.unanswered;
        puback.add(&outcome.latency);
        for (device, count) in outcome.acked {
            *acked.entry(device).or_default() += count;
        }
        tokio::time::sleep(PAUSE).await;
        let (begun, before) = (Instant::now(), cassandra_cpu(&pids)?);
        // As many under way as the devices' windows allow.
        let messages = bare.rows(plan.connections, plan.connections * plan.window, lasts).await?;
        theirs.push(turn(messages * POINTS, begun.elapsed(), cassandra_cpu(&pids)? - before));
        tokio::time::sleep(PAUSE).await;
    }
    let of = |turns: &[Turn], number: fn(&Turn) -> f64| median(turns.iter().map(number).collect());
    let (our_rate, their_rate) = (of(&ours, |turn| turn.rate), of(&theirs, |turn| turn.rate));
    let (our_cpu, their_cpu) = (of(&ours, |turn| turn.cpu), of(&theirs, |turn| turn.cpu));
    report.count("devices", plan.connections.into());
    report.count("messages of each under way", plan.window.into());
    report.number("readings: points by Stoker", our_rate, "/s");
    report.number("readings: points by the bare driver", their_rate, "/s");
    report.number("readings: Stoker's rate to the bare driver's", our_rate / their_rate, "");
    report.number("readings: CPU of Cassandra for a point by Stoker", our_cpu, "µs");
    report.number("readings: CPU of Cassandra for a point by the bare driver", their_cpu, "µs");
    report.number(
        "readings: Cassandra's CPU with Stoker to that with the bare driver",
        our_cpu / their_cpu,
        "",
    );
    report.times("readings: PUBACK", &puback);
    let counted = for_each(acked.into_iter().collect(), |(device, acked)| {
        let api = api.clone();
        async move { Ok((acked * POINTS, api.count_points(&device).await?)) }
    })
    .await?;
    let expected: u64 = counted.iter().map(|(expected, _)| expected).sum();
    let missing: u64 = counted.iter().map(|(expected, found)| expected.saturating_sub(*found)).sum();
    report.exactly("points of acknowledged messages in the store", expected, expected - missing);
    report.exactly("messages that were never acknowledged", 0, unanswered);
    Ok(())
}
