//! Silence: devices that should be heard of and are not.

use super::SlotMachine;
use super::draft::Draft;
use super::state::{DeviceEntry, SILENCE_CODE};
use super::text::utc;
use super::timers::Subject;
use crate::model::{AlarmKind, DeviceKey, EndReason, Millis, Severity};
use crate::ports::store::StateKey;

/// How often a connected device is looked at while it is silent: its return is told within about this time.
const LOOK_EVERY_MS: Millis = 1_000;

/// One and a half times the expected interval.
fn patience(interval_s: u32) -> Millis {
    Millis::from(interval_s) * 1_500
}

/// When a device with an expected interval is to be judged next.
///
/// One that is away and silent is not: only its return ends that. While we wait for the return from an end by our hand,
/// `heard` stands at the end of the grace.
pub(super) fn next_look(entry: &DeviceEntry) -> Option<Millis> {
    let interval_s = entry.record.expected_interval_s?;
    let presence = entry.presence.as_ref()?;
    if entry.active_silence().is_some() {
        return presence.ended.is_none().then_some(entry.look_at);
    }
    Some(entry.heard.saturating_add(patience(interval_s)))
}

impl SlotMachine {
    /// The time to come back has run out.
    pub(super) fn silence_due(&mut self, key: &DeviceKey, draft: &mut Draft<'_>) {
        let now = draft.now();
        let presence = self.entry_mut(key).and_then(|entry| entry.presence.as_mut());
        let Some(presence) = presence.filter(|presence| presence.silence_due.is_some_and(|due| due <= now))
        else {
            return;
        };
        presence.silence_due = None;
        let (since, reason) = presence.ended.unwrap_or((presence.opened_at, EndReason::PlatformCrash));
        draft.touch(StateKey::Presence(key.clone()));
        self.raise_silence(key, format!("no connection since {} ({})", utc(since), reason.as_str()), draft);
    }

    /// A device with an expected interval is to be judged by its last message.
    pub(super) fn interval_due(&mut self, key: &DeviceKey, last_seen: Option<Millis>, draft: &mut Draft<'_>) {
        let now = draft.now();
        draft.retime(Subject::Device(key.clone()));
        let raised_at = self
            .entry(key)
            .and_then(DeviceEntry::active_silence)
            .and_then(|id| self.alarm_of(id))
            .map(|alarm| alarm.raised_at);
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        if let Some(last_seen) = last_seen {
            entry.heard = entry.heard.max(last_seen.min(now));
        }
        entry.look_at = now.saturating_add(LOOK_EVERY_MS);
        if let Some(raised_at) = raised_at {
            if last_seen.is_some_and(|last_seen| last_seen > raised_at) {
                self.end_silence(key, draft);
            }
            return;
        }
        let Some(interval_s) = entry.record.expected_interval_s else {
            return;
        };
        if next_look(entry).is_some_and(|due| due <= now) {
            let waited = patience(interval_s) / 100;
            let text = format!(
                "no message for {}.{} s; one is expected every {interval_s} s",
                waited / 10,
                waited % 10
            );
            self.raise_silence(key, text, draft);
        }
    }

    fn raise_silence(&mut self, key: &DeviceKey, text: String, draft: &mut Draft<'_>) {
        if self.entry(key).is_some_and(|entry| entry.active_silence().is_none()) {
            self.raise_alarm(key, AlarmKind::Silence, SILENCE_CODE, Severity::Major, text, draft);
        }
    }

    /// The device is heard of again.
    pub(super) fn end_silence(&mut self, key: &DeviceKey, draft: &mut Draft<'_>) {
        if let Some(id) = self.entry(key).and_then(DeviceEntry::active_silence) {
            self.clear_alarm(id, draft);
        }
    }

    /// The expected interval has changed: it counts from now on. With none, a silence that nothing else explains is
    /// over.
    pub(super) fn interval_changed(&mut self, key: &DeviceKey, draft: &mut Draft<'_>) {
        let now = draft.now();
        draft.retime(Subject::Device(key.clone()));
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        entry.heard = entry.heard.max(now);
        let away_without_goodbye = entry.presence.as_ref().is_some_and(|presence| {
            presence.ended.is_some_and(|(_, reason)| {
                !matches!(reason, EndReason::Disconnect | EndReason::DisconnectWithWill | EndReason::Revoked)
            })
        });
        if entry.record.expected_interval_s.is_none() && !away_without_goodbye {
            self.end_silence(key, draft);
        }
    }
}
