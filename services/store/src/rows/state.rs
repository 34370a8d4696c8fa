//! Rows of the slot's table, of whichever kind.

use stoker_domain::ports::store::{StateKey, StateRow};

use super::{RowError, decode, encode};

/// The kind of a state row. The numbers are stored in keys: they are never given another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum StateKind {
    /// A device's record.
    Device = 1,
    /// Its newest session.
    Presence = 2,
    /// Its attributes.
    Attributes = 3,
    /// Its counters.
    Counters = 4,
    /// A command.
    Command = 5,
    /// An alarm.
    Alarm = 6,
    /// A notification.
    Notification = 7,
    /// An outbox entry.
    Outbox = 8,
    /// What is to be forgotten.
    Removal = 9,
}

impl StateKind {
    /// The kind of a key.
    pub(crate) fn of(key: &StateKey) -> Self {
        match key {
            StateKey::Device(_) => Self::Device,
            StateKey::Presence(_) => Self::Presence,
            StateKey::Attributes(_) => Self::Attributes,
            StateKey::Counters(_) => Self::Counters,
            StateKey::Command(_) => Self::Command,
            StateKey::Alarm(_) => Self::Alarm,
            StateKey::Notification(_) => Self::Notification,
            StateKey::Outbox(_) => Self::Outbox,
            StateKey::Removal(_) => Self::Removal,
        }
    }

    /// The kind with that stored number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        use StateKind::{
            Alarm, Attributes, Command, Counters, Device, Notification, Outbox, Presence, Removal,
        };
        [Device, Presence, Attributes, Counters, Command, Alarm, Notification, Outbox, Removal]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// The bytes of a state row; its kind is [`StateKind::of`] its key.
pub(crate) fn encode_state(row: &StateRow) -> Vec<u8> {
    match row {
        StateRow::Device(row) => encode(row),
        StateRow::Presence(row) => encode(row),
        StateRow::Attributes(row) => encode(row),
        StateRow::Counters(row) => encode(row),
        StateRow::Command(row) => encode(row),
        StateRow::Alarm(row) => encode(row),
        StateRow::Notification(row) => encode(row),
        StateRow::Outbox(row) => encode(row),
        StateRow::Removal(row) => encode(row),
    }
}

/// A state row of that kind.
///
/// # Errors
/// [`RowError`] as [`decode`].
pub(crate) fn decode_state(kind: StateKind, bytes: &[u8]) -> Result<StateRow, RowError> {
    Ok(match kind {
        StateKind::Device => StateRow::Device(decode(bytes)?),
        StateKind::Presence => StateRow::Presence(decode(bytes)?),
        StateKind::Attributes => StateRow::Attributes(decode(bytes)?),
        StateKind::Counters => StateRow::Counters(decode(bytes)?),
        StateKind::Command => StateRow::Command(decode(bytes)?),
        StateKind::Alarm => StateRow::Alarm(decode(bytes)?),
        StateKind::Notification => StateRow::Notification(decode(bytes)?),
        StateKind::Outbox => StateRow::Outbox(decode(bytes)?),
        StateKind::Removal => StateRow::Removal(decode(bytes)?),
    })
}
