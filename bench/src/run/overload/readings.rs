//! Devices that publish twice as much as can be stored.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use super::memory::Watch;
use super::publishers::{Publishers, Seen, Segment};
use super::{Kept, ONSET, Overload, Scene, TOO_MUCH, USUAL};
use crate::checks::for_each;
use crate::device::{Login, logins};
use crate::generator::POINTS;
use crate::report::Report;
use crate::run::percent;

/// Messages a second, doubled until no more of them are stored, and the most that are tried.
const RATE_FIRST: f64 = 500.0;
const RATE_MOST: f64 = 2_000_000.0;
/// A pace is kept up with when this share of it is acknowledged.
const KEEPS_UP: f64 = 0.9;
const HEAD: [&str; 14] = [
    "s",
    "due /s",
    "acked /s",
    "refused",
    "away",
    "held",
    "open",
    "ended",
    "p50 ms",
    "p99 ms",
    "max ms",
    "late ms",
    "load CPU %",
    "waited %",
];

fn line(seen: &Seen) -> Vec<f64> {
    let (seconds, ms) = (seen.seconds(), |time: Duration| time.as_secs_f64() * 1e3);
    vec![
        seconds,
        seen.due as f64 / seconds,
        seen.acked as f64 / seconds,
        seen.refused() as f64,
        seen.away as f64,
        seen.held() as f64,
        seen.unanswered as f64,
        seen.endings.values().sum::<u64>() as f64,
        ms(seen.latency.quantile(0.5)),
        ms(seen.latency.quantile(0.99)),
        ms(seen.latency.max()),
        ms(seen.lag.quantile(0.99)),
        percent(seen.ran.as_secs_f64(), seconds),
        percent(seen.starved.as_secs_f64(), seconds),
    ]
}

async fn run_segments(publishers: Publishers, segments: Vec<Segment>) -> Result<(Publishers, Vec<Seen>)> {
    let mut publishers = publishers;
    tokio::task::spawn_blocking(move || {
        let seen = publishers.run(&segments)?;
        Ok((publishers, seen))
    })
    .await?
}

pub(super) async fn run(plan: &Overload, scene: &Scene, report: &mut Report) -> Result<()> {
    let step = plan.step()?;
    let logins = logins(plan.devices);
    scene.api.import(&logins.iter().map(Login::import_line).collect::<Vec<_>>()).await?;
    let watch = Watch::begin(scene);
    let address = scene.mqtt;
    let mut publishers = tokio::task::spawn_blocking(move || Publishers::connect(address, &logins)).await??;
    let mut steps: Vec<(String, Seen)> = Vec::new();
    // One message at a time, as devices send them: what many at once would save, nobody saves here.
    let (mut capacity, mut due) = (0.0_f64, RATE_FIRST);
    loop {
        let segment = |lasts| Segment { rate: due, lasts };
        let (back, seen) = run_segments(publishers, vec![segment(ONSET / 3), segment(step / 2)]).await?;
        publishers = back;
        let seen = seen.into_iter().nth(1).context("no second segment")?;
        let rate = seen.acked as f64 / seen.seconds();
        eprintln!("readings: of {due:.0} /s that are due, acknowledged: {rate:.0} /s");
        steps.push((format!("{due:.0} /s"), seen));
        capacity = capacity.max(rate);
        if rate < due * KEEPS_UP || due >= RATE_MOST {
            break;
        }
        due *= 2.0;
    }
    let paced = |share: f64, lasts| Segment { rate: capacity * share, lasts };
    let names = ["0.8 C, onset", "0.8 C", "2 C, onset", "2 C", "back to 0.8 C, onset", "back to 0.8 C"];
    let segments = vec![
        paced(USUAL, ONSET),
        paced(USUAL, step),
        paced(TOO_MUCH, ONSET),
        paced(TOO_MUCH, step),
        paced(USUAL, ONSET),
        paced(USUAL, step),
    ];
    let (publishers, seen) = run_segments(publishers, segments).await?;
    let memory = watch.end().await?;
    let first = steps.len();
    steps.extend(names.into_iter().map(ToOwned::to_owned).zip(seen));

    report.count("readings: devices", plan.devices.into());
    report.number("readings: capacity C, acknowledged", capacity, "/s");
    let head = HEAD.iter().map(|&name| name.to_owned()).chain(memory.head()).collect();
    let lines = steps.iter().map(|(name, seen)| {
        (name.clone(), line(seen).into_iter().chain(memory.most(seen.began, seen.ended)).collect())
    });
    report.named("readings, QoS 1", head, lines.collect());
    let of = |index: usize| steps.get(first + index).map(|(_, seen)| seen).context("a step is missing");
    let (usual, onset, too_much, after) = (of(1)?, of(2)?, of(3)?, of(5)?);
    reasons(report, steps.iter().map(|(_, seen)| seen));
    let p99 = |seen: &Seen| seen.latency.quantile(0.99);
    Kept { usual: p99(usual), too_much: p99(too_much), after: p99(after) }.judge("readings", report);
    let most = |seen: &Seen| memory.most(seen.began, seen.ended);
    let peak: Vec<f64> = most(onset).into_iter().zip(most(too_much)).map(|(a, b)| a.max(b)).collect();
    memory.judge("readings", &most(usual), &peak, report);
    let unsaid: u64 = steps
        .iter()
        .flat_map(|(_, seen)| seen.endings.iter())
        .filter(|(reason, _)| !reason.contains("0x"))
        .map(|(_, count)| count)
        .sum();
    report.exactly("readings: connections that were ended without a reason", 0, unsaid);
    let unaccounted: u64 = steps.iter().map(|(_, seen)| seen.unaccounted()).sum();
    report.exactly("readings: messages whose end is not known", 0, unaccounted);
    stored(scene, &publishers, report).await
}

/// What the platform said to those it sent away.
fn reasons<'a>(report: &mut Report, steps: impl Iterator<Item = &'a Seen>) {
    let (mut endings, mut refused, mut held) = (BTreeMap::new(), BTreeMap::new(), [0; 2]);
    for seen in steps {
        for (all, some) in [(&mut endings, &seen.endings), (&mut refused, &seen.refused)] {
            for (reason, count) in some {
                *all.entry(reason.clone()).or_insert(0) += count;
            }
        }
        held = [held[0] + seen.window_full, held[1] + seen.socket_full];
    }
    for (reason, count) in endings {
        report.count(format!("readings: connections ended: {reason}"), count);
    }
    for (reason, count) in refused {
        report.count(format!("readings: messages refused: {reason}"), count);
    }
    let [window, socket] = held;
    report.count("readings: messages held back by their device: all that may be is unacknowledged", window);
    report.count("readings: messages held back by their device: its socket is full", socket);
}

/// All that was acknowledged is stored, and nothing that nobody sent.
async fn stored(scene: &Scene, publishers: &Publishers, report: &mut Report) -> Result<()> {
    let counted = for_each(publishers.acked(), |(device, acked, uncertain)| {
        let api = scene.api.clone();
        async move { Ok((acked * POINTS, uncertain * POINTS, api.count_points(&device).await?)) }
    })
    .await?;
    let expected: u64 = counted.iter().map(|(expected, ..)| expected).sum();
    let missing: u64 = counted.iter().map(|(expected, _, found)| expected.saturating_sub(*found)).sum();
    let surplus: u64 =
        counted.iter().map(|(expected, maybe, found)| found.saturating_sub(expected + maybe)).sum();
    report.exactly("readings: points of acknowledged messages in the store", expected, expected - missing);
    report.exactly("readings: points in the store that nobody sent", 0, surplus);
    Ok(())
}
