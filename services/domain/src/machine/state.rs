//! What the machine remembers of each thing: its row, what lives in memory only, and where its relatives are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::SlotMachine;
use crate::model::{
    Alarm, AlarmId, AlarmKind, Attributes, Command, CommandId, CommandState, Device, DeviceCounters,
    DeviceKey, Millis, Notification, NotificationId, NotificationState, Presence, SessionEpoch,
};
use crate::ports::store::{Change, StateKey, StateRow};

/// The code of silence alarms: a device has at most one.
pub(super) const SILENCE_CODE: &str = "silence";

/// Stands for sessions that may have written a command and of which this owner knows no more: slot epochs count
/// from 1, so no session has it.
pub(super) const BEFORE_MEMORY: SessionEpoch = SessionEpoch { slot: crate::model::SlotEpoch(0), counter: 0 };

/// Sessions remembered one by one that may have written a command; older ones are merged into [`BEFORE_MEMORY`].
/// A command that met four sessions without an answer will not be known as "never sent" because of the fifth.
const HOLDERS_MAX: usize = 4;

/// How long a command that came back waits at first; it doubles up to 32 times that.
const RETURN_MS: Millis = 1_000;

/// Replies remembered per device, so that a redelivered one is not taken for a late one. Redelivery follows a lost
/// acknowledgement, so few are between.
const REPLIES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct DeviceEntry {
    pub(super) record: Device,
    pub(super) presence: Option<Presence>,
    pub(super) attributes: Option<Attributes>,
    pub(super) counters: DeviceCounters,
    /// Where the newest session's CONNECT stands among those of its gateway.
    pub(super) arrival: u64,
    /// Whether the session under way can take commands.
    pub(super) wants_commands: bool,
    /// A session that was presumed lost, and is: its gateway has said so.
    pub(super) over: Option<SessionEpoch>,
    /// Shared attributes have changed while the session was presumed lost: if it was not, the device is to be told.
    pub(super) owes_attributes: bool,
    /// From when on the expected interval is counted: the newest sign of life, or the end of the grace after one could
    /// not come.
    pub(super) heard: Millis,
    /// When a connected device that is silent is looked at again.
    pub(super) look_at: Millis,
    /// Hashes of the last replies that ended a command.
    replies: VecDeque<u64>,
    /// Open commands, and ended ones that are not archived yet, by number.
    pub(super) commands: BTreeMap<u64, CommandId>,
    /// Active alarms.
    pub(super) active: BTreeMap<(AlarmKind, String), AlarmId>,
    /// All alarms that are not archived yet.
    pub(super) alarms: BTreeSet<AlarmId>,
    /// All notifications that are not archived yet.
    pub(super) notifications: BTreeSet<NotificationId>,
    /// How many of them are pending.
    pub(super) pending: usize,
}

impl DeviceEntry {
    pub(super) fn new(record: Device, heard: Millis) -> Self {
        let counters = DeviceCounters { key: record.key.clone(), last_command: 0, recent_events: Vec::new() };
        Self {
            record,
            presence: None,
            attributes: None,
            counters,
            arrival: 0,
            wants_commands: false,
            over: None,
            owes_attributes: false,
            heard,
            look_at: heard,
            replies: VecDeque::new(),
            commands: BTreeMap::new(),
            active: BTreeMap::new(),
            alarms: BTreeSet::new(),
            notifications: BTreeSet::new(),
            pending: 0,
        }
    }

    /// The session under way.
    pub(super) fn session(&self) -> Option<&Presence> {
        self.presence.as_ref().filter(|presence| presence.ended.is_none())
    }

    pub(super) fn active_alarm(&self, kind: AlarmKind, code: &str) -> Option<AlarmId> {
        self.active.get(&(kind, code.to_owned())).copied()
    }

    pub(super) fn active_silence(&self) -> Option<AlarmId> {
        self.active_alarm(AlarmKind::Silence, SILENCE_CODE)
    }

    pub(super) fn remember_reply(&mut self, hash: u64) {
        if self.replies.len() >= REPLIES_MAX {
            self.replies.pop_front();
        }
        self.replies.push_back(hash);
    }

    pub(super) fn remembers_reply(&self, hash: u64) -> bool {
        self.replies.contains(&hash)
    }
}

#[derive(Debug)]
pub(super) struct CommandEntry {
    pub(super) row: Command,
    /// Sessions that may have written it, oldest first; the last one is `row.handed`.
    holders: Vec<SessionEpoch>,
    /// The newest session that surely had not written it. Handed to the same one again, its word can no more be told
    /// from a repetition of that, and does not count.
    not_sent: Option<SessionEpoch>,
    /// The session in `row.handed` has not said yet what became of it there: it may wait behind others.
    unsaid: bool,
    /// When it is handed out again to the session that had not written it, should that still want commands.
    pub(super) hand_out_again: Option<Millis>,
    /// How often it came back.
    returns: u32,
}

impl CommandEntry {
    /// A command that is made now.
    pub(super) fn new(row: Command) -> Self {
        Self { row, holders: Vec::new(), not_sent: None, unsaid: false, hand_out_again: None, returns: 0 }
    }

