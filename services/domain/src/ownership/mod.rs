//! Which slots this process owns, takes over and hands on: a pure machine that decides by what was read from the store.
//!
//! **Safety does not rest on it.** A slot is taken over by one conditional write on its row, and every change of its
//! state names the epoch of that write; however wrong this machine's view of the others is, an owner that was replaced
//! can change nothing. What rests on it is that every slot has an owner soon, that it is the right one, and that nobody
//! is deprived of a slot for nothing.
//!
//! * A member is alive while its row changes; it is dead when a read that began [`DEAD_AFTER_MS`] after its last change
//!   still shows the same row (or none). Reads that fail prove nothing, so a process that is cut from the store deprives
//!   nobody; neither does one that was stopped and wakes up with answers of old. Times are those of the observer's own
//!   clock, which never goes back; of two processes' clocks one may run twice as fast as the other.
//! * Slots spread over the live members whose range has them, by rendezvous hashing.
//! * A slot that falls to this process is taken over once its recorded owner has released it or is dead, by a read of
//!   the members that began after that owner was read. One that no longer falls to it is released when what it holds is
//!   finished; that waits until the other has been seen alive and takes nobody for alive who is not, so that the
//!   leftover row of a dead process moves nothing.
//! * A take-over or a change of which the end was never heard may have left this process as the recorded owner of a slot
//!   that it does not serve, and a take-over may reach the store long after it was given up. The slot's row is read
//!   until it says otherwise; when it names this process and the slot falls to another, it is released.
//! * A process that was replaced while it was stopped, and that has nothing to write, would never hear of it. So an
//!   owner looks at its slots' rows twice a minute, and at once when its own row stood still.
//!
//! The shell refreshes the process's row and reads all of them once a second, from before the first take-over until
//! nothing is left ([`Ownership::is_clear`]); it carries out [`Action`]s and reports what came of each. Nothing is done
//! twice at a time for one slot, and at most [`AT_ONCE`] slots are read or taken over, and [`AT_ONCE`] released, at a
//! time.
//!
//! `tests/ownership` says what is promised, and checks it over all interleavings of a few processes.

mod decide;
mod entry;
mod members;
mod range;
mod rendezvous;

use std::collections::BTreeMap;

use crate::model::{MemberId, Millis, Slot, SlotEpoch};
use crate::ports::store::SlotHead;

use entry::{Entry, Owned, State};
use members::Members;

pub use members::{DEAD_AFTER_MS, Peer};
pub use range::{RangeError, SlotRange};
pub use rendezvous::falls_to;

/// A head that is older than this is read again before anything is decided by it.
pub const HEAD_FRESH_MS: Millis = 1_000;
/// Slots that are read or taken over at once, each of which may load a slot's whole state; and slots released at once.
pub const AT_ONCE: usize = 32;

/// What the machine hears.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// All member rows of the cores. Answers of reads that overlapped may come in any order.
    Members {
        /// The rows, this process's own among them as far as the store has it.
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
    /// What [`Action::Release`] wanted is done. Without that having been wanted: an owned slot was lost.
    Gone(Slot),
    /// Somebody asks for this slot: it comes first.
    Wanted(Slot),
    /// This process is about to end: it takes nothing more and hands on what it has.
    Leave,
    /// Nothing but the time.
    Tick,
}

/// What the shell is to do. Each is answered by one [`Input`], whatever comes of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read the slot's row.
    Read(Slot),
    /// Take the slot over, if its epoch still is `seen`, load it and serve it.
    TakeOver {
        /// Which.
        slot: Slot,
        /// The epoch of the row that was read.
        seen: SlotEpoch,
        /// The owner that the row names: it did not release it.
        from: Option<MemberId>,
    },
    /// Finish what the slot holds, serve it no more and release its row, if it still has this epoch. Answered once, when
    /// the row is sure not to name this process in this epoch, and not before: nobody else takes a slot over whose owner
    /// is alive.
    Release {
        /// Which.
        slot: Slot,
        /// In which epoch it is this process's.
        epoch: SlotEpoch,
    },
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ownership {
    me: MemberId,
    range: SlotRange,
    /// Nobody else can be alive, because something outside guarantees it: the lock on a data directory.
    alone: bool,
    leaving: bool,
    members: Members,
    slots: BTreeMap<Slot, Entry>,
    /// Somebody is dead unless its row has changed since a slot's row was read: since then the members are to be looked at
    /// anew.
    look_since: Option<Millis>,
}

impl Ownership {
    /// A process that owns nothing yet. `alone`: something outside guarantees that nobody else is alive.
    #[must_use]
    pub fn new(me: MemberId, range: SlotRange, alone: bool) -> Self {
        let slots = range.iter().map(|slot| (slot, Entry::new(rendezvous::weight(slot, &me)))).collect();
        Self { me, range, alone, leaving: false, members: Members::default(), slots, look_since: None }
    }

