//! Every packet as its bytes, and every rule with a packet that breaks it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{pid, props};
use stoker_protocol::codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, FilterBuf, Packet, Properties, Property, Publish, Qos,
    ReasonCode, ReasonList, RetainHandling, SubAck, Subscribe, SubscribeOptions, TopicBuf, UnsubAck,
    Unsubscribe, Version, Will,
};

const EMPTY: Properties<'static> = Properties::EMPTY;

/// That these bytes are this packet, both ways.
fn is(version: Version, bytes: &[u8], packet: Packet<'_>) {
    assert_eq!(Packet::decode(version, bytes), Ok(packet));
    let mut encoded = Vec::new();
    packet.encode(version, &mut encoded).unwrap();
    assert_eq!(encoded, bytes);
}

/// That these bytes are this packet, though we would write it shorter.
fn reads(bytes: &[u8], packet: Packet<'_>) {
    assert_eq!(Packet::decode(Version::V5, bytes), Ok(packet));
}

/// That these bytes are refused with this reason code.
fn refused(version: Version, bytes: &[u8], code: u8) {
    match Packet::decode(version, bytes) {
        Err(error) => assert_eq!(error.reason.value(), code, "{error} for {bytes:?}"),
        Ok(packet) => panic!("{packet:?}"),
    }
}

fn unwritable(version: Version, packet: Packet<'_>) {
    let mut out = vec![1];
    assert!(packet.encode(version, &mut out).is_err(), "{packet:?}");
    assert_eq!(out, [1]);
}

fn ack(reason: ReasonCode) -> Ack<'static> {
    Ack { packet_id: pid(10), reason, properties: EMPTY }
}

#[test]
fn connect() {
    let plain = Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive: 10,
        properties: EMPTY,
        client_id: "id",
        will: None,
        user_name: None,
        password: None,
    };
    is(Version::V311, b"\x10\x0E\0\x04MQTT\x04\x02\0\x0A\0\x02id", Packet::Connect(plain));
    let will_properties = props(&[Property::WillDelayInterval(5)]);
    let properties = props(&[Property::SessionExpiryInterval(10), Property::ReceiveMaximum(20)]);
    let full = Connect {
        version: Version::V5,
        clean_start: false,
        properties: properties.as_properties(),
        will: Some(Will {
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: will_properties.as_properties(),
            topic: "t",
            payload: &[0, 255],
        }),
        user_name: Some("u"),
        password: Some(&[1]),
        ..plain
    };
    is(
        Version::V5,
        b"\x10\x2A\0\x04MQTT\x05\xEC\0\x0A\x08\x11\0\0\0\x0A\x21\0\x14\0\x02id\
          \x05\x18\0\0\0\x05\0\x01t\0\x02\x00\xFF\0\x01u\0\x01\x01",
        Packet::Connect(full),
    );
    // A CONNECT is of the version it says, whatever was expected.
    is(Version::V5, b"\x10\x0E\0\x04MQTT\x04\x02\0\x0A\0\x02id", Packet::Connect(plain));
    unwritable(Version::V311, Packet::Connect(Connect { password: Some(b"p"), ..plain }));
    unwritable(Version::V311, Packet::Connect(Connect { properties: full.properties, ..plain }));
    unwritable(Version::V311, Packet::Connect(Connect { client_id: "\0", ..plain }));
    let wild = Will { topic: "a/#", properties: EMPTY, ..full.will.unwrap() };
    unwritable(Version::V311, Packet::Connect(Connect { will: Some(wild), ..plain }));
}

