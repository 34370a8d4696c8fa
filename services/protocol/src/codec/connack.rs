//! CONNACK (3.2).

use super::connect::write_properties;
use super::error::{DecodeError, EncodeError};
use super::property::{Place, Properties};
use super::wire::{Reader, put_packet};
use super::{ReasonCode, Version};

/// The answer to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server had kept the client's session; only with success.
    pub session_present: bool,
    /// Success or why not. With 3.1.1 only what [`ReasonCode::connect_return`] has a number for.
    pub reason: ReasonCode,
    /// Always empty with 3.1.1.
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    pub(super) fn read(version: Version, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let flags = reader.u8("connack flags")?;
        if flags & 0xFE != 0 {
            return Err(DecodeError::malformed("reserved connack flags"));
        }
        let code = reader.u8("connack reason code")?;
        let reason = match version {
            Version::V311 => ReasonCode::from_connect_return(code),
            Version::V5 => ReasonCode::from_u8(code).filter(|reason| reason.valid_in_connack()),
        };
        let reason = reason.ok_or(DecodeError::malformed("connack reason code"))?;
        let session_present = flags != 0;
        check(session_present, reason)?;
        let properties = super::connect::read_properties(version, &mut reader, Place::ConnAck)?;
        reader.finish("bytes behind the connack packet")?;
        Ok(Self { session_present, reason, properties })
    }

    pub(super) fn write(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let code = match version {
            Version::V311 => self.reason.connect_return(),
            Version::V5 => Some(self.reason.value()).filter(|_| self.reason.valid_in_connack()),
        };
        let code = code.ok_or(EncodeError::new("connack reason code"))?;
        check(self.session_present, self.reason)?;
        put_packet(out, 0x20, |out| {
            out.extend_from_slice(&[u8::from(self.session_present), code]);
            write_properties(version, self.properties, out, Place::ConnAck)
        })
    }
}

/// 3.2.2.2: a refusal has no session.
fn check(session_present: bool, reason: ReasonCode) -> Result<(), DecodeError> {
    if session_present && reason != ReasonCode::Success {
        return Err(DecodeError::protocol("connack refuses with a session present"));
    }
    Ok(())
}
