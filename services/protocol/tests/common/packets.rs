//! Packets of every kind by proptest. Each is decoded again where it is made: what was encoded comes back.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::collection::vec;
use proptest::prelude::*;
use stoker_protocol::codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, FilterBuf, Packet, PacketId, Properties, Property, PropertyBuf,
    Publish, Qos, ReasonCode, ReasonList, RetainHandling, SubAck, Subscribe, SubscribeOptions, TopicBuf,
    UnsubAck, Unsubscribe, VariableInteger, Version, Will,
};

/// Where properties are made for.
#[derive(Clone, Copy)]
enum Place {
    Connect,
    Will,
    ConnAck,
    Publish,
    Ack,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

fn ids(place: Place) -> &'static [u8] {
    match place {
        Place::Connect => &[0x11, 0x15, 0x17, 0x19, 0x21, 0x22, 0x26, 0x26, 0x27],
        Place::Will => &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26, 0x26],
        Place::ConnAck => {
            &[0x11, 0x12, 0x13, 0x15, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A]
        }
        Place::Publish => &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x0B, 0x23, 0x26, 0x26],
        Place::Ack => &[0x1F, 0x26, 0x26],
        Place::Subscribe => &[0x0B, 0x26, 0x26],
        Place::Unsubscribe => &[0x26, 0x26],
        Place::Disconnect => &[0x11, 0x1C, 0x1F, 0x26, 0x26],
        Place::Auth => &[0x15, 0x16, 0x1F, 0x26, 0x26],
    }
}

/// One draw: which property of the place's list, and values it may take.
type Draw = (usize, u32, String, Vec<u8>);

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    vec((any::<usize>(), any::<u32>(), text(), vec(any::<u8>(), 0..8)), 0..5)
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9/ äß€\u{1F525}]{0,12}"
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9/ä€]{1,12}", Just("v1/devices/me/telemetry".to_owned())]
}

fn filter() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9/ä€]{1,12}", "([a-z]{1,3}/){0,3}(#|\\+)", Just("$share/group/a/+".to_owned())]
}

fn made(version: Version, place: Place, draws: &[Draw]) -> PropertyBuf {
    let mut buf = PropertyBuf::new();
    if version == Version::V311 {
        return buf;
    }
    let mut seen = Vec::new();
    for (which, number, text, bytes) in draws {
        let ids = ids(place);
        let id = ids[which % ids.len()];
        let repeats = id == 0x26 || id == 0x0B && matches!(place, Place::Publish);
        if seen.contains(&id) && !repeats || id == 0x16 && !seen.contains(&0x15) {
            continue;
        }
        seen.push(id);
        let short = (number % 65_535) as u16 + 1;
        let name = if text.is_empty() { "answer" } else { text };
        let flag = number % 2 == 0;
        buf.push(match id {
            0x01 => Property::PayloadFormatIndicator(flag),
            0x02 => Property::MessageExpiryInterval(*number),
            0x03 => Property::ContentType(text),
            0x08 => Property::ResponseTopic(name),
            0x09 => Property::CorrelationData(bytes),
            0x0B => Property::SubscriptionIdentifier(VariableInteger(number % 268_435_455 + 1)),
            0x11 => Property::SessionExpiryInterval(*number),
            0x12 => Property::AssignedClientIdentifier(text),
            0x13 => Property::ServerKeepAlive(short),
            0x15 => Property::AuthenticationMethod(text),
            0x16 => Property::AuthenticationData(bytes),
            0x17 => Property::RequestProblemInformation(flag),
            0x18 => Property::WillDelayInterval(*number),
            0x19 => Property::RequestResponseInformation(flag),
            0x1A => Property::ResponseInformation(text),
            0x1C => Property::ServerReference(text),
            0x1F => Property::ReasonString(text),
            0x21 => Property::ReceiveMaximum(short),
            0x22 => Property::TopicAliasMaximum(short),
            0x23 => Property::TopicAlias(short),
            0x24 => Property::MaximumQos(flag),
            0x25 => Property::RetainAvailable(flag),
            0x26 => Property::UserProperty((text, name)),
            0x27 => Property::MaximumPacketSize((*number).max(1)),
            0x28 => Property::WildcardSubscriptionAvailable(flag),
            0x29 => Property::SubscriptionIdentifiersAvailable(flag),
            _ => Property::SharedSubscriptionAvailable(flag),
        })
        .unwrap();
    }
    buf
}

/// Encodes the packet, and checks that it decodes to itself.
fn built(version: Version, packet: Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).unwrap();
    assert_eq!(Packet::decode(version, &bytes), Ok(packet));
    bytes
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

fn id() -> impl Strategy<Value = PacketId> {
    any::<PacketId>()
}

