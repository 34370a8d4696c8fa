//! What is sent to the device, and what is reported about commands among it.

use std::collections::VecDeque;

use bytes::Bytes;
use stoker_domain::model::{CommandId, SessionEpoch};
use stoker_domain::payload;
use stoker_domain::ports::bus::GatewayOrder;
use stoker_proto::convert;
use stoker_proto::core::v1::report_command_request::{self as command, Report};
use stoker_protocol::codec::Qos;
use stoker_protocol::session::{DeliverOutcome, Delivery, Event, Output};
use stoker_protocol::topic::DownTopic;

use super::{Connection, Identity, now};
use crate::core;
use crate::lane::{Done, How, Lane};
use crate::mailbox::Order;
use crate::stats;

/// One command that was handed to the session machine.
struct UnderWay {
    delivery: u64,
    command: CommandId,
    /// Written, not only queued behind others.
    sent: bool,
}

/// Commands that were handed to the session machine and are not settled. Made when the first one comes.
#[derive(Default)]
pub(super) struct Deliveries {
    next: u64,
    under_way: Vec<UnderWay>,
    /// Written to the transport's buffer, but not all of it is out yet.
    leaving: Vec<CommandId>,
    /// Commands that this session has had, the newest last, unless they were given back. A new owner of the slot hands
    /// out again what it cannot know to have come.
    had: VecDeque<CommandId>,
}

/// Commands that are remembered. No device has more open ones.
const HAD_MOST: usize = 256;

impl Deliveries {
    /// False: it was here before.
    fn is_new(&mut self, command: CommandId) -> bool {
        if self.had.contains(&command) {
            return false;
        }
        if self.had.len() >= HAD_MOST {
            self.had.pop_front();
        }
        self.had.push_back(command);
        true
    }

    /// It was surely not written, and may come again.
    fn given_back(&mut self, command: CommandId) {
        self.had.retain(|had| *had != command);
    }

    fn take(&mut self, delivery: u64) -> Option<CommandId> {
        let position = self.under_way.iter().position(|one| one.delivery == delivery)?;
        Some(self.under_way.swap_remove(position).command)
    }
}

/// Reports about commands that were surely never written when the connection ended.
pub(super) fn never_sent(
    deliveries: Option<Box<Deliveries>>,
    orders: Vec<Order>,
    session: SessionEpoch,
) -> Vec<Report> {
    let queued = deliveries.into_iter().flat_map(|deliveries| deliveries.under_way);
    let queued = queued.filter(|one| !one.sent).map(|one| one.command);
    let waiting = orders.into_iter().filter_map(|order| match order.order {
        GatewayOrder::Command { id, .. } => Some(id),
        _ => None,
    });
    let report =
        |id: CommandId| core::not_sent(id.to_string(), session, false, "the connection ended before");
    queued.chain(waiting).map(report).collect()
}

impl Connection {
    /// Sends something that nobody waits for.
    pub(super) fn send(&mut self, topic: DownTopic, payload: Bytes, out: &mut Output) {
        let delivery = Delivery { id: 0, topic, payload, expires_at_ms: None };
        let outcome = self.session.deliver(now(&self.shared), delivery, out);
        if !matches!(
            outcome,
            DeliverOutcome::Sent { .. } | DeliverOutcome::Queued | DeliverOutcome::NotSubscribed
        ) {
            tracing::debug!(?topic, ?outcome, "not delivered");
        }
    }

    pub(super) fn order(&mut self, order: Order, out: &mut Output) {
        let Some(Identity { epoch, .. }) = self.identity.as_deref() else { return };
        let session = *epoch;
        match order.order {
            GatewayOrder::Attributes { json } => self.send(DownTopic::Attributes, Bytes::from(json), out),
            GatewayOrder::Command { id, number, method, params, expires_at } => {
                if order.session != session {
                    return self.report(core::not_sent(
                        id.to_string(),
                        order.session,
                        false,
                        "another session",
                    ));
                }
                let mut json = String::from("{\"method\":");
                payload::write_text(&method, &mut json);
                json.push_str(",\"params\":");
                json.push_str(&params);
                json.push('}');
                self.command(id, number, json, expires_at, session, out);
            }
            // Said by the mailbox's own words for them.
            GatewayOrder::Withdraw { .. } | GatewayOrder::Close { .. } => {}
        }
    }