    /// Takes something in and says what is to be done. `now` never goes back.
    pub fn apply(&mut self, input: Input, now: Millis) -> Vec<Action> {
        match input {
            Input::Members { rows, began } => {
                if !self.alone && self.members.observe(&self.me, rows, began, now) {
                    self.slots.values_mut().for_each(|entry| entry.check_now(now));
                }
            }
            Input::Head(slot, head) => self.head(slot, head, now),
            Input::TakenOver(slot, epoch) => self.change(slot, |entry| entry.taken_over(epoch, now)),
            Input::NotTakenOver(slot) => self.change(slot, |entry| entry.not_taken_over(now)),
            Input::Gone(slot) => self.change(slot, |entry| entry.gone(now)),
            Input::Wanted(slot) => match self.slots.get_mut(&slot) {
                Some(entry) if !entry.wanted => entry.wanted = true,
                // Said with every request: nothing new.
                _ => return Vec::new(),
            },
            Input::Leave => self.leaving = true,
            Input::Tick => {}
        }
        self.decide(now)
    }

    /// The slots that it owns, those about to be released among them.
    pub fn owned(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().filter(|(_, entry)| entry.is_owned()).map(|(slot, _)| *slot)
    }

    /// True when every slot of its range has an owner that is not dead, as far as this process knows.
    #[must_use]
    pub fn settled(&self) -> bool {
        (self.alone || self.members.were_read())
            && self.slots.iter().all(|(slot, entry)| match &entry.state {
                State::Owned(_) | State::Checking(_) => true,
                State::Other(_) | State::Reading => !self.falls_to_me(*slot),
                State::Taking(_) | State::Releasing(_) => false,
            })
    }

    /// True when no slot's row names this process and nothing is under way that could make one do so. Once it is so
    /// after [`Input::Leave`], the process may end.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.slots.values().all(Entry::is_clear)
    }

    /// To whom a slot falls among those that may be alive, this process among them.
    #[must_use]
    pub fn likely_owner(&self, slot: Slot) -> Option<&MemberId> {
        falls_to(slot, self.members.hopeful(slot).chain(self.myself(slot)))
    }

    fn myself(&self, slot: Slot) -> Option<&MemberId> {
        (!self.leaving && self.range.contains(slot)).then_some(&self.me)
    }

    fn falls_to_me(&self, slot: Slot) -> bool {
        self.likely_owner(slot) == Some(&self.me)
    }

    /// True when a slot falls to somebody who came too lately to know who is dead, and to this process among the others: it
    /// takes the slot from a dead owner, and hands it on when the newcomer has had its time.
    fn stands_in(&self, slot: Slot) -> bool {
        let young = |id: &MemberId| *id != self.me && !self.members.is_initiated(id);
        let others = || self.members.hopeful(slot).chain(self.myself(slot)).filter(|id| !young(id));
        self.members.has_dead()
            && self.members.is_old()
            && self.likely_owner(slot).is_some_and(young)
            && falls_to(slot, others()) == Some(&self.me)
    }

    /// When the members should be looked at although it is not yet time for it: one of them may be dead then.
    #[must_use]
    pub fn look_at(&self) -> Option<Millis> {
        self.members.next_death().into_iter().chain(self.look_since).min().filter(|_| !self.alone)
    }

    /// True when this process has to go, or when another that is alive for sure is to have this slot and knows that.
    fn is_to_be_released(&self, slot: Slot) -> bool {
        if self.leaving {
            return true;
        }
        let Some(next) = self.likely_owner(slot).filter(|next| **next != self.me) else { return false };
        let first = falls_to(slot, self.members.listed(slot));
        // While somebody is dead, slots may have moved for that; they are not to move again at once.
        let at_once = first == Some(next) && !self.members.has_dead();
        self.members.is_proven(next) && (at_once || self.members.is_initiated(next))
    }

    fn change(&mut self, slot: Slot, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.slots.get_mut(&slot) {
            change(entry);
        }
    }

    fn head(&mut self, slot: Slot, head: Option<SlotHead>, now: Millis) {
        let is_mine = head.as_ref().is_some_and(|head| head.owner.as_ref() == Some(&self.me));
        let is_wanted_here = self.falls_to_me(slot);
        self.change(slot, |entry| {
            match head {
                Some(head) => entry.read(head, is_mine, now),
                None => entry.not_read(now),
            }
            if entry.is_clear() && !is_wanted_here {
                entry.calm();
            }
        });
    }
}

#[cfg(test)]
mod tests;