#[test]
fn connect_rules() {
    let v311 = Version::V311;
    refused(v311, b"\x10\x0E\0\x04MQTT\x03\x02\0\x0A\0\x02id", 0x84);
    refused(v311, b"\x10\x0E\0\x04mqtt\x04\x02\0\x0A\0\x02id", 0x84);
    refused(v311, b"\x10\x0C\0\x04MQTT\x04\x03\0\x0A\0\0", 0x81);
    refused(v311, b"\x10\x0C\0\x04MQTT\x04\x08\0\x0A\0\0", 0x81);
    refused(v311, b"\x10\x0C\0\x04MQTT\x04\x20\0\x0A\0\0", 0x81);
    refused(v311, b"\x10\x11\0\x04MQTT\x04\x1C\0\0\0\0\0\x01a\0\0", 0x81);
    refused(v311, b"\x10\x0F\0\x04MQTT\x04\x40\0\x0A\0\0\0\x01p", 0x81);
    refused(v311, b"\x10\x0D\0\x04MQTT\x04\x02\0\x0A\0\0\0", 0x81);
    refused(v311, b"\x10\x0B\0\x04MQTT\x04\x02\0\x0A\0", 0x81);
    refused(v311, b"\x10\x10\0\x04MQTT\x04\x04\0\0\0\0\0\0\0\0", 0x90);
    refused(v311, b"\x10\x0D\0\x04MQTT\x04\x02\0\x0A\0\x01\xFF", 0x81);
    refused(v311, b"\x10\x0D\0\x04MQTT\x04\x02\0\x0A\0\x01\0", 0x81);
    refused(v311, b"\x10\0", 0x81);
    refused(Version::V5, b"\x10\x0F\0\x04MQTT\x05\x02\0\x0A\x02\x24\x01\0\0", 0x82);
    refused(Version::V5, b"\x10\x11\0\x04MQTT\x05\x02\0\x0A\x04\x17\0\x17\0\0\0", 0x82);
}

#[test]
fn connack() {
    let success = ConnAck { session_present: true, reason: ReasonCode::Success, properties: EMPTY };
    is(Version::V311, &[0x20, 2, 1, 0], Packet::ConnAck(success));
    is(Version::V5, &[0x20, 3, 1, 0, 0], Packet::ConnAck(success));
    let refusal = ConnAck { session_present: false, reason: ReasonCode::NotAuthorized, properties: EMPTY };
    is(Version::V311, &[0x20, 2, 0, 5], Packet::ConnAck(refusal));
    is(Version::V5, &[0x20, 3, 0, 0x87, 0], Packet::ConnAck(refusal));
    let properties = props(&[Property::AssignedClientIdentifier("x"), Property::MaximumQos(true)]);
    let named = ConnAck { session_present: false, properties: properties.as_properties(), ..success };
    is(Version::V5, b"\x20\x09\0\0\x06\x12\0\x01x\x24\x01", Packet::ConnAck(named));
    for version in common::BOTH {
        refused(version, &[0x20, 3, 2, 0, 0], 0x81);
        unwritable(version, Packet::ConnAck(ConnAck { session_present: true, ..refusal }));
    }
    refused(Version::V5, &[0x20, 3, 1, 0x87, 0], 0x82);
    refused(Version::V5, &[0x20, 3, 0, 5, 0], 0x81);
    refused(Version::V5, &[0x20, 2, 0, 0], 0x81);
    refused(Version::V311, &[0x20, 2, 0, 6], 0x81);
    refused(Version::V311, &[0x20, 3, 0, 0, 0], 0x81);
    unwritable(Version::V311, Packet::ConnAck(ConnAck { reason: ReasonCode::ServerBusy, ..refusal }));
}

#[test]
fn publish() {
    let zero = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: true,
        topic: "a/b",
        packet_id: None,
        properties: EMPTY,
        payload: b"hi",
    };
    is(Version::V311, b"\x31\x07\0\x03a/bhi", Packet::Publish(zero));
    is(Version::V5, b"\x31\x08\0\x03a/b\0hi", Packet::Publish(zero));
    let properties = props(&[Property::TopicAlias(7)]);
    let two = Publish { dup: true, qos: Qos::ExactlyOnce, retain: false, packet_id: Some(pid(10)), ..zero };
    is(Version::V311, b"\x3C\x09\0\x03a/b\0\x0Ahi", Packet::Publish(two));
    let aliased = Publish { topic: "", payload: b"", properties: properties.as_properties(), ..two };
    is(Version::V5, b"\x3C\x08\0\0\0\x0A\x03\x23\0\x07", Packet::Publish(aliased));
    unwritable(Version::V5, Packet::Publish(Publish { packet_id: None, ..two }));
    unwritable(Version::V5, Packet::Publish(Publish { packet_id: Some(pid(1)), ..zero }));
    unwritable(Version::V5, Packet::Publish(Publish { dup: true, ..zero }));
    unwritable(Version::V5, Packet::Publish(Publish { topic: "", ..zero }));
    unwritable(Version::V5, Packet::Publish(Publish { topic: "a/+", ..zero }));
}

