//! A range of slots: what one `CoreShard` serves.

use std::fmt;

use crate::model::Slot;

/// Consecutive slots, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotRange {
    first: u8,
    last: u8,
}

/// Why this is no range of slots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// It is empty.
    #[error("the first slot, {first}, is after the last, {last}")]
    Empty {
        /// The first.
        first: u8,
        /// The last.
        last: u8,
    },
    /// It is not written as one.
    #[error("{0:?} is no range of slots such as 0-255")]
    Form(String),
}

impl SlotRange {
    /// All slots there are.
    pub const ALL: Self = Self { first: 0, last: u8::MAX };

    /// From `first` to `last`, both included.
    ///
    /// # Errors
    /// When there is nothing between them.
    pub fn new(first: u8, last: u8) -> Result<Self, RangeError> {
        if first > last { Err(RangeError::Empty { first, last }) } else { Ok(Self { first, last }) }
    }

    /// Its first slot.
    #[must_use]
    pub fn first(self) -> Slot {
        Slot(self.first)
    }

    /// Its last slot.
    #[must_use]
    pub fn last(self) -> Slot {
        Slot(self.last)
    }

    /// True when it has this slot.
    #[must_use]
    pub fn contains(self, slot: Slot) -> bool {
        (self.first..=self.last).contains(&slot.0)
    }

    /// Its slots in order.
    pub fn iter(self) -> impl Iterator<Item = Slot> {
        (self.first..=self.last).map(Slot)
    }
}

impl std::str::FromStr for SlotRange {
    type Err = RangeError;

    /// `0-127`.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let form = || RangeError::Form(text.to_owned());
        let (first, last) = text.split_once('-').ok_or_else(form)?;
        Self::new(first.trim().parse().map_err(|_| form())?, last.trim().parse().map_err(|_| form())?)
    }
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}
