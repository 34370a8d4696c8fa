//! Messages from the device.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{BOTH, Script, encode, pid, props};
use stoker_protocol::codec::{Ack, Packet, Property, Publish, Qos, ReasonCode, VariableInteger, Version};
use stoker_protocol::session::{EndReason, Event, Limits, PublishOutcome, ServerReason, WillFate};
use stoker_protocol::topic::UpTopic;

const TELEMETRY: &str = "v1/devices/me/telemetry";

#[test]
fn a_qos_1_publish_is_acknowledged_once_it_is_stored() {
    for version in BOTH {
        let mut script = Script::accepted(version);
        script.publish(TELEMETRY, Qos::AtLeastOnce, 7, b"{\"t\":1}");
        let publish = script.published();
        assert_eq!((publish.topic, publish.qos), (UpTopic::Telemetry, Qos::AtLeastOnce));
        assert_eq!(&publish.payload[..], b"{\"t\":1}");
        assert_eq!(script.sent(), []);
        assert_eq!(script.session.unanswered(), 1);
        script.now += 700;
        assert_eq!(script.session.waits(script.now), 700);
        script.done(publish.token.unwrap(), PublishOutcome::Stored);
        assert_eq!(script.sent(), [0x40, 2, 0, 7]);
        assert_eq!((script.session.unanswered(), script.session.waits(script.now)), (0, 0));
    }
}

#[test]
fn how_long_an_answer_was_waited_for_is_known_when_the_session_is_over() {
    for version in BOTH {
        let mut script = Script::accepted(version);
        script.telemetry(Qos::AtLeastOnce, 7);
        script.now += 4_000;
        script.session.transport_closed(&mut script.out);
        assert_eq!((script.session.unanswered(), script.session.waits(script.now)), (0, 4_000));
        let mut script = Script::accepted(version);
        script.telemetry(Qos::AtLeastOnce, 7);
        let token = script.published().token.unwrap();
        script.done(token, PublishOutcome::Stored);
        script.now += 4_000;
        script.session.transport_closed(&mut script.out);
        assert_eq!(script.session.waits(script.now), 0, "it was answered");
    }
}

#[test]
fn a_qos_0_publish_waits_for_nothing() {
    for version in BOTH {
        let mut script = Script::accepted(version);
        script.telemetry(Qos::AtMostOnce, 0);
        assert_eq!(script.published().token, None);
        assert_eq!(script.sent(), []);
    }
}

#[test]
fn acknowledgements_leave_in_the_order_the_publishes_came() {
    let mut script = Script::accepted(Version::V311);
    script.telemetry(Qos::AtLeastOnce, 1);
    script.telemetry(Qos::ExactlyOnce, 2);
    script.publish("elsewhere", Qos::AtLeastOnce, 3, b"");
    script.telemetry(Qos::AtLeastOnce, 4);
    let tokens = script.tokens();
    script.done(tokens[2], PublishOutcome::Stored);
    script.done(tokens[1], PublishOutcome::Stored);
    assert_eq!(script.sent(), []);
    script.done(tokens[0], PublishOutcome::Stored);
    assert_eq!(script.sent(), [0x40, 2, 0, 1, 0x50, 2, 0, 2, 0x40, 2, 0, 3, 0x40, 2, 0, 4]);
}

#[test]
fn a_qos_2_publish_is_stored_before_pubrec_and_handed_up_once() {
    for version in BOTH {
        let mut script = Script::accepted(version);
        script.telemetry(Qos::ExactlyOnce, 5);
        let token = script.published().token.unwrap();
        script.telemetry(Qos::ExactlyOnce, 5);
        assert!(script.events().is_empty() && script.sent().is_empty());
        script.done(token, PublishOutcome::Stored);
        assert_eq!(script.sent(), [0x50, 2, 0, 5]);
        // Once more after PUBREC: only that is repeated.
        script.telemetry(Qos::ExactlyOnce, 5);
        assert!(script.events().is_empty());
        assert_eq!(script.sent(), [0x50, 2, 0, 5]);
        script.feed(&[0x62, 2, 0, 5]);
        assert_eq!(script.sent(), [0x70, 2, 0, 5]);
        // The packet id is free again.
        script.telemetry(Qos::ExactlyOnce, 5);
        assert_eq!(script.events().len(), 1);
    }
}

