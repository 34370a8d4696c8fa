//! Payloads of the device API: everything that devices send is read, checked and bounded here, once, where it enters.
//!
//! * [`telemetry`] goes straight from bytes to points;
//! * [`attributes`], [`attributes_request`], [`rpc_reply`], [`rpc_request`] and [`event`] read the other topics;
//! * [`json_to_value`], [`compact_json`] check what comes in by other ways with the same bounds, and [`write_json`],
//!   [`value_to_json`] write values back.
//!
//! All take [`PayloadLimits`] and refuse with a [`PayloadError`] that names the limit or what was expected, and where.
//! What JSON allows and no store or reader could keep (half a surrogate pair, numbers beyond f64) is refused too.

mod attributes;
mod event;
mod limits;
mod rpc;
mod scan;
mod telemetry;
mod value;

#[cfg(test)]
mod tests;

pub use attributes::{AttributesRequest, attributes, attributes_request};
pub use event::event;
pub use limits::{Limit, PayloadError, PayloadLimits, Place};
pub use rpc::{RpcReply, RpcRequest, rpc_reply, rpc_request};
pub use telemetry::telemetry;
pub use value::{compact_json, json_to_value, value_to_json, write_json, write_text};

use crate::model::Millis;
use scan::{Kind, Scanner};

/// Checks a name: keys become parts of addresses, files and rows, so they are short and hold no control characters.
fn key(name: &str, at: usize, limits: &PayloadLimits) -> Result<(), PayloadError> {
    if name.len() > limits.key_bytes {
        return Err(PayloadError::over(Limit::KeyBytes, limits.key_bytes, at).within(name));
    }
    if name.is_empty() || name.bytes().any(|b| b.is_ascii_control()) {
        return Err(PayloadError::form("a name without control characters", at).within(name));
    }
    Ok(())
}

/// Reads a time: whole milliseconds since 1970, not too far ahead. A whole number may be written as `1.7e12`.
fn time(scan: &mut Scanner<'_>, now: Millis, limits: &PayloadLimits) -> Result<Millis, PayloadError> {
    let kind = scan.peek()?;
    let at = scan.at();
    let wrong = || PayloadError::form("milliseconds since 1970", at);
    if kind != Kind::Number {
        return Err(wrong());
    }
    let (spelled, whole) = scan.number()?;
    let ts = if whole {
        spelled.parse::<Millis>().ok()
    } else {
        // Within ±2^53 the cast is exact.
        spelled.parse::<f64>().ok().filter(|ts| ts.fract() == 0.0 && ts.abs() < 9e15).map(|ts| ts as Millis)
    };
    let ts = ts.filter(|ts| *ts >= 0).ok_or_else(wrong)?;
    if ts > now.saturating_add(limits.ts_ahead_ms) {
        return Err(PayloadError::Limit {
            limit: Limit::TsAhead,
            allowed: limits.ts_ahead_ms.unsigned_abs(),
            place: Place { at, key: None },
        });
    }
    Ok(ts)
}

/// Reads something that may be left out, or be null, which says the same.
fn optional<'a, T>(
    scan: &mut Scanner<'a>,
    read: impl FnOnce(&mut Scanner<'a>) -> Result<T, PayloadError>,
) -> Result<Option<T>, PayloadError> {
    if scan.peek()? == Kind::Null { scan.word("null").map(|()| None) } else { read(scan).map(Some) }
}
