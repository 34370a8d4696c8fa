//! Which slots this process owns, takes over and hands on: a pure machine that decides by what was read from the store.
//!
//! **Safety does not rest on it.** A slot is taken over by one conditional write on its row, and every change of its
//! state names the epoch of that write; however wrong this machine's view of the others is, an owner that was replaced
//! can change nothing. What rests on it is that every slot has an owner soon, that it is the right one, and that nobody
//! is deprived of a slot for nothing.
//!
//! * A member is alive while its row changes; it is dead when a read that began [`DEAD_AFTER_MS`] after its last change
//!   still shows the same row (or none). Reads that fail prove nothing, so a process that is cut from the store deprives
//!   nobody. Times are those of the observer's own clock, which may run at any speed and never goes back.
//! * Slots spread over the live members whose range has them, by rendezvous hashing.
//! * A slot that falls to this process is taken over once its recorded owner has released it or is dead. One that no
//!   longer falls to it is released when what it holds is finished; that waits until the other has been seen alive, so
//!   that the leftover row of a dead process moves nothing.
//!
//! * A take-over or a change of which the end was never heard may have left this process as the recorded owner of a slot
//!   that it does not serve. Its row is read until it says otherwise; when it names this process and the slot falls to
//!   another, it is released.
//!
//! The shell carries out [`Action`]s and reports what came of each; nothing is done twice at a time for one slot.

mod members;
mod range;
mod rendezvous;

use std::collections::BTreeMap;

use crate::model::{MemberId, Millis, Slot, SlotEpoch};
use crate::ports::store::SlotHead;

use members::Members;

pub use members::{DEAD_AFTER_MS, Peer};
pub use range::{RangeError, SlotRange};
pub use rendezvous::falls_to;

/// A head that is older than this is read again before anything is decided by it.
pub const HEAD_FRESH_MS: Millis = 1_000;
/// Reads of heads and take-overs under way at once: each of these loads a slot's whole state.
pub const AT_ONCE: usize = 32;
/// After a take-over that failed, or a slot that was lost, so long passes before the next try; doubled each time.
const FIRST_PAUSE_MS: Millis = 200;
/// The longest of these pauses.
const LONGEST_PAUSE_MS: Millis = 5_000;

/// What the machine hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// All member rows of the cores, read between these times.
    Members {
        /// The rows, this process's own among them or not.
        rows: Vec<Peer>,
        /// When the read began.
        began: Millis,
    },
    /// The row of a slot, as [`Action::Read`] wanted; `None`: it could not be read.
    Head(Slot, Option<SlotHead>),
    /// What came of [`Action::TakeOver`]: the epoch in which the slot is owned and served.
    TakenOver(Slot, SlotEpoch),
    /// It was not: somebody was faster, or the store did not answer, or the state could not be loaded.
    NotTakenOver(Slot),
    /// What [`Action::Release`] wanted is done, or an owned slot was lost.
    Gone(Slot),
    /// Somebody asks for this slot: it comes first.
    Wanted(Slot),
    /// This process is about to end: it takes nothing more and hands on what it has.
    Leave,
    /// Nothing but the time.
    Tick,
}

/// What the shell is to do. Each is answered by an [`Input`], whatever comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the slot's row.
    Read(Slot),
    /// Take the slot over, if its epoch still is `seen`, load it and serve it.
    TakeOver {
        /// Which.
        slot: Slot,
        /// The epoch of the row that was read.
        seen: SlotEpoch,
    },
    /// Finish what the slot holds and release its row, if it still has this epoch. Answered when the row says that this
    /// process is not its owner, and not before: nobody else takes a slot over whose owner is alive.
    Release {
        /// Which.
        slot: Slot,
        /// In which epoch it is this process's.
        epoch: SlotEpoch,
    },
}

/// What this process is to a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Not its owner. The newest row, and when it was read.
    Other(Option<(SlotHead, Millis)>),
    /// Not its owner; its row is being read.
    Reading,
    /// About to be its owner.
    Taking,
    /// Its owner.
    Owned(SlotEpoch, Millis),
    /// Its owner for as long as it takes to finish.
    Releasing,
}

