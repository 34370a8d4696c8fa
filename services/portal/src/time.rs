//! Times: RFC 3339 in UTC with milliseconds on the way out; that or milliseconds since the epoch on the way in.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use stoker_domain::Millis;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// The first moment of the year 0, the earliest that RFC 3339 can write.
const EARLIEST: Millis = -62_167_219_200_000;

/// The latest moment that can be written.
pub(crate) fn latest() -> Millis {
    Timestamp::MAX.as_millisecond()
}

/// The present, for what is shown to people. Nothing is decided by it.
pub(crate) fn now() -> Millis {
    Timestamp::now().as_millisecond()
}

/// A time in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Millis);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A device may report times that no calendar has; they are shown as the nearest one that can be written.
        let millis = self.0.clamp(EARLIEST, latest());
        let timestamp = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
        write!(f, "{timestamp:.3}")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples([serde_json::json!("2026-11-21T10:15:30.123Z")])
            .into()
    }
}

impl ToSchema for Time {}

/// A time in a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Millis);

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let millis = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(Millis::MIN))
            .maximum(Some(Millis::MAX));
        AnyOfBuilder::new().item(Time::schema()).item(millis).into()
    }
}

impl ToSchema for Moment {}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "a time is RFC 3339 (2026-11-21T10:15:30Z; encode + as %2B) or milliseconds since the epoch";
        if let Ok(millis) = text.parse::<Millis>() {
            return Ok(Self(millis));
        }
        let timestamp: Timestamp = text.parse().map_err(|_| FORM)?;
        Ok(Self(timestamp.as_millisecond()))
    }
}

/// How long ago, in words a person reads at a glance.
pub(crate) fn ago(since: Millis, now: Millis) -> String {
    let seconds = (now.saturating_sub(since) / 1_000).max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        assert_eq!(Time(1_700_000_000_000).to_string(), "2023-11-14T22:13:20.000Z");
        assert_eq!(Time(1_700_000_000_007).to_string(), "2023-11-14T22:13:20.007Z");
        assert_eq!(Time(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_time_no_calendar_has_is_shown_as_the_nearest_one() {
        assert_eq!(Time(Millis::MIN).to_string(), "0000-01-01T00:00:00.000Z");
        assert!(Time(Millis::MAX).to_string().starts_with("9999-12-30T"));
    }

    #[test]
    fn parameters_take_both_forms() {
        for text in ["1700000000000", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"] {
            assert_eq!(text.parse(), Ok(Moment(1_700_000_000_000)), "{text}");
        }
        for text in ["", "yesterday", "1.5", "2023-11-14"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_clock_that_runs_ahead_shows_no_negative_time() {
        assert_eq!(ago(10_000, 0), "0 s");
        assert_eq!(ago(0, 90_000), "1 min");
        assert_eq!(ago(0, 7_200_000), "2 h");
        assert_eq!(ago(0, 172_800_000), "2 d");
    }
}