fn pick(all: &[ReasonCode], allowed: fn(ReasonCode) -> bool, which: usize) -> ReasonCode {
    let list: Vec<_> = all.iter().copied().filter(|code| allowed(*code)).collect();
    list[which % list.len()]
}

fn connect(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let will = proptest::option::of((qos(), any::<bool>(), draws(), name(), vec(any::<u8>(), 0..8)));
    let credentials = (proptest::option::of(text()), proptest::option::of(vec(any::<u8>(), 0..8)));
    (any::<bool>(), any::<u16>(), draws(), text(), will, credentials).prop_map(
        move |(clean_start, keep_alive, draws, client_id, will, (user_name, password))| {
            let properties = made(version, Place::Connect, &draws);
            let will_properties =
                will.as_ref().map(|(_, _, draws, ..)| made(version, Place::Will, draws)).unwrap_or_default();
            let will = will.as_ref().map(|(qos, retain, _, topic, payload)| Will {
                qos: *qos,
                retain: *retain,
                properties: will_properties.as_properties(),
                topic,
                payload,
            });
            let lonely = version == Version::V311 && user_name.is_none();
            built(
                version,
                Packet::Connect(Connect {
                    version,
                    clean_start,
                    keep_alive,
                    properties: properties.as_properties(),
                    client_id: &client_id,
                    will,
                    user_name: user_name.as_deref(),
                    password: if lonely { None } else { password.as_deref() },
                }),
            )
        },
    )
}

fn connack(version: Version) -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), any::<usize>(), draws()).prop_map(move |(present, which, draws)| {
        let properties = made(version, Place::ConnAck, &draws);
        let allowed: fn(ReasonCode) -> bool = match version {
            Version::V311 => |code| code.connect_return().is_some(),
            Version::V5 => ReasonCode::valid_in_connack,
        };
        let reason = if present { ReasonCode::Success } else { pick(ReasonCode::ALL, allowed, which) };
        built(
            version,
            Packet::ConnAck(ConnAck {
                session_present: present,
                reason,
                properties: properties.as_properties(),
            }),
        )
    })
}

fn publish(version: Version) -> impl Strategy<Value = Vec<u8>> {
    (qos(), any::<[bool; 2]>(), name(), id(), draws(), vec(any::<u8>(), 0..40)).prop_map(
        move |(qos, [dup, retain], topic, packet_id, draws, payload)| {
            let properties = made(version, Place::Publish, &draws);
            let zero = qos == Qos::AtMostOnce;
            built(
                version,
                Packet::Publish(Publish {
                    dup: dup && !zero,
                    qos,
                    retain,
                    topic: &topic,
                    packet_id: if zero { None } else { Some(packet_id) },
                    properties: properties.as_properties(),
                    payload: &payload,
                }),
            )
        },
    )
}

fn ack(version: Version) -> impl Strategy<Value = Vec<u8>> {
    (0..4_u8, id(), any::<usize>(), draws()).prop_map(move |(kind, packet_id, which, draws)| {
        let buf = made(version, Place::Ack, &draws);
        let allowed: fn(ReasonCode) -> bool = match (version, kind) {
            (Version::V311, _) => |code| code == ReasonCode::Success,
            (_, 0 | 1) => ReasonCode::valid_in_puback,
            _ => ReasonCode::valid_in_pubrel,
        };
        let reason = pick(ReasonCode::ALL, allowed, which);
        let ack = Ack { packet_id, reason, properties: buf.as_properties() };
        let packet = match kind {
            0 => Packet::PubAck(ack),
            1 => Packet::PubRec(ack),
            2 => Packet::PubRel(ack),
            _ => Packet::PubComp(ack),
        };
        built(version, packet)
    })
}

fn subscribe(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let one = (filter(), qos(), any::<[bool; 2]>(), 0..3_u8);
    (id(), draws(), vec(one, 1..4)).prop_map(move |(packet_id, draws, wanted)| {
        let properties = made(version, Place::Subscribe, &draws);
        let mut filters = FilterBuf::new();
        for (filter, qos, [no_local, retain_as_published], retain) in wanted {
            let mut options = SubscribeOptions::with_qos(qos);
            if version == Version::V5 {
                options.no_local = no_local && !filter.starts_with("$share/");
                options.retain_as_published = retain_as_published;
                options.retain_handling =
                    [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::Never]
                        [usize::from(retain)];
            }
            filters.push(&filter, options).unwrap();
        }
        let (properties, filters) = (properties.as_properties(), filters.as_list());
        built(version, Packet::Subscribe(Subscribe { packet_id, properties, filters }))
    })
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Vec<u8>> {
    (id(), draws(), vec(filter(), 1..4)).prop_map(move |(packet_id, draws, wanted)| {
        let properties = made(version, Place::Unsubscribe, &draws);
        let mut filters = TopicBuf::new();
        for filter in wanted {
            filters.push(&filter).unwrap();
        }
        let (properties, filters) = (properties.as_properties(), filters.as_list());
        built(version, Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }))
    })
}

