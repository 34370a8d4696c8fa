//! `core`: the one way to data. It owns slots, runs alarms and their timers, keeps the command ledger and sessions,
//! and answers gateways, portals and notifiers over gRPC.

mod backoff;
mod credentials;
mod seen;
mod services;
mod shared;
mod slots;
mod tasks;
mod waiters;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use stoker_domain::Settings;
use stoker_domain::model::{MemberId, Slot};
use stoker_domain::ports::bus::Bus;
use stoker_domain::ports::store::Store;
use stoker_proto::core::v1::gateway_service_server::GatewayServiceServer;
use stoker_proto::core::v1::notifier_service_server::NotifierServiceServer;
use stoker_proto::core::v1::portal_service_server::PortalServiceServer;
use stoker_telemetry::{Clock, Health, Supervisor, TaskDied};
use tokio_util::sync::CancellationToken;

use credentials::Credentials;

use shared::Shared;
use slots::{SlotActor, SlotLost, Slots};
use tasks::Tasks;

/// The greatest gRPC message in either direction: a batch of readings of many small packets, or one page of a list.
pub const MESSAGE_MOST: usize = 64 * 1024 * 1024;

/// How old the subscriptions that a process goes by may be.
const SUBSCRIPTIONS_EVERY: Duration = Duration::from_secs(2);

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
    /// Where to say how it goes.
    pub health: Health,
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
    /// A slot could not be taken over.
    #[error("{0}")]
    Slot(String),
}

impl From<SlotLost> for CoreError {
    fn from(lost: SlotLost) -> Self {
        Self::Slot(lost.to_string())
    }
}

/// A core that owns its slots and is ready to serve.
pub struct Core {
    shared: Arc<Shared>,
    slots: Slots,
    credentials: Arc<Credentials>,
    tasks: Tasks,
    supervisor: Supervisor,
    shutdown: CancellationToken,
}

/// The three services, to be added to a gRPC server.
pub struct CoreServices {
    /// For gateways.
    pub gateway: GatewayServiceServer<Gateways>,
    /// For portals.
    pub portal: PortalServiceServer<Portals>,
    /// For notifiers.
    pub notifier: NotifierServiceServer<Notifiers>,
}

impl Core {
    /// Takes all slots over and starts their tasks.
    ///
    /// # Errors
    /// When the store does not answer or a slot belongs to somebody else.
    pub async fn start(config: CoreConfig, shutdown: CancellationToken) -> Result<Self, CoreError> {
        let CoreConfig { store, bus, clock, settings, member, health } = config;
        let shared = Arc::new(Shared::new(store.clone(), bus, clock, settings, member));
        shared.reload_subscriptions().await?;
        let (slots, mailboxes) = Slots::new();
        health.waiting("slots", "they are being taken over");
        let owned = try_join_all(Slot::all().map(|slot| SlotActor::take_over(slot, shared.clone()))).await?;
        let mut supervisor = Supervisor::new(health.clone(), shutdown.clone());
        for (slot, (actor, mailbox)) in Slot::all().zip(owned.into_iter().zip(mailboxes)) {
            supervisor.run(&format!("slot {slot}"), actor.run(mailbox, shutdown.clone()));
        }
        let credentials = Credentials::open(store, slots.clone())
            .await
            .map_err(|error| CoreError::Credentials(error.to_string()))?;
        health.ready("slots");
        let tasks = Tasks::new(shutdown.clone());
        supervisor.run("subscriptions", refresh_subscriptions(shared.clone(), shutdown.clone()));
        Ok(Self { shared, slots, credentials: Arc::new(credentials), tasks, supervisor, shutdown })
    }

    /// The services, to be served by whatever transport.
    #[must_use]
    pub fn services(&self) -> CoreServices {
        let gateway = Gateways {
            shared: self.shared.clone(),
            slots: self.slots.clone(),
            credentials: self.credentials.clone(),
            tasks: self.tasks.clone(),
        };
        let portal = Portals {
            shared: self.shared.clone(),
            slots: self.slots.clone(),
            credentials: self.credentials.clone(),
            changing_subscriptions: Arc::default(),
            tasks: self.tasks.clone(),
        };
        let notifier = Notifiers { slots: self.slots.clone() };
        CoreServices {
            gateway: GatewayServiceServer::new(gateway).max_decoding_message_size(MESSAGE_MOST),
            portal: PortalServiceServer::new(portal).max_encoding_message_size(MESSAGE_MOST),
            notifier: NotifierServiceServer::new(notifier),
        }
    }

    /// Serves until shutdown or until a slot is lost.
    ///
    /// # Errors
    /// The task that died.
    pub async fn run(self) -> Result<(), TaskDied> {
        let result = self.supervisor.join().await;
        self.shutdown.cancel();
        self.tasks.join().await;
        result
    }
}

/// Reads the subscriptions anew from time to time: what somebody else changed, or what could not be read when it was
/// changed here, is not older than that.
async fn refresh_subscriptions(
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(SUBSCRIPTIONS_EVERY) => {}
        }
        if let Err(error) = shared.reload_subscriptions().await {
            tracing::warn!(%error, "the subscriptions could not be read anew");
        }
    }
}

pub use services::gateway::Gateways;
pub use services::notifier::Notifiers;
pub use services::portal::Portals;
