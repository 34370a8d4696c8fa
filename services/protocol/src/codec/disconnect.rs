//! DISCONNECT (3.14) and AUTH (3.15).

use super::error::{DecodeError, EncodeError};
use super::property::{Place, Properties};
use super::wire::{Reader, put_packet};
use super::{ReasonCode, Version};

/// The end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; always success (normal disconnection) with 3.1.1.
    pub reason: ReasonCode,
    /// Always empty with 3.1.1.
    pub properties: Properties<'a>,
}

/// A step of enhanced authentication; MQTT 5 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, continue, or re-authenticate.
    pub reason: ReasonCode,
    /// The method is always there, unless reason and properties were left out altogether.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    pub(super) fn read(version: Version, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        if version == Version::V311 {
            reader.finish("disconnect with a body")?;
            return Ok(Self { reason: ReasonCode::Success, properties: Properties::EMPTY });
        }
        let (reason, properties) =
            read_reason(&mut reader, Place::Disconnect, ReasonCode::valid_in_disconnect)?;
        Ok(Self { reason, properties })
    }

    pub(super) fn write(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if version == Version::V311 {
            if self.reason != ReasonCode::Success || !self.properties.is_empty() {
                return Err(EncodeError::new("reason in a disconnect of mqtt 3.1.1"));
            }
            out.extend_from_slice(&[0xE0, 0]);
            return Ok(());
        }
        if !self.reason.valid_in_disconnect() {
            return Err(EncodeError::new("disconnect reason code"));
        }
        write_reason(out, 0xE0, self.reason, self.properties, Place::Disconnect)
    }
}

impl<'a> Auth<'a> {
    pub(super) fn read(version: Version, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        if version == Version::V311 {
            return Err(DecodeError::malformed("packet type 15 in mqtt 3.1.1"));
        }
        let (reason, properties) = read_reason(&mut reader, Place::Auth, ReasonCode::valid_in_auth)?;
        check_method(reason, properties)?;
        Ok(Self { reason, properties })
    }

    pub(super) fn write(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if version == Version::V311 {
            return Err(EncodeError::new("auth in mqtt 3.1.1"));
        }
        if !self.reason.valid_in_auth() {
            return Err(EncodeError::new("auth reason code"));
        }
        check_method(self.reason, self.properties)?;
        write_reason(out, 0xF0, self.reason, self.properties, Place::Auth)
    }
}

/// 3.15.2.2.2: it is a protocol error to leave out the method. Reason and properties together may be
/// left out for success (3.15.2.1), and then there is none.
fn check_method(reason: ReasonCode, properties: Properties<'_>) -> Result<(), DecodeError> {
    let left_out = reason == ReasonCode::Success && properties.is_empty();
    if !left_out && properties.authentication_method().is_none() {
        return Err(DecodeError::protocol("auth without a method"));
    }
    Ok(())
}

fn read_reason<'a>(
    reader: &mut Reader<'a>,
    place: Place,
    allowed: fn(ReasonCode) -> bool,
) -> Result<(ReasonCode, Properties<'a>), DecodeError> {
    if reader.is_empty() {
        return Ok((ReasonCode::Success, Properties::EMPTY));
    }
    let reason = ReasonCode::from_u8(reader.u8("reason code")?)
        .filter(|reason| allowed(*reason))
        .ok_or(DecodeError::malformed("reason code"))?;
    let properties = if reader.is_empty() { Properties::EMPTY } else { Properties::read(reader, place)? };
    reader.finish("bytes behind the properties")?;
    Ok((reason, properties))
}

fn write_reason(
    out: &mut Vec<u8>,
    first: u8,
    reason: ReasonCode,
    properties: Properties<'_>,
    place: Place,
) -> Result<(), EncodeError> {
    put_packet(out, first, |out| {
        if reason == ReasonCode::Success && properties.is_empty() {
            return Ok(());
        }
        out.push(reason.value());
        if properties.is_empty() { Ok(()) } else { properties.write(out, place) }
    })
}
