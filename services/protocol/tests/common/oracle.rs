//! Another implementation's reading of a packet, put so that it can be compared.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::{v3_1_1 as v4, v5_0 as v5};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use stoker_protocol::codec::{Packet, Version};

/// What it read: the packet as it would write it, and its main fields as text.
#[derive(Debug)]
pub struct Seen {
    pub bytes: Vec<u8>,
    pub fields: String,
}

macro_rules! acks {
    ($body:expr, $packet:ty) => {{
        let (packet, used) = <$packet>::parse($body)?;
        let reason = packet.reason_code().map_or(0, |code| code as u8);
        (packet.to_continuous_buffer(), used, format!("{} {reason}", packet.packet_id()))
    }};
}

macro_rules! plain {
    ($body:expr, $packet:ty, $packet_name:ident => $fields:expr) => {{
        let ($packet_name, used) = <$packet>::parse($body)?;
        ($packet_name.to_continuous_buffer(), used, $fields)
    }};
}

/// Reads a packet by its first byte and body. Its flags are not looked at by the other implementation at this
/// level, nor is what is left over, which counts as refused here.
pub fn read(version: Version, first: u8, body: &[u8]) -> Result<Seen, MqttError> {
    let five = version == Version::V5;
    let (bytes, used, fields) = match (first >> 4, five) {
        (1, false) => plain!(body, v4::Connect, packet => format!(
            "{} {} {:?} {:?} {:?} {:?} {:?}",
            packet.clean_session(), packet.keep_alive(), packet.client_id(),
            packet.user_name(), packet.password(), packet.will_topic(), packet.will_payload(),
        )),
        (1, true) => plain!(body, v5::Connect, packet => format!(
            "{} {} {:?} {:?} {:?} {:?} {:?}",
            packet.clean_start(), packet.keep_alive(), packet.client_id(),
            packet.user_name(), packet.password(), packet.will_topic(), packet.will_payload(),
        )),
        (2, false) => plain!(body, v4::Connack, packet =>
            format!("{} {}", packet.session_present(), packet.return_code() as u8)),
        (2, true) => plain!(body, v5::Connack, packet =>
            format!("{} {}", packet.session_present(), packet.reason_code() as u8)),
        (3, false) => {
            let (packet, used) = v4::Publish::parse(first & 0x0F, Arc::from(body))?;
            let fields = format!(
                "{} {} {} {:?} {:?} {:?}",
                packet.dup(),
                packet.qos() as u8,
                packet.retain(),
                packet.topic_name(),
                packet.packet_id(),
                packet.payload().as_slice(),
            );
            (packet.to_continuous_buffer(), used, fields)
        }
        (3, true) => {
            let (packet, used) = v5::Publish::parse(first & 0x0F, Arc::from(body))?;
            let fields = format!(
                "{} {} {} {:?} {:?} {:?}",
                packet.dup(),
                packet.qos() as u8,
                packet.retain(),
                packet.topic_name(),
                packet.packet_id(),
                packet.payload().as_slice(),
            );
            (packet.to_continuous_buffer(), used, fields)
        }
        (4, false) => acks!(body, v4::Puback),
        (4, true) => acks!(body, v5::Puback),
        (5, false) => acks!(body, v4::Pubrec),
        (5, true) => acks!(body, v5::Pubrec),
        (6, false) => acks!(body, v4::Pubrel),
        (6, true) => acks!(body, v5::Pubrel),
        (7, false) => acks!(body, v4::Pubcomp),
        (7, true) => acks!(body, v5::Pubcomp),
        (8, false) => plain!(body, v4::Subscribe, packet => packet.entries().iter().fold(
            packet.packet_id().to_string(),
            |text, entry| format!("{text} {:?} {}", entry.topic_filter(), entry.sub_opts().to_buffer()[0]),
        )),
        (8, true) => plain!(body, v5::Subscribe, packet => packet.entries().iter().fold(
            packet.packet_id().to_string(),
            |text, entry| format!("{text} {:?} {}", entry.topic_filter(), entry.sub_opts().to_buffer()[0]),
        )),
        (9, false) => plain!(body, v4::Suback, packet => packet.return_codes().iter().fold(
            packet.packet_id().to_string(), |text, code| format!("{text} {}", *code as u8))),
        (9, true) => plain!(body, v5::Suback, packet => packet.reason_codes().iter().fold(
            packet.packet_id().to_string(), |text, code| format!("{text} {}", *code as u8))),
        (10, false) => plain!(body, v4::Unsubscribe, packet => packet.entries().iter().fold(
            packet.packet_id().to_string(), |text, entry| format!("{text} {:?}", entry.as_str()))),
        (10, true) => plain!(body, v5::Unsubscribe, packet => packet.entries().iter().fold(
            packet.packet_id().to_string(), |text, entry| format!("{text} {:?}", entry.as_str()))),
        (11, false) => plain!(body, v4::Unsuback, packet => packet.packet_id().to_string()),
        (11, true) => plain!(body, v5::Unsuback, packet => packet.reason_codes().iter().fold(
            packet.packet_id().to_string(), |text, code| format!("{text} {}", *code as u8))),
        (12, false) => plain!(body, v4::Pingreq, packet => String::new()),
        (12, true) => plain!(body, v5::Pingreq, packet => String::new()),
        (13, false) => plain!(body, v4::Pingresp, packet => String::new()),
        (13, true) => plain!(body, v5::Pingresp, packet => String::new()),
        (14, false) => plain!(body, v4::Disconnect, packet => "0".to_owned()),
        (14, true) => plain!(body, v5::Disconnect, packet =>
            packet.reason_code().map_or(0, |code| code as u8).to_string()),
        (15, true) => plain!(body, v5::Auth, packet =>
            packet.reason_code().map_or(0, |code| code as u8).to_string()),
        _ => return Err(MqttError::MalformedPacket),
    };
    if used == body.len() { Ok(Seen { bytes, fields }) } else { Err(MqttError::MalformedPacket) }
}

