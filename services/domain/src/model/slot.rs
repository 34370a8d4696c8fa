//! Slots: a fixed share of all devices, with an owner and an epoch.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use super::ids::DeviceKey;

/// How many slots there are, for ever. Recorded in the store; a process that disagrees refuses to start.
pub const SLOT_COUNT: usize = 256;

/// The name of the hash below, recorded in the store beside [`SLOT_COUNT`].
pub const SLOT_HASH_NAME: &str = "xxh3-64/top8/organization-00-device";

/// A fixed share of all devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

impl Slot {
    /// The top 8 bits of XXH3-64 over `organization ‖ 0x00 ‖ device`.
    #[must_use]
    pub fn of(key: &DeviceKey) -> Self {
        let mut hash = Xxh3::new();
        hash.update(key.organization.as_str().as_bytes());
        hash.update(&[0]);
        hash.update(key.device.as_str().as_bytes());
        Self(hash.digest().to_be_bytes()[0])
    }

    /// All slots in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Counts the take-overs of a slot. Zero: nobody has owned it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SlotEpoch(pub u64);

impl fmt::Display for SlotEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Orders the sessions of one device: of two, the greater is the device's presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionEpoch {
    /// The epoch of the slot whose owner granted the session.
    pub slot: SlotEpoch,
    /// Counts the sessions granted within it.
    pub counter: u64,
}

impl fmt::Display for SessionEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::{DeviceId, OrganizationId};
    use super::*;

    fn slot(organization: &str, device: &str) -> u8 {
        DeviceKey::new(OrganizationId::new(organization).unwrap(), DeviceId::new(device).unwrap()).slot().0
    }

    /// These numbers are in stores: a change of hash, of separator or of byte order must fail here.
    #[test]
    fn the_slot_of_a_device_never_changes() {
        let known: Vec<u8> =
            ["boiler-0", "boiler-1", "boiler-2", "boiler-7"].iter().map(|d| slot("default", d)).collect();
        let by_hand: Vec<u8> = ["boiler-0", "boiler-1", "boiler-2", "boiler-7"]
            .iter()
            .map(|d| (xxhash_rust::xxh3::xxh3_64(format!("default\0{d}").as_bytes()) >> 56) as u8)
            .collect();
        assert_eq!(known, by_hand);
        assert_ne!(slot("a", "bc"), slot("ab", "c"), "the separator keeps organizations apart");
    }

    #[test]
    fn slots_are_filled_evenly() {
        let mut counts = [0u32; SLOT_COUNT];
        for n in 0..25_600 {
            counts[slot("default", &format!("boiler-{n}")) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (50..=160).contains(&c)), "{counts:?}");
    }
}