#[test]
fn a_pubrel_for_what_is_not_known_is_answered_in_the_words_there_are() {
    let mut script = Script::accepted(Version::V311);
    script.feed(&[0x62, 2, 0, 9]);
    assert_eq!(script.sent(), [0x70, 2, 0, 9]);
    let mut script = Script::accepted(Version::V5);
    script.feed(&[0x62, 2, 0, 9]);
    assert_eq!(script.sent(), [0x70, 3, 0, 9, 0x92]);
}

#[test]
fn a_refused_publish_is_told_in_mqtt_5_and_acknowledged_in_3_1_1() {
    for (outcome, code) in [
        (PublishOutcome::PayloadInvalid, 0x99),
        (PublishOutcome::NotAuthorized, 0x87),
        (PublishOutcome::QuotaExceeded, 0x97),
    ] {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut script = Script::accepted(Version::V311);
            script.telemetry(qos, 1);
            let token = script.tokens()[0];
            script.done(token, outcome);
            assert_eq!(script.sent(), [if qos == Qos::AtLeastOnce { 0x40 } else { 0x50 }, 2, 0, 1]);

            let mut script = Script::accepted(Version::V5);
            script.telemetry(qos, 1);
            let token = script.tokens()[0];
            script.done(token, outcome);
            match Packet::decode(Version::V5, &script.sent()).unwrap() {
                Packet::PubAck(ack) | Packet::PubRec(ack) => assert_eq!(ack.reason.value(), code),
                other => panic!("{other:?}"),
            }
            // An error ends a QoS 2 exchange: there is nothing left to release.
            script.feed(&[0x62, 2, 0, 1]);
            assert_eq!(script.sent(), [0x70, 3, 0, 1, 0x92]);
        }
    }
}

#[test]
fn another_topic_is_counted_and_refused_where_there_are_words() {
    for version in BOTH {
        let mut script = Script::accepted(version);
        for (qos, id) in [(Qos::AtMostOnce, 0), (Qos::AtLeastOnce, 1), (Qos::ExactlyOnce, 2)] {
            script.publish("sensors/1", qos, id, b"x");
            assert_eq!(script.events(), [Event::RejectedTopic { topic: "sensors/1".into(), qos }]);
        }
        let sent = script.sent();
        match version {
            Version::V311 => assert_eq!(sent, [0x40, 2, 0, 1, 0x50, 2, 0, 2]),
            Version::V5 => {
                let Ok(Packet::PubAck(ack)) = Packet::decode(version, &sent[..sent.len() / 2]) else {
                    panic!()
                };
                assert_eq!(ack.reason, ReasonCode::NotAuthorized);
                assert!(ack.properties.reason_string().is_some());
            }
        }
    }
}

#[test]
fn a_rejected_topic_is_cut_between_characters() {
    let mut script = Script::accepted(Version::V5);
    script.publish(&format!("x{}", "ü".repeat(100)), Qos::AtMostOnce, 0, b"");
    let Some(Event::RejectedTopic { topic, .. }) = script.events().pop() else { panic!() };
    assert_eq!(topic.len(), 127);
}

#[test]
fn no_reason_is_explained_to_who_does_not_want_it() {
    let mut script =
        Script::accepted_with(Version::V5, Limits::default(), &[Property::RequestProblemInformation(false)]);
    script.publish("sensors/1", Qos::AtLeastOnce, 1, b"x");
    assert_eq!(script.sent(), [0x40, 3, 0, 1, 0x87]);
    script.feed(&[0x62, 1, 0]);
    assert_eq!(script.sent(), [0xE0, 1, 0x81]);
}

#[test]
fn reason_strings_give_way_to_the_clients_maximum_packet_size() {
    // A CONNACK of 36 bytes or less has to fit, a PUBACK with a text doesn't.
    let mut script =
        Script::accepted_with(Version::V5, Limits::default(), &[Property::MaximumPacketSize(36)]);
    script.publish("sensors/1", Qos::AtLeastOnce, 1, b"x");
    assert_eq!(script.sent(), [0x40, 3, 0, 1, 0x87]);
}

