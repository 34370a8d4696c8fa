//! Names and ids as newtypes: no bare `String` crosses a crate.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::slot::{Slot, SlotEpoch};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or more than 128 bytes.
    #[error("an id has 1 to 128 characters, this one has {0}")]
    Length(usize),
    /// A character outside `A-Za-z0-9._:-`, or a first character that is no letter or digit.
    #[error(
        "an id consists of A-Z a-z 0-9 . _ : - and starts with a letter or digit; position {0} does not fit"
    )]
    Character(usize),
    /// Not of the form that the platform makes.
    #[error("not the id of a {0}")]
    Foreign(&'static str),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > 128 {
        return Err(IdError::Length(text.len()));
    }
    for (position, byte) in text.bytes().enumerate() {
        let fits =
            byte.is_ascii_alphanumeric() || (position > 0 && matches!(byte, b'.' | b'_' | b':' | b'-'));
        if !fits {
            return Err(IdError::Character(position));
        }
    }
    Ok(())
}

macro_rules! user_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text`: 1–128 of `A-Za-z0-9._:-`, the first a letter or digit.
            ///
            /// # Errors
            /// [`IdError`] says what does not fit.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

user_id!(
    /// A tenant. It stands in every key.
    OrganizationId
);
user_id!(
    /// A controller, unique within its organization.
    DeviceId
);
user_id!(
    /// Where a device stands.
    SiteId
);
user_id!(
    /// An event's own id: the device's, or one that the platform made.
    EventId
);
user_id!(
    /// A subscription.
    SubscriptionId
);
user_id!(
    /// A live process. Fresh and random at every start, never the pod's name.
    MemberId
);

impl OrganizationId {
    /// The organization that exists until more are made.
    #[must_use]
    pub fn default_organization() -> Self {
        Self(Arc::from("default"))
    }
}

/// A device with its organization: the key of everything about it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey {
    /// The tenant.
    pub organization: OrganizationId,
    /// The device within it.
    pub device: DeviceId,
}

impl DeviceKey {
    /// Puts both together.
    #[must_use]
    pub fn new(organization: OrganizationId, device: DeviceId) -> Self {
        Self { organization, device }
    }

    /// The slot of this device, for ever the same.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot::of(self)
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organization, self.device)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An id made by a slot's owner: slot, epoch and a counter within that epoch.
///
/// A slot's epoch counts its take-overs, so a fresh counter after a restart repeats nothing, without randomness and
/// without a write. The slot in it tells which core to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MintedId {
    /// The slot that made it.
    pub slot: Slot,
    /// The slot's epoch at that time.
    pub epoch: SlotEpoch,
    /// Counts within the epoch.
    pub counter: u64,
}

impl MintedId {
    fn parse(text: &str, prefix: &'static str) -> Result<Self, IdError> {
        let foreign = || IdError::Foreign(prefix);
        let rest = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).ok_or_else(foreign)?;
        let mut parts = rest.split('-');
        let (Some(slot), Some(epoch), Some(counter), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(foreign());
        };
        let id = Self {
            slot: Slot(u8::from_str_radix(slot, 16).map_err(|_| foreign())?),
            epoch: SlotEpoch(u64::from_str_radix(epoch, 16).map_err(|_| foreign())?),
            counter: u64::from_str_radix(counter, 16).map_err(|_| foreign())?,
        };
        // One spelling per id: "+1" and "01" are digits to the parser above, but not to us.
        if id.spelled(prefix) == text { Ok(id) } else { Err(foreign()) }
    }

    fn spelled(&self, prefix: &str) -> String {
        format!("{prefix}-{:02x}-{:x}-{:x}", self.slot.0, self.epoch.0, self.counter)
    }
}

macro_rules! minted_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub MintedId);

        impl $name {
            /// The slot that made it, and so the one to ask about it.
            #[must_use]
            pub fn slot(&self) -> Slot {
                self.0.slot
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.spelled($prefix))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                MintedId::parse(text, $prefix).map(Self)
            }
        }
    };
}

minted_id!(
    /// A command, on the whole platform. Spelled `cmd-SLOT-EPOCH-COUNTER` in hexadecimal.
    CommandId,
    "cmd"
);
minted_id!(
    /// One raising of an alarm. Spelled `alm-SLOT-EPOCH-COUNTER`.
    AlarmId,
    "alm"
);
minted_id!(
    /// A notification, and with it its idempotency key. Spelled `ntf-SLOT-EPOCH-COUNTER`; slot and epoch are those of
    /// its alarm, and the counter is a hash of (alarm, step, recipient, channel), so that these have one id for ever.
    NotificationId,
    "ntf"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_take_the_documented_characters_and_lengths() {
        for good in ["a", "boiler-7", "0", "A.b_c:d-e", &"x".repeat(128)] {
            assert!(DeviceId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a\0", "a#", "a+", &"x".repeat(129)] {
            assert!(DeviceId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn minted_ids_have_one_spelling_and_come_back() {
        let id = CommandId(MintedId { slot: Slot(10), epoch: SlotEpoch(18), counter: 255 });
        assert_eq!(id.to_string(), "cmd-0a-12-ff");
        assert_eq!("cmd-0a-12-ff".parse::<CommandId>(), Ok(id));
        for bad in [
            "cmd-a-12-ff",
            "cmd-0a-012-ff",
            "cmd-0a-12-+f",
            "alm-0a-12-ff",
            "cmd-0a-12",
            "cmd-0a-12-ff-1",
            "cmd-0A-12-ff",
        ] {
            assert!(bad.parse::<CommandId>().is_err(), "{bad}");
        }
    }
}
