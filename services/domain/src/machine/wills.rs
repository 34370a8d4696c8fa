//! Wills: what a device asked to be said for it when it vanishes.

use super::SlotMachine;
use super::draft::Draft;
use crate::model::DeviceKey;
use crate::ports::store::StateKey;

impl SlotMachine {
    /// Says the will of the device's last session. It leaves the presence in the same commit, so it is said once; its
    /// event's id makes a repetition after a crash the same event.
    pub(super) fn will_due(&mut self, key: &DeviceKey, draft: &mut Draft<'_>) {
        let now = draft.now();
        let presence = self.entry_mut(key).and_then(|entry| entry.presence.as_mut());
        let Some(presence) = presence.filter(|presence| presence.will_due.is_some_and(|due| due <= now))
        else {
            return;
        };
        presence.will_due = None;
        let will = presence.session.will.take();
        draft.touch(StateKey::Presence(key.clone()));
        if let Some(will) = will {
            let mut event = will.event;
            // The device it speaks for is the session's, whatever the will was made of.
            event.device = key.clone();
            event.ts = now;
            self.take_event(event, draft);
        }
    }
}
