//! A store: one row per slot that changes by conditional writes, and the members' rows.

use std::collections::BTreeMap;

use stoker_domain::ownership::Peer;
use stoker_domain::ports::store::SlotHead;
use stoker_domain::{MemberId, Millis, Slot, SlotEpoch};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Head {
    pub head: SlotHead,
    /// Who was granted this epoch, and when.
    pub granted: Option<(MemberId, Millis)>,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// Accepted, of the process that was granted the epoch and still is the recorded owner.
    Accepted,
    Fenced,
    /// Accepted, though it is none of the recorded owner.
    Stolen,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Store {
    pub heads: BTreeMap<Slot, Head>,
    pub rows: BTreeMap<MemberId, (Peer, Millis)>,
}

impl Store {
    pub fn new(slots: impl Iterator<Item = Slot>) -> Self {
        let head = SlotHead { epoch: SlotEpoch(0), owner: None };
        let heads = slots.map(|slot| (slot, Head { head: head.clone(), granted: None })).collect();
        Self { heads, rows: BTreeMap::new() }
    }

    pub fn head(&self, slot: Slot) -> &SlotHead {
        &self.heads[&slot].head
    }

    pub fn claim(&mut self, slot: Slot, owner: &MemberId, seen: SlotEpoch, now: Millis) -> Option<SlotEpoch> {
        let row = self.heads.get_mut(&slot).unwrap();
        if row.head.epoch != seen {
            return None;
        }
        row.head = SlotHead { epoch: SlotEpoch(seen.0 + 1), owner: Some(owner.clone()) };
        row.granted = Some((owner.clone(), now));
        Some(row.head.epoch)
    }

    pub fn release(&mut self, slot: Slot, epoch: SlotEpoch) {
        let row = self.heads.get_mut(&slot).unwrap();
        if row.head.epoch == epoch {
            row.head.owner = None;
        }
    }

    pub fn commit(&self, slot: Slot, by: &MemberId, epoch: SlotEpoch) -> Commit {
        let row = &self.heads[&slot];
        if row.head.epoch != epoch {
            Commit::Fenced
        } else if row.head.owner.as_ref() == Some(by) && row.granted.as_ref().is_some_and(|(to, _)| to == by)
        {
            Commit::Accepted
        } else {
            Commit::Stolen
        }
    }

    pub fn members(&self) -> Vec<Peer> {
        self.rows.values().map(|(peer, _)| peer.clone()).collect()
    }

    /// No grant is remembered as older than this.
    pub fn forget(&mut self, old: Millis) {
        for (_, at) in self.heads.values_mut().filter_map(|row| row.granted.as_mut()) {
            *at = old.max(*at);
        }
    }

    /// Rows that were not written for `ttl` vanish.
    pub fn expire(&mut self, now: Millis, ttl: Millis) {
        self.rows.retain(|_, (_, written)| now - *written < ttl);
    }
}
