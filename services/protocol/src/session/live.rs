//! Packets of a client that was accepted, and what is sent to it.

use bytes::Bytes;

use super::event::{
    DeliverOutcome, Delivery, EndReason, Event, InboundPublish, Output, PublishOutcome, PublishToken,
    ServerReason,
};
use super::inbound::{Answer, Second};
use super::outbound::following;
use super::{Phase, Session};
use crate::codec::{
    Ack, DecodeError, Disconnect, Packet, PacketId, Properties, Property, PropertyBuf, Publish, Qos,
    ReasonCode, ReasonList, SubAck, Subscribe, UnsubAck, Unsubscribe, Version,
};
use crate::topic::{self, DeviceFilter, UpTopic};

/// How much of a topic that was rejected is kept for whoever looks for the cause, in bytes.
const REJECTED_TOPIC: usize = 128;

impl Session {
    /// Answers a publish. Its PUBACK or PUBREC is written when those before it have been answered, so the
    /// order of calls doesn't matter. What a 3.1.1 client has sent meanwhile is read on.
    ///
    /// Without effect for a publish that was answered, or of a session that is over.
    pub fn publish_done(&mut self, now: u64, token: PublishToken, outcome: PublishOutcome, out: &mut Output) {
        let reason = match outcome {
            PublishOutcome::Stored => ReasonCode::Success,
            PublishOutcome::PayloadInvalid => ReasonCode::PayloadFormatInvalid,
            PublishOutcome::NotAuthorized => ReasonCode::NotAuthorized,
            PublishOutcome::QuotaExceeded => ReasonCode::QuotaExceeded,
            PublishOutcome::StoreUnavailable => {
                if self.inbound.is_open(token) {
                    self.shut(ServerReason::StoreUnavailable, out);
                }
                return;
            }
        };
        if self.phase != Phase::Live || !self.inbound.answer(token, reason) {
            return;
        }
        self.write_answers(out);
        // Not before half of it is free: each time, what was kept is moved to the front.
        if self.paused && self.inbound.unanswered() <= usize::from(self.limits.receive_max) / 2 {
            self.paused = false;
            // The wait was ours.
            self.clock = now;
            self.read_on(now, out);
        }
    }

    /// Publishes to the device what it is subscribed to.
    pub fn deliver(&mut self, now: u64, delivery: Delivery, out: &mut Output) -> DeliverOutcome {
        let Some(qos) = self.subscribed(delivery.topic) else { return DeliverOutcome::NotSubscribed };
        if delivery.expires_at_ms.is_some_and(|at| at <= now) {
            return DeliverOutcome::Expired;
        }
        if qos == Qos::AtMostOnce {
            return match self.send_publish(now, &delivery, None, out) {
                true => DeliverOutcome::Sent { qos },
                false => DeliverOutcome::TooLarge,
            };
        }
        if self.queued() == 0 && self.has_room() {
            return match self.send_in_flight(now, &delivery, out) {
                true => DeliverOutcome::Sent { qos },
                false => DeliverOutcome::TooLarge,
            };
        }
        // Found out by writing it, and taking that back: otherwise it would wait in vain.
        let start = out.transmit.len();
        if !self.send_publish(now, &delivery, Some(PacketId::MAX), out) {
            return DeliverOutcome::TooLarge;
        }
        out.transmit.truncate(start);
        let limits = &self.limits;
        let outbound = self.outbound.get_or_insert_default();
        let bytes = outbound.waiting_bytes().saturating_add(delivery.payload.len());
        if outbound.waiting() >= limits.max_outbound_queue || bytes > limits.max_outbound_queue_bytes {
            return DeliverOutcome::Full;
        }
        outbound.wait(delivery);
        DeliverOutcome::Queued
    }

    /// Takes back a delivery that is still queued: it was never sent and will not be. False when
    /// none is queued under this number: it was sent, or never taken.
    pub fn withdraw(&mut self, id: u64) -> bool {
        let Some(outbound) = &mut self.outbound else { return false };
        let withdrawn = outbound.withdraw(id);
        self.forget_empty_outbound();
        withdrawn
    }

    /// Whether a packet has to wait until the application has answered more publishes.
    pub(super) fn must_wait(&self, first: u8) -> bool {
        // MQTT 5 clients know the receive maximum and are closed when they go far beyond it.
        self.phase == Phase::Live
            && self.version == Version::V311
            && first >> 4 == 3
            && first & 0b0110 != 0
            && self.inbound.unanswered() >= usize::from(self.limits.receive_max.max(1))
    }