#[test]
fn publish_rules() {
    for version in common::BOTH {
        refused(version, b"\x36\x07\0\x01a\0\x01\0\0", 0x81);
        refused(version, b"\x38\x04\0\x01a\0", 0x81);
        refused(version, b"\x32\x06\0\x01a\0\0\0", 0x82);
        refused(version, b"\x32\x04\0\x01a\0", 0x81);
        refused(version, b"\x30\x04\0\x01+\0", 0x90);
        refused(version, b"\x30\x06\0\x03a/#\0", 0x90);
        refused(version, b"\x30\x03\0\0\0", 0x82);
        refused(version, b"\x30\x03\0\x05a", 0x81);
        refused(version, b"\x30\x05\0\x02\xC0\x80\0", 0x81);
        refused(version, b"\x30\x04\0\x01\0\0", 0x81);
    }
    refused(Version::V5, b"\x30\x03\0\x01a", 0x81);
    refused(Version::V5, b"\x30\x04\0\x01a\x05", 0x81);
    refused(Version::V5, b"\x30\x07\0\x01a\x03\x23\0\0", 0x94);
    refused(Version::V5, b"\x30\x0A\0\x01a\x06\x23\0\x01\x23\0\x01", 0x82);
}

#[test]
fn acknowledgements() {
    type Make = fn(Ack<'static>) -> Packet<'static>;
    let kinds: [(u8, Make, ReasonCode); 4] = [
        (0x40, Packet::PubAck, ReasonCode::PayloadFormatInvalid),
        (0x50, Packet::PubRec, ReasonCode::QuotaExceeded),
        (0x62, Packet::PubRel, ReasonCode::PacketIdentifierNotFound),
        (0x70, Packet::PubComp, ReasonCode::PacketIdentifierNotFound),
    ];
    for (first, packet, reason) in kinds {
        let success = packet(ack(ReasonCode::Success));
        is(Version::V311, &[first, 2, 0, 10], success);
        is(Version::V5, &[first, 2, 0, 10], success);
        reads(&[first, 3, 0, 10, 0], success);
        reads(&[first, 4, 0, 10, 0, 0], success);
        is(Version::V5, &[first, 3, 0, 10, reason.value()], packet(ack(reason)));
        unwritable(Version::V311, packet(ack(reason)));
        unwritable(Version::V5, packet(ack(ReasonCode::ServerBusy)));
        for version in common::BOTH {
            refused(version, &[first, 2, 0, 0], 0x82);
            refused(version, &[first, 1, 0], 0x81);
            refused(version, &[first ^ 1, 2, 0, 10], 0x81);
        }
        refused(Version::V311, &[first, 3, 0, 10, 0], 0x81);
        refused(Version::V5, &[first, 3, 0, 10, 0x89], 0x81);
        refused(Version::V5, &[first, 5, 0, 10, 0, 0, 0], 0x81);
        refused(Version::V5, &[first, 9, 0, 10, 0, 5, 0x11, 0, 0, 0, 1], 0x82);
    }
    let properties = props(&[Property::ReasonString("no")]);
    let explained = Ack { properties: properties.as_properties(), ..ack(ReasonCode::NotAuthorized) };
    is(Version::V5, b"\x40\x09\0\x0A\x87\x05\x1F\0\x02no", Packet::PubAck(explained));
}

#[test]
fn subscribe() {
    let mut filters = FilterBuf::new();
    filters.push("a/+", SubscribeOptions::with_qos(Qos::AtLeastOnce)).unwrap();
    filters.push("b", SubscribeOptions::with_qos(Qos::ExactlyOnce)).unwrap();
    let list = filters.as_list();
    let packet = Packet::Subscribe(Subscribe { packet_id: pid(10), properties: EMPTY, filters: list });
    is(Version::V311, b"\x82\x0C\0\x0A\0\x03a/+\x01\0\x01b\x02", packet);
    is(Version::V5, b"\x82\x0D\0\x0A\0\0\x03a/+\x01\0\x01b\x02", packet);
    assert_eq!(list.iter().map(|wanted| wanted.filter).collect::<Vec<_>>(), ["a/+", "b"]);

    let mut filters = FilterBuf::new();
    let options = SubscribeOptions {
        qos: Qos::AtMostOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::Never,
    };
    filters.push("a", options).unwrap();
    let list = filters.as_list();
    let packet = Packet::Subscribe(Subscribe { packet_id: pid(10), properties: EMPTY, filters: list });
    is(Version::V5, b"\x82\x07\0\x0A\0\0\x01a\x2C", packet);
    assert_eq!(list.iter().next().unwrap().options, options);
    unwritable(Version::V311, packet);
    assert!(filters.push("", options).is_err() && filters.push("\0", options).is_err());

    for version in common::BOTH {
        refused(version, b"\x80\x07\0\x0A\0\0\x01a\0", 0x81);
        refused(version, b"\x82\x03\0\x0A\0", if version == Version::V5 { 0x82 } else { 0x81 });
    }
    refused(Version::V311, b"\x82\x02\0\x0A", 0x82);
    refused(Version::V311, b"\x82\x06\0\x0A\0\x01a\x03", 0x81);
    refused(Version::V311, b"\x82\x05\0\x0A\0\x01a", 0x81);
    refused(Version::V311, b"\x82\x06\0\0\0\x01a\0", 0x82);
    refused(Version::V5, b"\x82\x07\0\x0A\0\0\x01a\x40", 0x81);
    refused(Version::V5, b"\x82\x07\0\x0A\0\0\x01a\x30", 0x82);
    refused(Version::V5, b"\x82\x09\0\x0A\x02\x0B\0\0\x01a\0", 0x82);
    refused(Version::V5, b"\x82\x10\0\x0A\0\0\x0A$share/g/a\x04", 0x82);
}

#[test]
fn suback() {
    let reasons = ReasonList::from_bytes(&[0, 1, 2, 0x80]);
    let packet = Packet::SubAck(SubAck { packet_id: pid(10), properties: EMPTY, reasons });
    is(Version::V311, &[0x90, 6, 0, 10, 0, 1, 2, 0x80], packet);
    is(Version::V5, &[0x90, 7, 0, 10, 0, 0, 1, 2, 0x80], packet);
    refused(Version::V311, &[0x90, 3, 0, 10, 0x87], 0x81);
    refused(Version::V311, &[0x90, 2, 0, 10], 0x82);
    refused(Version::V5, &[0x90, 4, 0, 10, 0, 0x89], 0x81);
    let refusal = ReasonList::from_bytes(&[0x87]);
    unwritable(
        Version::V311,
        Packet::SubAck(SubAck { packet_id: pid(10), properties: EMPTY, reasons: refusal }),
    );
}

#[test]
fn unsubscribe_and_unsuback() {
    let mut filters = TopicBuf::new();
    filters.push("a/#").unwrap();
    filters.push("b").unwrap();
    let list = filters.as_list();
    let packet = Packet::Unsubscribe(Unsubscribe { packet_id: pid(10), properties: EMPTY, filters: list });
    is(Version::V311, b"\xA2\x0A\0\x0A\0\x03a/#\0\x01b", packet);
    is(Version::V5, b"\xA2\x0B\0\x0A\0\0\x03a/#\0\x01b", packet);
    refused(Version::V311, b"\xA2\x02\0\x0A", 0x82);
    refused(Version::V311, b"\xA2\x04\0\x0A\0\0", 0x81);
    refused(Version::V5, b"\xA2\x08\0\x0A\x02\x0B\x01\0\x01b", 0x82);

    let unsuback = |codes| {
        let reasons = ReasonList::from_bytes(codes);
        Packet::UnsubAck(UnsubAck { packet_id: pid(10), properties: EMPTY, reasons })
    };
    is(Version::V311, &[0xB0, 2, 0, 10], unsuback(&[]));
    is(Version::V5, &[0xB0, 5, 0, 10, 0, 0, 0x11], unsuback(&[0, 0x11]));
    refused(Version::V311, &[0xB0, 3, 0, 10, 0], 0x81);
    refused(Version::V5, &[0xB0, 3, 0, 10, 0], 0x82);
    refused(Version::V5, &[0xB0, 4, 0, 10, 0, 1], 0x81);
    unwritable(Version::V311, unsuback(&[0]));
    unwritable(Version::V5, unsuback(&[]));
}

#[test]
fn pings() {
    for version in common::BOTH {
        is(version, &[0xC0, 0], Packet::PingReq);
        is(version, &[0xD0, 0], Packet::PingResp);
        refused(version, &[0xC0, 1, 0], 0x81);
        refused(version, &[0xD1, 0], 0x81);
    }
}

#[test]
fn disconnect() {
    let normal = Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: EMPTY });
    is(Version::V311, &[0xE0, 0], normal);
    is(Version::V5, &[0xE0, 0], normal);
    reads(&[0xE0, 1, 0], normal);
    reads(&[0xE0, 2, 0, 0], normal);
    let busy = Packet::Disconnect(Disconnect { reason: ReasonCode::ServerBusy, properties: EMPTY });
    is(Version::V5, &[0xE0, 1, 0x89], busy);
    unwritable(Version::V311, busy);
    refused(Version::V311, &[0xE0, 1, 0], 0x81);
    refused(Version::V5, &[0xE0, 1, 1], 0x81);
    refused(Version::V5, &[0xE0, 3, 0, 0, 0], 0x81);
    refused(Version::V5, &[0xE0, 5, 0, 3, 0x21, 0, 1], 0x82);
}

