//! Who is alive, as one process sees it: by its own clock, and only from rows that it has read.

use std::collections::BTreeMap;

use super::SlotRange;
use crate::model::{MemberId, Millis, Slot};

/// A member of which nothing new was read for so long is taken for dead. Members write once a second; four writes may
/// be late or lost before anybody acts.
pub const DEAD_AFTER_MS: Millis = 5_000;

/// After its own row stood still for so long, a process looks whether the others took it for dead: half the time, as
/// their clocks may run twice as fast.
const DOUBTED_AFTER_MS: Millis = DEAD_AFTER_MS / 2;

/// A member that was seen for so long has itself found out by now who is dead, even if its clock is half as fast.
const INITIATED_AFTER_MS: Millis = 2 * DEAD_AFTER_MS;

/// Processes without a row that are remembered; whoever is forgotten gets its time anew.
pub(super) const REMEMBERED: usize = 1_024;

/// One core's row, as far as owning slots goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Who.
    pub id: MemberId,
    /// Which slots it may own.
    pub slots: SlotRange,
    /// Differs from one write of the row to the next.
    pub beat: u64,
    /// True when it is about to end and takes no more slots.
    pub leaving: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    peer: Peer,
    /// When the read that first showed its row had come back.
    first: Millis,
    /// When the read that first showed this beat had come back.
    changed: Millis,
    /// Its row has changed before our eyes: it is no leftover of a process that died.
    proven: bool,
    dead: bool,
    listed: bool,
}

/// What is known of the members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Members {
    seen: BTreeMap<MemberId, Seen>,
    /// Those without a row, and since when nothing was heard of them: owners that only a slot's row names get the same
    /// time as everybody.
    unlisted: BTreeMap<MemberId, Millis>,
    /// The newest beat that was read of this process's own row, and when that read had come back.
    own: Option<(u64, Millis)>,
    /// When the first read began, and the newest.
    first_read: Option<Millis>,
    last_read: Option<Millis>,
}

impl Members {
    /// Takes in all rows of a read that began and ended at these times. Only the beginning proves anything: what was
    /// read may be as old as that. True when the own row has changed after it stood still: others may have taken this
    /// process for dead meanwhile.
    pub(super) fn observe(&mut self, me: &MemberId, rows: Vec<Peer>, began: Millis, ended: Millis) -> bool {
        // One that was overtaken by a newer read would bring back what was, and a dead member's last beat with it.
        if self.last_read.is_some_and(|newest| began < newest) {
            return false;
        }
        self.first_read.get_or_insert(began);
        self.last_read = Some(began);
        for seen in self.seen.values_mut() {
            seen.listed = false;
        }
        let mut doubted = false;
        for peer in rows {
            if peer.id == *me {
                doubted |= self.observe_own(peer.beat, ended);
            } else {
                self.observe_one(peer, ended);
            }
        }
        for seen in self.seen.values_mut() {
            seen.dead |= began.saturating_sub(seen.changed) >= DEAD_AFTER_MS;
        }
        self.forget();
        doubted
    }

    fn observe_own(&mut self, beat: u64, ended: Millis) -> bool {
        match self.own {
            Some((known, _)) if known == beat => false,
            before => {
                self.own = Some((beat, ended));
                before.is_some_and(|(_, at)| ended.saturating_sub(at) >= DOUBTED_AFTER_MS)
            }
        }
    }

    fn observe_one(&mut self, peer: Peer, ended: Millis) {
        self.unlisted.remove(&peer.id);
        match self.seen.get_mut(&peer.id) {
            Some(seen) => {
                seen.listed = true;
                if seen.peer.beat != peer.beat {
                    (seen.changed, seen.proven, seen.dead) = (ended, true, false);
                }
                seen.peer = peer;
            }
            None => {
                let (proven, dead, listed) = (false, false, true);
                let seen = Seen { peer: peer.clone(), first: ended, changed: ended, proven, dead, listed };
                self.seen.insert(peer.id, seen);
            }
        }
    }

