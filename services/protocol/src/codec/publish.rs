//! PUBLISH (3.3).

use super::connect::{read_properties, write_properties};
use super::error::{DecodeError, EncodeError};
use super::property::{Place, Properties};
use super::wire::{Reader, put_packet, put_string, put_u16};
use super::{PacketId, Qos, ReasonCode, Version, read_packet_id};
use crate::topic;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether it may have been sent before; never with QoS 0.
    pub dup: bool,
    /// How often it may arrive.
    pub qos: Qos,
    /// Whether it shall be retained, or was.
    pub retain: bool,
    /// A topic name without wildcards; empty only where a topic alias stands for it.
    pub topic: &'a str,
    /// There with QoS 1 and 2, and only then.
    pub packet_id: Option<PacketId>,
    /// Always empty with 3.1.1.
    pub properties: Properties<'a>,
    /// Any bytes.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    pub(super) fn read(version: Version, first: u8, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let qos = Qos::from_u8(first >> 1 & 0b11).ok_or(DecodeError::malformed("publish with qos 3"))?;
        let topic = reader.string("topic name")?;
        let packet_id = if qos == Qos::AtMostOnce { None } else { Some(read_packet_id(&mut reader)?) };
        let properties = read_properties(version, &mut reader, Place::Publish)?;
        check_topic(topic, properties)?;
        Ok(Self {
            dup: first & 0x08 != 0,
            qos,
            retain: first & 0x01 != 0,
            topic,
            packet_id,
            properties,
            payload: reader.rest(),
        })
    }

    pub(super) fn write(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.packet_id.is_some() == (self.qos == Qos::AtMostOnce) {
            return Err(EncodeError::new("packet identifier does not fit the qos"));
        }
        if self.dup && self.qos == Qos::AtMostOnce {
            return Err(EncodeError::new("publish with qos 0 and dup"));
        }
        check_topic(self.topic, self.properties)?;
        let first = 0x30 | u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain);
        put_packet(out, first, |out| {
            put_string(out, self.topic, "topic name")?;
            if let Some(packet_id) = self.packet_id {
                put_u16(out, packet_id.get());
            }
            write_properties(version, self.properties, out, Place::Publish)?;
            out.extend_from_slice(self.payload);
            Ok(())
        })
    }
}

fn check_topic(name: &str, properties: Properties<'_>) -> Result<(), DecodeError> {
    if topic::is_valid_name(name) {
        return Ok(());
    }
    if !name.is_empty() {
        return Err(DecodeError::new(ReasonCode::TopicNameInvalid, "wildcard in a topic name"));
    }
    match properties.topic_alias() {
        Some(_) => Ok(()),
        None => Err(DecodeError::protocol("empty topic name without a topic alias")),
    }
}
