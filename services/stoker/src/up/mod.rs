//! `stoker up`: gateway, core, notifier and portal in one process, on an embedded store and an in-process bus.

mod listen;
mod metrics;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use stoker_bus::InProcessBus;
use stoker_core::{Core, CoreConfig};
use stoker_domain::Settings;
use stoker_domain::model::MemberId;
use stoker_domain::payload::PayloadLimits;
use stoker_gateway::{GatewayConfig, GatewayStats};
use stoker_notifier::{EmailConfig, Notifier, NotifierConfig};
use stoker_portal::PortalConfig;
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_proto::core::v1::notifier_service_client::NotifierServiceClient;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_protocol::session::Limits;
use stoker_store::{EmbeddedOptions, EmbeddedStore};
use stoker_telemetry::{Clock, Health, PrivatePort, Supervisor, TaskDied};
use tokio_util::sync::CancellationToken;

use crate::config::Configuration;
use crate::{data_dir, signals};
use listen::Ports;

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

/// A fresh name for this process.
fn member() -> Result<MemberId> {
    let random = getrandom::u64().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(MemberId::new(&format!("m{random:016x}"))?)
}

fn settings(configuration: &Configuration) -> Settings {
    let mut settings = Settings::default();
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    if let Some(after) = configuration.silence.after {
        settings.silence_after_ms = millis(after);
    }
    if let Some(grace) = configuration.silence.grace {
        settings.silence_grace_ms = millis(grace);
    }
    if let Some(bytes) = configuration.attributes.max_bytes {
        settings.max_attribute_bytes = bytes;
    }
    settings
}

fn notifier(configuration: &Configuration) -> Result<Notifier> {
    let email = configuration.notifier.email.clone();
    let mut allow = configuration.notifier.webhook.allow.clone();
    // One process on one machine: whoever tries it out has the receiver beside it.
    allow.extend(["127.0.0.0/8".to_owned(), "::1/128".to_owned()]);
    let config = NotifierConfig {
        email: email.map(|email| EmailConfig { smtp_url: email.smtp_url, from: email.from }),
        webhook_allow: allow,
        ..NotifierConfig::default()
    };
    Notifier::new(&config).context("the notifier's configuration is wrong")
}

impl Up {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// What could not be started, or the task that died.
    pub(crate) async fn run(self) -> Result<()> {
        let began = Instant::now();
        let configuration = Configuration::read(self.config.as_deref())?;
        let directory = match &self.data_dir {
            Some(directory) => directory.clone(),
            None => data_dir::default()?,
        };
        data_dir::check(&directory)?;
        signals::raise_file_limit();
        let ports = Ports::open(&self, &configuration, &directory).await?;
        let notifier = notifier(&configuration)?;
        let store = open_store(directory.clone()).await?;
        let token_file =
            configuration.admin.token_file.clone().unwrap_or_else(|| directory.join(data_dir::TOKEN_FILE));
        let (token, made) = data_dir::admin_token(&token_file)?;
        if made {
            tracing::info!("the administrator's token is in {}", token_file.display());
        }
        let shown = ports.shown(&token_file);
        let mut platform = Platform::start(store, configuration, ports, notifier, token.clone()).await?;
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
    /// What speaks to the outside; ends first.
    front: Supervisor,
    front_end: CancellationToken,
    /// What the front needs until it has ended.
    back: Supervisor,
    back_end: CancellationToken,
    http: std::net::SocketAddr,
    mqtt: std::net::SocketAddr,
}

impl Platform {
    async fn start(
        store: Arc<EmbeddedStore>,
        configuration: Configuration,
        ports: Ports,
        notifier: Notifier,
        token: String,
    ) -> Result<Self> {
        let (health, clock, member) = (Health::new(), Clock::start(), member()?);
        let (front_end, back_end) = (CancellationToken::new(), CancellationToken::new());
        let mut front = Supervisor::new(health.clone(), front_end.clone());
        let mut back = Supervisor::new(health.clone(), back_end.clone());
        let bus = Arc::new(InProcessBus::new(&stoker_bus::Limits::default()));
        let core = CoreConfig {
            store: store.clone(),
            bus: bus.clone(),
            clock,
            settings: settings(&configuration),
            member: member.clone(),
            health: health.clone(),
        };
        let core = Core::start(core, back_end.clone()).await.context("core could not start")?;
        let (connector, listener) = wire::network();
        back.run("grpc", wire::serve(listener, core.services(), back_end.clone()));
        back.run("core", core.run());
        let stats = Arc::new(GatewayStats::default());
        let registry = metrics::registry(stats.clone(), store.clone(), bus.clone(), notifier.stats());
        let private = PrivatePort { health: health.clone(), registry };
        back.run("private port", private.run(ports.admin, back_end.clone()));
        let (kept, end) = (store.clone(), back_end.clone());
        back.run("retention", async move {
            stoker_store::maintain(kept, RETENTION_EVERY, end.cancelled_owned()).await;
            Ok::<(), TaskDied>(())
        });
        let (watched, end) = (store.clone(), back_end.clone());
        back.run("store", async move {
            tokio::select! {
                () = end.cancelled() => Ok(()),
                reason = watched.failed() => Err(reason),
            }
        });
        let gateway = GatewayConfig {
            core: GatewayServiceClient::new(connector.channel())
                .max_decoding_message_size(stoker_core::MESSAGE_MOST),
            readings: GatewayServiceClient::new(connector.channel()),
            bus: bus.clone(),
            clock,
            member,
            health,
            limits: Limits::default(),
            payload_limits: PayloadLimits::default(),
            max_connections: signals::connections_most(),
            drain: DRAIN,
        };
        let (mqtt, http) = (ports.mqtt_address, ports.http_address);
        front.run("gateway", stoker_gateway::run(gateway, ports.devices, stats, front_end.clone()));
        let core = NotifierServiceClient::new(connector.channel());
        front.run("notifier", notifier.run(bus.clone(), core, front_end.clone()));
        let core = PortalServiceClient::new(connector.channel())
            .max_decoding_message_size(stoker_core::MESSAGE_MOST);
        front
            .run("portal", stoker_portal::run(PortalConfig::new(token), core, ports.http, front_end.clone()));
        Ok(Self { store, bus, front, front_end, back, back_end, http, mqtt })
    }

    fn demo(&mut self, devices: u32, token: String) {
        let demo = crate::demo::run(devices, self.http, self.mqtt, token, self.front_end.clone());
        self.front.run("demo", demo);
    }

    async fn run(self) -> Result<()> {
        let Self { store, bus, front, front_end, back, back_end, .. } = self;
        let mut back = Box::pin(back.join());
        let mut front = Box::pin(front.join());
        let mut died: Option<TaskDied> = None;
        let (mut front_over, mut back_over) = (false, false);
        tokio::select! {
            name = signals::ended() => tracing::info!("{name}: ending; sessions are told to come back"),
            result = &mut front => { died = result.err(); front_over = true; }
            result = &mut back => { died = result.err(); back_over = true; }
        }
        let ending = async move {
            front_end.cancel();
            if !front_over {
                died = front.await.err().or(died);
            }
            back_end.cancel();
            bus.close();
            if !back_over {
                died = back.await.err().or(died);
            }
            store.close().await;
            died
        };
        let died = tokio::select! {
            died = ending => died,
            name = signals::ended() => bail!("{name} again: ended at once; what was acknowledged is stored"),
        };
        match died {
            None => {
                tracing::info!("ended");
                Ok(())
            }
            Some(died) => Err(died.into()),
        }
    }
}
