//! Core and a gateway in one process, on a store that outlives them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use stoker_bus::InProcessBus;
use stoker_core::{Core, CoreConfig, CoreServices, CoreStats, Membership};
use stoker_domain::payload::PayloadLimits;
use stoker_domain::ports::bus::Bus;
use stoker_domain::ports::store::Store;
use stoker_domain::{DeviceId, DeviceKey, MemberId, OrganizationId, Settings};
use stoker_gateway::{Drain, GatewayConfig, GatewayStats, Listener};
use stoker_link::Channel;
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_proto::core::v1::{CreateDeviceRequest, DeviceRef};
use stoker_protocol::session::Limits;
use stoker_store::{EmbeddedOptions, EmbeddedStore};
use stoker_telemetry::{Clock, Health};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Endpoint, Server, Uri};

/// Longer than anything here takes; only what hangs runs into it.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// A data directory with its store.
pub(crate) struct Disk {
    pub(crate) store: Arc<EmbeddedStore>,
    _directory: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions { cache_bytes: 8 << 20, ..EmbeddedOptions::default() };
        Self {
            store: Arc::new(EmbeddedStore::open(directory.path(), options).unwrap()),
            _directory: directory,
        }
    }
}

/// Core and a gateway; end with the value.
pub(crate) struct Platform {
    pub(crate) gateway: GatewayServiceClient<Channel>,
    pub(crate) portal: PortalServiceClient<Channel>,
    pub(crate) mqtt: SocketAddr,
    pub(crate) stats: Arc<CoreStats>,
    end: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

pub(crate) fn key(device: &str) -> DeviceKey {
    DeviceKey::new(OrganizationId::default_organization(), DeviceId::new(device).unwrap())
}

pub(crate) fn device_ref(device: &str) -> Option<DeviceRef> {
    Some(stoker_proto::convert::device_ref(&key(device)))
}

impl Platform {
    /// Starts both on `store`.
    pub(crate) async fn start(store: Arc<dyn Store>) -> Self {
        Self::start_with(store, Settings::default(), Limits::default()).await
    }

    pub(crate) async fn start_with(store: Arc<dyn Store>, settings: Settings, limits: Limits) -> Self {
        let (end, health, clock) = (CancellationToken::new(), Health::new(), Clock::start());
        let member = MemberId::new(&format!("m{:016x}", getrandom::u64().unwrap())).unwrap();
        let bus: Arc<dyn Bus> = Arc::new(InProcessBus::default());
        let stats = Arc::<CoreStats>::default();
        let config = CoreConfig {
            store,
            bus: bus.clone(),
            clock,
            settings,
            member: member.clone(),
            membership: Membership::Alone,
            health: health.clone(),
            stats: stats.clone(),
        };
        let core = Core::start(config, end.clone()).await.unwrap();
        let mut tasks = JoinSet::new();
        let channel = serve(core.services(), end.clone(), &mut tasks);
        tasks.spawn(async move { drop(core.run().await) });
        let gateway = GatewayServiceClient::new(channel.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mqtt = listener.local_addr().unwrap();
        let config = GatewayConfig {
            core: gateway.clone(),
            readings: gateway.clone(),
            bus,
            clock,
            member,
            health,
            limits,
            payload_limits: PayloadLimits::default(),
            max_connections: 1_000,
            drain: Drain::at_once(Duration::from_secs(1)),
            beats: None,
        };
        let gateways = Arc::new(GatewayStats::default());
        let serving = stoker_gateway::run(config, vec![Listener::mqtt(listener)], gateways, end.clone());
        tasks.spawn(async move { drop(serving.await) });
        Self { gateway, portal: PortalServiceClient::new(channel), mqtt, stats, end, _tasks: tasks }
    }

    /// Makes a device with this token.
    pub(crate) async fn create(&self, device: &str, token: &str) -> Result<(), Status> {
        let request = CreateDeviceRequest {
            key: device_ref(device),
            token: Some(token.to_owned()),
            ..CreateDeviceRequest::default()
        };
        self.portal.clone().create_device(request).await.map(drop)
    }
}

fn serve(services: CoreServices, end: CancellationToken, tasks: &mut JoinSet<()>) -> Channel {
    let (connector, listener) = mpsc::channel::<DuplexStream>(16);
    let CoreServices { gateway, portal, notifier, peer, member } = services;
    let incoming = ReceiverStream::new(listener).map(Ok::<_, io::Error>);
    let server = Server::builder()
        .add_service(gateway)
        .add_service(portal)
        .add_service(notifier)
        .add_service(peer)
        .add_service(member);
    tasks.spawn(async move {
        let serving = server.serve_with_incoming_shutdown(incoming, async move { end.cancelled().await });
        drop(serving.await);
    });
    let connect = tower::service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let (client, server) = tokio::io::duplex(1024 * 1024);
            connector.send(server).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok::<_, io::Error>(TokioIo::new(client))
        }
    });
    Endpoint::from_static("http://core.test").connect_with_connector_lazy(connect).into()
}
