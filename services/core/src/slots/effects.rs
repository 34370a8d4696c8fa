//! What a slot does to others after its commit. Each is carried out until it is confirmed; the row that asked for it
//! stays until then, so that the next owner goes on where this one died.

use std::sync::Arc;
use std::time::Duration;

use stoker_domain::machine::{CommandReport, Dispatch, Input};
use stoker_domain::model::NotificationWork;
use stoker_domain::ports::bus::{BusError, GatewayOrder};
use stoker_domain::ports::store::{Append, OutboxEntry, StateKey};

use crate::backoff::Backoff;
use crate::shared::Shared;

/// How an effect ended.
pub(super) enum EffectDone {
    /// Nothing more to do.
    Nothing,
    /// The machine is to know.
    Input(Box<Input>),
}

/// Hands something to a gateway. A command that no gateway took is reported as surely not sent.
pub(super) async fn dispatch(shared: Arc<Shared>, dispatch: Dispatch) -> EffectDone {
    let Dispatch { gateway, message } = dispatch;
    let (device, session) = (message.device.clone(), message.session);
    let command = match &message.order {
        GatewayOrder::Command { id, .. } => Some(*id),
        GatewayOrder::Attributes { .. } | GatewayOrder::Close { .. } => None,
    };
    let error = match shared.bus.publish_to_gateway(&gateway, message).await {
        Ok(()) => return EffectDone::Nothing,
        Err(error) => error,
    };
    tracing::warn!(%device, %gateway, %error, "a gateway could not be told");
    match (command, error) {
        // Not known to be refused: the gateway may have it. The ledger keeps it as handed.
        (_, BusError::Unconfirmed(_)) | (None, _) => EffectDone::Nothing,
        (Some(id), error) => EffectDone::Input(Box::new(Input::Command(CommandReport::NotSent {
            id,
            session,
            never: false,
            detail: error.to_string(),
        }))),
    }
}

/// Publishes an attempt until the bus has confirmed it.
pub(super) async fn publish(shared: Arc<Shared>, entry: OutboxEntry, work: NotificationWork) -> EffectDone {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
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
                tracing::warn!(notification = %entry.notification, %error, "an attempt could not be published");
                backoff.pause().await;
            }
        }
    }
}

/// Appends an ended row to history until it is there.
pub(super) async fn archive(shared: Arc<Shared>, key: StateKey, append: Append) -> EffectDone {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        match shared.store.append(vec![append.clone()]).await {
            Ok(()) => return EffectDone::Input(Box::new(Input::Archived(vec![key]))),
            Err(error) => {
                tracing::warn!(?key, %error, "an ended row could not be archived");
                backoff.pause().await;
            }
        }
    }
}
