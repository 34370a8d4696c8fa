//! Who is alive, as one process sees it: by its own clock, and only from rows that it has read.

use std::collections::BTreeMap;

use super::SlotRange;
use crate::model::{MemberId, Millis};

/// A member of which nothing new was read for so long is taken for dead. Members write once a second; four writes may
/// be late or lost before anybody acts.
pub const DEAD_AFTER_MS: Millis = 5_000;

/// Processes without a row that are remembered; whoever is forgotten gets its time anew.
const REMEMBERED: usize = 1_024;

/// One core's row, as far as owning slots goes.
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[derive(Debug, Clone)]
struct Seen {
    peer: Peer,
    /// When the read that first showed this beat had come back.
    changed: Millis,
    /// Its row has changed before our eyes: it is no leftover of a process that died.
    proven: bool,
    dead: bool,
    listed: bool,
}

/// What is known of the others.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    seen: BTreeMap<MemberId, Seen>,
    /// Those without a row, and since when nothing was heard of them: owners that only a slot's row names get the same
    /// time as everybody.
    unlisted: BTreeMap<MemberId, Millis>,
    last_read: Option<Millis>,
}

impl Members {
    /// Takes in all rows of a read that began and ended at these times. Only the beginning proves anything: what was
    /// read may be as old as that.
    pub(super) fn observe(&mut self, rows: Vec<Peer>, began: Millis, ended: Millis) {
        for seen in self.seen.values_mut() {
            seen.listed = false;
        }
        for peer in rows {
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
                    let seen =
                        Seen { peer: peer.clone(), changed: ended, proven: false, dead: false, listed: true };
                    self.seen.insert(peer.id, seen);
                }
            }
        }
        for seen in self.seen.values_mut() {
            seen.dead |= began - seen.changed >= DEAD_AFTER_MS;
        }
        self.last_read = Some(began);
        let (seen, gone) =
            std::mem::take(&mut self.seen).into_iter().partition(|(_, seen)| seen.listed || !seen.dead);
        self.seen = seen;
        self.unlisted.extend(BTreeMap::into_iter(gone).map(|(id, seen)| (id, seen.changed)));
        while self.unlisted.len() > REMEMBERED {
            let oldest = self.unlisted.iter().min_by_key(|(_, since)| **since).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.unlisted.remove(&id));
        }
    }

    /// True when nothing was heard of this owner for long enough. Asking about an unknown one starts its time.
    pub(super) fn is_dead(&mut self, id: &MemberId, now: Millis) -> bool {
        if let Some(seen) = self.seen.get(id) {
            return seen.dead;
        }
        let since = *self.unlisted.entry(id.clone()).or_insert(now);
        self.last_read.is_some_and(|read| read - since >= DEAD_AFTER_MS)
    }

    /// Those that may be about to take what falls to them: a slot that falls to one of these is left to it.
    pub(super) fn hopeful(&self) -> impl Iterator<Item = &Peer> {
        self.present().filter(|seen| !seen.dead).map(|seen| &seen.peer)
    }

    /// Those that are alive for sure: a slot that falls to one of these is handed over to it.
    pub(super) fn proven(&self) -> impl Iterator<Item = &Peer> {
        self.present().filter(|seen| seen.proven && !seen.dead).map(|seen| &seen.peer)
    }

    fn present(&self) -> impl Iterator<Item = &Seen> {
        self.seen.values().filter(|seen| seen.listed && !seen.peer.leaving)
    }
}
