//! The stored forms of everything that is not telemetry: protobuf messages of `proto/stoker/store/v1/rows.proto`.
//!
//! Nothing here knows about tables or keys, so that every adapter of the port writes the same bytes. Reading checks
//! everything: a row that says something unknown is an error that names the row and the field, never a guess.

mod alarm;
mod command;
mod device;
mod event;
mod ids;
mod member;
mod notification;
mod presence;
mod registry;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use registry::Head;
pub(crate) use state::{StateKind, decode_state, encode_state};

use prost::Message;

/// The generated messages.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub(crate) mod proto {
    include!(concat!(env!("OUT_DIR"), "/stoker.store.v1.rs"));
}

/// A row cannot be read: it is damaged or a newer version has written it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{row} row: {why}")]
pub(crate) struct RowError {
    /// What kind of row.
    pub(crate) row: &'static str,
    /// Which field, and what is wrong with it.
    pub(crate) why: String,
}

/// What is wrong with a field; becomes a [`RowError`] where the kind of row is known.
#[derive(Debug)]
pub(crate) struct Invalid(String);

impl Invalid {
    fn new(field: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("field {field}: {why}"))
    }

    fn within(self, field: &str) -> Self {
        Self(format!("field {field}: {}", self.0))
    }
}

/// A domain type with a stored form.
pub(crate) trait Stored: Sized {
    /// The message.
    type Row: Message + Default;
    /// What to call it in errors.
    const KIND: &'static str;
    /// Converts for writing.
    fn to_row(&self) -> Self::Row;
    /// Converts after reading.
    ///
    /// # Errors
    /// What does not fit.
    fn from_row(row: Self::Row) -> Result<Self, Invalid>;
}

/// The bytes to store.
pub(crate) fn encode<T: Stored>(item: &T) -> Vec<u8> {
    item.to_row().encode_to_vec()
}

/// What was stored.
///
/// # Errors
/// [`RowError`] when the bytes are no such message, or hold something unknown.
pub(crate) fn decode<T: Stored>(bytes: &[u8]) -> Result<T, RowError> {
    from_message(T::Row::decode(bytes).map_err(|e| RowError { row: T::KIND, why: e.to_string() })?)
}

/// What was stored within another message.
///
/// # Errors
/// [`RowError`] when it holds something unknown.
pub(crate) fn from_message<T: Stored>(row: T::Row) -> Result<T, RowError> {
    T::from_row(row).map_err(|Invalid(why)| RowError { row: T::KIND, why })
}

/// A message that must be there.
fn required<M, T: Stored<Row = M>>(field: &str, message: Option<M>) -> Result<T, Invalid> {
    let message = message.ok_or_else(|| Invalid::new(field, "missing"))?;
    T::from_row(message).map_err(|e| e.within(field))
}

/// A message that may be there.
fn optional<M, T: Stored<Row = M>>(field: &str, message: Option<M>) -> Result<Option<T>, Invalid> {
    message.map(|message| T::from_row(message).map_err(|e| e.within(field))).transpose()
}

/// Implements both ways between a domain enum and a stored one, where the stored one has a zero that is never written.
macro_rules! stored_enum {
    ($domain:ty, $row:ty, $($variant:ident),+ $(,)?) => {
        impl super::StoredEnum for $domain {
            fn number(self) -> i32 {
                match self { $(Self::$variant => <$row>::$variant as i32),+ }
            }

            fn from_number(field: &str, number: i32) -> Result<Self, super::Invalid> {
                match <$row>::try_from(number) {
                    $(Ok(<$row>::$variant) => Ok(Self::$variant),)+
                    _ => Err(super::Invalid::new(field, format_args!("unknown value {number}"))),
                }
            }
        }
    };
}
use stored_enum;

/// A domain enum with stored numbers.
trait StoredEnum: Sized {
    fn number(self) -> i32;
    fn from_number(field: &str, number: i32) -> Result<Self, Invalid>;
}