/// The same fields of our reading.
pub fn fields(version: Version, packet: &Packet<'_>) -> String {
    let codes = |id: u16, codes: stoker_protocol::codec::ReasonList<'_>| {
        codes.iter().fold(id.to_string(), |text, code| format!("{text} {}", code.value()))
    };
    match packet {
        Packet::Connect(packet) => format!(
            "{} {} {:?} {:?} {:?} {:?} {:?}",
            packet.clean_start,
            packet.keep_alive,
            packet.client_id,
            packet.user_name,
            packet.password,
            packet.will.map(|will| will.topic),
            packet.will.map(|will| will.payload),
        ),
        Packet::ConnAck(packet) => {
            let code = match version {
                Version::V311 => packet.reason.connect_return().unwrap(),
                Version::V5 => packet.reason.value(),
            };
            format!("{} {code}", packet.session_present)
        }
        Packet::Publish(packet) => format!(
            "{} {} {} {:?} {:?} {:?}",
            packet.dup, packet.qos as u8, packet.retain, packet.topic, packet.packet_id, packet.payload,
        ),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            format!("{} {}", ack.packet_id, ack.reason.value())
        }
        Packet::Subscribe(packet) => {
            packet.filters.iter().fold(packet.packet_id.to_string(), |text, wanted| {
                let options = wanted.options;
                let byte = options.qos as u8
                    | u8::from(options.no_local) << 2
                    | u8::from(options.retain_as_published) << 3
                    | (options.retain_handling as u8) << 4;
                format!("{text} {:?} {byte}", wanted.filter)
            })
        }
        Packet::SubAck(packet) => codes(packet.packet_id.get(), packet.reasons),
        Packet::Unsubscribe(packet) => packet
            .filters
            .iter()
            .fold(packet.packet_id.to_string(), |text, filter| format!("{text} {filter:?}")),
        Packet::UnsubAck(packet) => codes(packet.packet_id.get(), packet.reasons),
        Packet::PingReq | Packet::PingResp => String::new(),
        Packet::Disconnect(packet) => packet.reason.value().to_string(),
        Packet::Auth(packet) => packet.reason.value().to_string(),
    }
}
