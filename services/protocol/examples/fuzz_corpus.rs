//! Writes the seeds of the fuzz targets: `cargo run -p stoker-protocol --example fuzz_corpus`.
//!
//! One valid packet of every kind and version with everything it can hold, and scripts that reach every
//! part of the session machine. The same bytes every time, so that a change shows in the diff.

use std::error::Error;
use std::path::Path;

use stoker_protocol::codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, FilterBuf, Packet, PacketId, Properties, Property, PropertyBuf,
    Publish, Qos, ReasonCode, ReasonList, RetainHandling, SubAck, Subscribe, SubscribeOptions, TopicBuf,
    UnsubAck, Unsubscribe, VariableInteger, Version, Will,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    for (target, version) in [("decode_v4", Version::V311), ("decode_v5", Version::V5)] {
        for (name, bytes) in packets(version)? {
            write(target, name, &bytes)?;
        }
    }
    for (name, bytes) in scripts() {
        write("session", name, &bytes)?;
    }
    Ok(())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(name), bytes)?)
}

fn properties(list: &[Property<'_>]) -> Result<PropertyBuf> {
    let mut buf = PropertyBuf::new();
    for property in list {
        buf.push(*property)?;
    }
    Ok(buf)
}

fn packets(version: Version) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let five = version == Version::V5;
    let user = Property::UserProperty(("name", "value"));
    let reason = properties(&[Property::ReasonString("why"), user])?;
    let message = [
        Property::PayloadFormatIndicator(true),
        Property::MessageExpiryInterval(60),
        Property::ContentType("json"),
        Property::ResponseTopic("answer"),
        Property::CorrelationData(b"\x01"),
        user,
    ];
    let connect = properties(&[
        Property::SessionExpiryInterval(1),
        Property::ReceiveMaximum(20),
        Property::MaximumPacketSize(1000),
        Property::TopicAliasMaximum(3),
        Property::RequestResponseInformation(true),
        Property::RequestProblemInformation(false),
        Property::AuthenticationMethod("m"),
        Property::AuthenticationData(b"d"),
        user,
    ])?;
    let mut will = properties(&message)?;
    will.push(Property::WillDelayInterval(5))?;
    let mut publish = properties(&message)?;
    publish.push(Property::TopicAlias(1))?;
    publish.push(Property::SubscriptionIdentifier(VariableInteger(300)))?;
    let connack = properties(&[
        Property::SessionExpiryInterval(0),
        Property::ReceiveMaximum(1024),
        Property::MaximumQos(true),
        Property::RetainAvailable(false),
        Property::MaximumPacketSize(262_144),
        Property::AssignedClientIdentifier("id"),
        Property::TopicAliasMaximum(16),
        Property::ReasonString("why"),
        Property::WildcardSubscriptionAvailable(true),
        Property::SubscriptionIdentifiersAvailable(false),
        Property::SharedSubscriptionAvailable(false),
        Property::ServerKeepAlive(30),
        Property::ResponseInformation("r"),
        Property::ServerReference("s"),
        Property::AuthenticationMethod("m"),
    ])?;
    let subscription = properties(&[Property::SubscriptionIdentifier(VariableInteger(7)), user])?;
    let users = properties(&[user, user])?;
    let goodbye = properties(&[
        Property::SessionExpiryInterval(1),
        Property::ReasonString("why"),
        Property::ServerReference("s"),
    ])?;
    let auth = properties(&[Property::AuthenticationMethod("m"), Property::AuthenticationData(b"d")])?;
    let some = |buf| if five { PropertyBuf::as_properties(buf) } else { Properties::EMPTY };
    let packet_id = PacketId::MIN;
    let options = SubscribeOptions {
        qos: Qos::AtLeastOnce,
        no_local: five,
        retain_as_published: five,
        retain_handling: if five { RetainHandling::Never } else { RetainHandling::Send },
    };
    let mut filters = FilterBuf::new();
    filters.push("v1/devices/me/rpc/request/+", options)?;
    filters.push("a/#", SubscribeOptions::with_qos(Qos::ExactlyOnce))?;
    let mut topics = TopicBuf::new();
    topics.push("v1/devices/me/attributes")?;
    topics.push("#")?;
    let ack = |code| Ack {
        packet_id,
        reason: if five { code } else { ReasonCode::Success },
        properties: some(&reason),
    };
    let plain = Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        properties: Properties::EMPTY,
        client_id: "",
        will: None,
        user_name: None,
        password: None,
    };
    let full = Connect {
        clean_start: false,
        properties: some(&connect),
        client_id: "boiler-7",
        will: Some(Will {
            qos: Qos::ExactlyOnce,
            retain: true,
            properties: some(&will),
            topic: "v1/devices/me/events",
            payload: b"{}",
        }),
        user_name: Some("device"),
        password: Some(b"secret"),
        ..plain
    };
    let message = |qos, packet_id, properties| {
        let topic = "v1/devices/me/telemetry";
        Packet::Publish(Publish {
            dup: false,
            qos,
            retain: true,
            topic,
            packet_id,
            properties,
            payload: b"{}",
        })
    };
    let refusal =
        ConnAck { session_present: false, reason: ReasonCode::NotAuthorized, properties: Properties::EMPTY };
    let unsuback = if five { &[0x00, 0x11][..] } else { &[] };
    let mut list = vec![
        ("connect", Packet::Connect(plain)),
        ("connect_full", Packet::Connect(full)),
        (
            "connack",
            Packet::ConnAck(ConnAck { reason: ReasonCode::Success, properties: some(&connack), ..refusal }),
        ),
        ("connack_refused", Packet::ConnAck(refusal)),
        ("publish_0", message(Qos::AtMostOnce, None, Properties::EMPTY)),
        ("publish_1", message(Qos::AtLeastOnce, Some(packet_id), some(&publish))),
        ("publish_2", message(Qos::ExactlyOnce, Some(packet_id), Properties::EMPTY)),
        ("puback", Packet::PubAck(Ack::success(packet_id))),
        ("puback_full", Packet::PubAck(ack(ReasonCode::PayloadFormatInvalid))),
        ("pubrec_full", Packet::PubRec(ack(ReasonCode::QuotaExceeded))),
        ("pubrel_full", Packet::PubRel(ack(ReasonCode::PacketIdentifierNotFound))),
        ("pubcomp_full", Packet::PubComp(ack(ReasonCode::PacketIdentifierNotFound))),
        (
            "subscribe",
            Packet::Subscribe(Subscribe {
                packet_id,
                properties: some(&subscription),
                filters: filters.as_list(),
            }),
        ),
        (
            "suback",
            Packet::SubAck(SubAck {
                packet_id,
                properties: some(&reason),
                reasons: ReasonList::from_bytes(&[0, 1, 2, 0x80]),
            }),
        ),
        (
            "unsubscribe",
            Packet::Unsubscribe(Unsubscribe {
                packet_id,
                properties: some(&users),
                filters: topics.as_list(),
            }),
        ),
        (
            "unsuback",
            Packet::UnsubAck(UnsubAck {
                packet_id,
                properties: some(&reason),
                reasons: ReasonList::from_bytes(unsuback),
            }),
        ),
        ("pingreq", Packet::PingReq),
        ("pingresp", Packet::PingResp),
        (
            "disconnect",
            Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY }),
        ),
    ];
    if five {
        list.push((
            "disconnect_full",
            Packet::Disconnect(Disconnect {
                reason: ReasonCode::DisconnectWithWill,
                properties: goodbye.as_properties(),
            }),
        ));
        list.push((
            "auth",
            Packet::Auth(Auth {
                reason: ReasonCode::ContinueAuthentication,
                properties: auth.as_properties(),
            }),
        ));
    }
    let mut encoded = Vec::new();
    let mut all = Vec::new();
    for (name, packet) in list {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes)?;
        all.extend_from_slice(&bytes);
        encoded.push((name, bytes));
    }
    encoded.push(("all", all));
    encoded.push(("long_length", vec![0x30, 0x84, 0x00, 0, 1, b'a', 0]));
    encoded.push(("too_large", vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F]));
    encoded.push(("old_version", b"\x10\x0E\0\x06MQIsdp\x03\x02\0\x3C\0\0".to_vec()));
    Ok(encoded)
}

