//! When devices were last heard of: memory only, for silence by interval and for time stamps.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use stoker_domain::model::{DeviceKey, Millis, SLOT_COUNT, Slot};

#[derive(Debug, Clone, Copy, Default)]
struct Times {
    last_message: Millis,
    stamp_floor: Millis,
    /// When the floor was read of the store; zero: never.
    floor_read: Millis,
}

/// Times by device, in as many parts as there are slots so that writers seldom meet. Grows with the fleet only.
#[derive(Debug)]
pub(crate) struct Seen {
    parts: Vec<Mutex<HashMap<DeviceKey, Times>>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { parts: (0..SLOT_COUNT).map(|_| Mutex::default()).collect() }
    }
}

impl Seen {
    fn change(&self, device: &DeviceKey, change: impl FnOnce(&mut Times)) {
        if let Some(part) = self.parts.get(usize::from(device.slot().0)) {
            let mut part = part.lock();
            match part.get_mut(device) {
                Some(times) => change(times),
                None => change(part.entry(device.clone()).or_default()),
            }
        }
    }

    /// A message of the device came.
    pub(crate) fn message(&self, device: &DeviceKey, now: Millis) {
        self.change(device, |times| times.last_message = times.last_message.max(now));
    }

    /// A session ended having stamped points up to this time.
    pub(crate) fn stamped(&self, device: &DeviceKey, floor: Millis) {
        self.change(device, |times| times.stamp_floor = times.stamp_floor.max(floor));
    }

    /// The greatest stamp known; zero when none is.
    pub(crate) fn stamp_floor(&self, device: &DeviceKey) -> Millis {
        let part = self.parts.get(usize::from(device.slot().0));
        part.and_then(|part| part.lock().get(device).map(|times| times.stamp_floor)).unwrap_or_default()
    }

    /// The newest point that the store holds was read, at `now`.
    pub(crate) fn floor_read(&self, device: &DeviceKey, floor: Millis, now: Millis) {
        self.change(device, |times| {
            times.stamp_floor = times.stamp_floor.max(floor);
            times.floor_read = now;
        });
    }

    /// Whether it was read at that time or later.
    pub(crate) fn is_floor_read(&self, device: &DeviceKey, since: Millis) -> bool {
        let part = self.parts.get(usize::from(device.slot().0));
        part.is_some_and(|part| part.lock().get(device).is_some_and(|times| times.floor_read >= since))
    }

    /// The times of last messages of those devices that were heard of.
    pub(crate) fn of(&self, devices: Vec<DeviceKey>) -> BTreeMap<DeviceKey, Millis> {
        devices
            .into_iter()
            .filter_map(|device| {
                let part = self.parts.get(usize::from(device.slot().0))?;
                let last = part.lock().get(&device)?.last_message;
                (last > 0).then_some((device, last))
            })
            .collect()
    }

    /// Those in a slot of which a message came after that time. Others than these are forgotten that were not heard of
    /// since `forget`.
    pub(crate) fn heard_elsewhere(
        &self,
        slot: Slot,
        after: Millis,
        forget: Millis,
    ) -> Vec<(DeviceKey, Millis)> {
        let Some(part) = self.parts.get(usize::from(slot.0)) else { return Vec::new() };
        let mut part = part.lock();
        part.retain(|_, times| times.last_message >= forget);
        let heard = part.iter().filter(|(_, times)| times.last_message > after);
        heard.map(|(device, times)| (device.clone(), times.last_message)).collect()
    }

    /// The device is no more.
    pub(crate) fn forget(&self, device: &DeviceKey) {
        if let Some(part) = self.parts.get(usize::from(device.slot().0)) {
            part.lock().remove(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoker_domain::model::{DeviceId, OrganizationId};

    #[test]
    fn what_was_heard_of_slots_of_others_is_told_once_and_forgotten_in_time() {
        let seen = Seen::default();
        let key = |id| DeviceKey::new(OrganizationId::default_organization(), DeviceId::new(id).unwrap());
        let (device, slot) = (key("boiler-1"), key("boiler-1").slot());
        seen.message(&device, 1_000);
        assert_eq!(seen.heard_elsewhere(slot, 0, 0), [(device.clone(), 1_000)]);
        assert_eq!(seen.heard_elsewhere(slot, 1_000, 0), []);
        assert!(!seen.is_floor_read(&device, 1));
        seen.floor_read(&device, 900, 1_000);
        assert!(seen.is_floor_read(&device, 1_000) && !seen.is_floor_read(&device, 1_001));
        seen.stamped(&device, 800);
        assert_eq!(seen.stamp_floor(&device), 900);
        seen.message(&device, 1_001);
        assert_eq!(seen.heard_elsewhere(slot, 1_000, 0), [(device.clone(), 1_001)]);
        assert_eq!(seen.heard_elsewhere(slot, 0, 2_000), []);
        assert_eq!(seen.of(vec![device]).len(), 0, "forgotten");
    }
}
