//! What really happened, independent of what the machine believes.

use std::collections::{BTreeMap, BTreeSet};

use stoker_domain::machine::{CommandReport, Effect, Input, Reply, SessionReport};
use stoker_domain::ports::store::{Append, Change, StateKey, StateRow};
use stoker_domain::{
    AlarmId, AlarmKind, AlarmState, ChannelKind, CommandId, CommandOutcome, CommandState, DeviceKey,
    EndReason, EventId, MemberId, Millis, Notification, NotificationId, NotificationState, NotificationStep,
    Presence, SessionEpoch, Settings,
};

use super::Step;
use super::store::Rows;

/// What one recipient is told about one step of one alarm.
pub(crate) type Telling = (AlarmId, NotificationStep, ChannelKind, String);

pub(crate) fn telling(row: &Notification) -> Telling {
    (row.alarm, row.step, row.channel.kind(), row.channel.to().to_owned())
}

/// How and when a device left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Away {
    pub(crate) since: Millis,
    pub(crate) reason: EndReason,
}

impl Away {
    pub(crate) fn unexplained(self) -> bool {
        matches!(
            self.reason,
            EndReason::Cut | EndReason::KeepAlive | EndReason::ProtocolError | EndReason::SlowReader
        )
    }

    pub(crate) fn by_our_hand(self) -> bool {
        matches!(self.reason, EndReason::ByPlatform | EndReason::PlatformCrash | EndReason::TakenOver)
    }
}

#[derive(Default)]
pub(crate) struct Truth {
    /// Commands that were written to a device.
    pub(crate) written: BTreeSet<CommandId>,
    /// Commands that a device acknowledged or answered.
    pub(crate) arrived: BTreeSet<CommandId>,
    /// Final states that somebody was told or could read.
    pub(crate) finals: BTreeMap<CommandId, (CommandState, Option<CommandOutcome>)>,
    /// The furthest state that somebody was told or could read.
    pub(crate) furthest: BTreeMap<CommandId, CommandState>,
    /// Faults that were counted and committed.
    pub(crate) counted: BTreeMap<DeviceKey, Vec<EventId>>,
    /// Every id that a telling ever had.
    pub(crate) ids: BTreeMap<Telling, BTreeSet<NotificationId>>,
    /// Notifications that were committed, and so must go out.
    pub(crate) owed: BTreeMap<NotificationId, DeviceKey>,
    /// Notifications that reached the notifiers' queue.
    pub(crate) published: BTreeSet<NotificationId>,
    /// The greatest epoch ever granted.
    pub(crate) granted: SessionEpoch,
    /// The gateway of the newest session that this owner has granted to each device, and the number of its CONNECT there.
    pub(crate) arrived_at: BTreeMap<DeviceKey, (MemberId, u64)>,
    /// Devices that were here and are not.
    pub(crate) away: BTreeMap<DeviceKey, Away>,
    /// When a gateway or the slot's owner was last taken for dead: devices may have been waiting for it.
    pub(crate) part_gone_at: Option<Millis>,
    /// From when on the interval of a device may be counted at the earliest.
    pub(crate) counts_from: BTreeMap<DeviceKey, Millis>,
    /// Devices whose silence a person has cleared.
    pub(crate) waved_off: BTreeSet<DeviceKey>,
    /// The same, as far as it is committed.
    waved_off_for_good: BTreeSet<DeviceKey>,
    /// Sessions under way that want commands.
    pub(crate) wants: BTreeSet<SessionEpoch>,
    /// Commands that came back to this owner, and may be handed out again at any time.
    pub(crate) came_back: BTreeSet<CommandId>,
    /// Whose will an event is.
    pub(crate) wills: BTreeMap<EventId, (DeviceKey, SessionEpoch)>,
    /// When the owner took over.
    pub(crate) loaded_at: Millis,
    /// When an attempt that is under way has to be handed out again.
    pub(crate) hand_out_again: BTreeMap<NotificationId, Millis>,
}

fn ended(presence: &Presence, now: Millis) -> Away {
    match presence.ended {
        Some((since, reason)) => Away { since, reason },
        None => Away { since: now, reason: EndReason::PlatformCrash },
    }
}

fn presence<'a>(rows: &'a Rows, key: &DeviceKey) -> Option<&'a Presence> {
    match rows.get(&StateKey::Presence(key.clone())) {
        Some(StateRow::Presence(row)) => Some(row),
        _ => None,
    }
}

