//! Orders from core, by the gateway's own queue.

use std::collections::HashMap;
use std::sync::Arc;

use stoker_domain::model::{DeviceKey, EndReason, SessionEpoch, Slot, SlotEpoch};
use stoker_domain::ports::bus::{GatewayConsumer, GatewayItem, GatewayOrder, ToGateway};
use stoker_telemetry::trace;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::core;
use crate::mailbox::Order;
use crate::registry::word;
use crate::shared::Shared;

/// Reports about orders that could not be carried out, under way at once. At the bound the queue waits.
const REPORTS: usize = 64;
/// How long the last reports may take at the end.
const LAST_REPORTS: std::time::Duration = std::time::Duration::from_secs(5);

/// Carries orders out until shutdown.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut orders: Box<dyn GatewayConsumer>,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let mut newest: HashMap<Slot, SlotEpoch> = HashMap::new();
    let mut reports = JoinSet::new();
    loop {
        let message = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = reports.join_next(), if reports.len() >= REPORTS => continue,
            message = orders.next(), if reports.len() < REPORTS => message,
        };
        let cause = trace::received();
        let message = match message {
            Some(GatewayItem::Message(message)) => message,
            Some(GatewayItem::Resumed) => {
                tracing::warn!("the gateway's queue is a new one: orders of the moments before may be lost");
                shared.announced.forget();
                continue;
            }
            None if shutdown.is_cancelled() => break,
            None => return Err("the bus has closed the gateway's queue".to_owned()),
        };
        while reports.try_join_next().is_some() {}
        let seen = newest.entry(message.slot).or_insert(message.epoch);
        if message.epoch < *seen {
            tracing::debug!(device = %message.device, slot = %message.slot, "an order of an older owner was dropped");
            continue;
        }
        *seen = message.epoch;
        let span = match &cause {
            Some(cause) => {
                let (device, session) = (&message.device, message.session);
                let span = tracing::info_span!(
                    "order", otel.kind = "consumer", device = %device, organization = %device.organization, %session
                );
                cause.is_parent_of(&span);
                span
            }
            None => tracing::Span::none(),
        };
        span.in_scope(|| carry_out(&shared, message, &mut reports));
    }
    // What is not reported by then is found out when the commands run out.
    let rest = async { while reports.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_REPORTS, rest).await.is_err() {
        reports.shutdown().await;
    }
    Ok(())
}

/// Closes a session. Being told twice changes nothing.
pub(crate) fn close(shared: &Shared, device: &DeviceKey, session: SessionEpoch, reason: EndReason) {
    if let Some(handle) = shared.registry.find(device, session) {
        handle.mailbox.shut(word(reason), reason);
    } else {
        // It may be on its way in: granted by core, not entered here yet.
        shared.registry.close_early(device, session, reason, shared.now());
    }
}

fn carry_out(shared: &Arc<Shared>, message: ToGateway, reports: &mut JoinSet<()>) {
    let ToGateway { device, session, order, .. } = message;
    if let GatewayOrder::Close { reason } = order {
        close(shared, &device, session, reason);
        return;
    }
    let handle = shared.registry.find(&device, session);
    if let GatewayOrder::Withdraw { id } = order {
        // Where the session is not held any more, its end has told what became of the command.
        if handle.is_some_and(|handle| handle.mailbox.withdraw(id)) {
            let report = core::not_sent(id.to_string(), session, false, "taken back");
            reports.spawn(core::command(shared.clone(), device, report));
        }
        return;
    }
    let command = match &order {
        GatewayOrder::Command { id, .. } => Some(id.to_string()),
        _ => None,
    };
    let refusal = match handle {
        None => "the gateway does not hold this session",
        Some(handle) if handle.mailbox.order(Order { session, order }) => return,
        Some(_) => "the connection takes no more",
    };
    if let Some(id) = command {
        let report = core::not_sent(id, session, false, refusal);
        reports.spawn(core::command(shared.clone(), device, report));
    }
}
