//! Values between their JSON and ours.

use std::fmt::Write;

use serde_json::value::RawValue;

use super::limits::{Limit, PayloadError, PayloadLimits};
use super::scan::{Kind, Scanner};
use crate::model::Value;

/// Reads a value; null is none.
pub(super) fn read(scan: &mut Scanner<'_>, limits: &PayloadLimits) -> Result<Option<Value>, PayloadError> {
    let kind = scan.peek()?;
    let at = scan.at();
    Ok(Some(match kind {
        Kind::True => scan.word("true").map(|()| Value::Boolean(true))?,
        Kind::False => scan.word("false").map(|()| Value::Boolean(false))?,
        Kind::Null => {
            scan.word("null")?;
            return Ok(None);
        }
        Kind::Number => {
            let (spelled, whole) = scan.number()?;
            let integer = if whole { spelled.parse().ok().map(Value::Integer) } else { None };
            match integer {
                Some(integer) => integer,
                None => {
                    spelled.parse().map(Value::Number).map_err(|_| PayloadError::syntax("a number", at))?
                }
            }
        }
        Kind::Text => Value::Text(text(scan, limits)?),
        Kind::Object | Kind::Array => Value::Json(json(scan, limits)?),
    }))
}

/// Reads a text within its bound.
pub(super) fn text(scan: &mut Scanner<'_>, limits: &PayloadLimits) -> Result<String, PayloadError> {
    if scan.peek()? != Kind::Text {
        return Err(PayloadError::form("a text", scan.at()));
    }
    let at = scan.at();
    let text = scan.text()?;
    if text.len() > limits.text_bytes {
        return Err(PayloadError::over(Limit::TextBytes, limits.text_bytes, at));
    }
    Ok(text.into_owned())
}

/// Reads any JSON within its bound.
pub(super) fn json(scan: &mut Scanner<'_>, limits: &PayloadLimits) -> Result<String, PayloadError> {
    scan.peek()?;
    let at = scan.at();
    let json = scan.compact()?;
    if json.len() > limits.json_bytes {
        return Err(PayloadError::over(Limit::JsonBytes, limits.json_bytes, at));
    }
    Ok(json)
}

/// Reads one JSON value, checked like one that a device sends; null is none.
///
/// # Errors
/// [`PayloadError`] says what it is instead, or which limit it exceeds.
pub fn json_to_value(json: &[u8], limits: &PayloadLimits) -> Result<Option<Value>, PayloadError> {
    let mut scan = Scanner::new(json, limits)?;
    let value = read(&mut scan, limits)?;
    scan.end()?;
    Ok(value)
}

/// Checks any JSON, such as the params of a command, and takes its white space away; all else stays as it is spelled.
///
/// # Errors
/// [`PayloadError`]: it is no JSON, is too deep or longer than [`PayloadLimits::json_bytes`].
pub fn compact_json(json_text: &[u8], limits: &PayloadLimits) -> Result<String, PayloadError> {
    let mut scan = Scanner::new(json_text, limits)?;
    let compact = json(&mut scan, limits)?;
    scan.end()?;
    Ok(compact)
}

/// Appends a value as JSON. A number is spelled so that it reads back as the same number.
pub fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Boolean(true) => out.push_str("true"),
        Value::Boolean(false) => out.push_str("false"),
        Value::Integer(integer) => {
            // Writing into a String can't fail.
            let _ = write!(out, "{integer}");
        }
        // The `Debug` form of a finite f64 is the shortest that reads back the same, and it is JSON.
        Value::Number(number) if number.is_finite() => {
            let _ = write!(out, "{number:?}");
        }
        Value::Number(_) => out.push_str("null"),
        Value::Text(text) => write_text(text, out),
        Value::Json(json) => out.push_str(json),
    }
}

/// Appends a text as JSON, quotes included.
pub fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

/// A value as a part of any JSON that serde writes, with order and spelling kept.
///
/// [`Value::Json`] that holds no JSON, which nothing here makes, becomes a text, so that an answer never fails on it.
#[must_use]
pub fn value_to_json(value: &Value) -> Box<RawValue> {
    let mut out = String::new();
    write_json(value, &mut out);
    RawValue::from_string(out).unwrap_or_else(|_| {
        let mut quoted = String::new();
        if let Value::Json(json) = value {
            write_text(json, &mut quoted);
        }
        RawValue::from_string(quoted).unwrap_or_else(|_| RawValue::NULL.to_owned())
    })
}