    /// A command of an earlier owner, who may have handed it to others before the one in the row.
    pub(super) fn loaded(row: Command) -> Self {
        let holders = row.handed.map_or_else(Vec::new, |session| vec![BEFORE_MEMORY, session]);
        let unsaid = row.handed.is_some() && row.state == CommandState::Queued;
        Self { holders, unsaid, ..Self::new(row) }
    }

    /// A session has said what became of it there.
    pub(super) fn said_by(&mut self, session: SessionEpoch) {
        self.unsaid &= self.row.handed != Some(session);
    }

    /// The session at which it may still wait to be written.
    pub(super) fn waits_at(&self) -> Option<SessionEpoch> {
        self.row.handed.filter(|_| self.unsaid)
    }

    /// A session is about to be handed it.
    pub(super) fn hand_to(&mut self, session: SessionEpoch) {
        if self.not_sent == Some(session) && self.holders.first() != Some(&BEFORE_MEMORY) {
            self.holders.insert(0, BEFORE_MEMORY);
        }
        self.holders.push(session);
        if self.holders.len() > HOLDERS_MAX {
            self.holders.drain(..2);
            self.holders.insert(0, BEFORE_MEMORY);
        }
        self.row.handed = Some(session);
        self.unsaid = true;
        self.hand_out_again = None;
    }

    /// The session that was handed it is handed it once more, as nobody knows whether it has had it: the word that the
    /// first copy was not written says nothing of the second.
    pub(super) fn handed_once_more(&mut self) {
        if self.holders.first() != Some(&BEFORE_MEMORY) {
            self.holders.insert(0, BEFORE_MEMORY);
        }
    }

    /// A session has surely not written it. True when that was news. Its queue may have been full, so it is handed out
    /// again in a while, later each time.
    pub(super) fn taken_from(&mut self, session: SessionEpoch, now: Millis) -> bool {
        self.said_by(session);
        let known = self.holders.len();
        self.holders.retain(|holder| *holder != session);
        self.not_sent = self.not_sent.max(Some(session));
        self.row.handed = self.holders.last().copied();
        let news = self.holders.len() != known;
        if news {
            let wait = RETURN_MS.saturating_mul(1 << self.returns.min(5));
            self.hand_out_again = Some(now.saturating_add(wait));
            self.returns = self.returns.saturating_add(1);
        }
        news
    }
}

#[derive(Debug)]
pub(super) struct NotificationEntry {
    pub(super) row: Notification,
    /// While an attempt is under way: when it is handed out again unless something was heard of it.
    pub(super) hand_out_again: Millis,
}

impl NotificationEntry {
    pub(super) fn pending(&self) -> bool {
        self.row.state == NotificationState::Pending
    }

    /// The attempt under way or due next, from 1.
    pub(super) fn attempt(&self) -> u32 {
        self.row.tried.saturating_add(1)
    }
}

impl SlotMachine {
    pub(super) fn entry(&self, key: &DeviceKey) -> Option<&DeviceEntry> {
        self.devices.get(&key.organization)?.get(&key.device)
    }

    pub(super) fn entry_mut(&mut self, key: &DeviceKey) -> Option<&mut DeviceEntry> {
        self.devices.get_mut(&key.organization)?.get_mut(&key.device)
    }

    pub(super) fn insert_entry(&mut self, entry: DeviceEntry) {
        let key = entry.record.key.clone();
        if self.devices.entry(key.organization).or_default().insert(key.device, entry).is_none() {
            self.device_count += 1;
        }
    }

    pub(super) fn remove_entry(&mut self, key: &DeviceKey) -> Option<DeviceEntry> {
        let of_organization = self.devices.get_mut(&key.organization)?;
        let entry = of_organization.remove(&key.device)?;
        if of_organization.is_empty() {
            self.devices.remove(&key.organization);
        }
        self.device_count = self.device_count.saturating_sub(1);
        Some(entry)
    }

    pub(super) fn alarm_of(&self, id: AlarmId) -> Option<&Alarm> {
        self.alarms.get(&id)
    }

    /// What the store must be told about a row.
    pub(super) fn change(&self, key: &StateKey) -> Change {
        self.row(key).map_or_else(|| Change::Delete(key.clone()), Change::put)
    }

    /// True while there is such a row. What is to be done for one that is gone need not be done any more.
    #[must_use]
    pub fn has(&self, key: &StateKey) -> bool {
        self.row(key).is_some()
    }

    fn row(&self, key: &StateKey) -> Option<StateRow> {
        match key {
            StateKey::Device(key) => self.entry(key).map(|entry| StateRow::Device(entry.record.clone())),
            StateKey::Presence(key) => self.entry(key)?.presence.clone().map(StateRow::Presence),
            StateKey::Attributes(key) => self.entry(key)?.attributes.clone().map(StateRow::Attributes),
            StateKey::Counters(key) => {
                self.entry(key).map(|entry| StateRow::Counters(entry.counters.clone()))
            }
            StateKey::Command(id) => self.commands.get(id).map(|entry| StateRow::Command(entry.row.clone())),
            StateKey::Alarm(id) => self.alarms.get(id).cloned().map(StateRow::Alarm),
            StateKey::Notification(id) => {
                self.notifications.get(id).map(|entry| StateRow::Notification(entry.row.clone()))
            }
            StateKey::Outbox(id) => self.outbox.get(id).copied().map(StateRow::Outbox),
            StateKey::Removal(key) => self.removals.get(key).cloned().map(StateRow::Removal),
        }
    }
}
