//! The simulated fleet: of `stoker up --demo`, and of `stoker sim` against any platform.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use stoker_sim::{FaultPlan, Sim, SimConfig, SimStats, StatsSnapshot};
use tokio_util::sync::CancellationToken;

use crate::{data_dir, signals};

/// Devices of one import.
const PART: usize = 5_000;
/// How long one import may take.
const IMPORT_WITHIN: Duration = Duration::from_secs(600);
/// In a demonstration something is to be seen: each boiler fails about twice an hour, for a minute.
const DEMO_FAULTS: FaultPlan = FaultPlan { per_hour: 2.0, mean_s: 60.0 };
/// And reports every two seconds.
const DEMO_INTERVAL: Duration = Duration::from_secs(2);

/// Simulated boilers that connect, report, fail, and take orders
#[derive(Debug, Args)]
pub(crate) struct SimArguments {
    /// How many boilers
    #[arg(long, value_name = "N")]
    devices: u32,
    /// Where they connect
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    url: String,
    /// The platform's API, where the boilers are made before they connect
    #[arg(long, value_name = "URL", env = "STOKER_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// The administrator's token [default: that of the data directory]
    #[arg(long, value_name = "TOKEN", env = "STOKER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Where the token is looked for
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Seconds between two readings of a boiler
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    interval: f64,
    /// Faults of one boiler in an hour
    #[arg(long, value_name = "COUNT", default_value_t = FaultPlan::default().per_hour)]
    faults: f64,
    /// Makes the fleet what it is
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Begins the name of each boiler
    #[arg(long, value_name = "TEXT", default_value = "boiler-")]
    prefix: String,
    /// End after so many seconds [default: when a signal comes]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(IMPORT_WITHIN)
        .build()
        .context("failed to make an HTTP client")
}

/// Makes the boilers that are not there yet.
async fn register(config: &SimConfig, server: &str, token: &str) -> Result<()> {
    let client = client()?;
    let numbers: Vec<u32> = config.numbers().collect();
    let url = format!("{}/api/v1/devices:import", server.trim_end_matches('/'));
    let (mut made, mut known) = (0, 0);
    for part in numbers.chunks(PART) {
        let lines: String = part.iter().map(|&number| config.import_line(number) + "\n").collect();
        let request =
            client.post(&url).bearer_auth(token).header("content-type", "application/x-ndjson").body(lines);
        let answer = request
            .send()
            .await
            .with_context(|| format!("failed to reach {url}; is `stoker up` running?"))?;
        let status = answer.status();
        let body: serde_json::Value =
            answer.json().await.with_context(|| format!("{url} did not answer JSON"))?;
        if !status.is_success() {
            bail!(
                "{url} answered {status}: {}",
                body.get("detail").and_then(|d| d.as_str()).unwrap_or_default()
            );
        }
        made += body.get("created").and_then(serde_json::Value::as_u64).unwrap_or_default();
        let failed = body.get("failed").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
        for line in failed {
            let word =
                |pointer: &str| line.pointer(pointer).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
            if word("/problem/type") != "urn:stoker:problem:already_exists" {
                bail!("the device {} could not be made: {}", word("/id"), word("/problem/detail"));
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
    let server = format!("http://{http}");
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        registered = register(&config, &server, &token) => registered?,
    }
    let fleet = Sim::new(config)?;
    fleet.run(shutdown).await?;
    Ok(())
}

impl SimArguments {
    /// Runs the fleet until it is to end, with a line a second on a terminal and a report at the end.
    ///
    /// # Errors
    /// What is wrong with the arguments, or why the boilers could not be made.
    pub(crate) async fn run(self) -> Result<()> {
        signals::raise_file_limit();
        let token = match &self.token {
            Some(token) => token.clone(),
            None => {
                let directory = self.data_dir.clone().map_or_else(data_dir::default, Ok)?;
                let file = directory.join(data_dir::TOKEN_FILE);
                let read = std::fs::read_to_string(&file).with_context(|| {
                    format!(
                        "no --token is given, and there is none in {}; has `stoker up` run?",
                        file.display()
                    )
                })?;
                read.trim().to_owned()
            }
        };
        let mut config = SimConfig::new(&self.url, self.devices, &token)?;
        config.interval = Duration::try_from_secs_f64(self.interval).context("--interval is out of range")?;
        config.faults.per_hour = self.faults;
        config.seed = self.seed;
        config.id_prefix.clone_from(&self.prefix);
        config.validate()?;
        register(&config, &self.server, &token).await?;
        let fleet = Sim::new(config)?;
        let stats = fleet.stats();
        let shutdown = CancellationToken::new();
        let end = shutdown.clone();
        let seconds = self.seconds;
        let watch = async move {
            tokio::select! {
                _ = signals::ended() => {}
                () = progress(stats, seconds) => {}
            }
            end.cancel();
        };
        let (ended, ()) = tokio::join!(fleet.run(shutdown), watch);
        report(&ended?);
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

fn report(stats: &StatsSnapshot) {
    eprintln!();
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
    for (name, count) in counts {
        println!("{name:<32}{count:>12}");
    }
    for (name, share) in [("median", 0.5), ("p99", 0.99)] {
        println!("{:<32}{:>12?}", format!("PUBACK {name}"), stats.latency.quantile(share));
    }
    println!("{:<32}{:>12?}", "PUBACK max", stats.latency.max());
}
