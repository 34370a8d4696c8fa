//! Every packet of MQTT 3.1.1 and MQTT 5, read without copying and written into a `Vec<u8>`.
//!
//! [`probe`] finds the end of a packet, [`Packet::decode`] reads it, [`Packet::encode`] writes it. What
//! is decoded borrows from the bytes; lists and [`Properties`] stay as the bytes they came in, checked
//! once, so that nothing is allocated. The encoder refuses what the decoder would refuse.

mod ack;
mod connack;
mod connect;
mod disconnect;
mod error;
mod frame;
mod property;
mod publish;
mod reason;
mod subscribe;
mod wire;

pub use ack::Ack;
pub use connack::ConnAck;
pub use connect::{Connect, Will};
pub use disconnect::{Auth, Disconnect};
pub use error::{DecodeError, EncodeError};
pub use frame::{FrameError, Probe, probe};
pub use property::{Properties, Property, PropertyBuf, PropertyIter, VariableInteger};
pub use publish::Publish;
pub use reason::ReasonCode;
pub use subscribe::{
    Filter, FilterBuf, FilterIter, FilterList, ReasonIter, ReasonList, RetainHandling, SubAck, Subscribe,
    SubscribeOptions, TopicBuf, TopicIter, TopicList, UnsubAck, Unsubscribe,
};
pub use wire::VARIABLE_INTEGER_MAX;

pub(crate) use connect::claimed_level;

use std::num::NonZeroU16;

use wire::{Reader, Variable, read_variable};

/// The number of a packet that is answered; never 0 (2.2.1).
pub type PacketId = NonZeroU16;

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5, protocol level 5.
    V5,
}

/// How often a message may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

impl Qos {
    /// The QoS with this number; none for 3 and above.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The client wants to connect.
    Connect(Connect<'a>),
    /// The answer to CONNECT.
    ConnAck(ConnAck<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// The answer to a QoS 1 PUBLISH.
    PubAck(Ack<'a>),
    /// The first answer to a QoS 2 PUBLISH.
    PubRec(Ack<'a>),
    /// The answer to PUBREC.
    PubRel(Ack<'a>),
    /// The answer to PUBREL.
    PubComp(Ack<'a>),
    /// The client wants messages.
    Subscribe(Subscribe<'a>),
    /// The answer to SUBSCRIBE.
    SubAck(SubAck<'a>),
    /// The client wants messages no more.
    Unsubscribe(Unsubscribe<'a>),
    /// The answer to UNSUBSCRIBE.
    UnsubAck(UnsubAck<'a>),
    /// The client is there.
    PingReq,
    /// The answer to PINGREQ.
    PingResp,
    /// The end of the connection; sent by the client only with 3.1.1.
    Disconnect(Disconnect<'a>),
    /// A step of enhanced authentication; MQTT 5 only.
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Reads one packet; `frame` is exactly that, as [`probe`] found it.
    ///
    /// A CONNECT says its own version; `version` is for all others.
    ///
    /// # Errors
    /// The bytes are no packet of that version; the error names the reason code for the peer.
    pub fn decode(version: Version, frame: &'a [u8]) -> Result<Self, DecodeError> {
        let (first, rest) = frame.split_first().ok_or(DecodeError::malformed("empty packet"))?;
        frame::check_first_byte(*first)?;
        let Variable::Value { value, length, shortest } = read_variable(rest) else {
            return Err(DecodeError::malformed("remaining length"));
        };
        let body = rest.get(length..).unwrap_or_default();
        if body.len() != value as usize {
            return Err(DecodeError::malformed("packet is not as long as it says"));
        }
        if version == Version::V5 && !shortest {
            return Err(DecodeError::malformed("remaining length not in its shortest form"));
        }
        Self::decode_body(version, *first, body)
    }

    /// Reads the packet behind a fixed header that [`probe`] has accepted.
    pub(crate) fn decode_body(version: Version, first: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        frame::check_first_byte(first)?;
        let reader = Reader::new(body);
        Ok(match first >> 4 {
            1 => Self::Connect(Connect::read(reader)?),
            2 => Self::ConnAck(ConnAck::read(version, reader)?),
            3 => Self::Publish(Publish::read(version, first, reader)?),
            4 => Self::PubAck(Ack::read(version, ack::Kind::Ack, reader)?),
            5 => Self::PubRec(Ack::read(version, ack::Kind::Rec, reader)?),
            6 => Self::PubRel(Ack::read(version, ack::Kind::Rel, reader)?),
            7 => Self::PubComp(Ack::read(version, ack::Kind::Comp, reader)?),
            8 => Self::Subscribe(Subscribe::read(version, reader)?),
            9 => Self::SubAck(SubAck::read(version, reader)?),
            10 => Self::Unsubscribe(Unsubscribe::read(version, reader)?),
            11 => Self::UnsubAck(UnsubAck::read(version, reader)?),
            12 => reader.finish("pingreq with a body").map(|()| Self::PingReq)?,
            13 => reader.finish("pingresp with a body").map(|()| Self::PingResp)?,
            14 => Self::Disconnect(Disconnect::read(version, reader)?),
            // Type 0 was refused with the first byte.
            _ => Self::Auth(Auth::read(version, reader)?),
        })
    }

    /// Appends the packet; on an error `out` is as it was.
    ///
    /// # Errors
    /// The packet is not valid in that version: its reader would have to refuse it.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.write(out),
            Self::ConnAck(packet) => packet.write(version, out),
            Self::Publish(packet) => packet.write(version, out),
            Self::PubAck(packet) => packet.write(version, ack::Kind::Ack, out),
            Self::PubRec(packet) => packet.write(version, ack::Kind::Rec, out),
            Self::PubRel(packet) => packet.write(version, ack::Kind::Rel, out),
            Self::PubComp(packet) => packet.write(version, ack::Kind::Comp, out),
            Self::Subscribe(packet) => packet.write(version, out),
            Self::SubAck(packet) => packet.write(version, out),
            Self::Unsubscribe(packet) => packet.write(version, out),
            Self::UnsubAck(packet) => packet.write(version, out),
            Self::PingReq => {
                out.extend_from_slice(&[0xC0, 0]);
                Ok(())
            }
            Self::PingResp => {
                out.extend_from_slice(&[0xD0, 0]);
                Ok(())
            }
            Self::Disconnect(packet) => packet.write(version, out),
            Self::Auth(packet) => packet.write(version, out),
        }
    }
}

/// Reads a packet identifier, which is never 0.
fn read_packet_id(reader: &mut Reader<'_>) -> Result<PacketId, DecodeError> {
    // 2.2.1: a packet identifier of 0 is a protocol violation in both versions.
    NonZeroU16::new(reader.u16("packet identifier")?).ok_or(DecodeError::protocol("packet identifier 0"))
}
