//! The elementary data types: integers, strings, binary data, variable byte integers.

use super::error::{DecodeError, EncodeError};

/// The greatest value of a variable byte integer: four bytes of seven bits.
pub const VARIABLE_INTEGER_MAX: u32 = 268_435_455;

/// Reads elementary types from the front of a slice; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, length: usize, about: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::malformed(about))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self, about: &'static str) -> Result<u8, DecodeError> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeError::malformed(about))?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(crate) fn u16(&mut self, about: &'static str) -> Result<u16, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::malformed(about))?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self, about: &'static str) -> Result<u32, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::malformed(about))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// Binary data: two bytes of length, then that many bytes.
    pub(crate) fn binary(&mut self, about: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.u16(about)?;
        self.take(usize::from(length), about)
    }

    /// A string: well-formed UTF-8 without U+0000, as both versions demand (1.5.3 and 1.5.4).
    pub(crate) fn string(&mut self, about: &'static str) -> Result<&'a str, DecodeError> {
        let text = std::str::from_utf8(self.binary(about)?).map_err(|_| DecodeError::malformed(about))?;
        if text.as_bytes().contains(&0) {
            return Err(DecodeError::malformed(about));
        }
        Ok(text)
    }

    /// A variable byte integer in its shortest form, as MQTT 5 demands (1.5.5).
    pub(crate) fn variable(&mut self, about: &'static str) -> Result<u32, DecodeError> {
        match read_variable(self.rest) {
            Variable::Value { value, length, shortest: true } => {
                self.take(length, about)?;
                Ok(value)
            }
            _ => Err(DecodeError::malformed(about)),
        }
    }

    /// Refuses what is left over.
    pub(crate) fn finish(&self, about: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::malformed(about)) }
    }
}

/// What a variable byte integer at the front of a slice looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// It doesn't end within the slice, and could still be one.
    Incomplete,
    /// A fourth byte that says "more follows".
    TooLong,
    /// A value and the bytes it took; `shortest` is false where fewer bytes would have done.
    Value { value: u32, length: usize, shortest: bool },
}

pub(crate) fn read_variable(bytes: &[u8]) -> Variable {
    let mut value = 0_u32;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Variable::Value { value, length: index + 1, shortest: index == 0 || *byte != 0 };
        }
    }
    if bytes.len() < 4 { Variable::Incomplete } else { Variable::TooLong }
}

/// How many bytes a variable byte integer takes.
pub(crate) const fn variable_length(value: u32) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

/// Appends a variable byte integer; the caller made sure that it is at most [`VARIABLE_INTEGER_MAX`].
pub(crate) fn put_variable(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8], about: &'static str) -> Result<(), EncodeError> {
    let length = u16::try_from(bytes.len()).map_err(|_| EncodeError::new(about))?;
    put_u16(out, length);
    out.extend_from_slice(bytes);
    Ok(())
}

pub(crate) fn put_string(out: &mut Vec<u8>, text: &str, about: &'static str) -> Result<(), EncodeError> {
    if text.as_bytes().contains(&0) {
        return Err(EncodeError::new(about));
    }
    put_binary(out, text.as_bytes(), about)
}

/// Appends one packet: the first byte, the remaining length, and the body that `write` appends.
/// On an error `out` is as it was.
pub(crate) fn put_packet(
    out: &mut Vec<u8>,
    first: u8,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    // The length isn't known before the body is written: room for the longest is left, then closed up.
    out.extend_from_slice(&[first, 0, 0, 0, 0]);
    let body = out.len();
    let written = write(out).and_then(|()| remaining_length(out.len().saturating_sub(body)));
    let remaining = match written {
        Ok(remaining) => remaining,
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    };
    let length = variable_length(remaining);
    let mut value = remaining;
    for slot in out.iter_mut().skip(start + 1).take(length) {
        *slot = (value & 0x7F) as u8 | if value > 0x7F { 0x80 } else { 0 };
        value >>= 7;
    }
    out.copy_within(body.., start + 1 + length);
    out.truncate(start + 1 + length + remaining as usize);
    Ok(())
}

fn remaining_length(length: usize) -> Result<u32, EncodeError> {
    u32::try_from(length)
        .ok()
        .filter(|length| *length <= VARIABLE_INTEGER_MAX)
        .ok_or(EncodeError::new("remaining length above 268,435,455"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_integers_survive_at_every_border() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VARIABLE_INTEGER_MAX] {
            let mut bytes = Vec::new();
            put_variable(&mut bytes, value);
            assert_eq!(bytes.len(), variable_length(value));
            assert_eq!(read_variable(&bytes), Variable::Value { value, length: bytes.len(), shortest: true });
            assert_eq!(read_variable(&bytes[..bytes.len() - 1]), Variable::Incomplete);
        }
    }

    #[test]
    fn a_fifth_byte_and_a_long_form_are_seen() {
        assert_eq!(read_variable(&[0x80, 0x80, 0x80, 0x80, 0x01]), Variable::TooLong);
        assert_eq!(read_variable(&[0xFF, 0xFF, 0xFF]), Variable::Incomplete);
        assert_eq!(read_variable(&[0x80, 0x00]), Variable::Value { value: 0, length: 2, shortest: false });
        assert!(Reader::new(&[0x80, 0x00]).variable("x").is_err());
    }

    #[test]
    fn strings_are_well_formed_and_hold_no_nul() {
        assert_eq!(Reader::new(b"\0\x03abc").string("x"), Ok("abc"));
        assert_eq!(Reader::new("\0\x03\u{feff}".as_bytes()).string("x"), Ok("\u{feff}"));
        for bad in [&b"\0\x03ab"[..], b"\0\x01\0", b"\0\x02\xC3\x28", b"\0\x03\xED\xA0\x80", b"\0"] {
            assert!(Reader::new(bad).string("x").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_packet_that_fails_leaves_nothing_behind() {
        let mut out = vec![1, 2];
        assert!(put_packet(&mut out, 0x30, |out| put_string(out, "\0", "x")).is_err());
        assert_eq!(out, [1, 2]);
    }

    #[test]
    fn the_remaining_length_is_closed_up_behind_earlier_bytes() {
        let mut out = vec![9];
        put_packet(&mut out, 0x30, |out| {
            out.extend_from_slice(&[7; 200]);
            Ok(())
        })
        .unwrap();
        assert_eq!(&out[..4], [9, 0x30, 0xC8, 0x01]);
        assert_eq!(out.len(), 204);
    }
}
