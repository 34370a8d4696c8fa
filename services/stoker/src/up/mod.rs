//! `stoker up`: gateway, core, notifier and portal in one process, on an embedded store and an in-process bus.

mod ports;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use stoker_bus::InProcessBus;
use stoker_core::{Core, CoreConfig, CoreStats, Membership};
use stoker_domain::payload::PayloadLimits;
use stoker_domain::ports::bus::Bus;
use stoker_gateway::{Drain, GatewayConfig, GatewayStats};
use stoker_notifier::Notifier;
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_proto::core::v1::notifier_service_client::NotifierServiceClient;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_protocol::session::Limits;
use stoker_store::{EmbeddedOptions, EmbeddedStore};
use stoker_telemetry::{PrivatePort, TaskDied};

use crate::config::Configuration;
use crate::metrics::{Metrics, UpStats};
use crate::parts::{notifier, settings};
use crate::process::Process;
use crate::{crash, data_dir, https, signals};
use ports::Ports;

/// One process on one machine: whoever tries it out has the receiver of webhooks beside it.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// How often retention is carried out.
const RETENTION_EVERY: Duration = Duration::from_secs(3_600);
/// How long established connections may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// The whole platform in one process.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where everything is kept [default: $XDG_DATA_HOME/stoker]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A configuration file; the environment (STOKER__SECTION__KEY) and the flags here stand over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Make a fleet of simulated boilers and run it [default when given without a number: 20]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "20",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) demo: Option<u32>,
    /// Where devices connect by MQTT [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR")]
    pub(crate) mqtt: Option<String>,
    /// Where devices connect by MQTT over TLS [default: not at all; without a certificate one is made]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:8883")]
    pub(crate) mqtts: Option<String>,
    /// Where devices connect by MQTT over WebSocket, path /mqtt; `off` for nowhere [default: 127.0.0.1:8083]
    #[arg(long, value_name = "ADDR")]
    pub(crate) ws: Option<String>,
    /// Where devices connect by MQTT over WebSocket over TLS [default: not at all; without a certificate one is made]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:8084")]
    pub(crate) wss: Option<String>,
    /// Where people and scripts come by HTTP [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<String>,
    /// The private port with health and metrics [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
}

impl Up {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// What could not be started, or the task that died.
    pub(crate) async fn run(self) -> Result<()> {
        let began = Instant::now();
        let mut configuration = Configuration::read(self.config.as_deref())?;
        let directory = match &self.data_dir {
            Some(directory) => directory.clone(),
            None => data_dir::default()?,
        };
        configuration.crash.directory.get_or_insert_with(|| directory.join(crash::FOLDER));
        let mut process = Process::begin("up", &configuration)?;
        data_dir::check(&directory)?;
        signals::raise_file_limit();
        let ports = Ports::open(&self, &configuration, &directory).await?;
        let notifier = notifier(&configuration, &LOOPBACK)?;
        let opening = open_store(directory.clone());
        let Some(store) = process.prepare(opening).await? else { return process.give_up().await };
        let token_file =
            configuration.admin.token_file.clone().unwrap_or_else(|| directory.join(data_dir::TOKEN_FILE));
        let (token, made) = data_dir::admin_token(&token_file)?;
        if made {
            tracing::info!("the administrator's token is in {}", token_file.display());
        }
        let shown = ports.shown(&token_file);
        let platform = Platform::start(process, store, configuration, ports, notifier, token.clone()).await?;
        let Some(mut platform) = platform else { return Ok(()) };
        tracing::info!("ready after {} ms: {shown}", began.elapsed().as_millis());
        if let Some(devices) = self.demo {
            platform.demo(devices, token);
        }
        platform.run().await
    }
}

async fn open_store(directory: PathBuf) -> Result<Arc<EmbeddedStore>> {
    let opened =
        tokio::task::spawn_blocking(move || EmbeddedStore::open(&directory, EmbeddedOptions::default()));
    Ok(Arc::new(opened.await.context("the store's opening died")??))
}

/// Everything that runs.
struct Platform {
    store: Arc<EmbeddedStore>,
    bus: Arc<InProcessBus>,
    /// What speaks to the outside is its front; what that needs until it has ended, its back.
    process: Process,
    http: std::net::SocketAddr,
    mqtt: std::net::SocketAddr,
}

