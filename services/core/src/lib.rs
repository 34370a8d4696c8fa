//! `core`: the one way to data. It owns slots, runs alarms and their timers, keeps the command ledger and sessions,
//! and answers gateways, portals and notifiers over gRPC.

mod backoff;
mod callers;
mod cluster;
mod credentials;
mod observed;
mod passwords;
mod seen;
mod services;
mod shared;
mod slots;
mod stats;
mod tasks;
mod waiters;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use stoker_domain::Settings;
use stoker_domain::model::MemberId;
use stoker_domain::ports::bus::Bus;
use stoker_domain::ports::store::{Store, StoreError};
use stoker_link::MESSAGE_MOST;
use stoker_proto::core::v1::gateway_service_server::GatewayServiceServer;
use stoker_proto::core::v1::member_service_server::MemberServiceServer;
use stoker_proto::core::v1::notifier_service_server::NotifierServiceServer;
use stoker_proto::core::v1::peer_service_server::PeerServiceServer;
use stoker_proto::core::v1::portal_service_server::PortalServiceServer;
use stoker_telemetry::{Clock, Health, Supervisor, TaskDied};
use tokio_util::sync::CancellationToken;

use backoff::Backoff;
use cluster::{Owners, Peers, Routes};
use credentials::{CredentialError, Credentials};
use observed::{ObservedBus, ObservedStore};
use shared::Shared;
use slots::Slots;
use tasks::Tasks;

/// Requests that were begun may take so long to end once the slots are handed on.
const REQUESTS_WITHIN: Duration = Duration::from_secs(5);

/// How often something is read that a start needs.
const READ_AT_START: u32 = 8;

/// How often a process reads the subscriptions anew.
const SUBSCRIPTIONS_EVERY: Duration = Duration::from_millis(1_500);
/// How soon after a read that failed.
const SUBSCRIPTIONS_AGAIN: Duration = Duration::from_millis(250);
/// A read that takes longer is begun anew.
const SUBSCRIPTIONS_WITHIN: Duration = Duration::from_secs(1);
/// How old those may be that a process goes by, as long as its store answers: the pause, and the read before and after.
const SUBSCRIPTIONS_OLD_MOST: Duration = Duration::from_millis(3_500);

/// What a core is made of.
pub struct CoreConfig {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The clock.
    pub clock: Clock,
    /// Limits and delays.
    pub settings: Settings,
    /// This process, fresh at every start.
    pub member: MemberId,
    /// Whether there may be others.
    pub membership: Membership,
    /// Where to say how it goes.
    pub health: Health,
    /// Where to count.
    pub stats: Arc<CoreStats>,
}

/// Reads something of the store that a start needs. A database that has answered a moment ago may be busy for the next one,
/// most of all when a whole platform starts.
async fn at_the_start<T, E: Display>(
    what: &str,
    passes: impl Fn(&E) -> bool,
    mut read: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
    for _ in 1..READ_AT_START {
        match read().await {
            Err(error) if passes(&error) => {
                tracing::warn!(%error, "{what} could not be read; trying again");
                backoff.pause().await;
            }
            read => return read,
        }
    }
    read().await
}

