//! What a payload may hold, and how it is said that one holds more.

use std::fmt;

use crate::model::IdError;

/// Bounds on payloads. The defaults are the documented ones; each refusal names the one it met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Bytes of a whole payload: a packet can have no more.
    pub payload_bytes: usize,
    /// Message objects in one array: what a controller collects while it was away for a while.
    pub messages: usize,
    /// Points in one payload: an array of messages is stored together, so it has a bound of its own.
    pub points: usize,
    /// Keys of one message object.
    pub keys: usize,
    /// Bytes of a key, of a method and of an event's code.
    pub key_bytes: usize,
    /// Bytes of a text value, once unescaped.
    pub text_bytes: usize,
    /// Bytes of a JSON value, once compacted. Attributes are kept with the device, so this bounds its record too.
    pub json_bytes: usize,
    /// Objects and arrays within each other, the outermost counted.
    pub depth: usize,
    /// Milliseconds that a time may be ahead of ours.
    pub ts_ahead_ms: i64,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self {
            payload_bytes: 256 * 1024,
            messages: 1_024,
            points: 8_192,
            keys: 256,
            key_bytes: 128,
            text_bytes: 8 * 1024,
            json_bytes: 32 * 1024,
            depth: 16,
            ts_ahead_ms: 24 * 3_600_000,
        }
    }
}

/// Which bound was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`PayloadLimits::payload_bytes`].
    PayloadBytes,
    /// [`PayloadLimits::messages`].
    Messages,
    /// [`PayloadLimits::points`].
    Points,
    /// [`PayloadLimits::keys`].
    Keys,
    /// [`PayloadLimits::key_bytes`].
    KeyBytes,
    /// [`PayloadLimits::text_bytes`].
    TextBytes,
    /// [`PayloadLimits::json_bytes`].
    JsonBytes,
    /// [`PayloadLimits::depth`].
    Depth,
    /// [`PayloadLimits::ts_ahead_ms`].
    TsAhead,
}

impl Limit {
    /// The name that refusals say.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PayloadBytes => "payload_bytes",
            Self::Messages => "messages",
            Self::Points => "points",
            Self::Keys => "keys",
            Self::KeyBytes => "key_bytes",
            Self::TextBytes => "text_bytes",
            Self::JsonBytes => "json_bytes",
            Self::Depth => "depth",
            Self::TsAhead => "ts_ahead_ms",
        }
    }

    fn explained(self) -> &'static str {
        match self {
            Self::PayloadBytes => "bytes in a payload",
            Self::Messages => "messages in an array",
            Self::Points => "points in a payload",
            Self::Keys => "keys in a message",
            Self::KeyBytes => "bytes in a name",
            Self::TextBytes => "bytes in a text",
            Self::JsonBytes => "bytes in a json value",
            Self::Depth => "levels of json",
            Self::TsAhead => "milliseconds ahead of the platform's time",
        }
    }
}

/// Where in a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Bytes before it.
    pub at: usize,
    /// The beginning of the key it belongs to, where there is one.
    pub key: Option<Box<str>>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}", self.at)?;
        match &self.key {
            // Debug, because a key may hold anything, and this goes to people's terminals.
            Some(key) => write!(f, ", key {key:?}"),
            None => Ok(()),
        }
    }
}

/// Why a payload was not taken. Its text is for a person, and never longer than a few hundred bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It holds more than it may.
    #[error("the limit {} allows at most {allowed} {} ({place})", limit.name(), limit.explained())]
    Limit {
        /// Which bound.
        limit: Limit,
        /// The bound's value.
        allowed: u64,
        /// Where.
        place: Place,
    },
    /// It is no JSON in UTF-8.
    #[error("this is not json: {expected} expected ({place})")]
    Syntax {
        /// What should stand there.
        expected: &'static str,
        /// Where.
        place: Place,
    },
    /// It is JSON, but not of the form that its topic takes.
    #[error("{expected} expected ({place})")]
    Form {
        /// What should stand there.
        expected: &'static str,
        /// Where.
        place: Place,
    },
    /// The id that it carries is none.
    #[error("the event's id does not fit")]
    Id(#[from] IdError),
}

impl PayloadError {
    /// Which bound was met, if that is why.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::Limit { limit, .. } => Some(*limit),
            _ => None,
        }
    }

    pub(super) fn over(limit: Limit, allowed: usize, at: usize) -> Self {
        Self::Limit {
            limit,
            allowed: u64::try_from(allowed).unwrap_or(u64::MAX),
            place: Place { at, key: None },
        }
    }

    pub(super) fn syntax(expected: &'static str, at: usize) -> Self {
        Self::Syntax { expected, place: Place { at, key: None } }
    }

    pub(super) fn form(expected: &'static str, at: usize) -> Self {
        Self::Form { expected, place: Place { at, key: None } }
    }

    /// Adds the key that it happened in; the outermost that is named stays.
    pub(super) fn within(mut self, key: &str) -> Self {
        /// Enough to find it.
        const SHOWN: usize = 48;
        if let Self::Limit { place, .. } | Self::Syntax { place, .. } | Self::Form { place, .. } = &mut self {
            place.key = Some(key.chars().take(SHOWN).collect());
        }
        self
    }
}