#[test]
fn nothing_is_acknowledged_when_the_store_is_unavailable() {
    for version in BOTH {
        let mut script = Script::accepted(version);
        script.telemetry(Qos::AtLeastOnce, 1);
        script.telemetry(Qos::AtLeastOnce, 2);
        let tokens = script.tokens();
        script.done(tokens[1], PublishOutcome::Stored);
        script.done(tokens[0], PublishOutcome::StoreUnavailable);
        let expected: &[u8] = if version == Version::V5 { &[0xE0, 1, 0x89] } else { &[] };
        assert_eq!(script.sent(), expected);
        let reason = script.ended();
        assert_eq!(reason, EndReason::Shut(ServerReason::StoreUnavailable));
        assert_eq!(reason.will(), WillFate::AfterGrace);
        script.done(tokens[1], PublishOutcome::Stored);
        assert!(script.sent().is_empty() && script.events().is_empty());
    }
}

#[test]
fn a_packet_id_used_again_before_its_acknowledgement_is_a_new_message() {
    let mut script = Script::accepted(Version::V311);
    script.telemetry(Qos::AtLeastOnce, 1);
    script.feed(&encode(
        Version::V311,
        &Packet::Publish(Publish {
            dup: true,
            qos: Qos::AtLeastOnce,
            retain: false,
            topic: TELEMETRY,
            packet_id: Some(pid(1)),
            properties: Default::default(),
            payload: b"{}",
        }),
    ));
    let tokens = script.tokens();
    assert_eq!(tokens.len(), 2);
    for token in tokens {
        script.done(token, PublishOutcome::Stored);
    }
    assert_eq!(script.sent(), [0x40, 2, 0, 1, 0x40, 2, 0, 1]);
}

#[test]
fn a_retained_publish_ends_mqtt_5_and_is_not_retained_in_3_1_1() {
    let retained = Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: true,
        topic: TELEMETRY,
        packet_id: None,
        properties: Default::default(),
        payload: b"{}",
    });
    let mut script = Script::accepted(Version::V5);
    script.send(&retained);
    script.ended_by(0x9A);
    let mut script = Script::accepted(Version::V311);
    script.send(&retained);
    assert_eq!(script.published().topic, UpTopic::Telemetry);
}

fn aliased<'a>(topic: &'a str, properties: stoker_protocol::codec::Properties<'a>) -> Packet<'a> {
    Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties,
        payload: b"{}",
    })
}

#[test]
fn a_topic_alias_stands_for_its_topic() {
    let mut script = Script::accepted(Version::V5);
    let (one, two) = (props(&[Property::TopicAlias(1)]), props(&[Property::TopicAlias(16)]));
    script.send(&aliased(TELEMETRY, one.as_properties()));
    script.send(&aliased("other", two.as_properties()));
    script.events();
    script.send(&aliased("", one.as_properties()));
    assert_eq!(script.published().topic, UpTopic::Telemetry);
    script.send(&aliased("", two.as_properties()));
    assert_eq!(script.events(), [Event::RejectedTopic { topic: "".into(), qos: Qos::AtMostOnce }]);
    script.send(&aliased("v1/devices/me/rpc/response/9", one.as_properties()));
    script.send(&aliased("", one.as_properties()));
    assert_eq!(script.published().topic, UpTopic::RpcResponse(9));
}

#[test]
fn a_wrong_topic_alias_ends_the_connection() {
    for (alias, topic, code) in [(17, TELEMETRY, 0x94), (17, "", 0x94), (3, "", 0x82)] {
        let properties = props(&[Property::TopicAlias(alias)]);
        let mut script = Script::accepted(Version::V5);
        script.send(&aliased(topic, properties.as_properties()));
        script.ended_by(code);
    }
    let mut script = Script::accepted(Version::V5);
    script.feed(b"\x30\x07\0\x01a\x03\x23\0\0");
    script.ended_by(0x94);
}

