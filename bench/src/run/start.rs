//! `start`: how long it takes until the platform serves.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;
use tokio::time::sleep;

use super::readings::load;
use crate::device::{Login, logins};
use crate::generator::Load;
use crate::histogram::Histogram;
use crate::platform::{Common, Platform};
use crate::report::Report;

/// Devices that fill the store.
const DEVICES: u32 = 50;
/// The first answer may take so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long a start takes
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Starts of each kind
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Size of the existing store
    #[arg(long, default_value_t = 100)]
    megabytes: u64,
}

#[derive(Default)]
struct Times {
    ready: Histogram,
    answer: Histogram,
}

impl Times {
    /// Starts it once: until it says that it is ready, and until the first answer that says 200.
    async fn start(&mut self, platform: &mut Platform) -> Result<()> {
        platform.spawn()?;
        let begun = platform.begun()?;
        let mut api = None;
        loop {
            if begun.elapsed() > ANSWER_WITHIN {
                bail!("no answer within {} s of the start", ANSWER_WITHIN.as_secs());
            }
            // The token is there once the store is open.
            if api.is_none() {
                api = platform.api().ok();
            }
            if let Some(api) = &api
                && api.get::<Value>("/devices?limit=1").await.is_ok()
            {
                break;
            }
            platform.check_alive()?;
            sleep(Duration::from_millis(1)).await;
        }
        self.answer.record(begun.elapsed());
        self.ready.record(platform.ready().await?);
        Ok(())
    }

    fn report(&self, name: &str, report: &mut Report) {
        report.times(&format!("{name}: ready"), &self.ready);
        report.times(&format!("{name}: first answer"), &self.answer);
    }
}

/// Fills the store with readings up to that size.
async fn fill(platform: &Platform, bytes: u64) -> Result<u64> {
    let logins = logins(DEVICES);
    let lines: Vec<String> = logins.iter().map(Login::import_line).collect();
    platform.api()?.import(&lines).await?;
    let plan = Load { window: 100, rate: None, warm_up: Duration::ZERO, measure: Duration::from_millis(500) };
    let mut messages = 0;
    let begun = Instant::now();
    while platform.bytes()? < bytes {
        let (outcome, _) = load(platform, &logins, 1, plan).await?;
        messages += outcome.acked.iter().map(|(_, acked)| acked).sum::<u64>();
        if begun.elapsed() > Duration::from_secs(600) {
            bail!("the store did not grow to {} MB within ten minutes", bytes / 1_000_000);
        }
    }
    Ok(messages)
}

impl Start {
    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        let mut report = Report::new("Start of `stoker up`, from exec on");
        let mut empty = Times::default();
        for _ in 0..self.rounds {
            let mut platform = Platform::new(common, Vec::new())?;
            empty.start(&mut platform).await?;
            platform.finish(&mut report)?;
        }
        report.count("starts of each kind", self.rounds.into());
        empty.report("empty", &mut report);
        let mut platform = Platform::new(common, Vec::new())?;
        platform.start().await?;
        let messages = fill(&platform, self.megabytes * 1_000_000).await?;
        report.number("the existing store", platform.bytes()? as f64 / 1e6, "MB");
        report.count("readings in it", messages);
        let (mut ended, mut killed) = (Times::default(), Times::default());
        let mut ends = Histogram::default();
        for _ in 0..self.rounds {
            ends.record(platform.end().await?);
            ended.start(&mut platform).await?;
        }
        for _ in 0..self.rounds {
            platform.kill();
            killed.start(&mut platform).await?;
        }
        report.times("SIGTERM until it has ended", &ends);
        ended.report("existing, after SIGTERM", &mut report);
        killed.report("existing, after SIGKILL", &mut report);
        platform.finish(&mut report)?;
        Ok(report)
    }
}