/// Scripts in the language of `fuzz/src/checks.rs`: the low half of a byte is the operation, the high
/// half its argument.
fn scripts() -> Vec<(&'static str, Vec<u8>)> {
    let canned = |which: u8| which << 4 | 6;
    let (accept, done, deliver, later) = (7, 8, 0x2A, 0x2B);
    let opening = |version: u8| vec![canned(version), accept];
    let script = |version: u8, rest: &[u8]| [opening(version), rest.to_vec()].concat();
    let mut torn = vec![0x40];
    torn.extend_from_slice(b"\x10\x0C\0\x04");
    torn.push(0x80);
    torn.extend_from_slice(b"MQTT\x04\x02\0\x3C");
    torn.push(0x20);
    torn.extend_from_slice(b"\0\0");
    torn.extend_from_slice(&[accept, canned(3), done]);
    vec![
        ("v4_qos_1", script(0, &[canned(3), canned(3), 0x18, 8])),
        ("v5_qos_1", script(1, &[canned(4), canned(4), 0x18, 8])),
        ("v4_qos_2", script(0, &[canned(5), done, canned(5), canned(7), canned(7)])),
        ("v5_qos_2", script(1, &[canned(6), done, canned(6), canned(7), canned(7)])),
        ("v4_window", script(0, &[canned(3); 9])),
        ("v5_window", script(1, &[canned(4); 9])),
        (
            "v4_deliver",
            script(0, &[canned(10), deliver, deliver, deliver, deliver, deliver, canned(8), canned(9)]),
        ),
        ("v5_deliver", script(2, &[canned(11), deliver, deliver, deliver, 0xEA, canned(8), 0x0C, 0x1C])),
        ("v5_expiry", script(2, &[canned(11), deliver, deliver, 0x3A, 0x7A, later, canned(8), canned(9)])),
        ("v5_alias", script(1, &[canned(15), canned(15)])),
        ("v5_rejected", script(1, &[canned(13), canned(4), canned(13), done])),
        ("v5_refused_publish", script(1, &[canned(4), 0x19, canned(4), 0x29, canned(4), 0x39])),
        ("v5_store_unavailable", script(1, &[canned(4), canned(4), 0x09])),
        ("v4_qos_0_subscription", script(0, &[canned(12), 0x0A, 0x4A, 0x8A])),
        ("v4_keep_alive", script(0, &[canned(14), later, canned(14), 0x3B])),
        ("connect_timeout", vec![0x20, 0x10, 0x0C, later]),
        ("pipelined", vec![canned(1), canned(4), canned(6), canned(14), accept, done, done]),
        ("refused", vec![canned(1), 0x0F]),
        ("shut", script(1, &[canned(4), 0x0E])),
        ("shut_before_accept", vec![canned(1), 0x0E]),
        ("cut", script(0, &[canned(3), 0x0D])),
        ("second_connect", script(1, &[canned(1)])),
        ("torn", torn),
    ]
}