    fn command(
        &mut self,
        id: CommandId,
        number: u64,
        json: String,
        expires_at: i64,
        session: SessionEpoch,
        out: &mut Output,
    ) {
        let deliveries = self.deliveries.get_or_insert_default();
        if !deliveries.is_new(id) {
            tracing::debug!(command = %id, "a command came again that this session has had");
            return;
        }
        deliveries.next += 1;
        let number_here = deliveries.next;
        let delivery = Delivery {
            id: number_here,
            topic: DownTopic::RpcRequest(number),
            payload: Bytes::from(json),
            expires_at_ms: Some(u64::try_from(expires_at).unwrap_or_default()),
        };
        let outcome = self.session.deliver(now(&self.shared), delivery, out);
        let not_sent = |never, detail: &str| core::not_sent(id.to_string(), session, never, detail);
        let report = match outcome {
            DeliverOutcome::Sent { qos } => {
                if qos != Qos::AtMostOnce {
                    deliveries.under_way.push(UnderWay { delivery: number_here, command: id, sent: true });
                }
                deliveries.leaving.push(id);
                return;
            }
            DeliverOutcome::Queued => {
                deliveries.under_way.push(UnderWay { delivery: number_here, command: id, sent: false });
                return;
            }
            DeliverOutcome::NotSubscribed => not_sent(false, "the device does not take commands"),
            DeliverOutcome::Full => not_sent(false, "too many commands wait for the device"),
            DeliverOutcome::TooLarge => not_sent(true, "it is larger than the packets that the device takes"),
            DeliverOutcome::Expired => not_sent(false, "its time had passed"),
        };
        deliveries.given_back(id);
        self.report(report);
    }

    /// Takes a command back that waits behind others. One that is written by now is left to the device.
    pub(super) fn withdraw(&mut self, command: CommandId) {
        let Some(Identity { epoch, .. }) = self.identity.as_deref() else { return };
        let session = *epoch;
        let Some(deliveries) = &mut self.deliveries else { return };
        let waiting = deliveries.under_way.iter().find(|one| one.command == command && !one.sent);
        let Some(delivery) = waiting.map(|one| one.delivery) else { return };
        if self.session.withdraw(delivery) {
            deliveries.take(delivery);
            deliveries.given_back(command);
            self.report(core::not_sent(command.to_string(), session, false, "taken back"));
        }
    }

    /// Commands are sent once all of what was written is out.
    pub(super) fn say_sent(&mut self) {
        if self.write_by.is_some() {
            return;
        }
        let Some(deliveries) = &mut self.deliveries else { return };
        let Some(Identity { epoch, .. }) = self.identity.as_deref() else { return };
        let session = *epoch;
        for id in std::mem::take(&mut deliveries.leaving) {
            stats::up(&self.shared.stats.commands_sent);
            let session = Some(convert::epoch_to_wire(session));
            self.report(Report::Sent(command::Sent { id: id.to_string(), session }));
        }
    }

    pub(super) fn delivery_event(&mut self, event: &Event) {
        let Some(Identity { epoch, .. }) = self.identity.as_deref() else { return };
        let session = *epoch;
        let Some(deliveries) = &mut self.deliveries else { return };
        let wire = Some(convert::epoch_to_wire(session));
        let report = match *event {
            Event::DeliverySent { id, .. } => {
                if let Some(one) = deliveries.under_way.iter_mut().find(|one| one.delivery == id) {
                    one.sent = true;
                    deliveries.leaving.push(one.command);
                }
                return;
            }
            Event::Delivered { id } => deliveries
                .take(id)
                .map(|id| Report::Delivered(command::Delivered { id: id.to_string(), session: wire })),
            Event::DeliveryRefused { id, reason } => deliveries.take(id).map(|id| {
                let detail = format!("the device refused it: {reason:?}");
                Report::Refused(command::Refused { id: id.to_string(), session: wire, detail })
            }),
            Event::DeliveryExpired { id } => deliveries.take(id).map(|id| {
                deliveries.given_back(id);
                core::not_sent(id.to_string(), session, false, "its time had passed")
            }),
            _ => None,
        };
        if let Some(report) = report {
            self.report(report);
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        let Some(Identity { device, .. }) = self.identity.as_deref() else { return };
        // That it went out and arrived may be said at once with the answer to it, and in any order: states don't go back. What
        // gives a command back has to be heard before anything that happens to it later.
        let beside = matches!(report, Report::Sent(_) | Report::Delivered(_));
        let report = core::command(self.shared.clone(), device.clone(), report);
        Lane::put(&mut self.command_lane, How { awaited: false, beside }, async move {
            report.await;
            Done::default()
        });
    }
}
