//! `overload`: twice the load that the platform can take. What it refuses, it refuses with a reason; what it accepts keeps its
//! times; its memory stays bounded; and when the load goes back, everything is as before.

mod memory;
mod orders;
mod publisher;
mod publishers;
mod readings;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;
use stoker_e2e::{Lab, Services};

use super::several::leave;
use crate::api::Api;
use crate::platform::{Common, Platform};
use crate::report::Report;

/// Twice the load that the platform can take
#[derive(Debug, Args)]
pub(crate) struct Overload {
    /// `stoker up` on its own store, and not one core, gateway and portal over a lab
    #[arg(long)]
    up: bool,
    /// Nodes of Cassandra, as `cargo xtask lab up` prints them
    #[arg(long, env = "STOKER_TEST_CASSANDRA", value_delimiter = ',', required_unless_present = "up")]
    cassandra: Vec<SocketAddr>,
    /// RabbitMQ, as `cargo xtask lab up` prints it
    #[arg(long, env = "STOKER_TEST_AMQP", required_unless_present = "up")]
    amqp: Option<String>,
    /// Only one of the two
    #[arg(long, value_enum)]
    only: Option<Work>,
    /// Devices
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    devices: u32,
    /// How long each step is measured
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Work {
    /// Devices publish.
    Readings,
    /// People order.
    Commands,
}

/// The share of the capacity that everything is compared with, and that which is too much.
const USUAL: f64 = 0.8;
const TOO_MUCH: f64 = 2.0;
/// What the platform is let to get used to a pace, and what is looked at by itself after the pace has changed.
const ONSET: Duration = Duration::from_secs(3);

/// The platform under load.
struct Scene {
    mqtt: SocketAddr,
    api: Api,
    /// Processes by their names.
    pids: Vec<(String, u32)>,
}

impl Overload {
    fn step(&self) -> Result<Duration> {
        let step = Duration::try_from_secs_f64(self.seconds).context("--seconds is out of range")?;
        ensure!(step >= Duration::from_secs(1), "--seconds is 1 at least");
        Ok(step)
    }

    async fn load(&self, scene: &Scene, report: &mut Report) -> Result<()> {
        if self.only != Some(Work::Commands) {
            readings::run(self, scene, report).await?;
        }
        if self.only != Some(Work::Readings) {
            orders::run(self, scene, report).await?;
        }
        Ok(())
    }

    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        if self.up { self.one(common).await } else { self.several(common).await }
    }

    async fn one(&self, common: &Common) -> Result<Report> {
        let mut report = Report::new("Twice the load that it can take, one process on its own store");
        let mut platform = Platform::new(common, Vec::new())?;
        platform.start().await?;
        let pids = vec![("stoker".to_owned(), platform.pid()?)];
        let scene = Scene { mqtt: platform.mqtt, api: platform.api()?, pids };
        self.load(&scene, &mut report).await?;
        platform.finish(&mut report)?;
        Ok(report)
    }

    async fn several(&self, common: &Common) -> Result<Report> {
        let mut report = Report::new("Twice the load that they can take, separate processes over a lab");
        let config = json!({
            "cassandra": {"contact_points": self.cassandra, "replication_factor": self.cassandra.len().min(3)},
        });
        let cassandra = self.cassandra.iter().map(ToString::to_string).collect();
        let amqp = self.amqp.clone().context("--amqp says where RabbitMQ is")?;
        let mut services = Services::prepare_on(&Lab { cassandra, amqp }, [1, 1, 0, 1], &config)?;
        services.program(&common.stoker)?;
        let files = services.keep_files().to_owned();
        eprintln!("configuration and logs are in {}", files.display());
        services.run().await?;
        let mut pids = Vec::new();
        for service in services.all() {
            pids.push((service.name().to_owned(), service.pid()?));
        }
        let mqtt = services.gateways.first().context("there is no gateway")?.address;
        let portal = services.portals.first().context("there is no portal")?.address;
        let scene = Scene { mqtt, api: Api::new(portal, Services::TOKEN)?, pids };
        self.load(&scene, &mut report).await?;
        for service in services.all() {
            service.check_alive()?;
        }
        leave(&mut services, common, &mut report);
        Ok(report)
    }
}

/// What each step promises beside the counts: the times of what was accepted, and memory.
struct Kept {
    usual: Duration,
    too_much: Duration,
    after: Duration,
}

impl Kept {
    fn judge(&self, what: &str, report: &mut Report) {
        let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        let (usual, too_much, after) = (ms(self.usual), ms(self.too_much), ms(self.after));
        report.promise(
            self.too_much <= self.usual * 2,
            format!("{what}: what is accepted at {TOO_MUCH} C has a p99 of {too_much}, at most twice the {usual} at {USUAL} C"),
        );
        report.promise(
            self.after <= self.usual * 2,
            format!(
                "{what}: {} s after the load went back the p99 is {after}, at most twice the {usual} before",
                ONSET.as_secs()
            ),
        );
    }
}
