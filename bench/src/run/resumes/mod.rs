//! `resumes`: clients of the live feed that are cut off again and again under load, and come back with their last position. Each
//! has to hear everything that it listens to, once, in its order.

mod book;
mod client;
mod clients;
mod compare;
mod filter;
mod marks;
mod plan;
mod seen;
mod truth;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use stoker_e2e::{Lab, Services};
use stoker_sim::{FaultPlan, SimConfig};
use tokio_util::sync::CancellationToken;

use super::load::{Fleet, Load};
use super::several::{Processes, leave};
use crate::api::Api;
use crate::platform::{Common, Platform};
use crate::random::{Random, fresh_seed};
use crate::report::Report;
use book::Book;
use client::{Progress, Shared};
use clients::Clients;
use filter::Filter;
use seen::Seen;

/// A fault is repaired after that many seconds, on average.
const REPAIRED_AFTER_S: f64 = 10.0;
/// So many devices connect in a second at first.
const CONNECT_RATE: u32 = 100;
/// Clients of the live feed that are cut off and come back under load
#[derive(Debug, Args)]
pub(crate) struct Resumes {
    /// How often a client is cut off, all of them together
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    cuts: u32,
    /// Clients that are cut off. Beside them one listens to each filter that they have, and is not
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    clients: u32,
    /// How many boilers
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    devices: u32,
    /// Seconds between two readings of one
    #[arg(long, default_value_t = 3.0)]
    interval: f64,
    /// Commands a second, to all of them together
    #[arg(long, default_value_t = 5.0)]
    commands: f64,
    /// Faults an hour and boiler
    #[arg(long, default_value_t = 60.0)]
    faults: f64,
    /// Decides who is cut off when and how, and what the fleet does [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Separate processes over a lab, with several portals behind one address, and not one process on its own store
    #[arg(long)]
    several: bool,
    #[command(flatten)]
    processes: Processes,
    /// Nodes of Cassandra, as `cargo xtask lab up` prints them
    #[arg(long, env = "STOKER_TEST_CASSANDRA", value_delimiter = ',', required_if_eq("several", "true"))]
    cassandra: Vec<SocketAddr>,
    /// RabbitMQ, as `cargo xtask lab up` prints it
    #[arg(long, env = "STOKER_TEST_AMQP", required_if_eq("several", "true"))]
    amqp: Option<String>,
}

/// The platform.
struct Scene {
    api: Api,
    mqtt: SocketAddr,
    /// Where clients come in.
    doors: Vec<SocketAddr>,
    token: String,
    /// With several cores only what is told of one device has an order.
    cores: usize,
}

impl Resumes {
    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        let seed = self.seed.unwrap_or_else(fresh_seed);
        // A run that fails before its end is to be repeated, too.
        eprintln!("seed {seed}");
        if self.several { self.fleet_of_processes(common, seed).await } else { self.one(common, seed).await }
    }

    async fn one(&self, common: &Common, seed: u64) -> Result<Report> {
        let mut report = Report::new("Clients of the live feed, cut off under load; one process");
        let mut platform = Platform::new(common, Vec::new())?;
        platform.start().await?;
        let (api, token) = (platform.api()?, platform.token()?);
        let scene = Scene { api, mqtt: platform.mqtt, doors: vec![platform.http], token, cores: 1 };
        self.disturb(&scene, seed, &mut report).await?;
        platform.finish(&mut report)?;
        Ok(report)
    }

    async fn fleet_of_processes(&self, common: &Common, seed: u64) -> Result<Report> {
        let mut report = Report::new("Clients of the live feed, cut off under load; separate processes");
        let config = json!({ "cassandra": {"replication_factor": self.cassandra.len().min(3)} });
        let cassandra = self.cassandra.iter().map(ToString::to_string).collect();
        let amqp = self.amqp.clone().context("--amqp says where RabbitMQ is")?;
        let counts = self.processes.counts()?;
        let mut services = Services::prepare_on(&Lab { cassandra, amqp }, counts, &config)?;
        services.program(&common.stoker)?;
        eprintln!("configuration and logs are in {}", services.keep_files().display());
        services.run().await?;
        let (mqtt, http) = services.balance().await?;
        // The one address, and each portal by itself, so that a seed leads to the same ones.
        let doors = [http].into_iter().chain(services.portals.iter().map(|portal| portal.address)).collect();
        let (api, token) = (Api::new(http, Services::TOKEN)?, Services::TOKEN.to_owned());
        let [cores, ..] = counts;
        self.disturb(&Scene { api, mqtt, doors, token, cores }, seed, &mut report).await?;
        for service in services.all() {
            service.check_alive()?;
        }
        leave(&mut services, common, &mut report);
        Ok(report)
    }

    fn config(&self, scene: &Scene, seed: u64) -> Result<SimConfig> {
        let faults = FaultPlan { per_hour: self.faults, mean_s: REPAIRED_AFTER_S };
        let (devices, interval_s) = (self.devices, self.interval);
        Fleet { devices, interval_s, connect_rate: CONNECT_RATE, faults, seed }.config(scene.mqtt)
    }

    async fn disturb(&self, scene: &Scene, seed: u64, report: &mut Report) -> Result<()> {
        let mut random = Random::new(seed);
        let config = self.config(scene, seed)?;
        let filters =
            Filter::all(&config.device_id(config.first), &format!("{}1*", config.id_prefix), marks::PATTERN);
        let shared = Arc::new(Shared {
            doors: scene.doors.clone(),
            token: scene.token.clone(),
            book: Book::default(),
            progress: Progress::default(),
            begin: CancellationToken::new(),
            end: CancellationToken::new(),
        });
        let mut clients = Clients::begin(&shared, &filters, self.clients, self.cuts, &mut random);
        // Nothing happens yet: all of them hear everything.
        clients.there().await?;
        let load = Load::begin(&scene.api, &config, self.commands, &mut random).await?;
        let begun = Instant::now();
        shared.begin.cancel();
        clients.back(self.cuts).await?;
        let took = begun.elapsed();
        let rested = load.rest().await?;
        marks::put(&scene.api, scene.mqtt).await?;
        let heard = clients.finish().await?;

        report.count("seed", seed);
        report.count("devices", self.devices.into());
        report.count("clients that are cut off", self.clients.into());
        report.count("clients beside them that are not", filters.len() as u64);
        let items = shared.book.items();
        let seen = Seen { heard: &heard, filters: &filters, items: &items, ordered: scene.cores == 1 };
        seen.judge(report, self.cuts, took);
        seen.told(&config)?.judge(report, &scene.api, &config, &rested).await?;
        report.none("devices that left and are not shown as offline", &rested.not_offline);
        report.exactly("commands whose making was not answered", 0, rested.orders.unanswered);
        let stats = &rested.stats;
        report.exactly(
            "sessions of devices that were cut",
            0,
            stats.ended_by_server + stats.ended_by_timeout,
        );
        Ok(())
    }
}
