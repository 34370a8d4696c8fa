//! Telemetry: chunks of points by device and time, in one table per day of storing.
//!
//! * A day's table goes as a whole when its retention is over, in bounded steps; nothing else is ever rewritten.
//! * What one commit brings of one device is one row, however many messages it was: under load the rows grow, not their
//!   number.
//! * Days know the range of times in them, so a query opens only the tables it must.

mod chunk;
mod latest;
mod read;
#[cfg(test)]
mod tests;
mod value;
mod write;

pub(super) use read::{next_device, read_latest_of, read_points};
pub(super) use write::{TelemetryWriter, forget_step, prune_day_step};

use stoker_domain::Millis;

use super::error::Trouble;
use value::CodecError;

/// What is in the table of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DayFacts {
    /// The oldest time of a point.
    pub(super) oldest: Millis,
    /// The newest time of a point.
    pub(super) newest: Millis,
    /// The greatest span of a chunk.
    pub(super) span: i64,
}

impl DayFacts {
    const LENGTH: usize = 24;

    fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        for (place, number) in bytes.chunks_exact_mut(8).zip([self.oldest, self.newest, self.span]) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = bytes.try_into().ok()?;
        let mut numbers = bytes.chunks_exact(8).map(|eight| eight.try_into().map(i64::from_be_bytes));
        let mut next = || numbers.next()?.ok();
        Some(Self { oldest: next()?, newest: next()?, span: next()? })
    }

    fn widened(self, other: Self) -> Self {
        Self {
            oldest: self.oldest.min(other.oldest),
            newest: self.newest.max(other.newest),
            span: self.span.max(other.span),
        }
    }
}

/// One row of `telemetry_days`.
pub(super) fn read_day(key: &[u8], value: &[u8]) -> Result<(u32, DayFacts), Trouble> {
    let day = key.try_into().map(u32::from_be_bytes).ok();
    let facts = DayFacts::from_bytes(value);
    day.zip(facts).ok_or_else(|| Trouble::corrupt("telemetry_days", "a row of a wrong length"))
}

/// Names the chunk or row that a codec's complaint is about.
fn corrupt<T>(result: Result<T, CodecError>, row: impl FnOnce() -> String) -> Result<T, Trouble> {
    result.map_err(|error| Trouble::corrupt(row(), error))
}
