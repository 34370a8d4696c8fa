//! One slot's task: apply what waits, commit it at once, then tell.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use stoker_domain::machine::{Context, Dispatch, Effect, Input, Output, Reply, SessionReport, SlotMachine};
use stoker_domain::model::{DeviceKey, EndReason, MemberId, Millis, Slot, SlotEpoch};
use stoker_domain::ports::store::{Append, Change, ClaimOutcome, CommitOutcome, StoreError};
use stoker_link::Turn;
use stoker_telemetry::trace::{LINKS_MOST, Remote};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::effects::{self, Archive, EffectDone};
use super::removals::Removals;
use super::{Look, Message, SlotError};
use crate::backoff::Backoff;
use crate::shared::Shared;

/// Inputs that may share one commit. More would make the first of them wait for the last.
const BATCH: usize = 256;

/// Bytes of changes after which a round takes nothing more in. One more input may weigh several times that (all open
/// commands of a device that is removed), and the commit still has to be one that databases take
/// ([`COMMIT_BYTES_MAX`](stoker_domain::ports::store::COMMIT_BYTES_MAX)).
const BATCH_BYTES: usize = 1 << 20;

/// How long a round of nothing but what is patient ([`Input::is_patient`]) waits for what it could share its commit with.
const LINGER: Duration = Duration::from_millis(10);

/// How often the machine may be ticked before others get a turn.
const TICKS_PER_TURN: usize = 8;

/// Effects under way may take so long to end once the slot takes nothing more.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// How often an append to history that failed is tried again before the slot is given up: a database of several nodes
/// loses a request now and then.
const APPENDS_AGAIN: u32 = 5;

/// Why a slot's task ended other than by shutdown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlotLost {
    #[error("slot {slot} could not be taken over: {source}")]
    Claim { slot: Slot, source: StoreError },
    #[error("slot {slot} was taken over by somebody else, at epoch {current}")]
    Fenced { slot: Slot, current: SlotEpoch },
    #[error("the store did not say whether a change of slot {slot} was written")]
    Unknown { slot: Slot },
    #[error("an effect of slot {slot} died: {error}")]
    Effect { slot: Slot, error: tokio::task::JoinError },
    #[error("slot {slot} could not append to history: {source}")]
    History { slot: Slot, source: StoreError },
}

type Answerer = oneshot::Sender<Result<Reply, SlotError>>;
type Answer = (Answerer, Reply);

/// One slot with what it needs.
pub(crate) struct SlotActor {
    slot: Slot,
    epoch: SlotEpoch,
    machine: SlotMachine,
    shared: Arc<Shared>,
    effects: JoinSet<EffectDone>,
    /// What waits for a gateway that is being told something: one after the other, or a command would overtake an
    /// earlier one. An entry without any is a gateway that is being told the last of it.
    orders: HashMap<MemberId, Vec<Dispatch>>,
    /// What gateways did not take, and the machine is to know of: as much of it at a time as a commit should have.
    returned: VecDeque<Input>,
    removals: Removals,
}

/// What a round of inputs adds up to.
#[derive(Default)]
struct Round {
    history: Vec<Append>,
    changes: Vec<Change>,
    /// Of the changes, about in bytes.
    weight: usize,
    /// What is to be done after it, and what that was asked in.
    after: Vec<(Span, Vec<Effect>)>,
    /// What the input that is looked at was asked in, and those of all inputs that have any.
    cause: Option<Span>,
    causes: Vec<Span>,
    answers: Vec<Answer>,
    queries: Vec<Look>,
    /// Messages that it took in.
    taken: usize,
    /// Somebody waits for its end.
    urgent: bool,
}

impl Round {
    /// It takes no more messages in.
    fn is_full(&self) -> bool {
        self.taken >= BATCH || self.weight >= BATCH_BYTES
    }

    fn writes(&self) -> bool {
        !self.changes.is_empty() || !self.history.is_empty()
    }

    fn begin(&mut self, cause: Span) {
        if !cause.is_none() {
            self.causes.push(cause.clone());
            self.cause = Some(cause);
        }
    }

    fn cause(&self) -> Span {
        self.cause.clone().unwrap_or_else(Span::none)
    }

    fn then(&mut self, effects: Vec<Effect>) {
        let cause = self.cause();
        match self.after.last_mut() {
            Some((last, all)) if last.id() == cause.id() => all.extend(effects),
            _ => self.after.push((cause, effects)),
        }
    }

    /// The span of its commit: part of what the first asked for, linked to others.
    fn commit(&self, slot: Slot) -> Span {
        let Some((first, others)) = self.causes.split_first() else { return Span::none() };
        let span = tracing::info_span!(parent: first, "commit", %slot, changes = self.changes.len());
        for other in others.iter().take(LINKS_MOST).filter_map(Remote::of) {
            other.is_linked_from(&span);
        }
        span
    }
}