/// Why a core could not start.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The store did not answer.
    #[error("the store could not be read: {0}")]
    Store(#[from] stoker_domain::ports::store::StoreError),
    /// The platform's token key could not be read or made.
    #[error("the token key could not be opened: {0}")]
    Credentials(String),
    /// The slots could not be taken over.
    #[error(transparent)]
    Slots(#[from] TaskDied),
    /// It was told to end before it had begun.
    #[error("ended while the slots were being taken over")]
    Ended,
}

/// A core that owns its slots and is ready to serve.
pub struct Core {
    shared: Arc<Shared>,
    slots: Slots,
    routes: Routes,
    credentials: Arc<Credentials>,
    tasks: Tasks,
    supervisor: Supervisor,
    shutdown: CancellationToken,
}

/// The services, to be added to a gRPC server.
pub struct CoreServices {
    /// For gateways.
    pub gateway: GatewayServiceServer<Gateways>,
    /// For portals.
    pub portal: PortalServiceServer<Portals>,
    /// For notifiers.
    pub notifier: NotifierServiceServer<Notifiers>,
    /// For other cores.
    pub peer: PeerServiceServer<PeerCores>,
    /// For everybody but cores.
    pub member: MemberServiceServer<Members>,
}

impl Core {
    /// Starts to own slots. One that is alone has all of them when this returns; one among others serves at once, and
    /// health says when it is ready.
    ///
    /// # Errors
    /// When the store does not answer or a slot belongs to somebody else.
    pub async fn start(config: CoreConfig, shutdown: CancellationToken) -> Result<Self, CoreError> {
        let CoreConfig { store, bus, clock, settings, member, membership, health, stats } = config;
        let store: Arc<dyn Store> = Arc::new(ObservedStore { store, stats: stats.clone() });
        let bus = Arc::new(ObservedBus { bus, clock, stats: stats.clone() });
        let shared = Arc::new(Shared::new(store.clone(), bus, clock, settings, member, stats));
        let passes = |error: &StoreError| !matches!(error, StoreError::Corrupt(_));
        at_the_start("the subscriptions", passes, async || shared.reload_subscriptions().await).await?;
        let slots = Slots::new();
        shared.stats.watches(&slots, &shared.turns);
        let (mut routes, alone) = (Routes::new(shared.clone(), slots.clone()), membership.is_alone());
        let link = membership.link();
        let (owners, wanted, mut settled) =
            Owners::new(shared.clone(), slots.clone(), membership, health.clone());
        if let Some(link) = link {
            routes = routes.with_others(Peers::new(link), wanted);
        }
        let passes =
            |error: &CredentialError| matches!(error, CredentialError::Store(error) if passes(error));
        let credentials = at_the_start("the token key", passes, async || {
            Credentials::open(store.clone(), slots.clone(), routes.clone()).await
        });
        let credentials = credentials.await.map_err(|error| CoreError::Credentials(error.to_string()))?;
        let mut supervisor = Supervisor::new(health, shutdown.clone());
        supervisor.run("slots", owners.run(shutdown.clone()));
        if alone && settled.wait_for(|settled| *settled).await.is_err() {
            // It has died, or it was told to end meanwhile.
            supervisor.join().await?;
            return Err(CoreError::Ended);
        }
        // Readings and requests go on until the slots are handed on.
        let tasks = Tasks::new(CancellationToken::new());
        if routes.has_others() {
            let telling =
                cluster::hearsay::run(shared.clone(), slots.clone(), routes.clone(), shutdown.clone());
            supervisor.run("hearsay", telling);
        }
        supervisor.run("subscriptions", refresh_subscriptions(shared.clone(), shutdown.clone()));
        Ok(Self { shared, slots, routes, credentials: Arc::new(credentials), tasks, supervisor, shutdown })
    }

    /// The services, to be served by whatever transport.
    #[must_use]
    pub fn services(&self) -> CoreServices {
        let gateway = Gateways {
            shared: self.shared.clone(),
            slots: self.slots.clone(),
            routes: self.routes.clone(),
            credentials: self.credentials.clone(),
            tasks: self.tasks.clone(),
        };
        let portal = Portals {
            shared: self.shared.clone(),
            slots: self.slots.clone(),
            routes: self.routes.clone(),
            credentials: self.credentials.clone(),
            changing_subscriptions: Arc::default(),
            tasks: self.tasks.clone(),
        };
        let notifier = Notifiers { slots: self.slots.clone(), routes: self.routes.clone() };
        let member = Members { shared: self.shared.clone(), slots: self.slots.clone() };
        let peer = PeerCores {
            shared: self.shared.clone(),
            credentials: self.credentials.clone(),
            routes: self.routes.clone(),
        };
        CoreServices {
            gateway: GatewayServiceServer::new(gateway).max_decoding_message_size(MESSAGE_MOST),
            portal: PortalServiceServer::new(portal).max_encoding_message_size(MESSAGE_MOST),
            notifier: NotifierServiceServer::new(notifier),
            peer: PeerServiceServer::new(peer),
            member: MemberServiceServer::new(member),
        }
    }

    /// Serves until shutdown or until a slot is lost.
    ///
    /// # Errors
    /// The task that died.
    pub async fn run(self) -> Result<(), TaskDied> {
        let result = self.supervisor.join().await;
        self.shutdown.cancel();
        self.tasks.shutdown().cancel();
        // Whoever waits for the end of a command may do so for a minute: not here.
        if tokio::time::timeout(REQUESTS_WITHIN, self.tasks.join()).await.is_err() {
            tracing::warn!("some requests were still waiting at the end");
        }
        result
    }
}

/// Reads the subscriptions anew from time to time: what somebody else changed, or what could not be read when it was
/// changed here, is not older than that.
async fn refresh_subscriptions(
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    let mut pause = SUBSCRIPTIONS_EVERY;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        pause = SUBSCRIPTIONS_EVERY;
        match tokio::time::timeout(SUBSCRIPTIONS_WITHIN, shared.reload_subscriptions()).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => tracing::warn!(%error, "the subscriptions could not be read anew"),
            Err(_) => tracing::warn!("the subscriptions could not be read anew in time"),
        }
        // What is older than others believe is to be made good soon.
        pause = SUBSCRIPTIONS_AGAIN;
    }
}

pub use cluster::Membership;
pub use services::gateway::Gateways;
pub use services::member::Members;
pub use services::notifier::Notifiers;
pub use services::peer::PeerCores;
pub use services::portal::Portals;
pub use stats::{CoreSnapshot, CoreStats};
