//! Why bytes are no packet, and why a packet can't become bytes.

use thiserror::Error;

use super::ReasonCode;

/// Bytes that are no packet, or a packet that MQTT doesn't allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{reason}: {about}")]
pub struct DecodeError {
    /// What an MQTT 5 peer is told: mostly malformed packet (0x81) or protocol error (0x82).
    pub reason: ReasonCode,
    /// What it is about, in lower case, for people.
    pub about: &'static str,
}

impl DecodeError {
    /// An error with this reason code.
    pub(crate) const fn new(reason: ReasonCode, about: &'static str) -> Self {
        Self { reason, about }
    }

    /// Bytes that can't be read: 0x81.
    pub(crate) const fn malformed(about: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, about)
    }

    /// What can be read but isn't allowed: 0x82.
    pub(crate) const fn protocol(about: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, about)
    }
}

/// A packet that can't be written, because its reader would have to refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("failed to encode packet: {about}")]
pub struct EncodeError {
    /// What it is about, in lower case, for people.
    pub about: &'static str,
}

impl EncodeError {
    /// An error about this.
    pub(crate) const fn new(about: &'static str) -> Self {
        Self { about }
    }
}

impl From<DecodeError> for EncodeError {
    /// The encoder uses the checks of the decoder.
    fn from(error: DecodeError) -> Self {
        Self { about: error.about }
    }
}