impl SlotActor {
    /// Takes the slot over, if its epoch still is `seen`, and reads its state. `from`: who did not release it.
    pub(crate) async fn take_over(
        slot: Slot,
        seen: SlotEpoch,
        from: Option<MemberId>,
        shared: Arc<Shared>,
    ) -> Result<Self, SlotLost> {
        let claim = |source| SlotLost::Claim { slot, source };
        let epoch = match shared.store.claim(slot, &shared.member, seen).await.map_err(claim)? {
            ClaimOutcome::Claimed(epoch) => epoch,
            ClaimOutcome::Refused(head) => return Err(SlotLost::Fenced { slot, current: head.epoch }),
        };
        let rows = shared.store.load(slot).await.map_err(claim)?;
        let subscriptions = shared.subscriptions();
        let now = shared.clock.now_ms();
        if from.is_some() {
            shared.deaths.note(now);
        }
        let context = Context { now, settings: &shared.settings, subscriptions: &subscriptions };
        let (machine, output) = SlotMachine::load(slot, epoch, rows, shared.deaths.last(), &context);
        let (effects, orders, returned) = (JoinSet::new(), HashMap::new(), VecDeque::new());
        let removals = Removals::default();
        let mut actor = Self { slot, epoch, machine, shared, effects, orders, returned, removals };
        let mut round = Round::default();
        actor.collect(output, None, None, &mut round);
        let turn = match round.writes() {
            true => Some(actor.shared.turns.wait().await),
            false => None,
        };
        actor.finish(round, turn).await?;
        Ok(actor)
    }

    /// In which epoch.
    pub(crate) fn epoch(&self) -> SlotEpoch {
        self.epoch
    }

    /// Serves until the mailbox is closed and empty, or until the slot is lost. What nobody looked at then was not done.
    pub(crate) async fn run(self, mut mailbox: mpsc::Receiver<Message>) -> Result<(), SlotLost> {
        let result = self.serve(&mut mailbox).await;
        mailbox.close();
        while let Ok(message) = mailbox.try_recv() {
            if let Message::Apply { reply, .. } = message {
                drop(reply.send(Err(SlotError::NoOwner)));
            }
        }
        result
    }

