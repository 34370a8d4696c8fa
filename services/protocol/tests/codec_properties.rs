//! What holds for all packets, all bytes, and all ways to cut them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/packets.rs"]
mod packets;

use std::sync::Arc;

use packets::{body, changed, changes, framed, packet};
use proptest::prelude::*;
use stoker_protocol::codec::{Packet, Probe, Version, probe};
use stoker_protocol::session::{Accept, Event, Limits, Output, PublishOutcome, Session};

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
}

/// A stream of packets behind a CONNECT, some of them broken.
fn stream() -> impl Strategy<Value = (Version, Vec<u8>)> {
    version().prop_flat_map(|version| {
        let one = (packet(version), proptest::option::weighted(0.1, changes()));
        let own = prop_oneof![
            Just(common::publish(
                "v1/devices/me/telemetry",
                stoker_protocol::codec::Qos::AtLeastOnce,
                3,
                b"{}"
            )),
            Just(common::publish("v1/devices/me/events", stoker_protocol::codec::Qos::ExactlyOnce, 4, b"{}")),
            Just(Packet::PingReq),
        ];
        let any = prop_oneof![
            1 => one.prop_map(|(frame, changes)| match changes {
                None => frame,
                Some(changes) => framed(frame[0], &changed(body(&frame), &changes)),
            }),
            3 => own.prop_map(move |packet| common::encode(version, &packet)),
        ];
        proptest::collection::vec(any, 0..8).prop_map(move |frames| {
            let connect = common::encode(version, &Packet::Connect(common::plain_connect(version)));
            (version, [connect, frames.concat()].concat())
        })
    })
}

/// What a session makes of a stream in these portions; what it asks is answered at the end.
fn played(bytes: &[u8], cuts: &[usize]) -> (Vec<Event>, Vec<u8>, bool) {
    let mut session = Session::new(0, Arc::new(Limits::default()));
    let mut out = Output::new();
    let mut rest = bytes;
    for cut in cuts {
        let (part, behind) = rest.split_at(cut % (rest.len() + 1));
        session.receive(1, part, &mut out);
        rest = behind;
    }
    session.receive(1, rest, &mut out);
    session.accept(2, &Accept { assigned_client_id: "a" }, &mut out);
    let tokens: Vec<_> = out
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Publish(publish) => publish.token,
            _ => None,
        })
        .collect();
    for token in tokens.into_iter().rev() {
        session.publish_done(3, token, PublishOutcome::Stored, &mut out);
    }
    (out.events, out.transmit, out.close)
}

/// The same with the connection accepted before the cuts begin.
fn played_live(bytes: &[u8], connect: usize, cuts: &[usize]) -> (Vec<Event>, Vec<u8>, bool) {
    let mut session = Session::new(0, Arc::new(Limits::default()));
    let mut out = Output::new();
    let (first, mut rest) = bytes.split_at(connect);
    session.receive(1, first, &mut out);
    session.accept(2, &Accept { assigned_client_id: "a" }, &mut out);
    for cut in cuts {
        let (part, behind) = rest.split_at(cut % (rest.len() + 1));
        session.receive(3, part, &mut out);
        rest = behind;
    }
    session.receive(3, rest, &mut out);
    (out.events, out.transmit, out.close)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_is_decoded_to_what_was_encoded(
        (version, frame) in version().prop_flat_map(|version| (Just(version), packet(version)))
    ) {
        // That it decodes to the same is checked where it is made; here, that its end is found.
        let whole = Probe::Frame { header: frame.len() - body(&frame).len(), total: frame.len() };
        prop_assert_eq!(probe(&frame, 1 << 20), Ok(whole));
        for length in 0..frame.len() {
            let found = probe(&frame[..length], 1 << 20);
            let Ok(Probe::NeedMore { missing }) = found else { panic!("{found:?}") };
            prop_assert!(missing > 0 && length + missing <= frame.len());
            prop_assert!(Packet::decode(version, &frame[..length]).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_without_panic(
        version in version(),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = probe(&bytes, 1 << 20);
        let _ = Packet::decode(version, &bytes);
        for kind in 1..16_u8 {
            let flags = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
            let _ = Packet::decode(version, &framed(kind << 4 | flags, &bytes));
        }
    }

    #[test]
    fn the_cuts_between_reads_change_nothing(
        (_, bytes) in stream(),
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ones in any::<bool>(),
    ) {
        let cuts = if ones { vec![1; bytes.len()] } else { cuts };
        prop_assert_eq!(played(&bytes, &[]), played(&bytes, &cuts));
        let Ok(Probe::Frame { total, .. }) = probe(&bytes, 1 << 20) else { panic!() };
        prop_assert_eq!(played_live(&bytes, total, &[]), played_live(&bytes, total, &cuts));
    }
}
