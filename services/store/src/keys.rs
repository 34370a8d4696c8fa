//! How keys are spelled, so that their byte order is the order of the lists.
//!
//! Ids hold no NUL, so `organization ‖ 0 ‖ device ‖ 0` is nobody else's prefix: organization `a` with device `b` can
//! never be met in a range of organization `a:b` or of device `b:c`. Texts that a device chooses freely (kinds of
//! events) go in with their length.

use std::ops::Bound;

use stoker_domain::ports::store::{RegistryKey, StateKey};
use stoker_domain::{DeviceKey, Millis, MintedId, OrganizationId, Slot, SlotEpoch};

use crate::rows::StateKind;

/// A key under construction.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyBuilder(Vec<u8>);

impl KeyBuilder {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(64))
    }

    pub(crate) fn of_organization(organization: &OrganizationId) -> Self {
        Self::new().id(organization.as_str())
    }

    pub(crate) fn of_device(device: &DeviceKey) -> Self {
        Self::of_organization(&device.organization).id(device.device.as_str())
    }

    /// An id and its end.
    pub(crate) fn id(mut self, id: &str) -> Self {
        self.0.extend_from_slice(id.as_bytes());
        self.0.push(0);
        self
    }

    /// Any text, for comparing as a whole only.
    pub(crate) fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.bytes(&length.to_be_bytes()).bytes(text.as_bytes())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A time, the oldest first.
    pub(crate) fn oldest_first(self, ts: Millis) -> Self {
        self.bytes(&time_bytes(ts))
    }

    /// A time, the newest first.
    pub(crate) fn newest_first(self, ts: Millis) -> Self {
        self.bytes(&time_bytes(ts).map(|byte| !byte))
    }

    /// An id made by a slot.
    pub(crate) fn minted(self, id: MintedId) -> Self {
        self.bytes(&minted_bytes(id))
    }

    /// The same, the greatest first.
    pub(crate) fn minted_greatest_first(self, id: MintedId) -> Self {
        self.bytes(&minted_bytes(id).map(|byte| !byte))
    }

    pub(crate) fn build(self) -> Vec<u8> {
        self.0
    }
}

fn time_bytes(ts: Millis) -> [u8; 8] {
    (ts.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The time that [`KeyBuilder::oldest_first`] wrote.
pub(crate) fn read_time(bytes: [u8; 8]) -> Millis {
    (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed()
}

/// The time that [`KeyBuilder::newest_first`] wrote.
pub(crate) fn read_newest_first(bytes: [u8; 8]) -> Millis {
    read_time(bytes.map(|byte| !byte))
}

/// Bytes of an id made by a slot, in its own order.
pub(crate) const MINTED_LENGTH: usize = 17;

pub(crate) fn minted_bytes(id: MintedId) -> [u8; MINTED_LENGTH] {
    let mut bytes = [0; MINTED_LENGTH];
    bytes[0] = id.slot.0;
    bytes[1..9].copy_from_slice(&id.epoch.0.to_be_bytes());
    bytes[9..].copy_from_slice(&id.counter.to_be_bytes());
    bytes
}

/// The id that [`KeyBuilder::minted`] wrote.
pub(crate) fn read_minted(bytes: &[u8]) -> Option<MintedId> {
    let (slot, rest) = bytes.split_first()?;
    let (epoch, counter) = rest.split_at_checked(8)?;
    Some(MintedId {
        slot: Slot(*slot),
        epoch: SlotEpoch(u64::from_be_bytes(epoch.try_into().ok()?)),
        counter: u64::from_be_bytes(counter.try_into().ok()?),
    })
}

/// The id that [`KeyBuilder::minted_greatest_first`] wrote.
pub(crate) fn read_minted_greatest_first(bytes: &[u8]) -> Option<MintedId> {
    let bytes: [u8; MINTED_LENGTH] = bytes.try_into().ok()?;
    read_minted(&bytes.map(|byte| !byte))
}

/// The first key after all that begin with `prefix`; unbounded when there is none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// The key of a state row in its slot.
pub(crate) fn state_key(slot: Slot, key: &StateKey) -> Vec<u8> {
    let builder = KeyBuilder::new().bytes(&[slot.0, StateKind::of(key) as u8]);
    match key {
        StateKey::Device(key)
        | StateKey::Presence(key)
        | StateKey::Attributes(key)
        | StateKey::Counters(key)
        | StateKey::Removal(key) => builder.id(key.organization.as_str()).id(key.device.as_str()),
        StateKey::Command(id) => builder.minted(id.0),
        StateKey::Alarm(id) => builder.minted(id.0),
        StateKey::Notification(id) | StateKey::Outbox(id) => builder.minted(id.0),
    }
    .build()
}

/// First byte of a subscription's registry key.
pub(crate) const REGISTRY_SUBSCRIPTION: u8 = 2;

/// The key of a registry row.
pub(crate) fn registry_key(key: &RegistryKey) -> Vec<u8> {
    match key {
        RegistryKey::Token(hash) => KeyBuilder::new().bytes(&[1]).bytes(&hash.0),
        RegistryKey::Subscription(organization, id) => {
            KeyBuilder::new().bytes(&[REGISTRY_SUBSCRIPTION]).id(organization.as_str()).id(id.as_str())
        }
        RegistryKey::Setting(name) => KeyBuilder::new().bytes(&[3]).bytes(name.as_bytes()),
    }
    .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_the_epoch_are_in_order() {
        let times = [i64::MIN, -1_700_000_000_000, -1, 0, 1, 1_700_000_000_000, i64::MAX];
        assert!(times.map(time_bytes).is_sorted());
        assert!(times.iter().all(|&ts| read_time(time_bytes(ts)) == ts));
    }

    #[test]
    fn minted_ids_come_back_and_are_in_order() {
        let id = |slot, epoch, counter| MintedId { slot: Slot(slot), epoch: SlotEpoch(epoch), counter };
        let ids = [id(0, 0, 0), id(0, 1, u64::MAX), id(0, 256, 0), id(1, 0, 0), id(255, u64::MAX, 7)];
        assert!(ids.map(minted_bytes).is_sorted());
        for id in ids {
            assert_eq!(read_minted(&minted_bytes(id)), Some(id));
            let reversed = KeyBuilder::new().minted_greatest_first(id).build();
            assert_eq!(read_minted_greatest_first(&reversed), Some(id));
        }
        assert_eq!(read_minted(&[0; 16]), None);
        assert_eq!(read_minted(&[0; 18]), None);
    }

    #[test]
    fn the_end_of_a_prefix_is_after_all_that_begin_with_it() {
        assert_eq!(after_prefix(b"a\0"), Bound::Excluded(b"a\x01".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), Bound::Unbounded);
    }
}
