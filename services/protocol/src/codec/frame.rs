//! Where a packet ends, told from its first bytes, before anything is kept of it.

use thiserror::Error;

use super::error::DecodeError;
use super::wire::{Variable, read_variable};

/// What the front of a byte stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Not yet a whole packet: at least `missing` more bytes are needed (never 0).
    NeedMore {
        /// A lower bound of what is missing, in bytes.
        missing: usize,
    },
    /// One whole packet: `header` bytes of fixed header within `total` bytes.
    Frame {
        /// Length of the fixed header in bytes, 2–5.
        header: usize,
        /// Length of the packet with its header in bytes.
        total: usize,
    },
}

/// Why a byte stream can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The packet says that it is larger than allowed.
    #[error("packet of {size} bytes is larger than {limit}")]
    TooLarge {
        /// What the packet says to be, with its header, in bytes.
        size: u32,
        /// What is allowed, in bytes.
        limit: u32,
    },
    /// Its first bytes begin no packet.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// Looks at the front of `bytes`; a packet may have at most `max_packet` bytes, header included.
///
/// Type and flags in the first byte are checked at once, the size as soon as the remaining length is
/// there: what is too large is refused before any of it has to be kept.
///
/// # Errors
/// [`FrameError::TooLarge`], or [`FrameError::Malformed`] when the first bytes begin no packet.
pub fn probe(bytes: &[u8], max_packet: u32) -> Result<Probe, FrameError> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(Probe::NeedMore { missing: 2 }) };
    check_first_byte(*first)?;
    match read_variable(rest) {
        Variable::Incomplete => Ok(Probe::NeedMore { missing: 1 }),
        Variable::TooLong => Err(DecodeError::malformed("remaining length of more than four bytes").into()),
        Variable::Value { value, length, .. } => {
            let header = 1 + length;
            // At most 5 + 268,435,455: fits.
            let size = header as u32 + value;
            if size > max_packet {
                return Err(FrameError::TooLarge { size, limit: max_packet });
            }
            let total = size as usize;
            match total.checked_sub(bytes.len()) {
                None | Some(0) => Ok(Probe::Frame { header, total }),
                Some(missing) => Ok(Probe::NeedMore { missing }),
            }
        }
    }
}

/// Type and flags of the first byte, which are the same in both versions (2.1.2 and 2.1.3).
pub(crate) fn check_first_byte(first: u8) -> Result<(), DecodeError> {
    let flags = first & 0x0F;
    match first >> 4 {
        0 => Err(DecodeError::malformed("packet type 0")),
        3 => match (flags >> 1 & 0b11, flags & 0b1000) {
            (3, _) => Err(DecodeError::malformed("publish with qos 3")),
            (0, 0b1000) => Err(DecodeError::malformed("publish with qos 0 and dup")),
            _ => Ok(()),
        },
        6 | 8 | 10 if flags == 0b0010 => Ok(()),
        6 | 8 | 10 => Err(DecodeError::malformed("reserved flags of the fixed header")),
        _ if flags == 0 => Ok(()),
        _ => Err(DecodeError::malformed("reserved flags of the fixed header")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_above_the_limit_is_refused_from_the_header_alone() {
        assert_eq!(
            probe(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 262_144),
            Err(FrameError::TooLarge { size: 268_435_460, limit: 262_144 })
        );
        assert_eq!(probe(&[0x30, 8], 10), Ok(Probe::NeedMore { missing: 8 }));
        assert!(probe(&[0x30, 9], 10).is_err());
    }

    #[test]
    fn the_end_of_a_packet_is_found_however_much_is_there() {
        let stream = [0x30, 0x02, 0, 0, 0xC0, 0x00];
        assert_eq!(probe(&[], 100), Ok(Probe::NeedMore { missing: 2 }));
        assert_eq!(probe(&stream[..1], 100), Ok(Probe::NeedMore { missing: 1 }));
        assert_eq!(probe(&stream[..2], 100), Ok(Probe::NeedMore { missing: 2 }));
        assert_eq!(probe(&stream[..3], 100), Ok(Probe::NeedMore { missing: 1 }));
        assert_eq!(probe(&stream, 100), Ok(Probe::Frame { header: 2, total: 4 }));
        assert_eq!(probe(&stream[4..], 100), Ok(Probe::Frame { header: 2, total: 2 }));
    }

    #[test]
    fn a_first_byte_that_begins_no_packet_is_refused_at_once() {
        for first in [0x00, 0x0F, 0x36, 0x37, 0x38, 0x3E, 0x60, 0x80, 0x81, 0xA0, 0x11, 0x21, 0xC1, 0xF8] {
            assert!(matches!(probe(&[first], 100), Err(FrameError::Malformed(_))), "{first:#04x}");
        }
        for first in [0x10, 0x20, 0x30, 0x31, 0x32, 0x3A, 0x3D, 0x40, 0x62, 0x82, 0xA2, 0xC0, 0xE0, 0xF0] {
            assert_eq!(probe(&[first], 100), Ok(Probe::NeedMore { missing: 1 }), "{first:#04x}");
        }
    }
}
