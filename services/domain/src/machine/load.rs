//! Taking a slot over: from rows to a machine.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use super::sessions::conclude;
use super::state::{CommandEntry, DeviceEntry, NotificationEntry};
use super::timers::{Subject, Timers};
use super::{Context, Effect, Output, Reply, SlotMachine};
use crate::model::{AlarmState, DeviceKey, EndReason, Millis, NotificationState, Slot, SlotEpoch};
use crate::ports::store::{Append, OutboxEntry, StateKey, StateRow};

impl SlotMachine {
    /// The machine of a slot that was just claimed, from everything that its table holds, and what must be done now:
    /// what the last owner may not have got round to is done again.
    ///
    /// Sessions that were under way are presumed lost (see the module's documentation) until their devices open new
    /// ones. `died_at`: when part of the platform was last taken for dead, its last owner or a gateway; whoever leaves soon
    /// after may have waited for that one, or waits behind all others that did.
    #[must_use]
    pub fn load(
        slot: Slot,
        epoch: SlotEpoch,
        rows: Vec<StateRow>,
        died_at: Option<Millis>,
        ctx: &Context<'_>,
    ) -> (Self, Output) {
        let mut machine = Self {
            slot,
            epoch,
            granted: 0,
            minted: 0,
            devices: BTreeMap::new(),
            device_count: 0,
            commands: BTreeMap::new(),
            alarms: BTreeMap::new(),
            notifications: BTreeMap::new(),
            outbox: BTreeMap::new(),
            removals: BTreeMap::new(),
            reached: BTreeMap::new(),
            tests: BTreeSet::new(),
            tested: BTreeMap::new(),
            archive_again: BTreeSet::new(),
            excused_until: died_at.map_or(0, |at| at.saturating_add(ctx.settings.silence_grace_ms)),
            timers: Timers::default(),
        };
        let mut draft = Draft::new(ctx);
        machine.take_rows(rows, &mut draft);
        machine.presume_sessions_lost(&draft);
        machine.give_time_to_return(&draft);
        machine.close_revoked(&mut draft);
        machine.publish_again(&mut draft);
        machine.archive_ended(&mut draft);
        machine.forget_again(&mut draft);
        machine.time_everything(&mut draft);
        let output = machine.finish(draft, Reply::Done);
        (machine, output)
    }

