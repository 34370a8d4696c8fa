//! Removed devices: their history is forgotten once nothing more of it is on its way to the store.

use std::collections::{HashMap, HashSet};

use stoker_domain::DeviceKey;

/// Appends under way, and removals that wait for them.
#[derive(Debug, Default)]
pub(super) struct Removals {
    appends: HashMap<DeviceKey, usize>,
    waiting: HashSet<DeviceKey>,
}

impl Removals {
    /// An append of this device's begins.
    pub(super) fn append_begins(&mut self, device: &DeviceKey) {
        *self.appends.entry(device.clone()).or_default() += 1;
    }

    /// One is over, written or not. The device, when it was the last that its removal waited for.
    pub(super) fn append_ended(&mut self, device: &DeviceKey) -> Option<DeviceKey> {
        let left = self.appends.get_mut(device)?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        self.appends.remove(device);
        self.waiting.take(device)
    }

    /// Whether what is known of the device may be forgotten now. If not, [`Self::append_ended`] says when.
    pub(super) fn may_begin(&mut self, device: &DeviceKey) -> bool {
        let is_free = !self.appends.contains_key(device);
        if !is_free {
            self.waiting.insert(device.clone());
        }
        is_free
    }
}
