//! Due-times. They all follow from rows and memory; this is only their order.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use super::{Reply, SlotMachine};
use crate::model::{CommandId, DeviceKey, Millis, NotificationId};
use crate::ports::store::StateKey;

/// What one [`Input::Tick`](super::Input::Tick) fires at most. What a tick leads to is one commit, and must stay of a
/// size that a store takes at once; what is left is due at once again.
pub const TICK_LIMIT: usize = 64;

/// Something that is due at some time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A device has not come back.
    Silence(DeviceKey),
    /// A will is to be said.
    Will(DeviceKey),
    /// A device should have sent something.
    Interval(DeviceKey),
    /// A command's time has run out, or it is to be handed out again.
    Command(CommandId),
    /// The next attempt is due, or the one under way is to be handed out again.
    Notification(NotificationId),
}

/// Something that has due-times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Device(DeviceKey),
    Command(CommandId),
    Notification(NotificationId),
}

impl Subject {
    /// Whose due-times follow from this row.
    pub(super) fn of(key: &StateKey) -> Option<Self> {
        match key {
            StateKey::Device(key) | StateKey::Presence(key) => Some(Self::Device(key.clone())),
            StateKey::Command(id) => Some(Self::Command(*id)),
            StateKey::Notification(id) | StateKey::Outbox(id) => Some(Self::Notification(*id)),
            StateKey::Attributes(_) | StateKey::Counters(_) | StateKey::Alarm(_) | StateKey::Removal(_) => {
                None
            }
        }
    }
}

/// All due-times in order.
#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Millis, Due)>,
    at: BTreeMap<Due, Millis>,
}

impl Timers {
    fn set(&mut self, due: Due, at: Option<Millis>) {
        let before = match at {
            Some(at) => self.at.insert(due.clone(), at),
            None => self.at.remove(&due),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, due.clone()));
        }
        if let Some(at) = at {
            self.order.insert((at, due));
        }
    }

    fn first(&self) -> Option<Millis> {
        self.order.first().map(|(at, _)| *at)
    }

    /// What one tick fires at `now`.
    fn due(&self, now: Millis) -> impl Iterator<Item = &Due> {
        self.order.iter().take_while(move |(at, _)| *at <= now).take(TICK_LIMIT).map(|(_, due)| due)
    }
}

impl SlotMachine {
    /// When the next [`Input::Tick`](super::Input::Tick) is wanted; in the past when one is overdue. None: nothing is
    /// awaited.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.timers.first()
    }

    /// Devices that the next tick will judge by their last message, at most [`TICK_LIMIT`].
    ///
    /// The shell asks with the very `now` of that tick and gives the time of the last message of each in `last_seen`;
    /// one that is missing there has sent nothing that the shell remembers.
    #[must_use]
    pub fn due_intervals(&self, now: Millis) -> Vec<DeviceKey> {
        self.timers
            .due(now)
            .filter_map(|due| match due {
                Due::Interval(key) => Some(key.clone()),
                Due::Silence(_) | Due::Will(_) | Due::Command(_) | Due::Notification(_) => None,
            })
            .collect()
    }

    pub(super) fn tick(&mut self, last_seen: &BTreeMap<DeviceKey, Millis>, draft: &mut Draft<'_>) -> Reply {
        let due: Vec<Due> = self.timers.due(draft.now()).cloned().collect();
        for due in due {
            match due {
                Due::Silence(key) => self.silence_due(&key, draft),
                Due::Will(key) => self.will_due(&key, draft),
                Due::Interval(key) => self.interval_due(&key, last_seen.get(&key).copied(), draft),
                Due::Command(id) => self.command_due(id, draft),
                Due::Notification(id) => self.notification_due(id, draft),
            }
        }
        Reply::Done
    }

    /// Brings the due-times of `subject` into line with what is known of it.
    pub(super) fn retime(&mut self, subject: &Subject) {
        match subject {
            Subject::Device(key) => {
                let entry = self.entry(key);
                let presence = entry.and_then(|entry| entry.presence.as_ref());
                let silence = presence.and_then(|presence| presence.silence_due);
                let will = presence.and_then(|presence| presence.will_due);
                let interval = entry.and_then(super::silence::next_look);
                self.timers.set(Due::Silence(key.clone()), silence);
                self.timers.set(Due::Will(key.clone()), will);
                self.timers.set(Due::Interval(key.clone()), interval);
            }
            Subject::Command(id) => {
                let open = self.commands.get(id).filter(|entry| !entry.row.state.is_final());
                let at = open.map(|entry| {
                    let expires = entry.row.expires_at;
                    entry.hand_out_again.map_or(expires, |again| again.min(expires))
                });
                self.timers.set(Due::Command(*id), at);
            }
            Subject::Notification(id) => {
                let pending = self.notifications.get(id).filter(|entry| entry.pending());
                let at = pending.map(|entry| entry.row.next_attempt_at.unwrap_or(entry.hand_out_again));
                self.timers.set(Due::Notification(*id), at);
            }
        }
    }
}
