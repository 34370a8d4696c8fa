//! The simulated fleet: of `stoker up --demo`, and of `stoker sim` against any platform.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use stoker_sim::{FaultPlan, Sim, SimConfig, SimStats, StatsSnapshot};
use tokio_util::sync::CancellationToken;

use crate::cli::{Api, Platform};
use crate::signals::{self, Signals};

/// Devices of one import.
const PART: usize = 5_000;
/// In a demonstration something is to be seen: each boiler fails about twice an hour, for a minute.
const DEMO_FAULTS: FaultPlan = FaultPlan { per_hour: 2.0, mean_s: 60.0 };
/// And reports every two seconds.
const DEMO_INTERVAL: Duration = Duration::from_secs(2);

/// Makes the boilers that are not there yet.
async fn register(config: &SimConfig, api: &Api) -> Result<()> {
    let numbers: Vec<u32> = config.numbers().collect();
    let (mut made, mut known) = (0, 0);
    for part in numbers.chunks(PART) {
        let lines: String = part.iter().map(|&number| config.import_line(number) + "\n").collect();
        let imported = api.import(lines.into_bytes()).await?;
        made += imported.created;
        for failed in imported.failed {
            if !failed.exists() {
                bail!("a boiler could not be made: {}", failed.reason());
            }
            known += 1;
        }
    }
    tracing::info!(made, known, "simulated boilers are registered");
    Ok(())
}

/// Makes the devices and runs them until shutdown. Their tokens derive from the administrator's, so that they are
/// nobody's guess and stay the same over starts.
pub(crate) async fn run(
    devices: u32,
    http: SocketAddr,
    mqtt: SocketAddr,
    token: String,
    shutdown: CancellationToken,
) -> Result<()> {
    let mut config = SimConfig::new(&format!("mqtt://{mqtt}"), devices, &token)?;
    config.interval = DEMO_INTERVAL;
    config.faults = DEMO_FAULTS;
    config.validate()?;
    let api = Api::new(&Platform::at(format!("http://{http}"), token))?;
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        registered = register(&config, &api) => registered?,
    }
    let fleet = Sim::new(config)?;
    fleet.run(shutdown).await?;
    Ok(())
}

/// The most boilers.
const DEVICES_MOST: i64 = 1_000_000;

const EXAMPLES: &str = "\
Examples:
  stoker sim --devices 20
  stoker sim --devices 2000 --interval 1 --faults 2 --seconds 600 --prefix load-
  stoker sim --devices 20 --url mqtt://devices.example.com --server https://stoker.example.com";

/// Simulated boilers that connect, report, fail, and take orders.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SimArguments {
    /// How many boilers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=DEVICES_MOST))]
    devices: u32,
    /// Where they connect
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    url: String,
    /// Seconds between two readings of a boiler
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    interval: f64,
    /// Faults of one boiler in an hour
    #[arg(long, value_name = "COUNT", default_value_t = FaultPlan::default().per_hour)]
    faults: f64,
    /// Makes the fleet what it is: the same number, the same boilers
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Begins the id of each boiler
    #[arg(long, value_name = "TEXT", default_value = "boiler-")]
    prefix: String,
    /// End after so many seconds [default: when a signal comes]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    #[command(flatten, next_help_heading = "Which platform, and as whom")]
    platform: Platform,
}

impl SimArguments {
    /// Runs the fleet until it is to end, with a line a second on a terminal and a report at the end.
    ///
    /// # Errors
    /// What is wrong with the arguments, why the boilers could not be made, or that none of them could connect.
    pub(crate) async fn run(self) -> Result<()> {
        signals::raise_file_limit();
        let api = Api::new(&self.platform)?;
        let mut config = SimConfig::new(&self.url, self.devices, api.token())?;
        config.interval = Duration::try_from_secs_f64(self.interval).context("--interval is out of range")?;
        config.faults.per_hour = self.faults;
        config.seed = self.seed;
        config.id_prefix.clone_from(&self.prefix);
        config.validate()?;
        register(&config, &api).await?;
        let fleet = Sim::new(config)?;
        let stats = fleet.stats();
        let shutdown = CancellationToken::new();
        let end = shutdown.clone();
        let seconds = self.seconds;
        let watch = async move {
            let mut signals = Signals::listen();
            tokio::select! {
                _ = signals.ended() => {}
                () = progress(stats, seconds) => {}
            }
            end.cancel();
        };
        let (ended, ()) = tokio::join!(fleet.run(shutdown), watch);
        let stats = ended?;
        report(&stats)?;
        if stats.connects == 0 {
            bail!("no boiler could connect to {}: is that where devices connect to the platform?", self.url);
        }
        Ok(())
    }
}

/// A line a second where somebody looks, until the time is over.
async fn progress(stats: Arc<SimStats>, seconds: Option<u64>) {
    let watched = io::stderr().is_terminal();
    let mut earlier = stats.snapshot();
    for _ in 0..seconds.unwrap_or(u64::MAX) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = stats.snapshot();
        if watched {
            let latency = now.latency.since(&earlier.latency);
            eprint!(
                "\r{} connected, {} readings/s acknowledged, p99 {:?}, {} faults, {} commands   ",
                now.connected,
                now.readings_acked.saturating_sub(earlier.readings_acked),
                latency.quantile(0.99),
                now.faults_raised,
                now.commands_answered,
            );
            // A progress line that cannot be shown is no loss.
            drop(io::stderr().flush());
        }
        earlier = now;
    }
}

fn report(stats: &StatsSnapshot) -> Result<()> {
    if io::stderr().is_terminal() {
        eprintln!();
    }
    let counts = [
        ("sessions granted", stats.connects),
        ("of these again", stats.reconnects),
        ("connects refused", stats.connects_refused),
        ("readings published", stats.readings_published),
        ("readings acknowledged", stats.readings_acked),
        ("readings unanswered", stats.readings_unacked),
        ("readings left out, window full", stats.readings_left_out),
        ("acknowledged out of order", stats.acks_out_of_order),
        ("faults raised", stats.faults_raised),
        ("faults cleared", stats.faults_cleared),
        ("fault events acknowledged", stats.events_acked),
        ("commands answered", stats.commands_answered),
        ("protocol errors", stats.protocol_errors),
    ];
    let mut text = String::new();
    for (name, count) in counts {
        text.push_str(&format!("{name:<32}{count:>12}\n"));
    }
    for (name, share) in [("median", 0.5), ("p99", 0.99)] {
        let name = format!("PUBACK {name}");
        text.push_str(&format!("{name:<32}{:>12}\n", format!("{:?}", stats.latency.quantile(share))));
    }
    let most = format!("{:?}", stats.latency.max());
    text.push_str(&format!("{:<32}{most:>12}\n", "PUBACK max"));
    said(&text)
}

/// Writes to standard output. Whoever reads it may have heard enough.
pub(crate) fn said(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to standard output")
        }
        _ => Ok(()),
    }
}
