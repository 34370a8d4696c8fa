//! The services in processes of their own: `stoker core`, `gateway`, `notifier`, `portal`.

mod core;
mod feed;
mod gateway;
mod heartbeat;
mod notifier;
mod portal;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use stoker_bus::{RabbitBus, RabbitConfig, RabbitDriver, RabbitError, RabbitSnapshot};
use stoker_domain::model::MemberId;
use stoker_link::{Cores, Link, Role, Tls, tcp};
use stoker_telemetry::{Health, PrivatePort};

use crate::config::Configuration;
use crate::listen::open;
use crate::metrics::Metrics;
use crate::parts::{host, rabbit_config, required};
use crate::process::Process;
use crate::waiting::{self, Wanted};

/// What health calls it.
const BUS: &str = "bus";

/// One service of the platform in a process of its own.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The configuration; the environment (STOKER__SECTION__KEY) stands over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl Serve {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// What could not be started, or the task that died.
    pub(crate) async fn run(self, role: Role) -> Result<()> {
        let configuration = Configuration::read(self.config.as_deref())?;
        crate::signals::raise_file_limit();
        match role {
            Role::Core => Box::pin(core::run(configuration)).await,
            Role::Gateway => Box::pin(gateway::run(configuration)).await,
            Role::Notifier => Box::pin(notifier::run(configuration)).await,
            Role::Portal => Box::pin(portal::run(configuration)).await,
        }
    }
}

/// The cores of the configuration.
fn cores(configured: &[String], key: &str) -> Result<Cores> {
    required(configured.first(), key)?;
    if let Some(wrong) = configured.iter().find(|address| !address.contains(':')) {
        bail!("{key}: {wrong:?} is no address such as core-1:7400");
    }
    Ok(Cores::new(configured.to_vec()))
}

/// The certificates among the services, where they are configured.
fn tls(configuration: &Configuration) -> Result<Option<Tls>> {
    let Some(files) = configuration.tls.clone() else { return Ok(None) };
    Tls::open(files).map(Some).context("TLS among the services could not be set up")
}

/// The way to cores.
fn link(tls: Option<&Tls>) -> Link {
    Link::new(tls.map_or_else(tcp, Tls::dial))
}

/// What comes later than the private port that shows its numbers.
type Late<T> = Arc<OnceLock<T>>;

/// The bus that is configured, where it is this role's.
fn bus_config(process: &Process, configuration: &Configuration, role: Role) -> Result<RabbitConfig> {
    let mut config = rabbit_config(&configuration.bus, format!("{} {}", role.as_str(), process.member))?;
    // It is tried for as long as it takes, below.
    config.limits.start_within = Duration::ZERO;
    Ok(config)
}

/// Joins the bus, whenever the broker is there.
async fn join_bus(
    config: RabbitConfig,
    health: &Health,
    joined: &Late<RabbitBus>,
) -> Result<(RabbitBus, RabbitDriver)> {
    let wanted = Wanted { thing: BUS, what: format!("RabbitMQ at {}", config.url) };
    let may_come = |error: &RabbitError| !error.is_final();
    let connected = waiting::for_it(wanted, health, may_come, async || {
        Box::pin(RabbitBus::connect(config.clone())).await
    });
    let (bus, driver) = connected.await.context("the bus could not be joined")?;
    let _first = joined.set(bus.clone());
    Ok((bus, driver))
}

/// Keeps the bus alive until all else has ended. A broker that goes away then leaves the process ready: readings are stored
/// without it, and it may be the same one for all processes.
fn keep_bus(process: &mut Process, bus: &RabbitBus, driver: RabbitDriver) {
    process.back("bus", driver.run());
    let (watched, health, end) = (bus.clone(), process.health.clone(), process.back_end());
    process.back("bus's health", async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = tell_of_bus(&watched, &health) => {}
        }
        Ok::<(), std::convert::Infallible>(())
    });
}

/// Says all the time whether the bus is there. It has no end.
async fn tell_of_bus(bus: &RabbitBus, health: &Health) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        let bus = bus.snapshot();
        match (bus.publishing_connected && bus.consuming_connected, bus.blocked) {
            (true, false) => health.ready(BUS),
            (false, _) => health.degraded(BUS, "there is no connection to the broker"),
            (_, true) => health.degraded(BUS, "the broker is short of memory or disk and takes nothing"),
        }
    }
}

/// The numbers of a bus, also of one that has not been joined yet.
fn bus_numbers(joined: &Late<RabbitBus>) -> impl Fn() -> RabbitSnapshot + Send + Sync + use<> {
    let joined = Arc::clone(joined);
    move || joined.get().map(RabbitBus::snapshot).unwrap_or_default()
}

/// Opens the private port. Nobody is ready before `last` has come, which is asked for once all else is there.
async fn private_port(
    process: &mut Process,
    configuration: &Configuration,
    metrics: Metrics,
    last: &str,
) -> Result<SocketAddr> {
    process.health.waiting(last, "not asked for yet");
    let address = configuration.admin.listen.as_deref().unwrap_or("0.0.0.0:9090");
    let (listener, address) = open("health and metrics", "admin.listen", address).await?;
    let private =
        PrivatePort { health: process.health.clone(), registry: process.with_traces(metrics).registry() };
    let end = process.back_end();
    process.back("private port", private.run(listener, end));
    Ok(address)
}

/// What a service says of itself once it serves.
fn began(role: Role, member: &MemberId, what: &str, private: SocketAddr) {
    let (role, version) = (role.as_str(), env!("CARGO_PKG_VERSION"));
    tracing::info!(%member, version, "{role} serves: {what}, private port {private}");
}

/// Shared by those that speak to core as clients.
type Bus = Arc<dyn stoker_domain::ports::bus::Bus>;
