//! Several cores on one store, each with a network of its own.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use stoker_bus::InProcessBus;
use stoker_core::{Connect, Core, CoreConfig, CoreServices, Membership, NoConnection};
use stoker_domain::ownership::SlotRange;
use stoker_domain::ports::store::Store;
use stoker_domain::{MemberId, Settings};
use stoker_proto::core::v1::GetStatusRequest;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_telemetry::{Clock, Health};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server, Uri};

use crate::platform::WITHIN;

/// Where connections to a core go.
type Door = mpsc::Sender<DuplexStream>;

/// Cores that reach each other by name.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Mutex<HashMap<String, Door>>>);

impl Network {
    /// A channel to the core of that name, whether it is there or not.
    fn channel(&self, name: &str) -> Channel {
        let (network, name) = (self.clone(), name.to_owned());
        let connect = tower::service_fn(move |_: Uri| {
            let door = network.0.lock().get(&name).cloned();
            async move {
                let refused = || NoConnection(io::ErrorKind::ConnectionRefused.into());
                let (client, server) = tokio::io::duplex(1024 * 1024);
                door.ok_or_else(refused)?.send(server).await.map_err(|_| refused())?;
                Ok::<_, NoConnection>(TokioIo::new(client))
            }
        });
        Endpoint::from_static("http://core.test").connect_with_connector_lazy(connect)
    }

    fn connect(&self) -> Connect {
        let network = self.clone();
        Arc::new(move |name| Ok(network.channel(name)))
    }
}

/// One of several cores; dies with the value.
pub(crate) struct One {
    name: String,
    network: Network,
    pub(crate) portal: PortalServiceClient<Channel>,
    pub(crate) health: Health,
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
        let (end, end_serving, health) =
            (CancellationToken::new(), CancellationToken::new(), Health::new());
        let config = CoreConfig {
            store,
            bus: Arc::new(InProcessBus::default()),
            clock: Clock::start(),
            settings: Settings::default(),
            member: MemberId::new(&format!("m{:016x}", getrandom::u64().unwrap())).unwrap(),
            membership: Membership::Shared {
                slots: SlotRange::ALL,
                address: name.to_owned(),
                host: name.to_owned(),
                connect: network.connect(),
            },
            health: health.clone(),
        };
        let core = Core::start(config, end.clone()).await.unwrap();
        let (door, connections) = mpsc::channel::<DuplexStream>(16);
        network.0.lock().insert(name.to_owned(), door);
        let mut tasks = JoinSet::new();
        let CoreServices { gateway, portal, notifier, peer } = core.services();
        let server = Server::builder()
            .add_service(gateway)
            .add_service(portal)
            .add_service(notifier)
            .add_service(peer);
        let incoming = ReceiverStream::new(connections).map(Ok::<_, io::Error>);
        let served = end_serving.clone();
        tasks.spawn(async move {
            drop(server.serve_with_incoming_shutdown(incoming, served.cancelled_owned()).await);
        });
        tasks.spawn(async move { core.run().await.unwrap() });
        let portal = PortalServiceClient::new(network.channel(name));
        Self { name: name.to_owned(), network: network.clone(), portal, health, end, end_serving, tasks }
    }

    /// How many slots it owns.
    pub(crate) async fn owned(&self) -> u32 {
        let request = GetStatusRequest { here_only: true };
        self.portal.clone().get_status(request).await.unwrap().into_inner().slots_owned
    }

    /// Ends it as SIGTERM does: first its slots are handed on, then its server ends.
    pub(crate) async fn terminate(mut self) {
        self.end.cancel();
        let over = tokio::time::timeout(WITHIN, self.tasks.join_next()).await.unwrap().unwrap();
        over.unwrap();
        self.network.0.lock().remove(&self.name);
        self.end_serving.cancel();
        drop(tokio::time::timeout(WITHIN, self.tasks.join_next()).await);
    }
}

/// Waits until these cores own all slots together, and each its share of them.
pub(crate) async fn settle(cores: &[&One]) {
    let settled = async {
        loop {
            let mut owned = Vec::new();
            for core in cores {
                owned.push(core.owned().await);
            }
            if owned.iter().sum::<u32>() == 256 && !owned.contains(&0) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(WITHIN, settled).await.expect("the slots find their owners");
}
