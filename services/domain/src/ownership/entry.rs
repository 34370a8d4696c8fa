//! One slot, as the process sees it.

use crate::model::{Millis, SlotEpoch};
use crate::ports::store::SlotHead;

/// After a take-over that failed, or a slot that was lost, about so long passes before the next try; doubled each time.
const FIRST_PAUSE_MS: Millis = 200;
/// The longest of these pauses.
pub(super) const LONGEST_PAUSE_MS: Millis = 5_000;
/// An owner looks at its row this often: it may have been replaced without having anything to write since.
pub(super) const CHECK_MS: Millis = 30_000;
/// For so long a request of which nothing was heard may still reach the store.
pub(super) const LATE_MS: Millis = 60_000;

/// What this process is to a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Not its owner. The newest row, and when it was read.
    Other(Option<(SlotHead, Millis)>),
    /// Not its owner; its row is being read.
    Reading,
    /// About to be its owner, if its epoch still is this one.
    Taking(SlotEpoch),
    /// Its owner.
    Owned(Owned),
    /// Its owner; its row is being read.
    Checking(Owned),
    /// Its owner in this epoch for as long as it takes to finish.
    Releasing(SlotEpoch),
}

/// What is known of an owned slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Owned {
    pub(super) epoch: SlotEpoch,
    pub(super) since: Millis,
    /// When its row is to be looked at.
    pub(super) check_at: Millis,
    /// The row names somebody else, or another epoch.
    pub(super) lost: bool,
}

/// Why a slot's row may name this process although it does not serve the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Doubt {
    /// A take-over that named this epoch may still reach the store.
    pub(super) claimed: Option<SlotEpoch>,
    pub(super) since: Millis,
}

impl Doubt {
    /// True when this row leaves it open.
    fn outlasts(self, head: &SlotHead, now: Millis) -> bool {
        self.claimed.is_some_and(|seen| head.epoch <= seen) && now.saturating_sub(self.since) < LATE_MS
    }
}

/// A slot of the process's range.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) state: State,
    /// Somebody asks for it.
    pub(super) wanted: bool,
    pub(super) doubt: Option<Doubt>,
    /// Nothing is tried before this time.
    pub(super) not_before: Millis,
    /// When its row was last wanted.
    pub(super) asked: Millis,
    pause: Millis,
    /// Spreads the tries of many processes and slots.
    salt: u64,
}

impl Entry {
    pub(super) fn new(salt: u64) -> Self {
        Self {
            state: State::Other(None),
            wanted: false,
            doubt: None,
            not_before: Millis::MIN,
            asked: Millis::MIN,
            pause: 0,
            salt,
        }
    }

    /// True when the process is its owner, as far as it knows.
    pub(super) fn is_owned(&self) -> bool {
        matches!(self.state, State::Owned(_) | State::Checking(_) | State::Releasing(_))
    }

    /// True when nothing is left to do about it.
    pub(super) fn is_clear(&self) -> bool {
        matches!(self.state, State::Other(_)) && self.doubt.is_none()
    }

    /// The row was read. An answer that nobody waits for changes nothing, here and below.
    pub(super) fn read(&mut self, head: SlotHead, is_mine: bool, now: Millis) {
        match self.state {
            State::Reading => {
                self.doubt = self
                    .doubt
                    .filter(|doubt| is_mine || doubt.outlasts(&head, now))
                    .or_else(|| is_mine.then_some(Doubt { claimed: None, since: now }));
                self.state = State::Other(Some((head, now)));
            }
            State::Checking(owned) => {
                let lost = !is_mine || head.epoch != owned.epoch;
                let check_at = owned.check_at.min(now.saturating_add(CHECK_MS));
                self.state = State::Owned(Owned { check_at, lost, ..owned });
            }
            _ => {}
        }
    }

    /// The row could not be read.
    pub(super) fn not_read(&mut self, now: Millis) {
        match self.state {
            State::Reading => self.failed(now),
            State::Checking(owned) => {
                let check_at = owned.check_at.min(now.saturating_add(LONGEST_PAUSE_MS));
                self.state = State::Owned(Owned { check_at, ..owned });
            }
            _ => {}
        }
    }

    pub(super) fn taken_over(&mut self, epoch: SlotEpoch, now: Millis) {
        if let State::Taking(_) = self.state {
            let check_at = now.saturating_add(CHECK_MS);
            self.state = State::Owned(Owned { epoch, since: now, check_at, lost: false });
            (self.wanted, self.doubt) = (false, None);
        }
    }

    pub(super) fn not_taken_over(&mut self, now: Millis) {
        if let State::Taking(seen) = self.state {
            self.doubt = Some(Doubt { claimed: Some(seen), since: now });
            self.failed(now);
        }
    }

    pub(super) fn gone(&mut self, now: Millis) {
        match self.state {
            State::Owned(owned) | State::Checking(owned) => {
                // One that was held for long is not failing again and again.
                if now.saturating_sub(owned.since) > LONGEST_PAUSE_MS {
                    self.pause = 0;
                }
                let is_being_read = matches!(self.state, State::Checking(_));
                self.doubt = Some(Doubt { claimed: None, since: now });
                self.failed(now);
                if is_being_read {
                    self.state = State::Reading;
                }
            }
            State::Releasing(epoch) => {
                self.state = State::Other(None);
                // A take-over in the released epoch, never heard of, may come after the release.
                self.doubt = self.doubt.filter(|doubt| doubt.claimed.is_some_and(|seen| seen >= epoch));
                self.calm();
            }
            _ => {}
        }
    }

    /// Others may have taken this process for dead: what it owns is looked at.
    pub(super) fn check_now(&mut self, now: Millis) {
        // If it is being looked at, then once more: that answer may be of old.
        if let State::Owned(owned) | State::Checking(owned) = &mut self.state {
            owned.check_at = owned.check_at.min(now);
        }
    }

    /// Nothing failed that concerns the next try.
    pub(super) fn calm(&mut self) {
        (self.pause, self.not_before) = (0, Millis::MIN);
    }

    fn failed(&mut self, now: Millis) {
        self.state = State::Other(None);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
        let spread =
            self.salt.rotate_left(self.pause.unsigned_abs() as u32) % (self.pause.unsigned_abs() / 2);
        self.not_before = now.saturating_add(self.pause).saturating_sub_unsigned(spread);
    }
}
