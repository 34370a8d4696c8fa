//! PUBACK, PUBREC, PUBREL and PUBCOMP (3.4–3.7), which have one form.

use super::error::{DecodeError, EncodeError};
use super::property::{Place, Properties};
use super::wire::{Reader, put_packet, put_u16};
use super::{PacketId, ReasonCode, Version, read_packet_id};

/// An answer within the delivery of a QoS 1 or 2 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The identifier of the PUBLISH.
    pub packet_id: PacketId,
    /// How it went; always success with 3.1.1.
    pub reason: ReasonCode,
    /// Always empty with 3.1.1.
    pub properties: Properties<'a>,
}

/// Which of the four it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ack,
    Rec,
    Rel,
    Comp,
}

impl Kind {
    const fn first_byte(self) -> u8 {
        match self {
            Self::Ack => 0x40,
            Self::Rec => 0x50,
            Self::Rel => 0x62,
            Self::Comp => 0x70,
        }
    }

    const fn allows(self, reason: ReasonCode) -> bool {
        match self {
            Self::Ack | Self::Rec => reason.valid_in_puback(),
            Self::Rel | Self::Comp => reason.valid_in_pubrel(),
        }
    }
}

impl<'a> Ack<'a> {
    /// A success without properties.
    pub const fn success(packet_id: PacketId) -> Self {
        Self { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY }
    }

    pub(super) fn read(version: Version, kind: Kind, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let packet_id = read_packet_id(&mut reader)?;
        if version == Version::V311 || reader.is_empty() {
            reader.finish("bytes behind the acknowledgement")?;
            return Ok(Self::success(packet_id));
        }
        let reason = ReasonCode::from_u8(reader.u8("reason code")?)
            .filter(|reason| kind.allows(*reason))
            .ok_or(DecodeError::malformed("reason code of an acknowledgement"))?;
        let properties =
            if reader.is_empty() { Properties::EMPTY } else { Properties::read(&mut reader, Place::Ack)? };
        reader.finish("bytes behind the acknowledgement")?;
        Ok(Self { packet_id, reason, properties })
    }

    pub(super) fn write(&self, version: Version, kind: Kind, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let plain = self.reason == ReasonCode::Success && self.properties.is_empty();
        if plain {
            // By far the most frequent packet that a server sends: no closing up.
            let [high, low] = self.packet_id.get().to_be_bytes();
            out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
            return Ok(());
        }
        if version == Version::V311 {
            return Err(EncodeError::new("reason code in an acknowledgement of mqtt 3.1.1"));
        }
        if !kind.allows(self.reason) {
            return Err(EncodeError::new("reason code of an acknowledgement"));
        }
        put_packet(out, kind.first_byte(), |out| {
            put_u16(out, self.packet_id.get());
            out.push(self.reason.value());
            // Both lengths may be left out when nothing follows (3.4.2).
            if self.properties.is_empty() { Ok(()) } else { self.properties.write(out, Place::Ack) }
        })
    }
}