#[test]
fn auth() {
    let properties = props(&[Property::AuthenticationMethod("m"), Property::AuthenticationData(&[1])]);
    let properties = properties.as_properties();
    let step = Packet::Auth(Auth { reason: ReasonCode::ContinueAuthentication, properties });
    is(Version::V5, b"\xF0\x0A\x18\x08\x15\0\x01m\x16\0\x01\x01", step);
    is(Version::V5, &[0xF0, 0], Packet::Auth(Auth { reason: ReasonCode::Success, properties: EMPTY }));
    refused(Version::V5, &[0xF0, 1, 0x18], 0x82);
    refused(Version::V5, &[0xF0, 1, 0x80], 0x81);
    refused(Version::V5, b"\xF0\x06\0\x04\x16\0\x01\x01", 0x82);
    refused(Version::V311, &[0xF0, 0], 0x81);
    unwritable(Version::V311, step);
}

#[test]
fn a_length_longer_than_it_has_to_be_is_malformed_in_mqtt_5_alone() {
    assert_eq!(Packet::decode(Version::V311, &[0xC0, 0x80, 0]), Ok(Packet::PingReq));
    refused(Version::V5, &[0xC0, 0x80, 0], 0x81);
}

#[test]
fn a_packet_is_as_long_as_it_says() {
    for version in common::BOTH {
        for bytes in
            [&[][..], &[0xC0], &[0xC0, 1], &[0xC0, 0, 0], &[0x00, 0], &[0xC0, 0x80, 0x80, 0x80, 0x80]]
        {
            refused(version, bytes, 0x81);
        }
    }
}

#[test]
fn the_longest_strings_fit_and_one_byte_more_does_not() {
    let longest = "x".repeat(65_535);
    let message = |topic| {
        Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            packet_id: None,
            properties: EMPTY,
            payload: b"",
        })
    };
    let bytes = common::encode(Version::V311, &message(&longest));
    is(Version::V311, &bytes, message(&longest));
    unwritable(Version::V311, message(&format!("{longest}x")));
}
