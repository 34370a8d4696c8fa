//! One value as bytes: a tag, then what it takes.
//!
//! Most telemetry is measured with few decimals, so a number that is exactly a small decimal fraction is stored as
//! that integer: 71.2 takes three bytes instead of nine.

use stoker_domain::Value;

const FALSE: u8 = 0;
const TRUE: u8 = 1;
const INTEGER: u8 = 2;
const NUMBER: u8 = 3;
const TEXT: u8 = 4;
const JSON: u8 = 5;
/// Tag minus this is the number of decimals, 1 to 3.
const DECIMAL: u8 = 8;

/// Bytes end too early or say something unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in super::super) struct CodecError(pub(super) &'static str);

const SHORT: CodecError = CodecError("bytes end too early");

/// Appends an unsigned number, 7 bits a byte, the low ones first.
pub(super) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number that [`put_varint`] wrote.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Result<u64, CodecError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?.first().copied().ok_or(SHORT)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(CodecError("a number does not fit in 64 bits"))
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Takes `count` bytes.
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], CodecError> {
    let (head, rest) = bytes.split_at_checked(count).ok_or(SHORT)?;
    *bytes = rest;
    Ok(head)
}

/// Appends a length and that many bytes.
pub(super) fn put_bytes(data: &[u8], out: &mut Vec<u8>) {
    put_varint(data.len() as u64, out);
    out.extend_from_slice(data);
}

/// Takes what [`put_bytes`] wrote.
pub(super) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], CodecError> {
    let length = usize::try_from(take_varint(bytes)?).map_err(|_| SHORT)?;
    take(bytes, length)
}

/// Takes text that [`put_bytes`] wrote.
pub(super) fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, CodecError> {
    std::str::from_utf8(take_bytes(bytes)?).map_err(|_| CodecError("text is not UTF-8"))
}

/// The integer and the number of decimals that are exactly `number`, when they are small.
fn decimal(number: f64) -> Option<(i64, u8)> {
    for (decimals, scale) in [(1, 10.0), (2, 100.0), (3, 1000.0)] {
        let scaled = (number * scale).round();
        // Five bytes hold 34 bits; above that the plain form is as short. The bits are compared, so -0.0 stays itself.
        if scaled.abs() < 1e10 && (scaled / scale).to_bits() == number.to_bits() {
            return Some((scaled as i64, decimals));
        }
    }
    None
}

/// Appends a value.
pub(super) fn put_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Boolean(false) => out.push(FALSE),
        Value::Boolean(true) => out.push(TRUE),
        Value::Integer(integer) => {
            out.push(INTEGER);
            put_varint(zigzag(*integer), out);
        }
        Value::Number(number) => {
            if let Some((scaled, decimals)) = decimal(*number).filter(|(scaled, _)| *scaled != 0) {
                out.push(DECIMAL + decimals);
                put_varint(zigzag(scaled), out);
            } else {
                out.push(NUMBER);
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        Value::Text(text) => {
            out.push(TEXT);
            put_bytes(text.as_bytes(), out);
        }
        Value::Json(text) => {
            out.push(JSON);
            put_bytes(text.as_bytes(), out);
        }
    }
}

/// Takes a value's bytes without making the value.
pub(super) fn take_raw<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], CodecError> {
    let start = *bytes;
    let tag = take(bytes, 1)?.first().copied().ok_or(SHORT)?;
    match tag {
        FALSE | TRUE => {}
        INTEGER => drop(take_varint(bytes)?),
        NUMBER => drop(take(bytes, 8)?),
        TEXT | JSON => drop(take_bytes(bytes)?),
        tag if (DECIMAL + 1..=DECIMAL + 3).contains(&tag) => drop(take_varint(bytes)?),
        _ => return Err(CodecError("unknown kind of value")),
    }
    let length = start.len() - bytes.len();
    start.get(..length).ok_or(SHORT)
}

/// Takes a value.
pub(super) fn take_value(bytes: &mut &[u8]) -> Result<Value, CodecError> {
    let tag = take(bytes, 1)?.first().copied().ok_or(SHORT)?;
    Ok(match tag {
        FALSE => Value::Boolean(false),
        TRUE => Value::Boolean(true),
        INTEGER => Value::Integer(unzigzag(take_varint(bytes)?)),
        NUMBER => {
            let number = f64::from_le_bytes(take(bytes, 8)?.try_into().map_err(|_| SHORT)?);
            if !number.is_finite() {
                return Err(CodecError("a number is not finite"));
            }
            Value::Number(number)
        }
        TEXT => Value::Text(take_text(bytes)?.to_owned()),
        JSON => Value::Json(take_text(bytes)?.to_owned()),
        tag if (DECIMAL + 1..=DECIMAL + 3).contains(&tag) => {
            let scale = [10.0, 100.0, 1000.0][usize::from(tag - DECIMAL - 1)];
            Value::Number(unzigzag(take_varint(bytes)?) as f64 / scale)
        }
        _ => return Err(CodecError("unknown kind of value")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(value: &Value) -> Value {
        let mut bytes = Vec::new();
        put_value(value, &mut bytes);
        let mut rest = bytes.as_slice();
        assert_eq!(take_raw(&mut rest), Ok(bytes.as_slice()));
        assert!(rest.is_empty());
        let mut rest = bytes.as_slice();
        let value = take_value(&mut rest).unwrap();
        assert!(rest.is_empty());
        value
    }

    #[test]
    fn numbers_come_back_bit_by_bit() {
        for number in [0.0, -0.0, 71.2, -0.001, 1e300, f64::MIN_POSITIVE, 0.1 + 0.2, 123_456_789.125, 1e10] {
            let Value::Number(back) = round_trip(&Value::Number(number)) else { panic!("another kind") };
            assert_eq!(back.to_bits(), number.to_bits(), "{number}");
        }
    }

    #[test]
    fn a_measured_number_is_short() {
        let mut bytes = Vec::new();
        put_value(&Value::Number(71.2), &mut bytes);
        assert_eq!(bytes.len(), 3);
    }

    proptest! {
        #[test]
        fn any_value_comes_back(
            integer: i64, number in proptest::num::f64::NORMAL, cents in -1_000_000_000i64..1_000_000_000,
            text: String, flag: bool,
        ) {
            for value in [
                Value::Integer(integer), Value::Number(number), Value::Number(cents as f64 / 100.0),
                Value::Text(text.clone()), Value::Json(text), Value::Boolean(flag),
            ] {
                prop_assert_eq!(round_trip(&value), value);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let (mut raw, mut value) = (bytes.as_slice(), bytes.as_slice());
            if take_value(&mut value).is_ok() {
                prop_assert!(take_raw(&mut raw).is_ok());
                prop_assert_eq!(raw, value);
            }
        }
    }
}
