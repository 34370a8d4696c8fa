//! `readings`: durable readings with QoS 1.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep_until;

use super::{per, percent};
use crate::checks::for_each;
use crate::device::{Login, logins};
use crate::generator::{Generator, Load, Outcome, PAYLOAD, POINTS};
use crate::platform::{Common, Platform};
use crate::report::Report;
use crate::{disk, process};

/// Durable readings with QoS 1
#[derive(Debug, Args)]
pub(crate) struct Readings {
    /// Devices that publish
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    connections: u32,
    /// Messages of one device that may wait for their PUBACK; the platform reads at most 1,024 ahead
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    window: u32,
    /// How long to measure, after the warm-up
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long to load before that
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Messages a second of all devices together, each at its time whether or not others are acknowledged; a PUBACK's
    /// time is then counted from when its message was due [default: as fast as they are acknowledged]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Threads of the load
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
}

/// What the platform used while it was measured.
#[derive(Debug, Default)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) cpu: Duration,
    /// Bytes that went to storage, and that the store's files grew by.
    pub(super) written: u64,
    pub(super) grown: u64,
    /// Durable transactions.
    pub(super) commits: u64,
}

/// Counts the store's durable transactions.
const COMMITS: &str = "stoker_store_transactions_total";

/// Threads that load whoever speaks MQTT.
pub(super) struct Running {
    start: Instant,
    load: Load,
    threads: Vec<JoinHandle<Result<Outcome>>>,
}

impl Running {
    /// Connects all those devices, each once, and begins.
    pub(super) async fn begin(
        address: SocketAddr,
        logins: &[Login],
        threads: usize,
        load: Load,
    ) -> Result<Self> {
        ensure!(!load.measure.is_zero(), "--seconds must be above zero");
        let mut generators = Vec::new();
        let share = logins.len().div_ceil(threads).max(1);
        for part in logins.chunks(share) {
            let part = part.to_vec();
            let rate = load.rate.map(|rate| rate * part.len() as f64 / logins.len() as f64);
            let load = Load { rate, ..load };
            generators.push(spawn_blocking(move || Generator::connect(address, &part, load)).await??);
        }
        let start = Instant::now() + Duration::from_millis(20);
        let run = |generator: Generator| spawn_blocking(move || generator.run(start));
        Ok(Self { start, load, threads: generators.into_iter().map(run).collect() })
    }

    /// Returns when measuring begins.
    pub(super) async fn warmed_up(&self) {
        sleep_until((self.start + self.load.warm_up).into()).await;
    }

    /// Returns when measuring ends.
    pub(super) async fn measured(&self) {
        sleep_until((self.start + self.load.warm_up + self.load.measure).into()).await;
    }

    /// What all threads together have seen.
    pub(super) async fn outcome(self) -> Result<Outcome> {
        let mut all = Outcome::default();
        for thread in self.threads {
            let one = thread.await??;
            all.acked.extend(one.acked);
            all.unanswered += one.unanswered;
            all.measured += one.measured;
            all.latency.add(&one.latency);
            all.ran += one.ran;
            all.starved += one.starved;
        }
        Ok(all)
    }
}

/// Loads a platform with all those devices, each connected once.
pub(super) async fn load(
    platform: &Platform,
    logins: &[Login],
    threads: usize,
    load: Load,
) -> Result<(Outcome, Cost)> {
    let running = Running::begin(platform.mqtt, logins, threads, load).await?;
    let pid = platform.pid()?;
    let used = || anyhow::Ok((Instant::now(), process::cpu(pid)?, process::written(pid)?, platform.bytes()?));
    running.warmed_up().await;
    let (before, commits) = (used()?, platform.counter(COMMITS).await?);
    running.measured().await;
    let (after, commits_after) = (used()?, platform.counter(COMMITS).await?);
    let cost = Cost {
        seconds: (after.0 - before.0).as_secs_f64(),
        cpu: after.1.saturating_sub(before.1),
        written: after.2.saturating_sub(before.2),
        grown: after.3.saturating_sub(before.3),
        commits: commits_after.saturating_sub(commits),
    };
    Ok((running.outcome().await?, cost))
}

