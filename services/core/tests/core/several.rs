//! Several cores on one store, each with a network of its own.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stoker_bus::InProcessBus;
use stoker_core::{Core, CoreConfig, CoreServices, CoreStats, Membership};
use stoker_domain::ownership::SlotRange;
use stoker_domain::payload::PayloadLimits;
use stoker_domain::ports::bus::Bus;
use stoker_domain::ports::store::Store;
use stoker_domain::{MemberId, Settings};
use stoker_gateway::{Beats, Drain, GatewayConfig, GatewayStats, Listener};
use stoker_link::{Channel, Cores, Link, Wire};
use stoker_proto::core::v1::GetStatusRequest;
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_protocol::session::Limits;
use stoker_telemetry::{Clock, Health};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::eventually::eventually;
use crate::platform::WITHIN;

/// Where connections to a core go.
type Door = mpsc::Sender<DuplexStream>;

/// Cores that reach each other by name.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Mutex<HashMap<String, Door>>>);

impl Network {
    pub(crate) fn link(&self) -> Link {
        let network = self.clone();
        Link::new(Arc::new(move |name| {
            let door = network.0.lock().get(&name).cloned();
            Box::pin(async move {
                let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
                let (client, server) = tokio::io::duplex(1024 * 1024);
                door.ok_or_else(refused)?.send(server).await.map_err(|_| refused())?;
                Ok(Box::new(client) as Box<dyn Wire>)
            })
        }))
    }
}

/// One of several cores; dies with the value.
pub(crate) struct One {
    name: String,
    network: Network,
    pub(crate) portal: PortalServiceClient<Channel>,
    pub(crate) health: Health,
    pub(crate) stats: Arc<CoreStats>,
    /// Its slots are to be handed on.
    end: CancellationToken,
    /// Its server is to end.
    end_serving: CancellationToken,
    tasks: JoinSet<()>,
}

impl Drop for One {
    /// As `kill -9` does it: nothing more is heard or said.
    fn drop(&mut self) {
        self.network.0.lock().remove(&self.name);
    }
}

impl One {
    pub(crate) async fn start(name: &str, network: &Network, store: Arc<dyn Store>) -> Self {
        Self::start_on(name, network, store, Arc::new(InProcessBus::default()), Settings::default()).await
    }

    pub(crate) async fn start_on(
        name: &str,
        network: &Network,
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        settings: Settings,
    ) -> Self {
        let stats = Arc::<CoreStats>::default();
        let (end, end_serving, health) = (CancellationToken::new(), CancellationToken::new(), Health::new());
        let config = CoreConfig {
            store,
            bus,
            clock: Clock::start(),
            settings,
            member: MemberId::new(&format!("m{:016x}", getrandom::u64().unwrap())).unwrap(),
            membership: Membership::Shared {
                slots: SlotRange::ALL,
                address: name.to_owned(),
                host: name.to_owned(),
                link: network.link(),
            },
            health: health.clone(),
            stats: stats.clone(),
        };
        let core = Core::start(config, end.clone()).await.unwrap();
        let (door, connections) = mpsc::channel::<DuplexStream>(16);
        network.0.lock().insert(name.to_owned(), door);
        let mut tasks = JoinSet::new();
        let CoreServices { gateway, portal, notifier, peer, member } = core.services();
        let server = Server::builder()
            .add_service(gateway)
            .add_service(portal)
            .add_service(notifier)
            .add_service(peer)
            .add_service(member);
        let incoming = ReceiverStream::new(connections).map(Ok::<_, io::Error>);
        let served = end_serving.clone();
        tasks.spawn(async move {
            drop(server.serve_with_incoming_shutdown(incoming, served.cancelled_owned()).await);
        });
        tasks.spawn(async move { core.run().await.unwrap() });
        let portal = PortalServiceClient::new(network.link().to(name));
        Self {
            name: name.to_owned(),
            network: network.clone(),
            portal,
            health,
            stats,
            end,
            end_serving,
            tasks,
        }
    }

    /// How many slots it owns.
    pub(crate) async fn owned(&self) -> u32 {
        let request = GetStatusRequest { here_only: true };
        self.portal.clone().get_status(request).await.unwrap().into_inner().slots_owned
    }

    /// Has it hand its slots on. Until it is [terminated](Self::terminate) it passes on what it is asked.
    pub(crate) async fn hand_on(&mut self) {
        self.end.cancel();
        let over = tokio::time::timeout(WITHIN, self.tasks.join_next()).await.unwrap().unwrap();
        over.unwrap();
    }

    /// Ends it as SIGTERM does: first its slots are handed on, then its server ends.
    pub(crate) async fn terminate(mut self) {
        self.hand_on().await;
        self.network.0.lock().remove(&self.name);
        self.end_serving.cancel();
        drop(tokio::time::timeout(WITHIN, self.tasks.join_next()).await);
    }
}

/// Waits until these cores own all slots together, and each its share of them.
pub(crate) async fn settle(cores: &[&One]) {
    eventually("the slots have found their owners", || async {
        let mut owned = Vec::new();
        for core in cores {
            owned.push(core.owned().await);
        }
        (owned.iter().sum::<u32>() == 256 && !owned.contains(&0)).then_some(())
    })
    .await;
}

/// A gateway that reaches cores by this network; dies with the value.
pub(crate) struct Gateway {
    pub(crate) mqtt: SocketAddr,
    pub(crate) member: MemberId,
    end: CancellationToken,
    tasks: JoinSet<()>,
}

impl Gateway {
    pub(crate) async fn start(network: &Network, bus: Arc<dyn Bus>, cores: &[&str]) -> Self {
        Self::start_with(network, bus, cores, Drain::at_once(Duration::from_secs(1))).await
    }

    pub(crate) async fn start_with(
        network: &Network,
        bus: Arc<dyn Bus>,
        cores: &[&str],
        drain: Drain,
    ) -> Self {
        let health = Health::new();
        let member = MemberId::new(&format!("g{:016x}", getrandom::u64().unwrap())).unwrap();
        let cores = Cores::new(cores.iter().map(|core| (*core).to_owned()).collect());
        let link = network.link();
        let config = GatewayConfig {
            core: GatewayServiceClient::new(link.to_any(&cores)),
            readings: GatewayServiceClient::new(link.to_any(&cores)),
            bus,
            clock: Clock::start(),
            member: member.clone(),
            health,
            limits: Limits::default(),
            payload_limits: PayloadLimits::default(),
            max_connections: 1_000,
            drain,
            beats: Some(Beats { link, cores, address: String::new(), host: String::new() }),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mqtt = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let stats = Arc::new(GatewayStats::default());
        let end = CancellationToken::new();
        let serving = stoker_gateway::run(config, vec![Listener::mqtt(listener)], stats, end.clone());
        tasks.spawn(async move { drop(serving.await) });
        Self { mqtt, member, end, tasks }
    }

    /// Tells it to end, as SIGTERM does.
    pub(crate) fn end(&self) {
        self.end.cancel();
    }

    /// Returns when it has ended.
    pub(crate) async fn ended(mut self) {
        tokio::time::timeout(WITHIN, self.tasks.join_next()).await.unwrap().unwrap().unwrap();
    }
}
