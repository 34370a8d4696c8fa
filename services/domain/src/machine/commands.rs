//! Commands and the ledger of their states.

use super::draft::Draft;
use super::sessions::is_presumed;
use super::state::CommandEntry;
use super::timers::Subject;
use super::{CommandRefusal, CommandReport, CreateCommand, Effect, Reply, SlotMachine};
use crate::model::{
    Command, CommandId, CommandOutcome, CommandState, DeviceKey, Event, EventId, EventKind, Millis,
    SessionEpoch, Severity,
};
use crate::ports::bus::{Activity, GatewayOrder};
use crate::ports::store::{Append, StateKey};
use xxhash_rust::xxh3::Xxh3;

/// What a device answered.
struct DeviceReply {
    device: DeviceKey,
    number: u64,
    reply: String,
    failed: bool,
    at: Millis,
}

impl DeviceReply {
    fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&self.number.to_be_bytes());
        hash.update(self.reply.as_bytes());
        hash.digest()
    }

    /// A reply that no open command awaits, as a fact. The same reply makes the same event.
    fn late(self) -> Option<Event> {
        let id = format!("late-reply-{}-{:016x}", self.number, self.hash());
        Some(Event {
            id: EventId::new(&id).ok()?,
            device: self.device,
            ts: self.at,
            kind: EventKind(EventKind::LATE_REPLY.to_owned()),
            code: EventKind::LATE_REPLY.to_owned(),
            severity: Severity::Warning,
            text: format!("reply to command {}, which is not open", self.number),
            cleared: false,
            data: Some(format!("{{\"number\":{},\"reply\":{}}}", self.number, self.reply)),
        })
    }
}

impl SlotMachine {
    pub(super) fn create_command(&mut self, create: CreateCommand, draft: &mut Draft<'_>) -> Reply {
        let CreateCommand { device: key, method, params, expires_in_s } = create;
        let limit = draft.settings().max_open_commands;
        let Some(entry) = self.entry(&key) else {
            return Reply::Command(Err(CommandRefusal::NotFound));
        };
        if self.open_commands(&key).count() >= limit {
            return Reply::Command(Err(CommandRefusal::TooManyOpen { limit }));
        }
        let online = entry.session().is_some();
        let id = CommandId(self.mint());
        let now = draft.now();
        let Some(entry) = self.entry_mut(&key) else {
            return Reply::Command(Err(CommandRefusal::NotFound));
        };
        entry.counters.last_command += 1;
        let number = entry.counters.last_command;
        entry.commands.insert(number, id);
        let row = Command {
            id,
            device: key.clone(),
            number,
            method,
            params,
            state: CommandState::Queued,
            outcome: None,
            reply: None,
            detail: None,
            online,
            handed: None,
            created_at: now,
            sent_at: None,
            delivered_at: None,
            ended_at: None,
            expires_at: now.saturating_add(Millis::from(expires_in_s) * 1_000),
        };
        self.commands.insert(id, CommandEntry::new(row.clone()));
        draft.touch(StateKey::Counters(key.clone()));
        draft.touch(StateKey::Command(id));
        draft.tell(Activity::Command(row));
        self.hand_out_command(id, draft);
        match self.commands.get(&id) {
            Some(entry) => Reply::Command(Ok(Box::new(entry.row.clone()))),
            None => Reply::Command(Err(CommandRefusal::NotFound)),
        }
    }

    pub(super) fn cancel_command(&mut self, id: CommandId, draft: &mut Draft<'_>) -> Reply {
        let Some(entry) = self.commands.get(&id) else {
            return Reply::Command(Err(CommandRefusal::NotFound));
        };
        if entry.row.state.is_final() {
            return Reply::Command(Err(CommandRefusal::Ended(Box::new(entry.row.clone()))));
        }
        let ended = self.end_command(id, CommandState::Cancelled, draft, |_| {});
        Reply::Command(ended.map(Box::new).ok_or(CommandRefusal::NotFound))
    }

