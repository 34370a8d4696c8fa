//! What the fuzz targets check; the tests of the crate run the same on the committed corpus.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use stoker_protocol::codec::{Packet, Probe, Version, probe};
use stoker_protocol::session::{
    Accept, DeliverOutcome, Delivery, Event, Limits, Output, PublishOutcome, PublishToken, Refusal,
    ServerReason, Session,
};
use stoker_protocol::topic::DownTopic;

/// What decodes also encodes, and decodes to the same again; its canonical form is stable.
pub(crate) fn decode(version: Version, data: &[u8]) {
    let mut rest = data;
    while let Ok(Probe::Frame { header, total }) = probe(rest, 1 << 20) {
        assert!((2..=5).contains(&header) && header <= total && total <= rest.len());
        let (frame, behind) = rest.split_at(total);
        rest = behind;
        let Ok(packet) = Packet::decode(version, frame) else { continue };
        let _ = format!("{packet:?}");
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("what decodes encodes");
        assert_eq!(
            probe(&bytes, 1 << 20)
                .map(|found| matches!(found, Probe::Frame { total, .. } if total == bytes.len())),
            Ok(true)
        );
        assert_eq!(Packet::decode(version, &bytes), Ok(packet));
        assert!(bytes.len() <= frame.len(), "the canonical form is the shortest");
    }
}

/// Small bounds, so that a script reaches all of them.
fn limits() -> Limits {
    Limits {
        max_packet: 300,
        max_connect_packet: 200,
        receive_max: 5,
        receive_most: 7,
        topic_alias_max: 3,
        max_filters_per_subscribe: 4,
        max_subscriptions: 3,
        max_outbound_in_flight: 3,
        max_outbound_queue: 4,
        max_outbound_queue_bytes: 64,
        connect_timeout_ms: 1000,
        max_keep_alive_s: 0,
    }
}

/// No session may keep more than this with the limits above, whatever it is sent: what is unread (in a
/// vector that doubles), QoS 2 ids (all there are in 3.1.1), queues, aliases and subscriptions.
const MOST_HEAP: usize = 2 * (300 + 65_536) + 2 * 2 * 65_536 + 4096;

struct Run {
    session: Session,
    out: Output,
    now: u64,
    /// Everything the session was given to read.
    stream: Vec<u8>,
    acks: Vec<u16>,
    open: Vec<PublishToken>,
    answered: usize,
    rejected: usize,
    next_delivery: u64,
    sent: HashSet<u64>,
    queued: HashSet<u64>,
    connects: usize,
    ended: bool,
}

/// Runs the script that the bytes say: an operation in each first byte.
pub(crate) fn session(data: &[u8]) {
    let mut run = Run {
        session: Session::new(0, Arc::new(limits())),
        out: Output::new(),
        now: 0,
        stream: Vec::new(),
        acks: Vec::new(),
        open: Vec::new(),
        answered: 0,
        rejected: 0,
        next_delivery: 1,
        sent: HashSet::new(),
        queued: HashSet::new(),
        connects: 0,
        ended: false,
    };
    let mut data = data;
    while let Some((operation, rest)) = data.split_first() {
        data = run.step(*operation, rest);
        run.check();
    }
    run.finish();
}