#[test]
fn a_client_far_above_the_receive_maximum_is_closed_in_mqtt_5() {
    let limits = Limits { receive_max: 2, receive_most: 3, ..Limits::default() };
    let mut script = Script::accepted_with(Version::V5, limits, &[]);
    script.telemetry(Qos::AtLeastOnce, 1);
    script.telemetry(Qos::ExactlyOnce, 2);
    let tokens = script.tokens();
    for token in tokens {
        script.done(token, PublishOutcome::Stored);
    }
    script.sent();
    // The QoS 2 one counts until PUBCOMP.
    script.telemetry(Qos::AtLeastOnce, 3);
    script.telemetry(Qos::AtLeastOnce, 4);
    script.telemetry(Qos::AtMostOnce, 0);
    assert!(!script.session.is_ended());
    script.telemetry(Qos::AtLeastOnce, 5);
    script.ended_by(0x93);
}

#[test]
fn unfinished_publishes_of_qos_2_above_the_receive_maximum_close_in_mqtt_5() {
    let limits = Limits { receive_max: 2, receive_most: 9, ..Limits::default() };
    let mut script = Script::accepted_with(Version::V5, limits, &[]);
    for id in 1..=2 {
        script.telemetry(Qos::ExactlyOnce, id);
        let token = script.published().token.unwrap();
        script.done(token, PublishOutcome::Stored);
    }
    assert!(!script.session.is_ended());
    script.sent();
    script.telemetry(Qos::ExactlyOnce, 3);
    script.ended_by(0x93);
}

#[test]
fn a_client_of_3_1_1_with_a_large_window_is_read_later_instead() {
    let limits = Limits { receive_max: 4, ..Limits::default() };
    let mut script = Script::accepted_with(Version::V311, limits, &[]);
    for id in 1..=10 {
        script.telemetry(Qos::AtLeastOnce, id);
    }
    assert!(!script.session.wants_read());
    assert_eq!(script.session.timeout(), None, "the wait is ours");
    let mut order = Vec::new();
    loop {
        let tokens = script.tokens();
        if tokens.is_empty() {
            break;
        }
        script.now += 50_000;
        for token in tokens {
            script.done(token, PublishOutcome::Stored);
        }
        order.extend(script.sent().chunks(4).map(|ack| ack[3]));
    }
    assert_eq!(order, (1..=10).collect::<Vec<_>>());
    assert!(script.session.wants_read());
    assert!(script.session.timeout().unwrap() > script.now);
}

#[test]
fn what_a_client_must_not_send_ends_the_connection() {
    let cases: &[(&[u8], u8)] = &[
        (b"\x20\x02\0\0", 0x82),
        (b"\xD0\0", 0x82),
        (b"\x00\0", 0x81),
        (b"\x36\x05\0\x01a\0\x01", 0x81),
        (b"\x30\xFF\xFF\xFF\x7F", 0x95),
        (b"\x30\xFF\xFF\xFF\xFF", 0x81),
        (b"\xC0\x01\0", 0x81),
        (b"\x62\x02\0\0", 0x82),
        (b"\x30\x06\0\x03a/+\0", 0x90),
    ];
    for version in BOTH {
        for (bytes, code) in cases {
            // CONNACK has one byte more in MQTT 5.
            let connack = b"\x20\x03\0\0\0";
            let bytes = if version == Version::V5 && bytes[0] == 0x20 { &connack[..] } else { bytes };
            let mut script = Script::accepted(version);
            script.feed(bytes);
            script.ended_by(*code);
        }
    }
    let mut script = Script::accepted(Version::V5);
    let properties = props(&[Property::SubscriptionIdentifier(VariableInteger(1))]);
    script.send(&aliased(TELEMETRY, properties.as_properties()));
    script.ended_by(0x82);
}

#[test]
fn a_pubrec_for_what_was_never_sent_is_put_to_rest() {
    let mut script = Script::accepted(Version::V5);
    script.feed(&[0x50, 2, 0, 3]);
    assert_eq!(script.sent(), [0x62, 3, 0, 3, 0x92]);
    script.send(&Packet::PubComp(Ack::success(pid(3))));
    assert!(script.sent().is_empty() && !script.session.is_ended());
}