fn suback(version: Version) -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), id(), draws(), vec(any::<usize>(), 1..4)).prop_map(
        move |(un, packet_id, draws, which)| {
            let properties = made(version, Place::Ack, &draws);
            let allowed: fn(ReasonCode) -> bool = match (version, un) {
                (Version::V311, _) => |code| matches!(code.value(), 0..=2 | 0x80),
                (Version::V5, false) => ReasonCode::valid_in_suback,
                (Version::V5, true) => ReasonCode::valid_in_unsuback,
            };
            let mut codes: Vec<_> =
                which.iter().map(|which| pick(ReasonCode::ALL, allowed, *which).value()).collect();
            let properties = properties.as_properties();
            if un {
                if version == Version::V311 {
                    codes.clear();
                }
                let reasons = ReasonList::from_bytes(&codes);
                return built(version, Packet::UnsubAck(UnsubAck { packet_id, properties, reasons }));
            }
            let reasons = ReasonList::from_bytes(&codes);
            built(version, Packet::SubAck(SubAck { packet_id, properties, reasons }))
        },
    )
}

fn bare(version: Version) -> impl Strategy<Value = Vec<u8>> {
    (0..4_u8, any::<usize>(), draws()).prop_map(move |(kind, which, draws)| match (kind, version) {
        (0, _) => built(version, Packet::PingReq),
        (1, _) => built(version, Packet::PingResp),
        (_, Version::V311) => built(
            version,
            Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY }),
        ),
        (2, Version::V5) => {
            let properties = made(version, Place::Disconnect, &draws);
            let reason = pick(ReasonCode::ALL, ReasonCode::valid_in_disconnect, which);
            let properties = properties.as_properties();
            built(version, Packet::Disconnect(Disconnect { reason, properties }))
        }
        (_, Version::V5) => {
            let mut properties = PropertyBuf::new();
            properties.push(Property::AuthenticationMethod("SCRAM")).unwrap();
            properties.push(Property::AuthenticationData(&[which as u8])).unwrap();
            let reason = pick(ReasonCode::ALL, ReasonCode::valid_in_auth, which);
            let properties = properties.as_properties();
            built(version, Packet::Auth(Auth { reason, properties }))
        }
    })
}

/// One valid packet of any kind, encoded.
pub fn packet(version: Version) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => connect(version),
        1 => connack(version),
        3 => publish(version),
        2 => ack(version),
        2 => subscribe(version),
        1 => unsubscribe(version),
        1 => suback(version),
        1 => bare(version),
    ]
}

/// A change to a packet's body: its remaining length is kept right, so that what is behind it is read.
#[derive(Clone, Debug)]
pub enum Change {
    Flip(usize, u8),
    Set(usize, u8),
    Cut(usize),
    Insert(usize, u8),
    Remove(usize),
}

pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let likely = prop_oneof![Just(0), Just(1), Just(b'#'), Just(b'+'), Just(0x80), 0..0x30_u8, any::<u8>()];
    let one = prop_oneof![
        (any::<usize>(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        (any::<usize>(), likely.clone()).prop_map(|(at, byte)| Change::Set(at, byte)),
        any::<usize>().prop_map(Change::Cut),
        (any::<usize>(), likely).prop_map(|(at, byte)| Change::Insert(at, byte)),
        any::<usize>().prop_map(Change::Remove),
    ];
    vec(one, 1..4)
}

/// The body of a packet with these changes.
pub fn changed(body: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut body = body.to_vec();
    for change in changes {
        // Most of what matters stands in front.
        let at = |n: &usize| {
            if n.is_multiple_of(2) { n / 2 % body.len().clamp(1, 16) } else { n % body.len().max(1) }
        };
        match change {
            Change::Insert(n, byte) => {
                let at = at(n);
                body.insert(at.min(body.len()), *byte);
            }
            _ if body.is_empty() => {}
            Change::Flip(n, bit) => {
                let at = at(n);
                body[at] ^= bit;
            }
            Change::Set(n, byte) => {
                let at = at(n);
                body[at] = *byte;
            }
            Change::Cut(n) => {
                let at = at(n);
                body.truncate(at);
            }
            Change::Remove(n) => {
                let at = at(n);
                body.remove(at);
            }
        }
    }
    body
}

/// A packet of a first byte and a body.
pub fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        bytes.push((length & 0x7F) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// The body of an encoded packet.
pub fn body(frame: &[u8]) -> &[u8] {
    let header = 2 + frame[1..].iter().take_while(|byte| **byte & 0x80 != 0).count();
    &frame[header..]
}