#[derive(Debug, Clone)]
struct Entry {
    state: State,
    wanted: bool,
    /// The row may name this process although it does not serve the slot.
    maybe_mine: bool,
    /// Not before this time.
    not_before: Millis,
    pause: Millis,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Ownership {
    me: MemberId,
    range: SlotRange,
    /// Nobody else can be alive, because something outside guarantees it: the lock on a data directory.
    alone: bool,
    leaving: bool,
    members: Members,
    observed: bool,
    slots: BTreeMap<Slot, Entry>,
}

impl Ownership {
    /// A process that owns nothing yet. `alone`: something outside guarantees that nobody else is alive.
    #[must_use]
    pub fn new(me: MemberId, range: SlotRange, alone: bool) -> Self {
        let entry = Entry {
            state: State::Other(None),
            wanted: false,
            maybe_mine: false,
            not_before: Millis::MIN,
            pause: 0,
        };
        let slots = range.iter().map(|slot| (slot, entry.clone())).collect();
        Self { me, range, alone, leaving: false, members: Members::default(), observed: alone, slots }
    }

    /// Takes something in and says what is to be done. `now` never goes back.
    pub fn apply(&mut self, input: Input, now: Millis) -> Vec<Action> {
        match input {
            Input::Members { rows, began } => {
                let others = rows.into_iter().filter(|peer| peer.id != self.me).collect();
                self.members.observe(others, began, now);
                self.observed = true;
            }
            Input::Head(slot, head) => self.head(slot, head, now),
            Input::TakenOver(slot, epoch) => {
                if let Some(entry) = self.slots.get_mut(&slot) {
                    (entry.state, entry.wanted, entry.maybe_mine) = (State::Owned(epoch, now), false, false);
                }
            }
            Input::NotTakenOver(slot) => {
                self.failed(slot, now);
                self.set_maybe_mine(slot, true);
            }
            Input::Gone(slot) => self.gone(slot, now),
            Input::Wanted(slot) => {
                if let Some(entry) = self.slots.get_mut(&slot) {
                    entry.wanted = true;
                }
            }
            Input::Leave => self.leaving = true,
            Input::Tick => {}
        }
        self.decide(now)
    }

    /// The slots that it owns, those about to be released among them.
    pub fn owned(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots
            .iter()
            .filter(|(_, entry)| matches!(entry.state, State::Owned(..) | State::Releasing))
            .map(|(slot, _)| *slot)
    }

    /// True when every slot of its range has an owner that is not dead, as far as this process knows.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.observed
            && self.slots.iter().all(|(slot, entry)| match &entry.state {
                State::Owned(..) => true,
                State::Other(_) | State::Reading => !self.falls_to_me(*slot),
                State::Taking | State::Releasing => false,
            })
    }

    /// To whom a slot falls among those that may be alive, this process among them.
    #[must_use]
    pub fn likely_owner(&self, slot: Slot) -> Option<&MemberId> {
        let others = self.members.hopeful().filter(|peer| peer.slots.contains(slot)).map(|peer| &peer.id);
        falls_to(slot, others.chain(self.myself(slot)))
    }

    fn myself(&self, slot: Slot) -> Option<&MemberId> {
        (!self.leaving && self.range.contains(slot)).then_some(&self.me)
    }

    fn falls_to_me(&self, slot: Slot) -> bool {
        self.likely_owner(slot) == Some(&self.me)
    }

    /// True when a member that is alive for sure is to have this slot instead, or when this one has to go.
    fn is_to_be_released(&self, slot: Slot) -> bool {
        if self.leaving {
            return true;
        }
        let others = self.members.proven().filter(|peer| peer.slots.contains(slot)).map(|peer| &peer.id);
        falls_to(slot, others.chain(self.myself(slot))) != Some(&self.me)
    }