impl Truth {
    /// Takes note of what an input means.
    pub(crate) fn heed(&mut self, step: &Step<'_>, settings: &Settings) {
        let now = step.now;
        match step.input {
            Input::OpenSession(open) => {
                if let Reply::Session(Ok(grant)) = &step.output.reply {
                    self.granted = grant.epoch;
                    let at = (open.session.gateway.clone(), open.arrival);
                    self.arrived_at.insert(open.device.clone(), at);
                    self.away.remove(&open.device);
                    self.count_from(&open.device, now);
                    self.waved_off.remove(&open.device);
                    if let Some(will) = &open.session.will {
                        self.wills.insert(will.event.id.clone(), (open.device.clone(), grant.epoch));
                    }
                }
            }
            Input::Session(SessionReport::CommandsWanted { epoch, wanted, .. }) => {
                if *wanted {
                    self.wants.insert(*epoch);
                } else {
                    self.wants.remove(epoch);
                }
            }
            Input::Command(CommandReport::NotSent { id, .. }) => {
                self.came_back.insert(*id);
            }
            Input::Session(SessionReport::Ended { device, epoch, reason }) => {
                let Some(newest) = presence(step.before, device) else { return };
                let away = self.away.get(device).copied();
                let guessed = away.is_some_and(|away| away.reason == EndReason::PlatformCrash);
                let goodbye = matches!(reason, EndReason::Disconnect | EndReason::DisconnectWithWill);
                let counts = *epoch > newest.epoch
                    || (*epoch == newest.epoch && (away.is_none() || (guessed && goodbye)));
                if counts {
                    self.leaves(device, Away { since: now, reason: *reason }, settings);
                }
            }
            Input::GatewayGone(gateway) | Input::GatewayLeft(gateway) => {
                if matches!(step.input, Input::GatewayGone(_)) {
                    self.part_gone_at = Some(now);
                }
                for row in step.before.values() {
                    if let StateRow::Presence(row) = row
                        && row.session.gateway == *gateway
                        && row.ended.is_none()
                        && !self.away.contains_key(&row.key)
                    {
                        let away = Away { since: now, reason: EndReason::PlatformCrash };
                        self.leaves(&row.key, away, settings);
                    }
                }
            }
            Input::CreateDevice(new) => {
                if matches!(step.output.reply, Reply::Device(Ok(_))) {
                    self.count_from(&new.key, now);
                }
            }
            Input::PatchDevice(patch) => {
                let closed = step.output.after.iter().any(|effect| matches!(effect, Effect::Gateway(_)));
                if closed {
                    self.leaves(&patch.key, Away { since: now, reason: EndReason::Revoked }, settings);
                }
                let row = StateKey::Device(patch.key.clone());
                let interval = |rows: &Rows| match rows.get(&row) {
                    Some(StateRow::Device(row)) => row.expected_interval_s,
                    _ => None,
                };
                if interval(step.before) != interval(step.after) {
                    self.count_from(&patch.key, now);
                }
            }
            Input::RemoveDevice(key) => {
                self.arrived_at.remove(key);
                self.away.remove(key);
                self.counts_from.remove(key);
                self.waved_off.remove(key);
            }
            Input::ClearAlarm { id, .. } => {
                let alarm = super::store::alarm(step.before, *id);
                if let Some(alarm) = alarm.filter(|alarm| alarm.kind == AlarmKind::Silence) {
                    self.waved_off.insert(alarm.device.clone());
                }
            }
            Input::OutboxConfirmed { notification, attempt } => {
                if let Some(StateRow::Outbox(row)) = step.before.get(&StateKey::Outbox(*notification))
                    && row.attempt == *attempt
                {
                    self.hand_out_again.insert(*notification, now + settings.attempt_timeout_ms);
                }
            }
            _ => {}
        }
        for effect in &step.output.after {
            if let Effect::Publish(item) = effect {
                self.hand_out_again.insert(item.notification, now + settings.attempt_timeout_ms);
            }
        }
        for item in &step.output.history {
            if let Append::Event(event) = item {
                self.wills.remove(&event.id);
            }
        }
        for change in &step.output.changes {
            if let Change::Put(row) = change
                && let StateRow::Notification(row) = &**row
            {
                self.ids.entry(telling(row)).or_default().insert(row.id);
            }
        }
    }

    fn leaves(&mut self, key: &DeviceKey, away: Away, settings: &Settings) {
        self.away.insert(key.clone(), away);
        if away.by_our_hand() {
            self.count_from(key, away.since + settings.silence_grace_ms);
        }
    }

    fn count_from(&mut self, key: &DeviceKey, at: Millis) {
        let from = self.counts_from.entry(key.clone()).or_insert(at);
        *from = at.max(*from);
    }

    /// Takes note of what is committed.
    pub(crate) fn committed(&mut self, changes: &[Change]) {
        let moved = |key: &DeviceKey| changes.iter().any(|c| c.key() == StateKey::Presence(key.clone()));
        for change in changes {
            match change {
                Change::Put(row) => match &**row {
                    StateRow::Presence(row) if row.ended.is_none() => {
                        self.waved_off_for_good.remove(&row.key);
                    }
                    StateRow::Alarm(row)
                        if row.kind == AlarmKind::Silence
                            && row.state == AlarmState::Cleared
                            && !moved(&row.device) =>
                    {
                        self.waved_off_for_good.insert(row.device.clone());
                    }
                    _ => {}
                },
                Change::Delete(StateKey::Presence(key)) => {
                    self.waved_off_for_good.remove(key);
                }
                Change::Delete(_) => {}
            }
        }
        for change in changes {
            if let Change::Put(row) = change
                && let StateRow::Notification(row) = &**row
                && row.state == NotificationState::Pending
            {
                self.owed.insert(row.id, row.device.clone());
            }
        }
    }

    /// A device is gone, and everything of it.
    pub(crate) fn removed(&mut self, key: &DeviceKey) {
        self.owed.retain(|_, device| device != key);
        self.counted.remove(key);
    }

    /// Another owner knows only what was committed.
    pub(crate) fn loaded(&mut self, now: Millis, rows: &Rows, settings: &Settings) {
        self.loaded_at = now;
        self.waved_off = self.waved_off_for_good.clone();
        self.arrived_at.clear();
        self.away.clear();
        self.part_gone_at = Some(now);
        self.counts_from.clear();
        self.hand_out_again.clear();
        self.wants.clear();
        self.came_back.clear();
        for row in rows.values() {
            match row {
                StateRow::Presence(row) => {
                    self.away.insert(row.key.clone(), ended(row, now));
                }
                StateRow::Device(row) => self.count_from(&row.key, now + settings.silence_grace_ms),
                StateRow::Notification(row) => {
                    self.hand_out_again.insert(row.id, now + settings.attempt_timeout_ms);
                }
                _ => {}
            }
        }
    }
}