    /// A session can take commands from now on, or cannot any more.
    pub(super) fn commands_wanted(
        &mut self,
        key: &DeviceKey,
        epoch: SessionEpoch,
        wanted: bool,
        draft: &mut Draft<'_>,
    ) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        if entry.session().is_none_or(|presence| presence.epoch != epoch) {
            return;
        }
        entry.wants_commands = wanted;
        let waiting: Vec<CommandId> = self
            .open_commands(key)
            .filter(|command| command.state != CommandState::Delivered && command.handed != Some(epoch))
            .map(|command| command.id)
            .collect();
        for id in waiting {
            self.hand_out_command(id, draft);
        }
    }

    /// Hands a command to the session under way if that wants any: first written down, then dispatched, so that
    /// "never sent" stays honest whatever dies in between.
    fn hand_out_command(&mut self, id: CommandId, draft: &mut Draft<'_>) {
        let Some(entry) = self.commands.get(&id) else {
            return;
        };
        let Some(device) = self.entry(&entry.row.device) else {
            return;
        };
        let Some(session) = device.session().filter(|_| device.wants_commands) else {
            return;
        };
        if entry.row.handed == Some(session.epoch) {
            return;
        }
        let order = GatewayOrder::Command {
            id,
            number: entry.row.number,
            method: entry.row.method.clone(),
            params: entry.row.params.clone(),
            expires_at: entry.row.expires_at,
        };
        let (dispatch, epoch) = (self.for_gateway(session, order), session.epoch);
        if let Some(entry) = self.commands.get_mut(&id) {
            entry.hand_to(epoch);
            draft.touch(StateKey::Command(id));
            draft.after(dispatch);
        }
    }

    pub(super) fn command_report(&mut self, report: CommandReport, draft: &mut Draft<'_>) -> Reply {
        match report {
            // To the ledger it does not matter which session it was: what was written was written, what arrived has
            // arrived.
            CommandReport::Sent { id, session } => {
                self.said_of_command(id, session);
                self.command_sent(id, draft);
            }
            CommandReport::Delivered { id, session } => {
                self.said_of_command(id, session);
                self.command_delivered(id, draft);
            }
            CommandReport::Refused { id, session, detail } => {
                self.said_of_command(id, session);
                // One acknowledged, another refused: the device has it, and its reply decides.
                if self.open_in(id, &[CommandState::Queued, CommandState::Sent]) {
                    self.end_command(id, CommandState::Failed, draft, |row| row.detail = Some(detail));
                }
            }
            CommandReport::NotSent { id, session, never, detail } => {
                self.command_not_sent(id, session, never, detail, draft);
            }
            CommandReport::Replied { device, number, reply, failed, at } => {
                self.replied(DeviceReply { device, number, reply, failed, at }, draft);
            }
        }
        Reply::Done
    }

    fn said_of_command(&mut self, id: CommandId, session: SessionEpoch) {
        if let Some(entry) = self.commands.get_mut(&id) {
            entry.said_by(session);
        }
    }

    fn command_sent(&mut self, id: CommandId, draft: &mut Draft<'_>) {
        if !self.open_in(id, &[CommandState::Queued]) {
            return;
        }
        if let Some(entry) = self.commands.get_mut(&id) {
            entry.row.state = CommandState::Sent;
            entry.row.sent_at = Some(draft.now());
            draft.touch(StateKey::Command(id));
            draft.tell(Activity::Command(entry.row.clone()));
        }
    }

    fn command_delivered(&mut self, id: CommandId, draft: &mut Draft<'_>) {
        if !self.open_in(id, &[CommandState::Queued, CommandState::Sent]) {
            return;
        }
        if let Some(entry) = self.commands.get_mut(&id) {
            delivered(&mut entry.row, draft.now());
            entry.row.state = CommandState::Delivered;
            draft.touch(StateKey::Command(id));
            draft.tell(Activity::Command(entry.row.clone()));
        }
    }

    fn command_not_sent(
        &mut self,
        id: CommandId,
        session: SessionEpoch,
        never: bool,
        detail: String,
        draft: &mut Draft<'_>,
    ) {
        if !self.open_in(id, &[CommandState::Queued, CommandState::Sent]) {
            return;
        }
        let Some(entry) = self.commands.get_mut(&id) else {
            return;
        };
        let before = entry.row.handed;
        let news = entry.taken_from(session, draft.now());
        if entry.row.handed != before {
            draft.touch(StateKey::Command(id));
        }
        draft.retime(Subject::Command(id));
        // It fails only where nobody may have written it: else the device may be carrying it out right now.
        if news && never && entry.row.state == CommandState::Queued && entry.row.handed.is_none() {
            self.end_command(id, CommandState::Failed, draft, |row| row.detail = Some(detail));
        }
    }

    fn replied(&mut self, reply: DeviceReply, draft: &mut Draft<'_>) {
        let hash = reply.hash();
        let Some(entry) = self.entry_mut(&reply.device) else {
            return;
        };
        if entry.remembers_reply(hash) {
            return;
        }
        let id = entry.commands.get(&reply.number).copied();
        let open = id.and_then(|id| self.commands.get(&id)).filter(|entry| !entry.row.state.is_final());
        let Some(id) = open.map(|entry| entry.row.id) else {
            if let Some(event) = reply.late() {
                draft.append_event(event);
            }
            return;
        };
        if let Some(entry) = self.entry_mut(&reply.device) {
            entry.remember_reply(hash);
        }
        let now = draft.now();
        let state = if reply.failed { CommandState::Failed } else { CommandState::Succeeded };
        self.end_command(id, state, draft, |row| {
            delivered(row, now);
            row.reply = Some(reply.reply);
        });
    }

    /// A command's time has run out, or it came back and is to be tried again.
    pub(super) fn command_due(&mut self, id: CommandId, draft: &mut Draft<'_>) {
        let now = draft.now();
        let Some(entry) = self.commands.get_mut(&id).filter(|entry| !entry.row.state.is_final()) else {
            return;
        };
        if entry.row.expires_at <= now {
            self.command_expired(id, draft);
        } else if entry.hand_out_again.is_some_and(|due| due <= now) {
            entry.hand_out_again = None;
            draft.retime(Subject::Command(id));
            if entry.row.state != CommandState::Delivered {
                // Where the session wants none any more, the next one that does gets it.
                self.hand_out_command(id, draft);
            }
        }
    }

    /// What is said of an expired command is what is known, not what is likely.
    fn command_expired(&mut self, id: CommandId, draft: &mut Draft<'_>) {
        let Some(entry) = self.commands.get(&id) else {
            return;
        };
        let outcome = match (entry.row.state, entry.row.handed) {
            (CommandState::Delivered, _) => CommandOutcome::NoReply,
            (CommandState::Queued, None) => CommandOutcome::NeverSent,
            _ => CommandOutcome::Unknown,
        };
        self.end_command(id, CommandState::Expired, draft, |row| row.outcome = Some(outcome));
    }

    /// Ends an open command, once. `last` fills in what is known at the end.
    fn end_command(
        &mut self,
        id: CommandId,
        state: CommandState,
        draft: &mut Draft<'_>,
        last: impl FnOnce(&mut Command),
    ) -> Option<Command> {
        let entry = self.commands.get_mut(&id).filter(|entry| !entry.row.state.is_final())?;
        last(&mut entry.row);
        entry.row.state = state;
        entry.row.ended_at = Some(draft.now());
        let row = entry.row.clone();
        draft.touch(StateKey::Command(id));
        draft.tell(Activity::Command(row.clone()));
        draft.archive(StateKey::Command(id), Append::Command(row.clone()));
        if let Some(withdrawal) = self.withdrawal(id) {
            draft.after(withdrawal);
        }
        Some(row)
    }

    /// Takes a command that has ended out of the hands of the gateway that may not have written it yet. An end of its
    /// session does that too.
    fn withdrawal(&self, id: CommandId) -> Option<Effect> {
        let entry = self.commands.get(&id)?;
        let session = entry.waits_at()?;
        let presence = self.entry(&entry.row.device)?.presence.as_ref()?;
        let held = presence.epoch == session && (presence.ended.is_none() || is_presumed(presence));
        held.then(|| self.for_gateway(presence, GatewayOrder::Withdraw { id }))
    }

    /// An ended command is in history.
    pub(super) fn command_archived(&mut self, id: CommandId, draft: &mut Draft<'_>) {
        if self.commands.get(&id).is_some_and(|entry| entry.row.state.is_final())
            && let Some(entry) = self.commands.remove(&id)
        {
            if let Some(device) = self.entry_mut(&entry.row.device) {
                device.commands.remove(&entry.row.number);
            }
            draft.touch(StateKey::Command(id));
        }
    }

    /// The open commands of a device in the order of their numbers.
    pub(super) fn open_commands(&self, key: &DeviceKey) -> impl Iterator<Item = &Command> {
        self.entry(key)
            .into_iter()
            .flat_map(|entry| entry.commands.values())
            .filter_map(|id| self.commands.get(id))
            .map(|entry| &entry.row)
            .filter(|command| !command.state.is_final())
    }

    fn open_in(&self, id: CommandId, states: &[CommandState]) -> bool {
        self.commands.get(&id).is_some_and(|entry| states.contains(&entry.row.state))
    }
}

/// The device has it. Reports overtake each other, so it was sent as well.
fn delivered(row: &mut Command, now: Millis) {
    row.sent_at.get_or_insert(now);
    row.delivered_at.get_or_insert(now);
}