    /// Reads one packet of a client that was accepted.
    pub(super) fn packet(
        &mut self,
        now: u64,
        first: u8,
        frame: &[u8],
        out: &mut Output,
    ) -> Result<(), DecodeError> {
        if first >> 4 == 1 {
            return Err(DecodeError::protocol("second connect"));
        }
        let packet = Packet::decode(self.version, frame)?;
        self.clock = now;
        match packet {
            Packet::Publish(publish) => self.publish(now, &publish, out)?,
            Packet::PubAck(ack) => self.delivered(now, &ack, out),
            Packet::PubRec(ack) => self.unexpected_pubrec(&ack, out)?,
            Packet::PubRel(ack) => self.release(&ack, out),
            // Only a PUBREL of ours has one, and those we send are for what isn't known.
            Packet::PubComp(_) => {}
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe, out)?,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe, out),
            Packet::PingReq => {
                self.send(&Packet::PingResp, out);
            }
            Packet::Disconnect(disconnect) => self.goodbye(&disconnect, out)?,
            Packet::Auth(_) => return Err(DecodeError::protocol("auth without an authentication method")),
            Packet::Connect(_) => return Err(DecodeError::protocol("second connect")),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(DecodeError::protocol("packet that only a server sends"));
            }
        }
        Ok(())
    }

    fn publish(&mut self, now: u64, publish: &Publish<'_>, out: &mut Output) -> Result<(), DecodeError> {
        if self.version == Version::V5 {
            // 3.1.1 can't be told that nothing is retained, so there the flag is just not heeded.
            if publish.retain {
                let about = "retained messages are not supported";
                return Err(DecodeError::new(ReasonCode::RetainNotSupported, about));
            }
            if publish.properties.subscription_identifier().is_some() {
                return Err(DecodeError::protocol("subscription identifier in a publish to the server"));
            }
        }
        let topic = self.resolve(publish)?;
        let qos = publish.qos;
        let mut token = None;
        if let Some(packet_id) = publish.packet_id {
            let second = if qos == Qos::ExactlyOnce { self.inbound.second(packet_id) } else { Second::New };
            if second == Second::Unanswered {
                return Ok(());
            }
            let most = match qos {
                Qos::ExactlyOnce => self.limits.receive_max,
                _ => self.limits.receive_most.max(self.limits.receive_max),
            };
            if self.version == Version::V5 && self.inbound.in_flight() >= usize::from(most.max(1)) {
                let about = "more unacknowledged publishes than the receive maximum";
                return Err(DecodeError::new(ReasonCode::ReceiveMaximumExceeded, about));
            }
            match topic {
                _ if second == Second::Answered => self.inbound.take_repeated(now, packet_id),
                Some(_) => token = Some(self.inbound.take(now, packet_id, qos)),
                None => self.inbound.take_answered(now, packet_id, qos, ReasonCode::NotAuthorized),
            }
            if token.is_none() {
                self.write_answers(out);
            }
            if second == Second::Answered {
                return Ok(());
            }
        }
        out.events.push(match topic {
            Some(topic) => Event::Publish(InboundPublish {
                token,
                topic,
                payload: Bytes::copy_from_slice(publish.payload),
                qos,
                dup: publish.dup,
            }),
            None => Event::RejectedTopic { topic: shorten(publish.topic), qos },
        });
        Ok(())
    }

    /// The topic of a publish, by name or by alias; none when it isn't of the device API.
    fn resolve(&mut self, publish: &Publish<'_>) -> Result<Option<UpTopic>, DecodeError> {
        let Some(alias) = publish.properties.topic_alias() else {
            return Ok(UpTopic::parse(publish.topic));
        };
        if alias > self.limits.topic_alias_max {
            return Err(DecodeError::new(ReasonCode::TopicAliasInvalid, "topic alias above the maximum"));
        }
        if publish.topic.is_empty() {
            let known = self.aliases.as_ref().and_then(|aliases| aliases.get(alias));
            return known.ok_or(DecodeError::protocol("topic alias that was never set"));
        }
        let topic = UpTopic::parse(publish.topic);
        self.aliases.get_or_insert_default().set(alias, topic);
        Ok(topic)
    }

    /// Writes every answer whose turn has come.
    fn write_answers(&mut self, out: &mut Output) {
        while let Some(answer) = self.inbound.next_answer() {
            let (packet_id, reason) = match answer {
                Answer::PubAck(packet_id, reason) | Answer::PubRec(packet_id, reason) => (packet_id, reason),
            };
            // 3.1.1 has no way to refuse a publish but to close.
            let reason = if self.version == Version::V5 { reason } else { ReasonCode::Success };
            let about = match reason {
                ReasonCode::NotAuthorized => "not a topic the device may publish to",
                ReasonCode::PayloadFormatInvalid => "payload is not of the form of its topic",
                _ => "",
            };
            self.explain(about, out, |properties| {
                let ack = Ack { packet_id, reason, properties };
                match answer {
                    Answer::PubAck(..) => Packet::PubAck(ack),
                    Answer::PubRec(..) => Packet::PubRec(ack),
                }
            });
        }
    }

    fn release(&mut self, ack: &Ack<'_>, out: &mut Output) {
        let known = self.inbound.release(ack.packet_id);
        let reason = match self.version {
            Version::V5 if !known => ReasonCode::PacketIdentifierNotFound,
            // 3.1.1: a PUBREL is always answered (4.3.3).
            _ => ReasonCode::Success,
        };
        let (packet_id, properties) = (ack.packet_id, Properties::EMPTY);
        self.send(&Packet::PubComp(Ack { packet_id, reason, properties }), out);
    }

    /// A PUBREC answers QoS 2, which we never send.
    fn unexpected_pubrec(&mut self, ack: &Ack<'_>, out: &mut Output) -> Result<(), DecodeError> {
        if self.outbound.as_ref().is_some_and(|outbound| outbound.knows(ack.packet_id)) {
            return Err(DecodeError::protocol("pubrec for a qos 1 publish"));
        }
        // Left unanswered it would come again and again.
        let reason = match self.version {
            Version::V5 => ReasonCode::PacketIdentifierNotFound,
            Version::V311 => ReasonCode::Success,
        };
        if !ack.reason.is_error() {
            let (packet_id, properties) = (ack.packet_id, Properties::EMPTY);
            self.send(&Packet::PubRel(Ack { packet_id, reason, properties }), out);
        }
        Ok(())
    }

    /// A PUBACK; for packet ids that aren't known there is nothing to do.
    fn delivered(&mut self, now: u64, ack: &Ack<'_>, out: &mut Output) {
        let Some(outbound) = &mut self.outbound else { return };
        let Some(id) = outbound.acknowledged(ack.packet_id) else { return };
        out.events.push(if ack.reason.is_error() {
            Event::DeliveryRefused { id, reason: ack.reason }
        } else {
            Event::Delivered { id }
        });
        self.send_waiting(now, out);
    }

    /// Whether one more delivery may be in flight.
    fn has_room(&self) -> bool {
        let most = self.limits.max_outbound_in_flight.max(1).min(self.client_receive_max);
        self.in_flight() < usize::from(most)
    }

    /// Sends what waits, as far as there is room.
    fn send_waiting(&mut self, now: u64, out: &mut Output) {
        while self.has_room() {
            let Some(delivery) = self.outbound.as_mut().and_then(|outbound| outbound.next()) else { break };
            let id = delivery.id;
            let late = delivery.expires_at_ms.is_some_and(|at| at <= now);
            // That it fits was found out before it was queued.
            let sent = !late && self.send_in_flight(now, &delivery, out);
            let qos = Qos::AtLeastOnce;
            out.events.push(if sent {
                Event::DeliverySent { id, qos }
            } else {
                Event::DeliveryExpired { id }
            });
        }
        self.forget_empty_outbound();
    }

    fn forget_empty_outbound(&mut self) {
        if self.outbound.as_ref().is_some_and(|outbound| outbound.is_empty()) {
            self.outbound = None;
        }
    }

    /// Sends with QoS 1 and notes it; false when the client doesn't take one so large.
    fn send_in_flight(&mut self, now: u64, delivery: &Delivery, out: &mut Output) -> bool {
        let packet_id = match &self.outbound {
            Some(outbound) => outbound.free_id(self.next_packet_id),
            None => self.next_packet_id,
        };
        if !self.send_publish(now, delivery, Some(packet_id), out) {
            return false;
        }
        self.outbound.get_or_insert_default().sent(packet_id, delivery.id);
        self.next_packet_id = following(packet_id);
        true
    }

    /// Writes a PUBLISH; false when the client doesn't take one so large.
    fn send_publish(
        &self,
        now: u64,
        delivery: &Delivery,
        packet_id: Option<PacketId>,
        out: &mut Output,
    ) -> bool {
        let mut properties = PropertyBuf::new();
        if let (Version::V5, Some(at)) = (self.version, delivery.expires_at_ms) {
            let seconds = u32::try_from(at.saturating_sub(now).div_ceil(1000)).unwrap_or(u32::MAX);
            if properties.push(Property::MessageExpiryInterval(seconds)).is_err() {
                return false;
            }
        }
        let publish = Publish {
            dup: false,
            qos: if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            retain: false,
            topic: &delivery.topic.to_string(),
            packet_id,
            properties: properties.as_properties(),
            payload: &delivery.payload,
        };
        self.send(&Packet::Publish(publish), out)
    }

    fn subscribe(&mut self, subscribe: &Subscribe<'_>, out: &mut Output) -> Result<(), DecodeError> {
        if subscribe.properties.subscription_identifier().is_some() {
            let about = "subscription identifiers are not supported";
            return Err(DecodeError::new(ReasonCode::SubscriptionIdentifiersNotSupported, about));
        }
        let mut codes = Vec::new();
        for (index, wanted) in subscribe.filters.iter().enumerate() {
            let qos = wanted.options.qos.min(Qos::AtLeastOnce);
            let granted = if index >= self.limits.max_filters_per_subscribe {
                Err(ReasonCode::QuotaExceeded)
            } else {
                self.grant(wanted.filter, qos)
            };
            codes.push(match (granted, self.version) {
                (Ok(filter), _) => {
                    out.events.push(Event::Subscribed { filter, qos });
                    qos as u8
                }
                (Err(reason), Version::V5) => reason.value(),
                (Err(_), Version::V311) => 0x80,
            });
        }
        let reasons = ReasonList::from_bytes(&codes);
        let (packet_id, properties) = (subscribe.packet_id, Properties::EMPTY);
        self.send(&Packet::SubAck(SubAck { packet_id, properties, reasons }), out);
        Ok(())
    }

    fn grant(&mut self, filter: &str, qos: Qos) -> Result<DeviceFilter, ReasonCode> {
        if !topic::is_valid_filter(filter) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        if topic::is_shared(filter) {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        let filter = DeviceFilter::parse(filter).ok_or(ReasonCode::NotAuthorized)?;
        self.subscriptions.add(filter, qos, self.limits.max_subscriptions)?;
        Ok(filter)
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>, out: &mut Output) {
        let mut codes = Vec::new();
        for filter in unsubscribe.filters {
            let ended = DeviceFilter::parse(filter).filter(|filter| self.subscriptions.remove(*filter));
            let reason = match ended {
                Some(filter) => {
                    out.events.push(Event::Unsubscribed(filter));
                    ReasonCode::Success
                }
                None => ReasonCode::NoSubscriptionExisted,
            };
            if self.version == Version::V5 {
                codes.push(reason.value());
            }
        }
        let reasons = ReasonList::from_bytes(&codes);
        let (packet_id, properties) = (unsubscribe.packet_id, Properties::EMPTY);
        self.send(&Packet::UnsubAck(UnsubAck { packet_id, properties, reasons }), out);
    }

    fn goodbye(&mut self, disconnect: &Disconnect<'_>, out: &mut Output) -> Result<(), DecodeError> {
        if disconnect.properties.server_reference().is_some() {
            return Err(DecodeError::protocol("server reference in a disconnect to the server"));
        }
        let expiry = disconnect.properties.session_expiry_interval().unwrap_or(0);
        if self.no_expiry && expiry > 0 {
            return Err(DecodeError::protocol("session expiry in disconnect after none in connect"));
        }
        // 3.1.2.5: only a normal disconnection takes the will back.
        let will = disconnect.reason != ReasonCode::Success;
        self.end(EndReason::ClientDisconnect { will }, out);
        Ok(())
    }
}

/// The beginning of a topic, cut between characters.
fn shorten(topic: &str) -> Box<str> {
    let end = topic.floor_char_boundary(REJECTED_TOPIC);
    topic.get(..end).unwrap_or_default().into()
}
