//! `gateway`: ends device connections. It keeps only the live ones; all it learns goes to core before a device is told
//! that it was heard.
//!
//! One task per connection, which holds no buffer while it waits: bytes are read into a scratch buffer of the thread
//! and handed to the session machine at once.

mod accept;
mod announce;
mod beats;
mod connection;
mod core;
mod drain;
mod lane;
mod mailbox;
mod orders;
mod proxy;
mod pulse;
mod refusals;
mod registry;
mod rejections;
mod shared;
mod stats;
mod tls;
mod transport;
mod upgrade;
mod uplink;
mod websocket;

use std::sync::Arc;

use stoker_domain::model::MemberId;
use stoker_domain::payload::PayloadLimits;
use stoker_domain::ports::bus::{Bus, BusError};
use stoker_link::Channel;
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_protocol::session::Limits;
use stoker_telemetry::{Clock, Health, Supervisor, TaskDied};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use beats::Beats;
pub use drain::Drain;
pub use proxy::{Balancers, NetworksError};
pub use stats::{GatewayStats, StatsSnapshot};
pub use tls::TlsConfig;

use shared::Shared;
use transport::Door;

/// What a gateway is made of.
pub struct GatewayConfig {
    /// The way to core.
    pub core: GatewayServiceClient<Channel>,
    /// The way of readings to core: a connection of its own, so that neither lane waits for the other's window.
    pub readings: GatewayServiceClient<Channel>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The clock.
    pub clock: Clock,
    /// This process, fresh at every start.
    pub member: MemberId,
    /// Where to say how it goes.
    pub health: Health,
    /// Bounds of a connection.
    pub limits: Limits,
    /// Bounds of a payload.
    pub payload_limits: PayloadLimits,
    /// Connections held at once; more are closed before a byte is read.
    pub max_connections: usize,
    /// How established connections end when shutdown has begun.
    pub drain: Drain,
    /// Whom it tells that it lives; nobody when core is in the same process.
    pub beats: Option<Beats>,
}

/// A port that is open already, so that whoever starts the gateway knows that it could be opened.
pub struct Listener {
    tcp: TcpListener,
    door: Door,
    tls: Option<TlsConfig>,
    balancers: Option<Balancers>,
}

impl Listener {
    fn new(tcp: TcpListener, door: Door, tls: Option<TlsConfig>) -> Self {
        Self { tcp, door, tls, balancers: None }
    }

    /// MQTT over TCP.
    #[must_use]
    pub fn mqtt(tcp: TcpListener) -> Self {
        Self::new(tcp, Door::Mqtt, None)
    }

    /// MQTT over TLS.
    #[must_use]
    pub fn mqtts(tcp: TcpListener, tls: TlsConfig) -> Self {
        Self::new(tcp, Door::Mqtts, Some(tls))
    }

    /// MQTT over WebSocket.
    #[must_use]
    pub fn ws(tcp: TcpListener) -> Self {
        Self::new(tcp, Door::Ws, None)
    }

    /// MQTT over WebSocket over TLS.
    #[must_use]
    pub fn wss(tcp: TcpListener, tls: TlsConfig) -> Self {
        Self::new(tcp, Door::Wss, Some(tls))
    }

    /// Behind these, which say whose connections they pass on.
    #[must_use]
    pub fn behind(self, balancers: Option<Balancers>) -> Self {
        Self { balancers, ..self }
    }
}

/// Why a gateway stopped.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its queue could not be opened.
    #[error("the gateway's queue could not be opened: {0}")]
    Bus(#[from] BusError),
    /// A task died.
    #[error(transparent)]
    Task(#[from] TaskDied),
}

/// Serves devices until shutdown.
///
/// # Errors
/// When the queue cannot be opened or a task dies.
pub async fn run(
    config: GatewayConfig,
    listeners: Vec<Listener>,
    stats: Arc<GatewayStats>,
    shutdown: CancellationToken,
) -> Result<(), GatewayError> {
    let orders = config.bus.consume_gateway(&config.member).await?;
    let health = config.health.clone();
    let drain = config.drain;
    // The lanes to core outlive the connections, so that those can say goodbye.
    let lanes_end = CancellationToken::new();
    let (shared, beats) = Shared::new(config, stats);
    let shared = Arc::new(shared);
    let mut lanes = Supervisor::new(health.clone(), lanes_end.clone());
    lanes.run("readings to core", uplink::run(shared.clone(), lanes_end.clone()));
    lanes.run("rejected payloads", rejections::run(shared.clone(), lanes_end.clone()));
    // Devices that have not been told to go yet go on as before.
    lanes.run("orders from core", orders::run(shared.clone(), orders, lanes_end.clone()));
    if let Some(beats) = beats {
        lanes.run("beats to core", beats::run(shared.clone(), beats, lanes_end.clone()));
    }
    let mut doors = Supervisor::new(health, shutdown.clone());
    for listener in listeners {
        doors.run("device listener", accept::run(shared.clone(), listener, shutdown.clone()));
    }
    let lanes = async {
        let result = lanes.join().await;
        // Without its lanes a gateway takes nothing in.
        shutdown.cancel();
        result
    };
    let doors = async {
        // Sessions are told to go as soon as the shutdown begins, whatever else takes its time.
        let ending = async {
            shutdown.cancelled().await;
            tokio::select! {
                () = drain::run(&shared, &drain) => {}
                () = lanes_end.cancelled() => drain::cut_short(&shared),
            }
        };
        let (result, ()) = tokio::join!(doors.join(), ending);
        shared.connections.close();
        if tokio::time::timeout(drain.goodbye, shared.connections.wait()).await.is_err() {
            tracing::warn!(left = shared.connections.len(), "connections did not end in time");
        }
        lanes_end.cancel();
        result
    };
    let (lanes, doors) = tokio::join!(lanes, doors);
    doors?;
    lanes?;
    Ok(())
}