    /// Keeps of those that are dead and have no row only since when, and of these not too many.
    fn forget(&mut self) {
        let (seen, gone) =
            std::mem::take(&mut self.seen).into_iter().partition(|(_, seen)| seen.listed || !seen.dead);
        self.seen = seen;
        self.unlisted.extend(BTreeMap::into_iter(gone).map(|(id, seen)| (id, seen.changed)));
        while self.unlisted.len() > REMEMBERED {
            let oldest = self.unlisted.iter().min_by_key(|(_, since)| **since).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.unlisted.remove(&id));
        }
    }

    /// True when what is known is new enough to act on it. A process that was stopped wakes up with answers of old;
    /// whoever it takes for dead by these may be alive for as long as one needs to be believed so.
    pub(super) fn is_fresh(&self, now: Millis) -> bool {
        self.last_read.is_some_and(|began| now.saturating_sub(began) < DEAD_AFTER_MS)
    }

    /// True when nothing was heard of this owner for long enough. Asking about an unknown one starts its time.
    pub(super) fn is_dead(&mut self, id: &MemberId, now: Millis) -> bool {
        if let Some(seen) = self.seen.get(id) {
            return seen.dead;
        }
        let since = *self.unlisted.entry(id.clone()).or_insert(now);
        self.last_read.is_some_and(|read| read.saturating_sub(since) >= DEAD_AFTER_MS)
    }

    /// True when they were read at all.
    pub(super) fn were_read(&self) -> bool {
        self.last_read.is_some()
    }

    /// True when they were read after this time.
    pub(super) fn were_read_after(&self, at: Millis) -> bool {
        self.last_read.is_some_and(|began| began > at)
    }

    /// Those that may be about to take this slot, if it falls to them: it is left to them then.
    pub(super) fn hopeful(&self, slot: Slot) -> impl Iterator<Item = &MemberId> {
        self.candidates(slot).filter(|seen| !seen.dead).map(|seen| &seen.peer.id)
    }

    /// Those to whom this slot may fall in anybody's eyes: whoever came lately takes a dead one's row for life.
    pub(super) fn listed(&self, slot: Slot) -> impl Iterator<Item = &MemberId> {
        self.candidates(slot).map(|seen| &seen.peer.id)
    }

    /// True when this member is alive for sure: its row has changed before our eyes.
    pub(super) fn is_proven(&self, id: &MemberId) -> bool {
        self.seen.get(id).is_some_and(|seen| seen.proven && !seen.dead)
    }

    /// True when this member had the time to find out who is dead.
    pub(super) fn is_initiated(&self, id: &MemberId) -> bool {
        let age = |seen: &Seen| self.last_read.map(|read| read.saturating_sub(seen.first));
        self.seen.get(id).and_then(age).is_some_and(|age| age >= INITIATED_AFTER_MS)
    }

    /// True when this process itself was there for as long.
    pub(super) fn is_old(&self) -> bool {
        let since = self.last_read.zip(self.first_read);
        since.is_some_and(|(read, first)| read.saturating_sub(first) >= INITIATED_AFTER_MS)
    }

    /// True when somebody died of whom a row is still there.
    pub(super) fn has_dead(&self) -> bool {
        self.seen.values().any(|seen| seen.dead)
    }

    /// When the first of those that are taken for alive is to be taken for dead, unless something is heard of it.
    pub(super) fn next_death(&self) -> Option<Millis> {
        let alive = self.seen.values().filter(|seen| !seen.dead);
        alive.map(|seen| seen.changed.saturating_add(DEAD_AFTER_MS)).min()
    }

    fn candidates(&self, slot: Slot) -> impl Iterator<Item = &Seen> {
        self.seen
            .values()
            .filter(move |seen| seen.listed && !seen.peer.leaving && seen.peer.slots.contains(slot))
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.unlisted.len()
    }
}