    async fn serve(mut self, mailbox: &mut mpsc::Receiver<Message>) -> Result<(), SlotLost> {
        loop {
            let mut round = Round::default();
            let due = self.machine.next_due();
            let wait = due.map(|due| self.shared.clock.until(due));
            tokio::select! {
                biased;
                Some(done) = self.effects.join_next(), if !self.effects.is_empty() => self.effect_done(done, &mut round)?,
                message = mailbox.recv() => match message {
                    Some(message) => self.take(message, &mut round),
                    None if self.returned.is_empty() => return self.close().await,
                    None => {}
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                () = std::future::ready(()), if !self.returned.is_empty() => {}
            }
            // They leave room for others.
            while round.weight < BATCH_BYTES / 2
                && let Some(input) = self.returned.pop_front()
            {
                self.apply(input, None, &mut round);
            }
            // Whatever waits by now shares the commit: batches form by themselves while a write is under way.
            while !round.is_full()
                && let Ok(message) = mailbox.try_recv()
            {
                self.take(message, &mut round);
            }
            while round.weight < BATCH_BYTES
                && let Some(done) = self.effects.try_join_next()
            {
                self.effect_done(done, &mut round)?;
            }
            self.linger(mailbox, &mut round).await?;
            // In every round: however much is asked of the slot, its timers fire.
            self.tick(&mut round);
            let turn = self.turn(mailbox, &mut round).await?;
            self.finish(round, turn).await?;
        }
    }

    /// Waits for its turn if the round writes anything: the busier the store, the more shares the commit.
    async fn turn(
        &mut self,
        mailbox: &mut mpsc::Receiver<Message>,
        round: &mut Round,
    ) -> Result<Option<Turn>, SlotLost> {
        if !round.writes() {
            return Ok(None);
        }
        let shared = self.shared.clone();
        let turn = shared.turns.wait();
        tokio::pin!(turn);
        loop {
            tokio::select! {
                biased;
                turn = &mut turn => return Ok(Some(turn)),
                Some(done) = self.effects.join_next(), if !round.is_full() && !self.effects.is_empty() => {
                    self.effect_done(done, round)?;
                }
                Some(message) = mailbox.recv(), if !round.is_full() => self.take(message, round),
            }
        }
    }

    /// Waits a moment when nobody waits for the round and it would cost a commit: a command's way would be three commits, one
    /// after the other, where two hold as much.
    async fn linger(
        &mut self,
        mailbox: &mut mpsc::Receiver<Message>,
        round: &mut Round,
    ) -> Result<(), SlotLost> {
        let over = tokio::time::sleep(LINGER);
        tokio::pin!(over);
        while !round.urgent && !round.changes.is_empty() && !round.is_full() {
            tokio::select! {
                biased;
                Some(done) = self.effects.join_next(), if !self.effects.is_empty() => self.effect_done(done, round)?,
                Some(message) = mailbox.recv() => self.take(message, round),
                () = &mut over => return Ok(()),
                else => return Ok(()),
            }
        }
        Ok(())
    }

    fn apply(&mut self, input: Input, answer: Option<Answerer>, round: &mut Round) {
        round.urgent |= !input.is_patient();
        self.apply_at(self.shared.clock.now_ms(), input, answer, round);
    }

    fn apply_at(&mut self, now: Millis, input: Input, answer: Option<Answerer>, round: &mut Round) {
        let subscriptions = self.shared.subscriptions();
        let context = Context { now, settings: &self.shared.settings, subscriptions: &subscriptions };
        let opened = match &input {
            Input::OpenSession(open) => Some(open.device.clone()),
            _ => None,
        };
        let output = self.machine.apply(input, &context);
        self.collect(output, answer, opened, round);
    }

    fn take(&mut self, message: Message, round: &mut Round) {
        round.taken += 1;
        match message {
            // Who asked has long asked again, or gone: what is done for nobody makes those wait who still do.
            Message::Apply { reply, unwanted, .. }
                if reply.is_closed() || unwanted.as_ref().is_some_and(CancellationToken::is_cancelled) =>
            {
                self.shared.stats.abandoned();
            }
            Message::Apply { input, reply, cause, .. } => {
                round.begin(cause);
                self.apply(*input, Some(reply), round);
                round.cause = None;
            }
            // It is answered after the commit, if there is one, and waits for one as others do: who asks how a command stands
            // does so right when its way begins, and would make a commit more of it.
            Message::Query(look) => round.queries.push(look),
        }
    }

    fn tick(&mut self, round: &mut Round) {
        for _ in 0..TICKS_PER_TURN {
            let now = self.shared.clock.now_ms();
            if round.weight >= BATCH_BYTES || self.machine.next_due().is_none_or(|due| due > now) {
                return;
            }
            let last_seen = self.shared.seen.of(self.machine.due_intervals(now));
            // The very time for which it was asked who was heard of.
            self.apply_at(now, Input::Tick { last_seen }, None, round);
        }
    }

    fn collect(
        &mut self,
        output: Output,
        answer: Option<Answerer>,
        opened: Option<DeviceKey>,
        round: &mut Round,
    ) {
        round.cause().in_scope(|| self.start_all(output.immediate));
        round.history.extend(output.history);
        round.weight += output.changes.iter().map(Change::weight).sum::<usize>();
        round.changes.extend(output.changes);
        round.then(output.after);
        match (answer, output.reply) {
            // A grant tells nothing of what is stored; a reconnect storm need not wait for the disk.
            (Some(answer), reply @ Reply::Session(_)) => {
                if let (Err(Ok(Reply::Session(Ok(grant)))), Some(device)) = (answer.send(Ok(reply)), opened) {
                    // Who asked has gone: nobody holds this session, and nobody would report its end. That was a gateway, and
                    // none of the device's doing.
                    let reason = EndReason::ByPlatform;
                    let report = SessionReport::Ended { device, epoch: grant.epoch, reason };
                    self.apply(Input::Session(report), None, round);
                }
            }
            (Some(answer), reply) => round.answers.push((answer, reply)),
            (None, _) => {}
        }
    }

    /// Writes the round and tells of it. An error ends this owner: what it holds in memory was never told.
    async fn finish(&mut self, round: Round, turn: Option<Turn>) -> Result<(), SlotLost> {
        let slot = self.slot;
        let commit = round.commit(slot);
        if let Err(error) = self.write(round.history, round.changes).instrument(commit).await {
            tracing::error!(%slot, epoch = %self.epoch, %error, "the slot is lost");
            let refusal = match error {
                SlotLost::Fenced { .. } => SlotError::NoOwner,
                _ => SlotError::Unknown,
            };
            for (answer, _) in round.answers {
                drop(answer.send(Err(refusal)));
            }
            return Err(error);
        }
        if let Some(turn) = turn {
            turn.done();
        }
        for (answer, reply) in round.answers {
            drop(answer.send(Ok(reply)));
        }
        for (cause, effects) in round.after {
            cause.in_scope(|| self.start_all(effects));
        }
        for look in round.queries {
            look(&self.machine);
        }
        Ok(())
    }

    async fn write(&self, history: Vec<Append>, changes: Vec<Change>) -> Result<(), SlotLost> {
        let slot = self.slot;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let mut failures = 0;
        while !history.is_empty() {
            match self.shared.store.append(history.clone()).await {
                Ok(()) => break,
                // Nothing was written: what was taken in waits for its turn.
                Err(StoreError::Overloaded(_)) => backoff.pause().await,
                // It may have been written, and may be again.
                Err(StoreError::Failed(error)) if failures < APPENDS_AGAIN => {
                    tracing::warn!(%slot, error, "history was not appended; trying again");
                    failures += 1;
                    backoff.pause().await;
                }
                Err(source) => return Err(SlotLost::History { slot, source }),
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        match self.shared.store.commit(slot, self.epoch, changes).await {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::Fenced { current } => Err(SlotLost::Fenced { slot, current }),
            CommitOutcome::Unknown => Err(SlotLost::Unknown { slot }),
        }
    }

    fn start_all(&mut self, all: Vec<Effect>) {
        let mut dispatches = Vec::new();
        for effect in all {
            match effect {
                Effect::Gateway(dispatch) => {
                    effects::note(&self.shared, &dispatch);
                    dispatches.push(dispatch);
                }
                other => self.start(other),
            }
        }
        self.dispatch(dispatches);
    }

    fn dispatch(&mut self, dispatches: Vec<Dispatch>) {
        let mut fresh: HashMap<MemberId, Vec<Dispatch>> = HashMap::new();
        for dispatch in dispatches {
            match self.orders.get_mut(&dispatch.gateway) {
                Some(waiting) => waiting.push(dispatch),
                None => fresh.entry(dispatch.gateway.clone()).or_default().push(dispatch),
            }
        }
        for (gateway, dispatches) in fresh {
            self.orders.insert(gateway.clone(), Vec::new());
            self.effects.spawn(effects::dispatch(self.shared.clone(), gateway, dispatches));
        }
    }

    fn start(&mut self, effect: Effect) {
        match effect {
            Effect::Activity(activity) => self.shared.told(*activity),
            Effect::Gateway(_) => self.start_all(vec![effect]),
            Effect::Publish(entry) => {
                if let Some(work) = self.machine.work(&entry) {
                    self.effects.spawn(effects::publish(self.shared.clone(), entry, work));
                }
            }
            Effect::Archive(key, row) => self.archive(Archive::new(key, *row)),
            Effect::Forget(device) => {
                if self.removals.may_begin(&device) {
                    self.effects.spawn(effects::forget(self.shared.clone(), device));
                }
            }
        }
    }

    fn archive(&mut self, archive: Archive) {
        // Its device was removed: history of it would outlive what is forgotten.
        if self.machine.has(&archive.key) {
            self.removals.append_begins(archive.device());
            self.effects.spawn(effects::archive(self.shared.clone(), archive));
        }
    }

    fn effect_done(
        &mut self,
        done: Result<EffectDone, tokio::task::JoinError>,
        round: &mut Round,
    ) -> Result<(), SlotLost> {
        match done {
            Ok(EffectDone::Nothing) => {}
            Ok(EffectDone::Input(input)) => self.apply(*input, None, round),
            Ok(EffectDone::Appended(archive, is_there)) => {
                if let Some(device) = self.removals.append_ended(archive.device()) {
                    self.effects.spawn(effects::forget(self.shared.clone(), device));
                }
                if is_there {
                    self.apply(Input::Archived(vec![archive.key]), None, round);
                } else {
                    self.effects.spawn(effects::archive_later(archive));
                }
            }
            Ok(EffectDone::ArchiveAgain(archive)) => self.archive(*archive),
            Ok(EffectDone::Dispatched(gateway, refused)) => {
                let waiting = self.orders.remove(&gateway).unwrap_or_default();
                self.dispatch(waiting);
                self.returned.extend(refused);
            }
            // The row that caused it is still there: the next owner carries it out.
            Err(error) => return Err(SlotLost::Effect { slot: self.slot, error }),
        }
        Ok(())
    }

    /// Leaves what is under way to the next owner: all of it is in the slot's table, but for what gateways are being told
    /// at this moment.
    async fn close(mut self) -> Result<(), SlotLost> {
        let last_words = async { while self.effects.join_next().await.is_some() {} };
        drop(tokio::time::timeout(LAST_WORDS, last_words).await);
        self.effects.shutdown().await;
        Ok(())
    }
}
