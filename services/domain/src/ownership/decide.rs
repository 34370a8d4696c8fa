//! What is to be done next.

use super::entry::State;
use super::{AT_ONCE, Action, HEAD_FRESH_MS, Owned, Ownership};
use crate::model::{Millis, Slot};
use crate::ports::store::SlotHead;

/// What claim a process has to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// It falls to this process.
    Mine,
    /// It falls to somebody else, for whom this process takes it from a dead owner.
    IfDead,
    None,
}

impl Ownership {
    pub(super) fn decide(&mut self, now: Millis) -> Vec<Action> {
        // Before the others were looked at, everything would seem to fall to this process; and what was true long ago
        // says nothing about who is alive.
        if !self.alone && !self.leaving && !self.members.is_fresh(now) {
            return Vec::new();
        }
        self.look_since = None;
        let slots: Vec<Slot> = self.slots.keys().copied().collect();
        let mut wishes: Vec<Action> = slots.into_iter().filter_map(|slot| self.wish(slot, now)).collect();
        // Take-overs first, as they end the work on a slot. Of the reads, none comes twice before another had its turn,
        // however slow they are. Otherwise first what somebody asks for.
        wishes.sort_by_key(|wish| match wish {
            Action::Release { .. } => (0, Millis::MIN, false),
            Action::TakeOver { slot, .. } => (1, Millis::MIN, !self.is_wanted(*slot)),
            Action::Read(slot) => (2, self.asked(*slot), !self.is_wanted(*slot)),
        });
        let (mut room, mut room_to_release) = self.room();
        wishes.retain(|wish| {
            let room = if matches!(wish, Action::Release { .. }) { &mut room_to_release } else { &mut room };
            let fits = *room > 0;
            *room = room.saturating_sub(1);
            fits
        });
        wishes.iter().for_each(|action| self.begin(action, now));
        wishes
    }

    fn is_wanted(&self, slot: Slot) -> bool {
        self.slots.get(&slot).is_some_and(|entry| entry.wanted)
    }

    fn asked(&self, slot: Slot) -> Millis {
        self.slots.get(&slot).map_or(Millis::MIN, |entry| entry.asked)
    }

    /// How many slots may be read or taken over now, and how many released.
    fn room(&self) -> (usize, usize) {
        let count = |is: fn(&State) -> bool| self.slots.values().filter(|entry| is(&entry.state)).count();
        let busy = count(|state| matches!(state, State::Reading | State::Checking(_) | State::Taking(_)));
        let releasing = count(|state| matches!(state, State::Releasing(_)));
        (AT_ONCE.saturating_sub(busy), AT_ONCE.saturating_sub(releasing))
    }

    fn begin(&mut self, action: &Action, now: Millis) {
        let (Action::Read(slot) | Action::TakeOver { slot, .. } | Action::Release { slot, .. }) = action;
        let Some(entry) = self.slots.get_mut(slot) else { return };
        entry.state = match (action, &entry.state) {
            (Action::Read(_), State::Owned(owned)) => {
                State::Checking(Owned { check_at: Millis::MAX, ..*owned })
            }
            (Action::Read(_), _) => State::Reading,
            (Action::TakeOver { seen, .. }, _) => State::Taking(*seen),
            (Action::Release { epoch, .. }, _) => State::Releasing(*epoch),
        };
        if let Action::Read(_) = action {
            entry.asked = now;
        }
    }

    /// What is to be done about one slot now, if there is room.
    fn wish(&mut self, slot: Slot, now: Millis) -> Option<Action> {
        let entry = self.slots.get(&slot)?;
        match &entry.state {
            State::Owned(owned) if owned.lost || self.is_to_be_released(slot) => {
                Some(Action::Release { slot, epoch: owned.epoch })
            }
            State::Owned(owned) if now >= owned.check_at => Some(Action::Read(slot)),
            State::Other(known) if now >= entry.not_before => {
                let claim = self.claim(slot);
                match known.clone() {
                    _ if claim == Claim::None && entry.doubt.is_none() => None,
                    Some((head, at)) => self.by_head(slot, &head, at, claim, now),
                    None => Some(Action::Read(slot)),
                }
            }
            _ => None,
        }
    }

    fn claim(&self, slot: Slot) -> Claim {
        match () {
            () if self.falls_to_me(slot) => Claim::Mine,
            () if self.stands_in(slot) => Claim::IfDead,
            () => Claim::None,
        }
    }

    /// What to do about a slot that this process has a claim to, or whose row may name it, by the row that was read at
    /// `at`.
    fn by_head(
        &mut self,
        slot: Slot,
        head: &SlotHead,
        at: Millis,
        claim: Claim,
        now: Millis,
    ) -> Option<Action> {
        let falls = claim == Claim::Mine;
        let is_fresh = now.saturating_sub(at) < HEAD_FRESH_MS;
        let take_over = Action::TakeOver { slot, seen: head.epoch, from: head.owner.clone() };
        match &head.owner {
            // However old the row is: its owner does nothing any more, and of those who want the slot one is first.
            Some(owner)
                if claim != Claim::None
                    && *owner != self.me
                    && !self.alone
                    && self.members.is_dead(owner, now) =>
            {
                // It may have come back between the read of the members and the read of the row.
                if self.members.were_read_after(at) {
                    return Some(take_over);
                }
                self.look_since = Some(at);
                None
            }
            _ if !is_fresh => Some(Action::Read(slot)),
            Some(owner) if *owner == self.me && !falls => Some(Action::Release { slot, epoch: head.epoch }),
            // What was done in its own epoch and never heard of is read anew.
            Some(owner) if falls && (*owner == self.me || self.alone) => Some(take_over),
            None if falls => Some(take_over),
            // Its owner is to finish first; whether it has will stand in the row.
            _ => None,
        }
    }
}