    /// Devices first, for everything else hangs on them. A row whose device is gone is of no use to anybody, and is
    /// removed.
    fn take_rows(&mut self, rows: Vec<StateRow>, draft: &mut Draft<'_>) {
        // After a take-over a device has the grace to come back, and only then its interval to say something.
        let heard = draft.now().saturating_add(draft.settings().silence_grace_ms);
        let mut rest = Vec::with_capacity(rows.len());
        for row in rows {
            match row {
                StateRow::Device(record) => self.insert_entry(DeviceEntry::new(record, heard)),
                other => rest.push(other),
            }
        }
        let (outbox, rest): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|row| matches!(row, StateRow::Outbox(_)));
        for row in rest.into_iter().chain(outbox) {
            let key = row.key();
            if !self.place(row) {
                draft.touch(key);
            }
        }
        let alarms = &self.alarms;
        self.reached.retain(|id, _| alarms.get(id).is_some_and(|alarm| alarm.state == AlarmState::Active));
    }

    /// Puts a row where it belongs; false when there is no such place.
    fn place(&mut self, row: StateRow) -> bool {
        match row {
            StateRow::Device(_) => true,
            StateRow::Presence(row) => self.with_entry(&row.key.clone(), |entry| entry.presence = Some(row)),
            StateRow::Attributes(row) => {
                self.with_entry(&row.key.clone(), |entry| entry.attributes = Some(row))
            }
            StateRow::Counters(row) => self.with_entry(&row.key.clone(), |entry| entry.counters = row),
            StateRow::Command(row) => {
                let (id, number) = (row.id, row.number);
                let known = self.with_entry(&row.device, |entry| {
                    entry.commands.insert(number, id);
                });
                if known {
                    self.commands.insert(id, CommandEntry::loaded(row));
                }
                known
            }
            StateRow::Alarm(row) => {
                let known = self.with_entry(&row.device, |entry| {
                    entry.alarms.insert(row.id);
                    if row.state == AlarmState::Active {
                        entry.active.insert((row.kind, row.code.clone()), row.id);
                    }
                });
                if known {
                    self.alarms.insert(row.id, row);
                }
                known
            }
            StateRow::Notification(row) if row.test => {
                self.place_test(row);
                true
            }
            StateRow::Notification(row) => {
                let pending = row.state == NotificationState::Pending;
                let known = self.with_entry(&row.device, |entry| {
                    entry.notifications.insert(row.id);
                    entry.pending += usize::from(pending);
                });
                if known {
                    self.reached.entry(row.alarm).or_default().insert(row.id);
                    let hand_out_again = row.created_at;
                    self.notifications.insert(row.id, NotificationEntry { row, hand_out_again });
                }
                known
            }
            StateRow::Outbox(row) => {
                let known = self.notifications.get(&row.notification).is_some_and(NotificationEntry::pending);
                if known {
                    self.outbox.insert(row.notification, row);
                }
                known
            }
            StateRow::Removal(row) => {
                // Were there a device, its history would be removed.
                let unknown = self.entry(&row.device).is_none();
                if unknown {
                    self.removals.insert(row.device.clone(), row);
                }
                unknown
            }
        }
    }

    fn with_entry(&mut self, key: &DeviceKey, put: impl FnOnce(&mut DeviceEntry)) -> bool {
        self.entry_mut(key).map(put).is_some()
    }

    /// Whoever held these sessions has lost their owner. They are the only thing that a hand-over between live owners
    /// treats differently. Nobody is told: most of them are back before anybody has looked.
    fn presume_sessions_lost(&mut self, draft: &Draft<'_>) {
        for entry in self.entries_mut().filter(|entry| entry.session().is_some()) {
            conclude(entry, EndReason::PlatformCrash.into(), draft.now(), draft.settings());
        }
    }

    /// Time in which nobody could connect does not count against those who were away.
    fn give_time_to_return(&mut self, draft: &Draft<'_>) {
        let earliest = draft.now().saturating_add(draft.settings().silence_grace_ms);
        for entry in self.entries_mut() {
            if let Some(presence) = &mut entry.presence {
                presence.silence_due = presence.silence_due.map(|due| due.max(earliest));
                presence.will_due = presence.will_due.map(|due| due.max(earliest));
            }
        }
    }

    /// What was to be published may not have been. What was, and nothing was heard of, gets its time anew.
    fn publish_again(&mut self, draft: &mut Draft<'_>) {
        let again = draft.now().saturating_add(draft.settings().attempt_timeout_ms);
        for entry in self.notifications.values_mut() {
            entry.hand_out_again = again;
        }
        let mut items: Vec<OutboxEntry> = self.outbox.values().copied().collect();
        items.sort_by_key(|item| (item.at, item.notification));
        for item in items {
            self.publish(item, draft);
        }
    }

    /// What has ended may not have reached history.
    fn archive_ended(&mut self, draft: &mut Draft<'_>) {
        for (id, entry) in &self.commands {
            if entry.row.state.is_final() {
                draft.archive(StateKey::Command(*id), Append::Command(entry.row.clone()));
            }
        }
        for (id, alarm) in &self.alarms {
            if alarm.state == AlarmState::Cleared {
                draft.archive(StateKey::Alarm(*id), Append::Alarm(alarm.clone()));
            }
        }
        for (id, entry) in &self.notifications {
            if !entry.pending() {
                draft.archive(StateKey::Notification(*id), Append::Notification(entry.row.clone()));
            }
        }
    }

    /// What was to be forgotten may not have been.
    fn forget_again(&self, draft: &mut Draft<'_>) {
        for key in self.removals.keys() {
            draft.after(Effect::Forget(key.clone()));
        }
    }

    fn time_everything(&mut self, draft: &mut Draft<'_>) {
        for entry in self.entries() {
            draft.retime(Subject::Device(entry.record.key.clone()));
        }
        for id in self.commands.keys() {
            draft.retime(Subject::Command(*id));
        }
        for id in self.notifications.keys() {
            draft.retime(Subject::Notification(*id));
        }
    }

    /// Ended rows are in history, and what was to be forgotten is: their state rows may go.
    pub(super) fn archived(&mut self, keys: Vec<StateKey>, draft: &mut Draft<'_>) -> Reply {
        for key in keys {
            match key {
                StateKey::Command(id) => self.command_archived(id, draft),
                StateKey::Alarm(id) => self.alarm_archived(id, draft),
                StateKey::Notification(id) => self.notification_archived(id, draft),
                StateKey::Removal(key) => self.forgotten(key, draft),
                StateKey::Device(_)
                | StateKey::Presence(_)
                | StateKey::Attributes(_)
                | StateKey::Counters(_)
                | StateKey::Outbox(_) => {}
            }
        }
        Reply::Done
    }
}
