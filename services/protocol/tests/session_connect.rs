//! CONNECT and its answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{BOTH, Script, encode, plain_connect, props};
use stoker_protocol::codec::{Connect, Packet, Property, Qos, ReasonCode, Version, Will};
use stoker_protocol::session::{EndReason, Event, Limits, Refusal, ServerReason, WillFate};
use stoker_protocol::topic::UpTopic;

fn connected(script: &mut Script) -> Box<stoker_protocol::session::ConnectRequest> {
    match script.events().pop() {
        Some(Event::Connect(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn with_will<'a>(version: Version, will: Will<'a>) -> Vec<u8> {
    encode(version, &Packet::Connect(Connect { will: Some(will), ..plain_connect(version) }))
}

fn will(topic: &str) -> Will<'_> {
    Will { qos: Qos::AtLeastOnce, retain: false, properties: Default::default(), topic, payload: b"{}" }
}

#[test]
fn a_connect_of_3_1_1_is_handed_up_and_answered() {
    let mut script = Script::new(Version::V311, Limits::default());
    script.feed(b"\x10\x1A\0\x04MQTT\x04\xC2\0\x3C\0\x02id\0\x04user\0\x04pass");
    let request = connected(&mut script);
    assert_eq!(request.version, Version::V311);
    assert_eq!((request.client_id.as_str(), request.clean_start), ("id", true));
    assert_eq!(request.user_name.as_deref(), Some("user"));
    assert_eq!(request.password.as_deref(), Some(&b"pass"[..]));
    assert!(script.sent().is_empty());
    script.accept();
    assert_eq!(script.sent(), [0x20, 2, 0, 0]);
    assert!(script.session.is_live());
}

#[test]
fn a_connack_of_mqtt_5_says_what_is_not_supported() {
    let mut script = Script::new(Version::V5, Limits::default());
    script.connect(&[Property::SessionExpiryInterval(3600)]);
    script.accept();
    let sent = script.sent();
    let Ok(Packet::ConnAck(connack)) = Packet::decode(Version::V5, &sent) else { panic!("{sent:?}") };
    assert!(!connack.session_present);
    let properties = connack.properties;
    assert_eq!(properties.session_expiry_interval(), Some(0));
    assert_eq!(properties.receive_maximum(), Some(32));
    assert_eq!(properties.maximum_qos(), None);
    assert_eq!(properties.retain_available(), Some(false));
    assert_eq!(properties.maximum_packet_size(), Some(262_144));
    assert_eq!(properties.topic_alias_maximum(), Some(16));
    assert_eq!(properties.wildcard_subscription_available(), None);
    assert_eq!(properties.subscription_identifiers_available(), Some(false));
    assert_eq!(properties.shared_subscription_available(), Some(false));
    assert_eq!(properties.assigned_client_identifier(), None);
    assert_eq!(properties.server_keep_alive(), None);
}

#[test]
fn a_nameless_client_is_named_or_refused() {
    let nameless = |version, clean_start| {
        encode(version, &Packet::Connect(Connect { client_id: "", clean_start, ..plain_connect(version) }))
    };
    let mut script = Script::new(Version::V5, Limits::default());
    script.feed(&nameless(Version::V5, false));
    assert_eq!(connected(&mut script).client_id, "");
    script.accept();
    let sent = script.sent();
    let Ok(Packet::ConnAck(connack)) = Packet::decode(Version::V5, &sent) else { panic!("{sent:?}") };
    assert_eq!(connack.properties.assigned_client_identifier(), Some("given"));

    let mut script = Script::new(Version::V311, Limits::default());
    script.feed(&nameless(Version::V311, true));
    script.accept();
    assert_eq!(script.sent(), [0x20, 2, 0, 0]);

    let mut script = Script::new(Version::V311, Limits::default());
    script.feed(&nameless(Version::V311, false));
    assert_eq!(script.sent(), [0x20, 2, 0, 2]);
    assert!(matches!(script.ended(), EndReason::ProtocolError { .. }));
}

#[test]
fn every_refusal_has_its_code_in_both_versions() {
    let cases = [
        (Refusal::NotAuthorized, 5, 0x87),
        (Refusal::ClientIdNotValid, 2, 0x85),
        (Refusal::Unavailable, 3, 0x88),
        (Refusal::Busy, 3, 0x89),
        (Refusal::Banned, 5, 0x8A),
        (Refusal::QuotaExceeded, 3, 0x97),
        (Refusal::ConnectionRateExceeded, 3, 0x9F),
    ];
    for (refusal, v311, v5) in cases {
        let mut script = Script::new(Version::V311, Limits::default());
        script.connect(&[]);
        script.session.refuse(refusal, &mut script.out);
        assert_eq!(script.sent(), [0x20, 2, 0, v311]);
        assert_eq!(script.ended(), EndReason::Refused(refusal));

        let mut script = Script::new(Version::V5, Limits::default());
        script.connect(&[]);
        script.session.refuse(refusal, &mut script.out);
        assert_eq!(script.sent(), [0x20, 3, 0, v5, 0]);
        assert_eq!(script.ended(), EndReason::Refused(refusal));
    }
}

#[test]
fn other_versions_are_refused_in_words_they_may_know() {
    let cases: [(&[u8], &[u8]); 4] = [
        // MQTT 3.1.
        (b"\x10\x0E\0\x06MQIsdp\x03\x02\0\x3C\0\0", &[0x20, 2, 0, 1]),
        // MQTT 3.1.1 as bridges of mosquitto mark it.
        (b"\x10\x0C\0\x04MQTT\x03\x02\0\x3C\0\0", &[0x20, 2, 0, 1]),
        // No MQTT at all.
        (b"\x10\x0C\0\x04HTTP\x04\x02\0\x3C\0\0", &[]),
        // A version to come.
        (b"\x10\x0D\0\x04MQTT\x06\x02\0\x3C\0\0\0", &[0x20]),
    ];
    for (bytes, answer) in cases {
        let mut script = Script::new(Version::V311, Limits::default());
        script.feed(bytes);
        let sent = script.sent();
        if answer == [0x20] {
            let Ok(Packet::ConnAck(connack)) = Packet::decode(Version::V5, &sent) else { panic!("{sent:?}") };
            assert_eq!(connack.reason, ReasonCode::UnsupportedProtocolVersion);
        } else {
            assert_eq!(sent, answer);
        }
        let EndReason::ProtocolError { reason, .. } = script.ended() else { panic!() };
        assert_eq!(reason, ReasonCode::UnsupportedProtocolVersion);
    }
}

#[test]
fn the_first_packet_is_connect_and_there_is_no_second() {
    for bytes in [&b"\xC0\0"[..], b"\xC0", b"\x30\xFF\xFF\xFF\x7F", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01"] {
        let mut script = Script::new(Version::V311, Limits::default());
        script.feed(bytes);
        assert_eq!(script.sent(), []);
        assert!(matches!(script.ended(), EndReason::ProtocolError { .. }), "{bytes:?}");
    }
    for version in BOTH {
        let mut script = Script::accepted(version);
        script.connect(&[]);
        script.ended_by(0x82);
    }
}

#[test]
fn a_malformed_connect_is_answered_where_there_are_words() {
    let mut script = Script::new(Version::V5, Limits::default());
    script.feed(b"\x10\x0D\0\x04MQTT\x05\x03\0\x3C\0\0\0");
    let sent = script.sent();
    let Ok(Packet::ConnAck(connack)) = Packet::decode(Version::V5, &sent) else { panic!("{sent:?}") };
    assert_eq!(connack.reason, ReasonCode::MalformedPacket);
    assert_eq!(connack.properties.reason_string(), Some("reserved connect flag"));

    let mut script = Script::new(Version::V311, Limits::default());
    script.feed(b"\x10\x0C\0\x04MQTT\x04\x03\0\x3C\0\0");
    assert_eq!(script.sent(), []);
    assert!(matches!(script.ended(), EndReason::ProtocolError { .. }));
}

#[test]
fn a_connect_has_to_be_whole_in_time() {
    let mut script = Script::new(Version::V311, Limits::default());
    assert_eq!(script.session.timeout(), Some(10_000));
    script.feed(b"\x10\x1A\0\x04MQ");
    script.session.handle_timeout(9_999, &mut script.out);
    assert!(!script.session.is_ended());
    script.session.handle_timeout(10_000, &mut script.out);
    assert_eq!(script.sent(), []);
    assert_eq!(script.ended(), EndReason::ConnectTimeout);
    assert_eq!(script.session.timeout(), None);
    assert_eq!(script.session.heap_bytes(), 0);
}

#[test]
fn a_large_connect_is_refused_from_its_header() {
    let mut script = Script::new(Version::V311, Limits { max_connect_packet: 100, ..Limits::default() });
    script.feed(b"\x10\x7F");
    let EndReason::ProtocolError { reason, .. } = script.ended() else { panic!() };
    assert_eq!(reason, ReasonCode::PacketTooLarge);
}

#[test]
fn what_is_sent_behind_connect_waits_for_the_answer() {
    for version in BOTH {
        let mut script = Script::new(version, Limits::default());
        script.connect(&[]);
        assert!(script.session.wants_read());
        script.telemetry(Qos::AtLeastOnce, 1);
        script.feed(b"\xC0");
        assert!(!script.session.wants_read());
        assert_eq!(script.events().len(), 1);
        script.accept();
        assert!(script.session.wants_read());
        assert_eq!(script.published().topic, UpTopic::Telemetry);
        script.sent();
        script.feed(b"\0");
        assert_eq!(script.sent(), [0xD0, 0]);
    }
}

#[test]
fn what_is_sent_behind_connect_is_bounded() {
    let limits = Limits { max_packet: 1000, max_connect_packet: 1000, ..Limits::default() };
    let most = limits.max_backlog();
    let mut script = Script::new(Version::V5, limits);
    script.connect(&[]);
    script.feed(&vec![0; most]);
    assert!(!script.session.is_ended());
    script.feed(&[0]);
    let EndReason::ProtocolError { reason, .. } = script.ended() else { panic!() };
    assert_eq!(reason, ReasonCode::QuotaExceeded);
}

#[test]
fn enhanced_authentication_is_refused() {
    let mut script = Script::new(Version::V5, Limits::default());
    script.connect(&[Property::AuthenticationMethod("SCRAM"), Property::AuthenticationData(b"x")]);
    let sent = script.sent();
    let Ok(Packet::ConnAck(connack)) = Packet::decode(Version::V5, &sent) else { panic!("{sent:?}") };
    assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod);
    assert!(matches!(script.ended(), EndReason::ProtocolError { .. }));

    let mut script = Script::accepted(Version::V5);
    script.feed(&[0xF0, 0]);
    script.ended_by(0x82);
}

#[test]
fn a_will_is_handed_up_with_what_it_asks_for() {
    let mut script = Script::new(Version::V5, Limits::default());
    let properties = props(&[Property::WillDelayInterval(30)]);
    let will = Will { properties: properties.as_properties(), ..will("v1/devices/me/events") };
    script.feed(&with_will(Version::V5, will));
    let handed_up = connected(&mut script).will.unwrap();
    assert_eq!(handed_up.topic, Some(UpTopic::Events));
    assert_eq!((handed_up.qos, handed_up.delay_s), (Qos::AtLeastOnce, 30));
    assert_eq!(&handed_up.payload[..], b"{}");
}

#[test]
fn a_will_on_another_topic_is_refused_in_mqtt_5_and_flagged_in_3_1_1() {
    let mut script = Script::new(Version::V5, Limits::default());
    script.feed(&with_will(Version::V5, will("status")));
    let sent = script.sent();
    let Ok(Packet::ConnAck(connack)) = Packet::decode(Version::V5, &sent) else { panic!("{sent:?}") };
    assert_eq!(connack.reason, ReasonCode::TopicNameInvalid);

    let mut script = Script::new(Version::V311, Limits::default());
    script.feed(&with_will(Version::V311, will("status")));
    assert_eq!(connected(&mut script).will.unwrap().topic, None);
}

#[test]
fn a_retained_will_is_refused_in_mqtt_5_and_not_retained_in_3_1_1() {
    let retained = Will { retain: true, ..will("v1/devices/me/events") };
    let mut script = Script::new(Version::V5, Limits::default());
    script.feed(&with_will(Version::V5, retained));
    let sent = script.sent();
    let Ok(Packet::ConnAck(connack)) = Packet::decode(Version::V5, &sent) else { panic!("{sent:?}") };
    assert_eq!(connack.reason, ReasonCode::RetainNotSupported);

    let mut script = Script::new(Version::V311, Limits::default());
    script.feed(&with_will(Version::V311, retained));
    assert!(connected(&mut script).will.is_some());
}

#[test]
fn secrets_are_not_written_by_debug() {
    let mut script = Script::new(Version::V311, Limits::default());
    script.feed(b"\x10\x1A\0\x04MQTT\x04\xC2\0\x3C\0\x02id\0\x04user\0\x04pass");
    let text = format!("{:?}", script.out.events);
    assert!(!text.contains("user\"") && !text.contains("pass\""), "{text}");
}

#[test]
fn a_session_shut_before_it_was_accepted_is_refused() {
    for (reason, code) in [
        (ServerReason::ShuttingDown, 0x88),
        (ServerReason::StoreUnavailable, 0x89),
        (ServerReason::NotAuthorized, 0x87),
        (ServerReason::RateTooHigh, 0x9F),
        (ServerReason::TakenOver, 0x88),
    ] {
        let mut script = Script::new(Version::V5, Limits::default());
        script.connect(&[]);
        script.session.shut(reason, &mut script.out);
        assert_eq!(script.sent(), [0x20, 3, 0, code, 0]);
        assert_eq!(script.ended(), EndReason::Shut(reason));
    }
    let mut script = Script::new(Version::V5, Limits::default());
    script.session.shut(ServerReason::ShuttingDown, &mut script.out);
    assert_eq!(script.sent(), []);
    assert_eq!(script.ended().will(), WillFate::AfterGrace);
}

#[test]
fn an_answer_that_comes_too_late_is_without_effect() {
    let mut script = Script::new(Version::V5, Limits::default());
    script.connect(&[]);
    script.session.transport_closed(&mut script.out);
    assert_eq!(script.ended(), EndReason::TransportClosed);
    script.accept();
    script.session.refuse(Refusal::NotAuthorized, &mut script.out);
    script.feed(&[0xC0, 0]);
    assert!(script.sent().is_empty() && script.events().is_empty());
}

#[test]
fn a_longest_keep_alive_is_imposed_and_told() {
    let limits = Limits { max_keep_alive_s: 30, ..Limits::default() };
    for version in BOTH {
        let mut script = Script::new(version, limits.clone());
        script.connect(&[]);
        script.now = 1_000;
        script.accept();
        assert_eq!(script.session.timeout(), Some(1_000 + 45_000));
        if version == Version::V5 {
            let sent = script.sent();
            let Ok(Packet::ConnAck(connack)) = Packet::decode(version, &sent) else { panic!("{sent:?}") };
            assert_eq!(connack.properties.server_keep_alive(), Some(30));
        }
    }
}

#[test]
fn a_client_that_takes_no_connack_is_not_served_in_the_dark() {
    let mut script = Script::new(Version::V5, Limits::default());
    script.connect(&[Property::MaximumPacketSize(10)]);
    script.accept();
    assert!(script.sent().is_empty());
    let EndReason::ProtocolError { reason, .. } = script.ended() else { panic!() };
    assert_eq!(reason, ReasonCode::PacketTooLarge);
}
