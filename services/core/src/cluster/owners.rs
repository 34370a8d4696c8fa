//! The task that carries out what [`Ownership`] decides: it takes slots over, runs their tasks and gives them up again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use stoker_domain::machine;
use stoker_domain::model::{MemberId, Slot, SlotEpoch};
use stoker_domain::ownership::{Action, Input, Ownership};
use stoker_domain::ports::store::{CommitOutcome, SlotHead, StoreError};
use stoker_telemetry::Health;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::gateways::Gone;
use super::members::{self, Leaving, Membership, Observed};
use crate::backoff::Backoff;
use crate::shared::Shared;
use crate::slots::{SlotActor, SlotError, SlotLost, Slots};

/// How often the process's row is written and the others' are read.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Between two of these the members are looked at so often at most when somebody may be dead.
const LOOKS_MOST: u8 = 3;
/// Reading and writing the rows may take so long before it counts as failed.
const REFRESH_WITHIN: Duration = Duration::from_secs(4);
/// How long a process that ends may take to hand its slots on. Afterwards the others take it for dead.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(20);
/// A process that has handed its slots on still passes requests on for so long, until nobody comes to it any more: its row is
/// written within a second, the others read it a second later, and tell their callers within another.
const LINGER: Duration = Duration::from_secs(4);
/// Requests for slots that nobody owns yet. More are forgotten: whoever asks asks again.
const WANTED_MOST: usize = 64;
/// What health calls them.
const THING: &str = "slots";
const STORE: &str = "store";