impl Run {
    fn step<'a>(&mut self, operation: u8, rest: &'a [u8]) -> &'a [u8] {
        let argument = usize::from(operation >> 4);
        match operation & 0x0F {
            // So many bytes, as they are.
            0..=5 => {
                let length = (usize::from(operation & 0x07) * 16 + argument).min(rest.len());
                let (chunk, behind) = rest.split_at(length);
                self.feed(chunk);
                return behind;
            }
            6 => self.feed(canned(argument)),
            7 => {
                self.session.accept(self.now, &Accept { assigned_client_id: "a" }, &mut self.out);
            }
            8..=9 => self.answer(argument, operation & 1 == 1),
            10 => self.deliver(argument),
            11 => {
                self.now += [1, 100, 5_000, 95_000][argument % 4];
                self.session.handle_timeout(self.now, &mut self.out);
            }
            12 => {
                let id = self.next_delivery.saturating_sub(argument as u64);
                assert_eq!(self.session.withdraw(id), self.queued.remove(&id));
            }
            13 if argument == 0 => self.session.transport_closed(&mut self.out),
            14 if argument == 0 => self.session.shut(ServerReason::TakenOver, &mut self.out),
            15 if argument == 0 => self.session.refuse(Refusal::Busy, &mut self.out),
            _ => {}
        }
        rest
    }

    fn feed(&mut self, chunk: &[u8]) {
        self.stream.extend_from_slice(chunk);
        self.session.receive(self.now, chunk, &mut self.out);
    }

    fn answer(&mut self, argument: usize, bad: bool) {
        if self.open.is_empty() {
            return;
        }
        let token = self.open.swap_remove(argument % self.open.len());
        let outcome = match (bad, argument % 4) {
            (true, 0) => PublishOutcome::StoreUnavailable,
            (true, 1) => PublishOutcome::PayloadInvalid,
            (true, 2) => PublishOutcome::QuotaExceeded,
            (true, _) => PublishOutcome::NotAuthorized,
            (false, _) => PublishOutcome::Stored,
        };
        self.answered += 1;
        self.session.publish_done(self.now, token, outcome, &mut self.out);
        // A token is good for one answer.
        self.session.publish_done(self.now, token, PublishOutcome::StoreUnavailable, &mut self.out);
    }

    fn deliver(&mut self, argument: usize) {
        let id = self.next_delivery;
        self.next_delivery += 1;
        let topic = match argument % 4 {
            0 => DownTopic::Attributes,
            1 => DownTopic::AttributesResponse(1),
            2 => DownTopic::RpcRequest(id),
            _ => DownTopic::RpcResponse(1),
        };
        let payload = Bytes::from_static(&[b'x'; 15][..argument]);
        let expires_at_ms = if argument & 1 == 1 { Some(self.now + 1 + 50 * argument as u64) } else { None };
        let delivery = Delivery { id, topic, payload, expires_at_ms };
        match self.session.deliver(self.now, delivery, &mut self.out) {
            DeliverOutcome::Sent { .. } => assert!(self.sent.insert(id)),
            DeliverOutcome::Queued => assert!(self.queued.insert(id)),
            _ => {}
        }
    }

    fn check(&mut self) {
        for event in std::mem::take(&mut self.out.events) {
            assert!(!self.ended, "{event:?} after the end");
            match event {
                Event::Connect(_) => {
                    self.connects += 1;
                    assert_eq!(self.connects, 1);
                }
                Event::Publish(publish) => self.open.extend(publish.token),
                Event::RejectedTopic { .. } => self.rejected += 1,
                Event::DeliverySent { id, .. } => assert!(self.queued.remove(&id) && self.sent.insert(id)),
                Event::Delivered { id } | Event::DeliveryRefused { id, .. } => assert!(self.sent.remove(&id)),
                Event::DeliveryExpired { id } => assert!(self.queued.remove(&id)),
                Event::Ended(reason) => {
                    let _ = reason.will();
                    self.ended = true;
                    assert!(self.out.close);
                    self.open.clear();
                    self.queued.clear();
                }
                Event::Subscribed { .. } | Event::Unsubscribed(_) => {}
            }
        }
        assert_eq!(self.ended, self.session.is_ended());
        self.check_sent();
        let heap = self.session.heap_bytes();
        assert!(heap <= if self.ended { 0 } else { MOST_HEAP }, "{heap} bytes are kept");
        if self.session.version() == Version::V5 {
            assert!(self.session.unanswered() <= 7);
        }
        assert!(self.session.in_flight() <= 3 && self.session.queued() <= 4);
        assert!(self.session.timeout().is_none() || !self.ended);
    }

    /// What was written is a sequence of whole packets that a server may send.
    fn check_sent(&mut self) {
        let sent = std::mem::take(&mut self.out.transmit);
        let version = self.session.version();
        let mut rest = &sent[..];
        while !rest.is_empty() {
            let Ok(Probe::Frame { total, .. }) = probe(rest, u32::MAX) else { panic!("{rest:?}") };
            let (frame, behind) = rest.split_at(total);
            rest = behind;
            match Packet::decode(version, frame).expect("what we send is valid") {
                Packet::PubAck(ack) => self.acks.push(ack.packet_id.get()),
                Packet::Disconnect(_) => assert!(self.ended && rest.is_empty() && version == Version::V5),
                Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {
                    panic!("a server doesn't send {frame:?}")
                }
                _ => {}
            }
        }
    }

    /// QoS 1 publishes are acknowledged one by one, in the order they stand in the stream, and no more
    /// of them than were answered.
    fn finish(&mut self) {
        assert!(self.acks.len() <= self.answered + self.rejected);
        let mut expected = Vec::new();
        let mut rest = &self.stream[..];
        while let Ok(Probe::Frame { total, .. }) = probe(rest, 300) {
            let (frame, behind) = rest.split_at(total);
            rest = behind;
            match Packet::decode(self.session.version(), frame) {
                Ok(Packet::Publish(publish)) if frame[0] & 0b110 == 0b010 => {
                    expected.extend(publish.packet_id.map(|id| id.get()));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        assert!(expected.starts_with(&self.acks), "{:?} of {expected:?}", self.acks);
        // With everything answered, nothing is left unanswered.
        while !self.ended && !self.open.is_empty() {
            self.answer(0, false);
            self.check();
        }
        assert_eq!(self.session.unanswered(), 0);
        self.session.transport_closed(&mut self.out);
        self.check();
        assert!(self.ended && self.session.heap_bytes() == 0);
    }
}

/// Packets that lead deeper than chance would.
fn canned(which: usize) -> &'static [u8] {
    match which {
        0 => b"\x10\x0C\0\x04MQTT\x04\x02\0\x3C\0\0",
        1 => b"\x10\x0D\0\x04MQTT\x05\x02\0\x3C\0\0\0",
        2 => b"\x10\x15\0\x04MQTT\x05\x02\0\x3C\x08\x21\0\x02\x27\0\0\0\x40\0\0",
        3 => b"\x32\x1B\0\x17v1/devices/me/telemetry\0\x01",
        4 => b"\x32\x1C\0\x17v1/devices/me/telemetry\0\x02\0",
        5 => b"\x34\x1B\0\x17v1/devices/me/telemetry\0\x03",
        6 => b"\x34\x1C\0\x17v1/devices/me/telemetry\0\x03\0",
        7 => b"\x62\x02\0\x03",
        8 => b"\x40\x02\0\x01",
        9 => b"\x40\x02\0\x02",
        10 => b"\x82\x20\0\x01\0\x1Bv1/devices/me/rpc/request/+\x01",
        11 => b"\x82\x21\0\x01\0\0\x1Bv1/devices/me/rpc/request/+\x01",
        12 => b"\x82\x1D\0\x01\0\x18v1/devices/me/attributes\0",
        13 => b"\x32\x08\0\x01a\0\x04\0{}",
        14 => b"\xC0\0",
        _ => b"\x30\x1F\0\x17v1/devices/me/telemetry\x03\x23\0\x01{}",
    }
}
