//! `fleet`: simulated boilers over time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use stoker_sim::{FaultPlan, Sim, SimConfig, StatsSnapshot};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::{SIM_SECRET, percent};
use crate::platform::{Common, Platform};
use crate::report::Report;
use crate::{checks, process};

/// Memory is looked at this often.
const SAMPLE: Duration = Duration::from_secs(5);
/// Keys that the model has by itself.
const MODEL_KEYS: u16 = 5;
/// How long devices wait at the end for their last PUBACKs.
const DRAIN: Duration = Duration::from_secs(30);

/// A simulated fleet over time
#[derive(Debug, Args)]
pub(crate) struct Fleet {
    /// How many boilers
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    devices: u32,
    /// Seconds between two readings of one
    #[arg(long, default_value_t = 1.0)]
    interval: f64,
    /// How long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Keys of a reading, at least the five of the model
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(5..=256))]
    keys: u16,
    /// Faults of one boiler in an hour
    #[arg(long, default_value_t = FaultPlan::default().per_hour)]
    faults: f64,
    /// Makes the fleet what it is
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

struct Sample {
    minutes: f64,
    memory_kb: f64,
    cpu: Duration,
    stats: StatsSnapshot,
}

/// Growth by the least squares, per unit of the first number.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), (x, y)| {
        (above + (x - mean_x) * (y - mean_y), below + (x - mean_x) * (x - mean_x))
    });
    if below > 0.0 { above / below } else { 0.0 }
}

impl Fleet {
    fn config(&self, platform: &Platform) -> Result<SimConfig> {
        let mut config = SimConfig::new(&format!("mqtt://{}", platform.mqtt), self.devices, SIM_SECRET)?;
        config.interval = Duration::try_from_secs_f64(self.interval).context("--interval is out of range")?;
        config.extra_keys = self.keys.saturating_sub(MODEL_KEYS);
        config.device_time = true;
        config.faults.per_hour = self.faults;
        config.seed = self.seed;
        config.drain = DRAIN;
        config.ledger = true;
        config.validate()?;
        Ok(config)
    }

    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        let mut report = Report::new("A simulated fleet");
        let mut platform = Platform::new(common, Vec::new())?;
        platform.start().await?;
        let api = platform.api()?;
        let config = self.config(&platform)?;
        let lines: Vec<String> = config.numbers().map(|number| config.import_line(number)).collect();
        api.import(&lines).await?;
        let sim = Sim::new(config.clone())?;
        let (stats, ledger) = (sim.stats(), sim.ledger().context("the simulation keeps no ledger")?);
        let end = CancellationToken::new();
        // Ends with this call, however that comes about.
        let _end = end.clone().drop_guard();
        let fleet = tokio::spawn(sim.run(end.clone()));
        let start = Instant::now();
        let length = Duration::try_from_secs_f64(self.minutes * 60.0).context("--minutes is out of range")?;
        let mut samples = Vec::new();
        for number in 0.. {
            let at = SAMPLE * number;
            if at > length {
                break;
            }
            sleep_until((start + at).into()).await;
            platform.check_alive()?;
            let pid = platform.pid()?;
            samples.push(Sample {
                minutes: start.elapsed().as_secs_f64() / 60.0,
                memory_kb: process::memory(pid)?.0 as f64,
                cpu: process::cpu(pid)?,
                stats: stats.snapshot(),
            });
        }
        end.cancel();
        let stats = fleet.await??;
        self.describe(&mut report, &samples, &stats);
        let readings = checks::readings(&api, &config, &ledger, self.keys.into()).await?;
        readings.report(&mut report);
        report.exactly("PUBACKs out of order", 0, stats.acks_out_of_order);
        report.exactly("protocol errors", 0, stats.protocol_errors);
        report.exactly("sessions that ended early", 0, stats.ended_by_server + stats.ended_by_timeout);
        platform.finish(&mut report)?;
        Ok(report)
    }

    fn describe(&self, report: &mut Report, samples: &[Sample], stats: &StatsSnapshot) {
        report.count("devices", self.devices.into());
        report.number("readings intended", f64::from(self.devices) / self.interval, "/s");
        report.count("keys of a reading", self.keys.into());
        report.count("readings acknowledged", stats.readings_acked);
        report.count("readings left out, window full", stats.readings_left_out);
        report.count("readings not acknowledged", stats.readings_unacked);
        report.count("faults raised", stats.faults_raised);
        report.time("PUBACK p50 at most", stats.latency.quantile(0.5));
        report.time("PUBACK p99 at most", stats.latency.quantile(0.99));
        report.time("PUBACK max", stats.latency.max());
        // The first two minutes are connecting and filling caches; of a short run, its first half.
        let from = (self.minutes / 2.0).min(2.0);
        let settled: Vec<(f64, f64)> = samples
            .iter()
            .filter(|sample| sample.minutes >= from)
            .map(|sample| (sample.minutes, sample.memory_kb / 1e3))
            .collect();
        report.number("memory growth after that", slope(&settled), "MB/min");
        // A line a minute; of a short run, one for each sample.
        let step = if self.minutes >= 3.0 { 12 } else { 1 };
        let marks: Vec<&Sample> = samples.iter().step_by(step).collect();
        let lines = marks.windows(2).filter_map(|pair| {
            let [before, after] = pair else { return None };
            let seconds = (after.minutes - before.minutes) * 60.0;
            let acked = after.stats.readings_acked.saturating_sub(before.stats.readings_acked);
            let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            let latency = after.stats.latency.since(&before.stats.latency);
            Some(vec![
                after.minutes,
                after.stats.connected as f64,
                acked as f64 / seconds,
                latency.quantile(0.99).as_secs_f64() * 1e3,
                after.memory_kb / 1e3,
                percent(cpu, seconds),
            ])
        });
        let head = ["minute", "connected", "acked/s", "p99 ms", "memory MB", "CPU % of a core"];
        report.table("over time", &head, lines.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line_through_the_points() {
        let line: Vec<(f64, f64)> = (0..10).map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x))).collect();
        assert!((slope(&line) - 2.0).abs() < 1e-9);
        assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
    }
}
