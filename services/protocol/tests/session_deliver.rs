//! Subscriptions, messages to the device, keep-alive and the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{BOTH, Script, encode, pid, props};
use stoker_protocol::codec::{
    Ack, Disconnect, FilterBuf, Packet, Properties, Property, Qos, ReasonCode, Subscribe, SubscribeOptions,
    TopicBuf, Unsubscribe, VariableInteger, Version,
};
use stoker_protocol::session::{
    DeliverOutcome, Delivery, EndReason, Event, Limits, ServerReason, Session, WillFate,
};
use stoker_protocol::topic::{DeviceFilter, DownTopic};

const REQUESTS: &str = "v1/devices/me/rpc/request/+";

fn command(id: u64) -> Delivery {
    let payload = Bytes::from_static(b"{}");
    Delivery { id, topic: DownTopic::RpcRequest(id), payload, expires_at_ms: None }
}

fn deliver(script: &mut Script, delivery: Delivery) -> DeliverOutcome {
    script.session.deliver(script.now, delivery, &mut script.out)
}

fn subscribed(version: Version, limits: Limits, qos: Qos, properties: &[Property<'_>]) -> Script {
    let mut script = Script::accepted_with(version, limits, properties);
    script.subscribe(1, &[(REQUESTS, qos)]);
    script.out.clear();
    script
}

fn puback(script: &mut Script, id: u16) {
    script.send(&Packet::PubAck(Ack::success(pid(id))));
}

#[test]
fn the_filters_of_the_device_api_are_granted_up_to_qos_1() {
    for version in BOTH {
        let mut script = Script::accepted(version);
        script.subscribe(
            9,
            &[
                ("v1/devices/me/attributes", Qos::AtMostOnce),
                ("v1/devices/me/attributes/response/+", Qos::AtLeastOnce),
                (REQUESTS, Qos::ExactlyOnce),
                ("v1/devices/me/rpc/response/+", Qos::ExactlyOnce),
                ("v1/devices/me/rpc/response/7", Qos::AtMostOnce),
            ],
        );
        let sent = script.sent();
        assert_eq!(&sent[sent.len() - 5..], [0, 1, 1, 1, 0]);
        assert_eq!(&sent[2..4], [0, 9]);
        let filters: Vec<_> = script
            .events()
            .into_iter()
            .map(|event| match event {
                Event::Subscribed { filter, qos } => (filter, qos),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            filters,
            [
                (DeviceFilter::Attributes, Qos::AtMostOnce),
                (DeviceFilter::AttributesResponses, Qos::AtLeastOnce),
                (DeviceFilter::RpcRequests, Qos::AtLeastOnce),
                (DeviceFilter::RpcResponses, Qos::AtLeastOnce),
                (DeviceFilter::One(DownTopic::RpcResponse(7)), Qos::AtMostOnce),
            ]
        );
    }
}

#[test]
fn other_filters_are_refused_beside_those_that_are_granted() {
    let filters = [
        ("#", 0x87),
        ("v1/#", 0x87),
        ("v1/devices/me/#", 0x87),
        ("v1/devices/+/attributes", 0x87),
        ("v1/devices/me/telemetry", 0x87),
        ("$share/g/v1/devices/me/rpc/request/+", 0x9E),
        ("a/#/b", 0x8F),
        (REQUESTS, 0x00),
    ];
    let wanted: Vec<_> = filters.iter().map(|(filter, _)| (*filter, Qos::AtMostOnce)).collect();
    let mut script = Script::accepted(Version::V5);
    script.subscribe(1, &wanted);
    let codes: Vec<u8> = filters.iter().map(|(_, code)| *code).collect();
    let sent = script.sent();
    assert_eq!(&sent[5..], codes);
    assert_eq!(script.events().len(), 1);

    let mut script = Script::accepted(Version::V311);
    script.subscribe(1, &wanted);
    let sent = script.sent();
    assert_eq!(&sent[4..], [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]);
}

#[test]
fn subscriptions_are_bounded() {
    let limits = Limits { max_filters_per_subscribe: 3, max_subscriptions: 2, ..Limits::default() };
    let mut script = Script::accepted_with(Version::V5, limits, &[]);
    let names: Vec<_> = (0..5).map(|n| format!("v1/devices/me/rpc/response/{n}")).collect();
    let wanted: Vec<_> = names.iter().map(|name| (name.as_str(), Qos::AtMostOnce)).collect();
    script.subscribe(1, &wanted);
    assert_eq!(&script.sent()[5..], [0, 0, 0x97, 0x97, 0x97]);
    // The API's own filters are not counted.
    script.subscribe(2, &[(REQUESTS, Qos::AtMostOnce)]);
    assert_eq!(&script.sent()[5..], [0]);
}

#[test]
fn subscription_identifiers_are_refused() {
    let mut filters = FilterBuf::new();
    filters.push(REQUESTS, SubscribeOptions::with_qos(Qos::AtMostOnce)).unwrap();
    let properties = props(&[Property::SubscriptionIdentifier(VariableInteger(7))]);
    let mut script = Script::accepted(Version::V5);
    script.send(&Packet::Subscribe(Subscribe {
        packet_id: pid(1),
        properties: properties.as_properties(),
        filters: filters.as_list(),
    }));
    script.ended_by(0xA1);
}

#[test]
fn what_is_unsubscribed_is_not_delivered() {
    for version in BOTH {
        let mut script = subscribed(version, Limits::default(), Qos::AtLeastOnce, &[]);
        assert_eq!(script.session.subscribed(DownTopic::RpcRequest(3)), Some(Qos::AtLeastOnce));
        let mut filters = TopicBuf::new();
        filters.push(REQUESTS).unwrap();
        filters.push("#").unwrap();
        script.send(&Packet::Unsubscribe(Unsubscribe {
            packet_id: pid(2),
            properties: Properties::EMPTY,
            filters: filters.as_list(),
        }));
        let expected: &[u8] = match version {
            Version::V311 => &[0xB0, 2, 0, 2],
            Version::V5 => &[0xB0, 5, 0, 2, 0, 0x00, 0x11],
        };
        assert_eq!(script.sent(), expected);
        assert_eq!(script.events(), [Event::Unsubscribed(DeviceFilter::RpcRequests)]);
        assert_eq!(deliver(&mut script, command(1)), DeliverOutcome::NotSubscribed);
    }
}

#[test]
fn a_qos_0_delivery_is_sent_and_that_is_all() {
    let mut script = subscribed(Version::V311, Limits::default(), Qos::AtMostOnce, &[]);
    assert_eq!(deliver(&mut script, command(5)), DeliverOutcome::Sent { qos: Qos::AtMostOnce });
    assert_eq!(script.sent(), b"\x30\x1F\0\x1Bv1/devices/me/rpc/request/5{}");
    assert_eq!(script.session.heap_bytes(), 0);
}

#[test]
fn a_qos_1_delivery_is_delivered_when_the_device_says_so() {
    let mut script = subscribed(Version::V5, Limits::default(), Qos::AtLeastOnce, &[]);
    assert_eq!(deliver(&mut script, command(5)), DeliverOutcome::Sent { qos: Qos::AtLeastOnce });
    assert_eq!(script.sent(), b"\x32\x22\0\x1Bv1/devices/me/rpc/request/5\0\x01\0{}");
    assert!(script.events().is_empty());
    puback(&mut script, 2);
    assert!(script.events().is_empty(), "not one of ours");
    puback(&mut script, 1);
    assert_eq!(script.events(), [Event::Delivered { id: 5 }]);
    puback(&mut script, 1);
    assert!(script.events().is_empty());
    assert_eq!(deliver(&mut script, command(6)), DeliverOutcome::Sent { qos: Qos::AtLeastOnce });
    assert_eq!(&script.sent()[31..33], [0, 2]);
    script.feed(&[0x40, 3, 0, 2, 0x83]);
    let reason = ReasonCode::ImplementationSpecificError;
    assert_eq!(script.events(), [Event::DeliveryRefused { id: 6, reason }]);
}

#[test]
fn the_clients_receive_maximum_is_kept_and_the_queue_behind_it_is_bounded() {
    let limits = Limits { max_outbound_queue: 2, ..Limits::default() };
    let mut script = subscribed(Version::V5, limits, Qos::AtLeastOnce, &[Property::ReceiveMaximum(2)]);
    let sent = DeliverOutcome::Sent { qos: Qos::AtLeastOnce };
    let outcomes: Vec<_> = (1..=5).map(|id| deliver(&mut script, command(id))).collect();
    assert_eq!(outcomes, [sent, sent, DeliverOutcome::Queued, DeliverOutcome::Queued, DeliverOutcome::Full]);
    assert_eq!((script.session.in_flight(), script.session.queued()), (2, 2));
    script.out.clear();
    puback(&mut script, 2);
    let qos = Qos::AtLeastOnce;
    assert_eq!(script.events(), [Event::Delivered { id: 2 }, Event::DeliverySent { id: 3, qos }]);
    assert_eq!(&script.sent()[31..33], [0, 3]);
    assert!(script.session.withdraw(4));
    assert!(!script.session.withdraw(4) && !script.session.withdraw(1));
    puback(&mut script, 1);
    puback(&mut script, 3);
    assert_eq!(script.session.heap_bytes(), 0);
}

#[test]
fn the_queue_is_bounded_in_bytes_too() {
    let limits = Limits { max_outbound_in_flight: 1, max_outbound_queue_bytes: 5, ..Limits::default() };
    let mut script = subscribed(Version::V311, limits, Qos::AtLeastOnce, &[]);
    let outcomes: Vec<_> = (1..=4).map(|id| deliver(&mut script, command(id))).collect();
    assert_eq!(outcomes[1..], [DeliverOutcome::Queued, DeliverOutcome::Queued, DeliverOutcome::Full]);
}

#[test]
fn a_delivery_larger_than_the_client_takes_is_refused_at_once() {
    let mut script =
        subscribed(Version::V5, Limits::default(), Qos::AtLeastOnce, &[Property::MaximumPacketSize(40)]);
    let mut large = command(1);
    large.payload = Bytes::from(vec![b'x'; 10]);
    assert_eq!(deliver(&mut script, large.clone()), DeliverOutcome::TooLarge);
    assert!(script.sent().is_empty());
    large.payload = Bytes::from(vec![b'x'; 6]);
    assert_eq!(deliver(&mut script, large), DeliverOutcome::Sent { qos: Qos::AtLeastOnce });
    assert_eq!(script.sent().len(), 40);
}

#[test]
fn what_is_too_large_is_not_queued() {
    let limits = Limits { max_outbound_in_flight: 1, ..Limits::default() };
    let mut script = subscribed(Version::V5, limits, Qos::AtLeastOnce, &[Property::MaximumPacketSize(40)]);
    deliver(&mut script, command(1));
    let mut large = command(2);
    large.payload = Bytes::from(vec![b'x'; 10]);
    script.out.clear();
    assert_eq!(deliver(&mut script, large), DeliverOutcome::TooLarge);
    assert_eq!(deliver(&mut script, command(3)), DeliverOutcome::Queued);
    assert!(script.sent().is_empty());
}

#[test]
fn a_delivery_whose_time_has_passed_is_not_sent() {
    let limits = Limits { max_outbound_in_flight: 1, ..Limits::default() };
    let mut script = subscribed(Version::V5, limits, Qos::AtLeastOnce, &[]);
    script.now = 10_000;
    let expiring = |id, at| Delivery { expires_at_ms: Some(at), ..command(id) };
    assert_eq!(deliver(&mut script, expiring(1, 10_000)), DeliverOutcome::Expired);
    assert_eq!(deliver(&mut script, expiring(2, 11_001)), DeliverOutcome::Sent { qos: Qos::AtLeastOnce });
    // Two seconds are left, rounded up.
    assert_eq!(script.sent(), b"\x32\x27\0\x1Bv1/devices/me/rpc/request/2\0\x01\x05\x02\0\0\0\x02{}");
    assert_eq!(deliver(&mut script, expiring(3, 12_000)), DeliverOutcome::Queued);
    assert_eq!(deliver(&mut script, expiring(4, 20_000)), DeliverOutcome::Queued);
    script.now = 12_000;
    puback(&mut script, 1);
    let qos = Qos::AtLeastOnce;
    assert_eq!(
        script.events(),
        [Event::Delivered { id: 2 }, Event::DeliveryExpired { id: 3 }, Event::DeliverySent { id: 4, qos }]
    );
}

#[test]
fn a_pubrec_for_a_qos_1_delivery_is_a_protocol_error() {
    let mut script = subscribed(Version::V5, Limits::default(), Qos::AtLeastOnce, &[]);
    deliver(&mut script, command(1));
    script.out.clear();
    script.feed(&[0x50, 2, 0, 1]);
    script.ended_by(0x82);
}

#[test]
fn a_ping_is_answered() {
    for version in BOTH {
        let mut script = Script::accepted(version);
        script.feed(&[0xC0, 0]);
        assert_eq!(script.sent(), [0xD0, 0]);
    }
}

#[test]
fn the_keep_alive_counts_from_the_last_packet() {
    for version in BOTH {
        let mut script = Script::accepted(version);
        assert_eq!(script.session.timeout(), Some(90_000));
        script.now = 50_000;
        script.feed(&[0xC0]);
        assert_eq!(script.session.timeout(), Some(90_000), "a part of a packet is none");
        script.feed(&[0x00]);
        assert_eq!(script.session.timeout(), Some(140_000));
        script.out.clear();
        script.session.handle_timeout(139_999, &mut script.out);
        assert!(!script.session.is_ended());
        script.session.handle_timeout(140_000, &mut script.out);
        let expected: &[u8] = if version == Version::V5 { &[0xE0, 1, 0x8D] } else { &[] };
        assert_eq!(script.sent(), expected);
        let reason = script.ended();
        assert_eq!((reason, reason.will()), (EndReason::KeepAliveTimeout, WillFate::Publish));
    }
}

#[test]
fn a_keep_alive_of_0_is_none() {
    let mut script = Script::new(Version::V311, Limits::default());
    script.feed(b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0");
    script.accept();
    assert_eq!(script.session.timeout(), None);
    script.session.handle_timeout(u64::MAX, &mut script.out);
    assert!(script.session.is_live());
}

#[test]
fn a_goodbye_decides_about_the_will() {
    let cases: &[(Version, &[u8], WillFate)] = &[
        (Version::V311, &[0xE0, 0], WillFate::Drop),
        (Version::V5, &[0xE0, 0], WillFate::Drop),
        (Version::V5, &[0xE0, 1, 0], WillFate::Drop),
        (Version::V5, &[0xE0, 1, 4], WillFate::Publish),
        (Version::V5, &[0xE0, 1, 0x80], WillFate::Publish),
    ];
    for (version, bytes, fate) in cases {
        let mut script = Script::accepted(*version);
        script.feed(bytes);
        assert_eq!(script.sent(), []);
        let reason = script.ended();
        assert!(matches!(reason, EndReason::ClientDisconnect { .. }));
        assert_eq!(reason.will(), *fate, "{bytes:?}");
    }
}

#[test]
fn a_session_expiry_in_disconnect_needs_one_in_connect() {
    let properties = props(&[Property::SessionExpiryInterval(5)]);
    let disconnect = Packet::Disconnect(Disconnect {
        reason: ReasonCode::Success,
        properties: properties.as_properties(),
    });
    let mut script = Script::accepted(Version::V5);
    script.send(&disconnect);
    script.ended_by(0x82);
    let mut script =
        Script::accepted_with(Version::V5, Limits::default(), &[Property::SessionExpiryInterval(1)]);
    script.send(&disconnect);
    assert_eq!(script.ended(), EndReason::ClientDisconnect { will: false });
}

#[test]
fn a_session_that_we_end_says_why_in_mqtt_5() {
    for (reason, code) in [
        (ServerReason::TakenOver, 0x8E),
        (ServerReason::ShuttingDown, 0x8B),
        (ServerReason::StoreUnavailable, 0x89),
        (ServerReason::NotAuthorized, 0x87),
        (ServerReason::RateTooHigh, 0x96),
        (ServerReason::Administrative, 0x98),
    ] {
        for version in BOTH {
            let mut script = Script::accepted(version);
            script.session.shut(reason, &mut script.out);
            let expected = [0xE0, 1, code];
            assert_eq!(script.sent(), if version == Version::V5 { &expected[..] } else { &[] });
            let ended = script.ended();
            assert_eq!((ended, ended.will()), (EndReason::Shut(reason), WillFate::AfterGrace));
        }
    }
}

#[test]
fn the_end_comes_once_and_frees_everything() {
    let mut script = subscribed(Version::V5, Limits::default(), Qos::AtLeastOnce, &[]);
    script.telemetry(Qos::AtLeastOnce, 1);
    deliver(&mut script, command(1));
    script.feed(&[0x30, 100, 0]);
    script.out.clear();
    script.session.transport_closed(&mut script.out);
    assert_eq!(script.ended(), EndReason::TransportClosed);
    assert_eq!(script.session.heap_bytes(), 0);
    script.session.transport_closed(&mut script.out);
    script.session.shut(ServerReason::TakenOver, &mut script.out);
    script.session.handle_timeout(u64::MAX, &mut script.out);
    script.feed(&encode(Version::V5, &Packet::PingReq));
    assert_eq!(deliver(&mut script, command(2)), DeliverOutcome::NotSubscribed);
    assert!(script.events().is_empty() && script.sent().is_empty());
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 200, "{}", size_of::<Session>());
    for version in BOTH {
        let mut script = subscribed(version, Limits::default(), Qos::AtLeastOnce, &[]);
        assert_eq!(script.session.heap_bytes(), 0);
        script.telemetry(Qos::AtLeastOnce, 1);
        let token = script.tokens()[0];
        script.done(token, stoker_protocol::session::PublishOutcome::Stored);
        assert!(script.session.heap_bytes() <= 32, "{}", script.session.heap_bytes());
    }
}
