//! What a slot does to others after its commit. Each is carried out until it is confirmed, or moot; the row that asked
//! for it stays until then, so that the next owner goes on where this one died.

use std::sync::Arc;
use std::time::Duration;

use stoker_domain::machine::{CommandReport, Dispatch, Input};
use stoker_domain::model::{DeviceKey, MemberId, NotificationWork};
use stoker_domain::ports::bus::{BusError, GatewayOrder};
use stoker_domain::ports::store::{Append, OutboxEntry, StateKey};
use tracing::Instrument;

use crate::backoff::Backoff;
use crate::shared::Shared;

/// How an effect ended.
pub(super) enum EffectDone {
    /// Nothing more to do.
    Nothing,
    /// The machine is to know.
    Input(Box<Input>),
    /// What was handed to this gateway is done; the machine is to know of what it did not take.
    Dispatched(MemberId, Vec<Input>),
    /// An append of an ended row is over; whether it is in history.
    Appended(Box<Archive>, bool),
    /// It is time to append it again, if there still is such a row.
    ArchiveAgain(Box<Archive>),
}

/// A session that is to be closed is said to its gateway by the answers to its beats as well: a broker that is away would
/// put it off.
pub(super) fn note(shared: &Shared, dispatch: &Dispatch) {
    let Dispatch { gateway, message } = dispatch;
    if let GatewayOrder::Close { reason } = message.order {
        shared.closes.note(gateway, &message.device, message.session, reason, shared.clock.now_ms());
    }
}

/// Hands something to a gateway, in this order: commands come to a device as they were given.
pub(super) fn dispatch(
    shared: Arc<Shared>,
    gateway: MemberId,
    dispatches: Vec<Dispatch>,
) -> impl Future<Output = EffectDone> {
    let dispatching = async move {
        let told = dispatches.into_iter().map(|dispatch| tell(&shared, dispatch));
        let refused = futures_util::future::join_all(told).await;
        EffectDone::Dispatched(gateway, refused.into_iter().flatten().collect())
    };
    dispatching.in_current_span()
}

/// A command that no gateway took is reported as surely not sent.
async fn tell(shared: &Shared, dispatch: Dispatch) -> Option<Input> {
    let Dispatch { gateway, message } = dispatch;
    let (device, session) = (message.device.clone(), message.session);
    let closes = matches!(message.order, GatewayOrder::Close { .. });
    let (command, moot) = match &message.order {
        GatewayOrder::Command { id, .. } => (Some(*id), false),
        GatewayOrder::Attributes { .. } => (None, false),
        GatewayOrder::Withdraw { .. } | GatewayOrder::Close { .. } => (None, true),
    };
    let Err(error) = shared.bus.publish_to_gateway(&gateway, message).await else {
        if closes {
            shared.closes.confirmed(&gateway, &device, session);
        }
        return None;
    };
    if moot {
        // A gateway that died has closed its sessions and writes nothing. After a restart that is every device's.
        tracing::debug!(%device, %gateway, %error, "a gateway could not be told to end something");
    } else {
        tracing::warn!(%device, %gateway, %error, "a gateway could not be told");
    }
    match (command, error) {
        // Not known to be refused: the gateway may have it. The ledger keeps it as handed.
        (_, BusError::Unconfirmed(_)) | (None, _) => None,
        (Some(id), error) => Some(Input::Command(CommandReport::NotSent {
            id,
            session,
            never: false,
            detail: error.to_string(),
        })),
    }
}

/// Publishes an attempt until the bus has confirmed it, or until it is time for the machine to ask anew.
pub(super) fn publish(
    shared: Arc<Shared>,
    entry: OutboxEntry,
    work: NotificationWork,
) -> impl Future<Output = EffectDone> {
    // Shorter than the machine's patience, so that no attempt is published by two of these.
    let patience = u64::try_from(shared.settings.attempt_timeout_ms).unwrap_or_default() * 9 / 10;
    let publishing = async move {
        let confirmed = publish_until_confirmed(shared, entry, work);
        let confirmed = tokio::time::timeout(Duration::from_millis(patience), confirmed).await;
        confirmed.unwrap_or(EffectDone::Nothing)
    };
    publishing.in_current_span()
}

async fn publish_until_confirmed(
    shared: Arc<Shared>,
    entry: OutboxEntry,
    work: NotificationWork,
) -> EffectDone {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let mut said = false;
    loop {
        match shared.bus.publish_work(work.clone()).await {
            Ok(()) => {
                return EffectDone::Input(Box::new(Input::OutboxConfirmed {
                    notification: entry.notification,
                    attempt: entry.attempt,
                }));
            }
            // The bus closes with the process; the entry stays in the outbox.
            Err(BusError::Closed) => return EffectDone::Nothing,
            Err(error) => {
                let notification = entry.notification;
                // Once: while the broker is away all that wait try again and again.
                if said {
                    tracing::debug!(%notification, %error, "an attempt could not be published");
                } else {
                    tracing::warn!(%notification, %error, "an attempt could not be published, trying again");
                    said = true;
                }
                backoff.pause().await;
            }
        }
    }
}

/// Removes the history of a removed device until it is gone.
pub(super) async fn forget(shared: Arc<Shared>, device: DeviceKey) -> EffectDone {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    while let Err(error) = shared.store.forget_device(&device).await {
        tracing::warn!(%device, %error, "the history of a removed device could not be removed");
        backoff.pause().await;
    }
    EffectDone::Input(Box::new(Input::Archived(vec![StateKey::Removal(device)])))
}

/// An ended row on its way to history.
pub(super) struct Archive {
    pub(super) key: StateKey,
    pub(super) row: Append,
    backoff: Backoff,
}

impl Archive {
    pub(super) fn new(key: StateKey, row: Append) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        Self { key, row, backoff }
    }

    /// Whose it is.
    pub(super) fn device(&self) -> &DeviceKey {
        match &self.row {
            Append::Reading(row) => &row.device,
            Append::Event(row) => &row.device,
            Append::Command(row) => &row.device,
            Append::Alarm(row) => &row.device,
            Append::Notification(row) => &row.device,
        }
    }
}

/// Appends an ended row to history, once.
pub(super) async fn archive(shared: Arc<Shared>, archive: Archive) -> EffectDone {
    let result = shared.store.append(vec![archive.row.clone()]).await;
    if let Err(error) = &result {
        tracing::warn!(key = ?archive.key, %error, "an ended row could not be archived");
    }
    EffectDone::Appended(Box::new(archive), result.is_ok())
}

/// Lets an archive that failed wait for its next time.
pub(super) async fn archive_later(mut archive: Box<Archive>) -> EffectDone {
    archive.backoff.pause().await;
    EffectDone::ArchiveAgain(archive)
}