/// Why the task ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnersError {
    #[error(transparent)]
    Lost(#[from] SlotLost),
    #[error("the row of slot {slot} could not be read: {source}")]
    Head { slot: Slot, source: StoreError },
    #[error("a task of a slot died: {0}")]
    Died(#[from] JoinError),
}

/// How a job ended.
enum Done {
    Refreshed(Option<Observed>),
    Head(Slot, Result<SlotHead, StoreError>),
    TakenOver(Slot, Result<Box<SlotActor>, SlotLost>),
    Released(Slot),
    Mourned(MemberId),
}

/// A slot's task has ended.
type Ended = (Slot, SlotEpoch, Result<(), SlotLost>);

/// The slots of this process, coming and going.
pub(crate) struct Owners {
    shared: Arc<Shared>,
    slots: Slots,
    membership: Membership,
    machine: Ownership,
    health: Health,
    beat: u64,
    refreshing: bool,
    /// How often the members were looked at between two ticks, as somebody may be dead.
    looks: u8,
    leaving: Leaving,
    /// Reads, take-overs and releases. The machine bounds them.
    jobs: JoinSet<Done>,
    actors: JoinSet<Ended>,
    /// Slots that finish what they hold.
    finishing: BTreeSet<Slot>,
    wanted: mpsc::Receiver<Slot>,
    settled: watch::Sender<bool>,
}

impl Owners {
    /// Owns nothing yet. The other ends: to say which slots are asked for, and to learn when all have their owners.
    pub(crate) fn new(
        shared: Arc<Shared>,
        slots: Slots,
        membership: Membership,
        health: Health,
    ) -> (Self, mpsc::Sender<Slot>, watch::Receiver<bool>) {
        let (wants, wanted) = mpsc::channel(WANTED_MOST);
        let (settled, settles) = watch::channel(false);
        let alone = membership.is_alone();
        let machine = Ownership::new(shared.member.clone(), membership.slots(), alone);
        health.waiting(THING, "they are being taken over");
        let owners = Self {
            shared,
            slots,
            membership,
            machine,
            health,
            beat: 1,
            refreshing: false,
            looks: 0,
            leaving: Leaving::Not,
            jobs: JoinSet::new(),
            actors: JoinSet::new(),
            finishing: BTreeSet::new(),
            wanted,
            settled,
        };
        (owners, wants, settles)
    }

    /// Owns what falls to this process until shutdown, and then hands it on.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), OwnersError> {
        let mut ticks = interval(BEAT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leave_by: Option<Instant> = None;
        let mut lingers_until: Option<Instant> = None;
        loop {
            let look_at = self.look_at();
            let input = tokio::select! {
                () = shutdown.cancelled(), if leave_by.is_none() => {
                    if self.membership.is_alone() {
                        return self.end().await;
                    }
                    leave_by = Some(Instant::now() + HAND_OVER_WITHIN);
                    self.leaving = Leaving::HandsOn;
                    self.refresh();
                    Some(Input::Leave)
                }
                () = sleep_until(lingers_until.unwrap_or_else(Instant::now)), if lingers_until.is_some() => {
                    return Ok(());
                }
                () = sleep_until(leave_by.unwrap_or_else(Instant::now)),
                    if leave_by.is_some() && lingers_until.is_none() =>
                {
                    tracing::warn!(
                        slots = self.machine.owned().count(),
                        "not all slots could be handed on in time; the others take them over"
                    );
                    for (slot, _) in self.slots.owned() {
                        self.close(slot);
                    }
                    return Ok(());
                }
                Some(done) = self.jobs.join_next(), if !self.jobs.is_empty() => self.done(done?)?,
                Some(ended) = self.actors.join_next(), if !self.actors.is_empty() => self.ended(ended?)?,
                Some(slot) = self.wanted.recv() => Some(Input::Wanted(slot)),
                _ = ticks.tick() => {
                    self.looks = 0;
                    self.refresh();
                    Some(Input::Tick)
                }
                () = sleep_until(look_at), if self.looks < LOOKS_MOST && !self.refreshing => {
                    self.looks += 1;
                    self.refresh();
                    None
                }
            };
            if let Some(input) = input {
                self.apply(input);
            }
            self.tell();
            if self.leaving == Leaving::HandsOn && self.machine.is_clear() {
                tracing::info!("all slots are handed on");
                self.leaving = Leaving::HandedOn;
                self.refresh();
                let nobody_asks = self.shared.roster.other_cores(&self.shared.member).is_empty();
                let linger = if nobody_asks { Duration::ZERO } else { LINGER };
                lingers_until = Some(Instant::now() + linger);
            }
        }
    }

    fn apply(&mut self, input: Input) {
        let of_members = matches!(input, Input::Members { .. } | Input::Leave);
        for action in self.machine.apply(input, self.shared.clock.now_ms()) {
            self.carry_out(action);
        }
        if of_members {
            let likely = Slot::all().map(|slot| self.machine.likely_owner(slot).cloned()).collect();
            self.shared.roster.set_likely(likely);
        }
    }

    fn carry_out(&mut self, action: Action) {
        let shared = self.shared.clone();
        match action {
            Action::Read(slot) => {
                self.jobs.spawn(async move { Done::Head(slot, shared.store.head(slot).await) });
            }
            Action::TakeOver { slot, seen, from } => {
                self.jobs.spawn(async move {
                    Done::TakenOver(slot, SlotActor::take_over(slot, seen, from, shared).await.map(Box::new))
                });
            }
            Action::Release { slot, epoch } => {
                if self.slots.epoch(slot) == Some(epoch) {
                    // What was sent to it is worked off first; the end of its task comes back here.
                    self.finishing.insert(slot);
                    self.close(slot);
                } else {
                    self.release(slot, epoch);
                }
            }
        }
    }

    /// Nobody's requests reach the slot here any more.
    fn close(&self, slot: Slot) {
        self.slots.close(slot);
        self.shared.waiters.lost(slot);
    }

    fn release(&mut self, slot: Slot, epoch: SlotEpoch) {
        let shared = self.shared.clone();
        self.jobs.spawn(async move {
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
            // Refused: the row says something else already. Until it is sure, nobody else would take the slot over.
            while shared.store.release(slot, epoch).await == CommitOutcome::Unknown {
                backoff.pause().await;
            }
            Done::Released(slot)
        });
    }

    /// Tells the slots of this process. One that is taken over later presumes its sessions lost by itself, and looks when somebody
    /// died.
    fn gateway_gone(&mut self, Gone { gateway, in_order }: Gone) {
        let input = if in_order {
            tracing::info!(%gateway, "a gateway has ended");
            machine::Input::GatewayLeft(gateway.clone())
        } else {
            tracing::warn!(%gateway, "a gateway is taken for dead; its devices have their grace to come back");
            self.shared.deaths.note(self.shared.clock.now_ms());
            machine::Input::GatewayGone(gateway.clone())
        };
        let slots = self.slots.clone();
        self.jobs.spawn(async move {
            for (slot, _) in slots.owned() {
                let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
                while let Err(SlotError::Overloaded) = slots.apply(slot, input.clone()).await {
                    backoff.pause().await;
                }
            }
            Done::Mourned(gateway)
        });
    }

    /// When a member is to be taken for dead unless something is heard of it: sooner than with the next tick.
    fn look_at(&self) -> Instant {
        let now = self.shared.clock.now_ms();
        let left = self
            .machine
            .look_at()
            .map_or(BEAT_EVERY, |at| Duration::from_millis(at.saturating_sub(now).max(0).unsigned_abs()));
        Instant::now() + left
    }

    fn refresh(&mut self) {
        if self.refreshing {
            return;
        }
        let Some(row) = members::own_row(&self.shared, &self.membership, self.leaving, self.beat) else {
            return;
        };
        self.beat = self.beat.wrapping_add(1);
        self.refreshing = true;
        let shared = self.shared.clone();
        self.jobs.spawn(async move {
            let refreshed = match timeout(REFRESH_WITHIN, members::refresh(shared, row)).await {
                Ok(Ok(observed)) => Some(observed),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the members could not be read");
                    None
                }
                Err(_) => {
                    tracing::warn!("the members could not be read in time");
                    None
                }
            };
            Done::Refreshed(refreshed)
        });
    }

    fn done(&mut self, done: Done) -> Result<Option<Input>, OwnersError> {
        Ok(Some(match done {
            Done::Refreshed(observed) => {
                self.refreshing = false;
                let Some(Observed { cores, gone, began }) = observed else {
                    // The store is in trouble: it is asked again in its time, and not more often.
                    self.looks = LOOKS_MOST;
                    let why = "the members' rows cannot be read";
                    // It may be so for all cores at once; one that is alone with it is left by what it answers.
                    if *self.settled.borrow() {
                        self.health.degraded(STORE, why);
                    } else {
                        self.health.waiting(STORE, why);
                    }
                    return Ok(None);
                };
                self.health.ready(STORE);
                gone.into_iter().for_each(|gone| self.gateway_gone(gone));
                Input::Members { rows: cores, began }
            }
            Done::Mourned(gateway) => {
                self.shared.gateways.mourned(&gateway);
                return Ok(None);
            }
            Done::Head(slot, Ok(head)) => Input::Head(slot, Some(head)),
            Done::Head(slot, Err(source)) if self.membership.is_alone() => {
                return Err(OwnersError::Head { slot, source });
            }
            Done::Head(slot, Err(error)) => {
                tracing::warn!(%slot, %error, "a slot's row could not be read");
                Input::Head(slot, None)
            }
            Done::TakenOver(slot, Ok(actor)) => {
                let epoch = actor.epoch();
                let mailbox = self.slots.open(slot, epoch, self.shared.clock.now_ms());
                self.actors.spawn(async move { (slot, epoch, actor.run(mailbox).await) });
                tracing::debug!(%slot, %epoch, "a slot is owned");
                Input::TakenOver(slot, epoch)
            }
            Done::TakenOver(_, Err(lost)) if self.membership.is_alone() => return Err(lost.into()),
            Done::TakenOver(slot, Err(lost)) => {
                tracing::warn!(%slot, error = %lost, "a slot was not taken over");
                Input::NotTakenOver(slot)
            }
            Done::Released(slot) => {
                tracing::debug!(%slot, "a slot is released");
                Input::Gone(slot)
            }
        }))
    }

    fn ended(&mut self, (slot, epoch, result): Ended) -> Result<Option<Input>, OwnersError> {
        let finishing = self.finishing.remove(&slot);
        if let Err(lost) = result {
            if self.membership.is_alone() {
                return Err(lost.into());
            }
            tracing::warn!(%slot, %epoch, error = %lost, "a slot is lost; it is taken over anew by whom it falls to");
            if !finishing {
                self.close(slot);
                return Ok(Some(Input::Gone(slot)));
            }
        }
        if finishing {
            self.release(slot, epoch);
        }
        Ok(None)
    }

    /// Says when all slots have their owners for the first time. From then on this process can serve: requests for a slot
    /// on its way from one owner to the next wait for it.
    fn tell(&self) {
        let settles = self.machine.settled() && !*self.settled.borrow();
        if settles {
            self.settled.send_replace(true);
            self.health.ready(THING);
        }
    }

    /// Ends all slots' tasks. Their rows go on naming this process, which is no more once the store is free again.
    async fn end(mut self) -> Result<(), OwnersError> {
        self.jobs.shutdown().await;
        for (slot, _) in self.slots.owned() {
            self.close(slot);
        }
        while let Some(ended) = self.actors.join_next().await {
            let (.., result) = ended?;
            result?;
        }
        Ok(())
    }
}