impl Readings {
    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        let mut report = Report::new("Durable readings, MQTT 3.1.1, QoS 1, TCP");
        let mut platform = Platform::new(common, Vec::new())?;
        let disk = disk::sync_times(platform.place())?;
        platform.start().await?;
        let api = platform.api()?;
        let logins = logins(self.connections);
        let lines: Vec<String> = logins.iter().map(Login::import_line).collect();
        api.import(&lines).await?;
        let plan = Load {
            window: usize::try_from(self.window)?,
            rate: self.rate,
            warm_up: Duration::try_from_secs_f64(self.warm_up).context("--warm-up is out of range")?,
            measure: Duration::try_from_secs_f64(self.seconds).context("--seconds is out of range")?,
        };
        let (outcome, cost) = load(&platform, &logins, usize::try_from(self.threads)?, plan).await?;
        platform.check_alive()?;
        self.describe(&mut report, &outcome, &cost);
        report.number("stoker: resident memory", process::memory(platform.pid()?)?.0 as f64 / 1e3, "MB");
        report.times("disk: 4 KiB write + fdatasync", &disk);
        let begun = Instant::now();
        let counted = for_each(outcome.acked.clone(), |(device, acked)| {
            let api = api.clone();
            async move { Ok((acked * POINTS, api.count_points(&device).await?)) }
        })
        .await?;
        let expected: u64 = counted.iter().map(|(expected, _)| expected).sum();
        let missing: u64 = counted.iter().map(|(expected, found)| expected.saturating_sub(*found)).sum();
        let surplus: u64 = counted.iter().map(|(expected, found)| found.saturating_sub(*expected)).sum();
        report.number("points counted over HTTP", expected as f64 / begun.elapsed().as_secs_f64(), "/s");
        report.exactly("points of acknowledged messages in the store", expected, expected - missing);
        report.exactly("messages that were never acknowledged", 0, outcome.unanswered);
        // A message without PUBACK may be in the store or not.
        let unexplained = surplus.saturating_sub(outcome.unanswered * POINTS);
        report.exactly("points in the store that nobody sent", 0, unexplained);
        platform.finish(&mut report)?;
        Ok(report)
    }

    fn describe(&self, report: &mut Report, outcome: &Outcome, cost: &Cost) {
        report.count("connections", self.connections.into());
        report.count("window", self.window.into());
        report.count("payload bytes", PAYLOAD.len() as u64);
        if let Some(rate) = self.rate {
            report.number("intended messages", rate, "/s");
        }
        report.count("messages acknowledged, measured", outcome.measured);
        report.number("messages acknowledged", outcome.measured as f64 / cost.seconds, "/s");
        report.times("PUBACK", &outcome.latency);
        let cpu = cost.cpu.as_secs_f64();
        report.number("stoker: CPU", cpu, "s");
        report.number("stoker: CPU of one core", percent(cpu, cost.seconds), "%");
        report.number("stoker: CPU per message", per(cpu * 1e6, outcome.measured), "µs");
        let (ran, starved) = (outcome.ran.as_secs_f64(), outcome.starved.as_secs_f64());
        report.number("load: CPU", ran, "s");
        // Near a whole core per thread the load is what is measured.
        let threads = f64::from(self.threads);
        report.number("load: CPU of its threads", percent(ran, cost.seconds * threads), "%");
        report.number("load: waited for a core", percent(starved, cost.seconds * threads), "%");
        report.number("commits", cost.commits as f64 / cost.seconds, "/s");
        report.number("messages in a commit", per(outcome.measured as f64, cost.commits), "");
        report.number("written to the disk per message", per(cost.written as f64, outcome.measured), "B");
        report.number("files grown per message", per(cost.grown as f64, outcome.measured), "B");
    }
}