impl Platform {
    /// `None` when a signal has come first: then all has ended.
    async fn start(
        mut process: Process,
        store: Arc<EmbeddedStore>,
        configuration: Configuration,
        ports: Ports,
        notifier: Notifier,
        token: String,
    ) -> Result<Option<Self>> {
        let (front_end, back_end) = (process.front_end(), process.back_end());
        let (health, clock, member) = (process.health.clone(), process.clock, process.member.clone());
        let bus = Arc::new(InProcessBus::new(&stoker_bus::Limits::default()));
        let of_core = Arc::new(CoreStats::default());
        let core = CoreConfig {
            store: store.clone(),
            bus: bus.clone(),
            clock,
            settings: settings(&configuration),
            member: member.clone(),
            // The lock on the data directory proves it.
            membership: Membership::Alone,
            health: health.clone(),
            stats: of_core.clone(),
        };
        let starting = Core::start(core, back_end.clone());
        let starting = async { starting.await.context("core could not start") };
        let Some(core) = process.prepare(starting).await? else {
            bus.close();
            let ended = process.give_up().await;
            store.close().await;
            return ended.map(|()| None);
        };
        let (connector, listener) = wire::network();
        process.back(
            "grpc",
            wire::serve(listener, core.services(), connector.stats().clone(), back_end.clone()),
        );
        process.back("core", core.run());
        let stats = Arc::new(GatewayStats::default());
        let sessions = Arc::clone(&stats);
        process.counts(move || sessions.snapshot().sessions);
        let mut portal = ports.front.portal(token, https::devices(ports.doors.mqtt));
        let on: Arc<dyn Bus> = bus.clone();
        portal.bus = Some(Arc::new(on.into()));
        let (counted, watched) = (store.clone(), bus.clone());
        let metrics = Metrics::up(UpStats {
            gateway: stats.clone(),
            core: of_core,
            store: move || counted.stats(),
            bus: move || watched.snapshot(),
            notifier: notifier.stats(),
            portal: &portal.stats,
            calls: connector.stats(),
        });
        let registry = process.with_traces(metrics).registry();
        let private = PrivatePort { health: health.clone(), registry };
        process.back("private port", private.run(ports.admin, back_end.clone()));
        let (kept, end) = (store.clone(), back_end.clone());
        process.back("retention", async move {
            stoker_store::maintain(kept, RETENTION_EVERY, end.cancelled_owned()).await;
            Ok::<(), TaskDied>(())
        });
        let (watched, end) = (store.clone(), back_end.clone());
        process.back("store", async move {
            tokio::select! {
                () = end.cancelled() => Ok(()),
                reason = watched.failed() => Err(reason),
            }
        });
        let gateway = GatewayConfig {
            core: GatewayServiceClient::new(connector.channel())
                .max_decoding_message_size(stoker_link::MESSAGE_MOST),
            readings: GatewayServiceClient::new(connector.channel()),
            bus: bus.clone(),
            clock,
            member,
            health,
            limits: Limits::default(),
            payload_limits: PayloadLimits::default(),
            max_connections: signals::connections_most(),
            drain: Drain::at_once(DRAIN),
            beats: None,
        };
        let (mqtt, http) = (ports.doors.mqtt, ports.http_address);
        process
            .front("gateway", stoker_gateway::run(gateway, ports.doors.listeners, stats, front_end.clone()));
        let core = NotifierServiceClient::new(connector.channel());
        process.front("notifier", notifier.run(bus.clone(), core, front_end.clone()));
        let core = PortalServiceClient::new(connector.channel())
            .max_decoding_message_size(stoker_link::MESSAGE_MOST);
        process.front("portal", stoker_portal::run(portal, core, ports.http, front_end.clone()));
        Ok(Some(Self { store, bus, process, http, mqtt }))
    }

    fn demo(&mut self, devices: u32, token: String) {
        let end = self.process.front_end();
        let demo = crate::demo::run(devices, self.http, self.mqtt, token, end);
        self.process.front("demo", demo);
    }

    async fn run(self) -> Result<()> {
        let Self { store, bus, process, .. } = self;
        process.run(move || bus.close(), async move { store.close().await }).await
    }
}