    fn set_maybe_mine(&mut self, slot: Slot, maybe: bool) {
        if let Some(entry) = self.slots.get_mut(&slot) {
            entry.maybe_mine = maybe;
        }
    }

    fn head(&mut self, slot: Slot, head: Option<SlotHead>, now: Millis) {
        match head {
            None => self.failed(slot, now),
            Some(head) => {
                self.set_maybe_mine(slot, head.owner.as_ref() == Some(&self.me));
                if let Some(entry) = self.slots.get_mut(&slot) {
                    entry.state = State::Other(Some((head, now)));
                }
            }
        }
    }

    fn failed(&mut self, slot: Slot, now: Millis) {
        if let Some(entry) = self.slots.get_mut(&slot) {
            entry.state = State::Other(None);
            entry.pause = (entry.pause * 2).clamp(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
            entry.not_before = now.saturating_add(entry.pause);
        }
    }

    fn gone(&mut self, slot: Slot, now: Millis) {
        let Some(entry) = self.slots.get_mut(&slot) else { return };
        match entry.state {
            State::Owned(_, since) => {
                // One that was held for long is not failing again and again.
                if now.saturating_sub(since) > LONGEST_PAUSE_MS {
                    entry.pause = 0;
                }
                entry.maybe_mine = true;
                self.failed(slot, now);
            }
            _ => (entry.state, entry.pause, entry.maybe_mine) = (State::Other(None), 0, false),
        }
    }

    fn decide(&mut self, now: Millis) -> Vec<Action> {
        // Before the others were ever looked at, everything would seem to fall to this process.
        if !self.observed {
            return Vec::new();
        }
        let busy = |entry: &&Entry| matches!(entry.state, State::Reading | State::Taking);
        let mut room = AT_ONCE.saturating_sub(self.slots.values().filter(busy).count());
        let mut order: Vec<Slot> = self.slots.keys().copied().collect();
        order.sort_by_key(|slot| self.slots.get(slot).is_none_or(|entry| !entry.wanted));
        let mut actions = Vec::new();
        for slot in order {
            let Some((action, state)) = self.step(slot, room > 0, now) else { continue };
            room -= usize::from(matches!(state, State::Reading | State::Taking));
            if let Some(entry) = self.slots.get_mut(&slot) {
                entry.state = state;
            }
            actions.push(action);
        }
        actions
    }

    /// What is to be done about one slot now, and what this process is to it meanwhile.
    fn step(&mut self, slot: Slot, room: bool, now: Millis) -> Option<(Action, State)> {
        let entry = self.slots.get(&slot)?;
        match &entry.state {
            State::Owned(epoch, _) if self.is_to_be_released(slot) => {
                Some((Action::Release { slot, epoch: *epoch }, State::Releasing))
            }
            State::Other(_) if now < entry.not_before || !room => None,
            State::Other(known) => {
                let wants = self.falls_to_me(slot);
                if !wants && !entry.maybe_mine {
                    return None;
                }
                match known {
                    Some((head, at)) if now - at < HEAD_FRESH_MS => {
                        let head = head.clone();
                        self.by_head(slot, &head, wants, now)
                    }
                    _ => Some((Action::Read(slot), State::Reading)),
                }
            }
            _ => None,
        }
    }

    fn by_head(&mut self, slot: Slot, head: &SlotHead, wants: bool, now: Millis) -> Option<(Action, State)> {
        let mine = head.owner.as_ref() == Some(&self.me);
        if mine && !wants {
            return Some((Action::Release { slot, epoch: head.epoch }, State::Releasing));
        }
        let free = match &head.owner {
            None => true,
            // What was done in that epoch and never heard of is read anew.
            Some(_) if mine || self.alone => true,
            Some(owner) => self.members.is_dead(owner, now),
        };
        // Otherwise its owner is to finish first; whether it has will stand in the row.
        (wants && free).then_some((Action::TakeOver { slot, seen: head.epoch }, State::Taking))
    }
}

#[cfg(test)]
mod tests;
