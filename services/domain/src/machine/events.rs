//! Events: taken into history, and what faults do to alarms.

use super::draft::Draft;
use super::state::DeviceEntry;
use super::{EventVerdict, Reply, SlotMachine};
use crate::model::{AlarmKind, DeviceKey, Event, RECENT_EVENTS};
use crate::ports::store::StateKey;
use xxhash_rust::xxh3::xxh3_64;

impl SlotMachine {
    pub(super) fn device_event(&mut self, event: Event, draft: &mut Draft<'_>) -> Reply {
        Reply::Event(self.take_event(event, draft))
    }

    /// Takes in an event of a device, or one that is said for it.
    pub(super) fn take_event(&mut self, event: Event, draft: &mut Draft<'_>) -> EventVerdict {
        let Some(entry) = self.entry(&event.device) else {
            return EventVerdict::UnknownDevice;
        };
        if !event.kind.is_fault() {
            draft.append_event(event);
            return EventVerdict::Counted;
        }
        let hash = xxh3_64(event.id.as_str().as_bytes());
        if entry.counters.recent_events.contains(&hash) {
            return EventVerdict::Repeated;
        }
        let active = entry.active_alarm(AlarmKind::Fault, &event.code);
        let full =
            active.is_none() && !event.cleared && active_faults(entry) >= draft.settings().max_active_alarms;
        draft.append_event(event.clone());
        if full {
            return EventVerdict::TooManyAlarms;
        }
        self.remember_event(&event.device, hash, draft);
        match (active, event.cleared) {
            (Some(id), true) => self.clear_alarm(id, draft),
            (None, true) => {}
            (Some(id), false) => self.repeat_alarm(id, event.severity, event.text, draft),
            (None, false) => {
                self.raise_alarm(
                    &event.device,
                    AlarmKind::Fault,
                    &event.code,
                    event.severity,
                    event.text,
                    draft,
                );
            }
        }
        EventVerdict::Counted
    }

    fn remember_event(&mut self, key: &DeviceKey, hash: u64, draft: &mut Draft<'_>) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        let recent = &mut entry.counters.recent_events;
        recent.push(hash);
        let surplus = recent.len().saturating_sub(RECENT_EVENTS);
        recent.drain(..surplus);
        draft.touch(StateKey::Counters(key.clone()));
    }
}

/// Silence does not count: a device that has used up its alarms can still fall silent.
fn active_faults(entry: &DeviceEntry) -> usize {
    entry.active.keys().filter(|(kind, _)| *kind == AlarmKind::Fault).count()
}
