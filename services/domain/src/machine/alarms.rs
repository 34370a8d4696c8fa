//! Alarms: raised, repeated, acknowledged, cleared.

use super::draft::Draft;
use super::timers::Subject;
use super::{AcknowledgeAlarm, NotFound, Reply, SlotMachine};
use crate::model::{
    Acknowledgement, Alarm, AlarmId, AlarmKind, AlarmState, DeviceKey, NotificationStep, Severity,
};
use crate::ports::bus::Activity;
use crate::ports::store::{Append, StateKey};

impl SlotMachine {
    /// Raises an alarm that is not active, and has everybody told who wants to know.
    pub(super) fn raise_alarm(
        &mut self,
        key: &DeviceKey,
        kind: AlarmKind,
        code: &str,
        severity: Severity,
        text: String,
        draft: &mut Draft<'_>,
    ) {
        let id = AlarmId(self.mint());
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        entry.active.insert((kind, code.to_owned()), id);
        entry.alarms.insert(id);
        let alarm = Alarm {
            id,
            device: key.clone(),
            kind,
            code: code.to_owned(),
            severity,
            text,
            state: AlarmState::Active,
            acknowledged: None,
            raised_at: draft.now(),
            cleared_at: None,
            count: 1,
            told: Vec::new(),
        };
        self.alarms.insert(id, alarm);
        self.alarm_stands(id, draft);
    }

    /// The same again: it counts, and the newest event says how bad it is.
    pub(super) fn repeat_alarm(
        &mut self,
        id: AlarmId,
        severity: Severity,
        text: String,
        draft: &mut Draft<'_>,
    ) {
        if let Some(alarm) = self.alarms.get_mut(&id) {
            alarm.count = alarm.count.saturating_add(1);
            alarm.severity = severity;
            alarm.text = text;
            self.alarm_stands(id, draft);
        }
    }

    /// An active alarm is new or has changed: tells those who want to know and do not yet.
    fn alarm_stands(&mut self, id: AlarmId, draft: &mut Draft<'_>) {
        draft.touch(StateKey::Alarm(id));
        let told = self.tell_raised(id, draft);
        if let Some(alarm) = self.alarms.get_mut(&id) {
            alarm.told.extend(told);
            draft.retime(Subject::Device(alarm.device.clone()));
            draft.tell(Activity::Alarm(alarm.clone()));
        }
    }

    /// Ends an active alarm, and has everybody told who was told of it.
    pub(super) fn clear_alarm(&mut self, id: AlarmId, draft: &mut Draft<'_>) {
        let now = draft.now();
        let Some(alarm) = self.alarms.get_mut(&id).filter(|alarm| alarm.state == AlarmState::Active) else {
            return;
        };
        alarm.state = AlarmState::Cleared;
        alarm.cleared_at = Some(now);
        let alarm = alarm.clone();
        if let Some(entry) = self.entry_mut(&alarm.device) {
            entry.active.remove(&(alarm.kind, alarm.code.clone()));
        }
        draft.touch(StateKey::Alarm(id));
        draft.retime(Subject::Device(alarm.device.clone()));
        draft.tell(Activity::Alarm(alarm.clone()));
        self.tell_step(&alarm, NotificationStep::Cleared, draft);
        self.reached.remove(&id);
        draft.archive(StateKey::Alarm(id), Append::Alarm(alarm));
    }

    pub(super) fn acknowledge_alarm(&mut self, input: AcknowledgeAlarm, draft: &mut Draft<'_>) -> Reply {
        let AcknowledgeAlarm { id, by, note } = input;
        self.note(id, by, note, draft)
    }

    /// A person says that the cause is gone. A device that says otherwise later raises it anew.
    pub(super) fn clear_by_hand(&mut self, id: AlarmId, by: String, draft: &mut Draft<'_>) -> Reply {
        let Some(alarm) = self.alarms.get(&id) else {
            return Reply::Alarm(Err(NotFound));
        };
        if alarm.state == AlarmState::Cleared {
            return Reply::Alarm(Ok(Box::new(alarm.clone())));
        }
        let (key, kind) = (alarm.device.clone(), alarm.kind);
        if alarm.acknowledged.is_none() {
            let at = draft.now();
            if let Some(alarm) = self.alarms.get_mut(&id) {
                alarm.acknowledged = Some(Acknowledgement { at, by, note: None });
            }
        }
        self.clear_alarm(id, draft);
        if kind == AlarmKind::Silence
            && let Some(entry) = self.entry_mut(&key)
        {
            // Else its interval, long over, would raise it again at once.
            entry.heard = entry.heard.max(draft.now());
        }
        Reply::Alarm(self.alarms.get(&id).cloned().map(Box::new).ok_or(NotFound))
    }

    /// Somebody has taken note. The first one stands.
    fn note(&mut self, id: AlarmId, by: String, note: Option<String>, draft: &mut Draft<'_>) -> Reply {
        let Some(alarm) = self.alarms.get_mut(&id) else {
            return Reply::Alarm(Err(NotFound));
        };
        if alarm.acknowledged.is_none() {
            alarm.acknowledged = Some(Acknowledgement { at: draft.now(), by, note });
            draft.touch(StateKey::Alarm(id));
            draft.tell(Activity::Alarm(alarm.clone()));
            if alarm.state == AlarmState::Cleared {
                self.archive_again.insert(id);
            }
        }
        Reply::Alarm(Ok(Box::new(alarm.clone())))
    }

    /// A cleared alarm is in history. It leaves unless it has changed on the way.
    pub(super) fn alarm_archived(&mut self, id: AlarmId, draft: &mut Draft<'_>) {
        let Some(alarm) = self.alarms.get(&id).filter(|alarm| alarm.state == AlarmState::Cleared) else {
            return;
        };
        if self.archive_again.remove(&id) {
            draft.archive(StateKey::Alarm(id), Append::Alarm(alarm.clone()));
            return;
        }
        let key = alarm.device.clone();
        self.alarms.remove(&id);
        if let Some(entry) = self.entry_mut(&key) {
            entry.alarms.remove(&id);
        }
        draft.touch(StateKey::Alarm(id));
    }
}
