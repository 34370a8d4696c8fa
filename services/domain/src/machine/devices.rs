//! Devices: made, changed, removed.

use super::draft::Draft;
use super::state::DeviceEntry;
use super::{DevicePatch, DeviceRefusal, Effect, NewDevice, Reply, SlotMachine};
use crate::model::{AlarmState, CommandState, Device, DeviceKey, EndReason};
use crate::ports::bus::Activity;
use crate::ports::store::{Removal, StateKey};

impl SlotMachine {
    pub(super) fn create_device(&mut self, new: NewDevice, draft: &mut Draft<'_>) -> Reply {
        let limit = draft.settings().max_devices_per_slot;
        if self.entry(&new.key).is_some() {
            return Reply::Device(Err(DeviceRefusal::Exists));
        }
        if self.removals.contains_key(&new.key) {
            return Reply::Device(Err(DeviceRefusal::BeingRemoved));
        }
        // What is still to be forgotten counts, or there would be no end of it while the store fails.
        if self.device_count + self.removals.len() >= limit {
            return Reply::Device(Err(DeviceRefusal::SlotFull { limit }));
        }
        let record = Device {
            key: new.key,
            model: new.model,
            site: new.site,
            tags: new.tags,
            expected_interval_s: new.expected_interval_s,
            token_hash: new.token_hash,
            password_hash: new.password_hash,
            created_at: draft.now(),
            version: 1,
        };
        self.insert_entry(DeviceEntry::new(record.clone(), draft.now()));
        draft.touch(StateKey::Device(record.key.clone()));
        draft.tell(Activity::Device(record.clone()));
        Reply::Device(Ok(Box::new(record)))
    }

    pub(super) fn patch_device(&mut self, patch: DevicePatch, draft: &mut Draft<'_>) -> Reply {
        let key = patch.key.clone();
        let Some(entry) = self.entry_mut(&key) else {
            return Reply::Device(Err(DeviceRefusal::NotFound));
        };
        let before = entry.record.clone();
        let record = patched(&before, patch);
        if record == before {
            return Reply::Device(Ok(Box::new(record)));
        }
        let record = Device { version: before.version.saturating_add(1), ..record };
        entry.record = record.clone();
        draft.touch(StateKey::Device(key.clone()));
        draft.tell(Activity::Device(record.clone()));
        if (record.token_hash, &record.password_hash) != (before.token_hash, &before.password_hash) {
            self.revoke_session(&key, draft);
        }
        if record.expected_interval_s != before.expected_interval_s {
            self.interval_changed(&key, draft);
        }
        Reply::Device(Ok(Box::new(record)))
    }

    /// Takes a device away with all its rows, in one commit, which leaves a row that says what is to be forgotten.
    pub(super) fn remove_device(&mut self, key: &DeviceKey, draft: &mut Draft<'_>) -> Reply {
        if self.entry(key).is_none() {
            return Reply::Device(Err(DeviceRefusal::NotFound));
        }
        self.revoke_session(key, draft);
        let Some(entry) = self.remove_entry(key) else {
            return Reply::Device(Err(DeviceRefusal::NotFound));
        };
        let now = draft.now();
        for id in entry.commands.into_values() {
            draft.touch(StateKey::Command(id));
            if let Some(mut command) = self.commands.remove(&id).map(|entry| entry.row)
                && !command.state.is_final()
            {
                // Not archived, for the device's history goes too; but whoever waits for it learns its end.
                command.state = CommandState::Cancelled;
                command.ended_at = Some(now);
                draft.tell(Activity::Command(command));
            }
        }
        for id in entry.alarms {
            draft.touch(StateKey::Alarm(id));
            self.archive_again.remove(&id);
            self.reached.remove(&id);
            if let Some(mut alarm) = self.alarms.remove(&id)
                && alarm.state == AlarmState::Active
            {
                alarm.state = AlarmState::Cleared;
                alarm.cleared_at = Some(now);
                draft.tell(Activity::Alarm(alarm));
            }
        }
        for id in entry.notifications {
            draft.touch(StateKey::Notification(id));
            draft.touch(StateKey::Outbox(id));
            self.notifications.remove(&id);
            self.outbox.remove(&id);
        }
        for row in [StateKey::Device, StateKey::Presence, StateKey::Attributes, StateKey::Counters] {
            draft.touch(row(key.clone()));
        }
        self.removals.insert(key.clone(), Removal { device: key.clone(), at: now });
        draft.touch(StateKey::Removal(key.clone()));
        draft.after(Effect::Forget(key.clone()));
        Reply::Device(Ok(Box::new(entry.record)))
    }

    /// What was known of a removed device is removed, too.
    pub(super) fn forgotten(&mut self, key: DeviceKey, draft: &mut Draft<'_>) {
        if self.removals.remove(&key).is_some() {
            draft.touch(StateKey::Removal(key));
        }
    }

    /// True while there are things to be forgotten of a device that was removed.
    #[must_use]
    pub fn is_being_removed(&self, key: &DeviceKey) -> bool {
        self.removals.contains_key(key)
    }

    /// Has sessions closed that were revoked: their gateways may not have heard.
    pub(super) fn close_revoked(&self, draft: &mut Draft<'_>) {
        for presence in self.entries().filter_map(|entry| entry.presence.as_ref()) {
            if presence.ended.is_some_and(|(_, reason)| reason == EndReason::Revoked) {
                draft.after(Effect::close(presence, self.slot, self.epoch, EndReason::Revoked));
            }
        }
    }
}

fn patched(before: &Device, patch: DevicePatch) -> Device {
    let before = before.clone();
    Device {
        key: before.key,
        model: patch.model.unwrap_or(before.model),
        site: patch.site.unwrap_or(before.site),
        tags: patch.tags.unwrap_or(before.tags),
        expected_interval_s: patch.expected_interval_s.unwrap_or(before.expected_interval_s),
        token_hash: patch.token_hash.unwrap_or(before.token_hash),
        password_hash: patch.password_hash.unwrap_or(before.password_hash),
        created_at: before.created_at,
        version: before.version,
    }
}
