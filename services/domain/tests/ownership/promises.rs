//! What must hold of a world at every moment.

use std::collections::BTreeMap;

use stoker_domain::ownership::DEAD_AFTER_MS;
use stoker_domain::{Slot, SlotEpoch};

use super::step::Setup;
use super::store::{Commit, Head};
use super::world::World;

impl World {
    /// Of all that serve a slot at most one could write now, and none once the slot was released.
    pub fn owners_amiss(&self, setup: &Setup) -> Option<&'static str> {
        for slot in setup.slots.iter().copied() {
            let mut owners = 0;
            for (process, member) in self.processes.iter().zip(&setup.members) {
                let Some(epoch) = process.serving.get(&slot) else { continue };
                match self.store.commit(slot, &member.id, *epoch) {
                    Commit::Fenced => {}
                    Commit::Accepted => owners += 1,
                    Commit::Stolen if self.store.head(slot).owner.is_none() => {
                        return Some("a slot is released before it is finished");
                    }
                    Commit::Stolen => return Some("another than the recorded owner could write"),
                }
            }
            if owners > 1 {
                return Some("two owners could write");
            }
        }
        None
    }

    /// Epochs only grow, and nobody comes to own a slot within an epoch.
    pub fn epochs_amiss(&self, before: &BTreeMap<Slot, Head>) -> Option<&'static str> {
        for (slot, was) in before {
            let (was, is) = (&was.head, self.store.head(*slot));
            if is.epoch < was.epoch {
                return Some("an epoch went back");
            }
            if is.owner.is_some() && is.owner != was.owner && is.epoch == was.epoch {
                return Some("an epoch has two owners");
            }
        }
        None
    }

    /// True when the owner that this claim would replace is alive and has refreshed its row all the time: for as long
    /// as one is waited for, or at least since it took the slot over.
    pub fn deprives_somebody(&self, setup: &Setup, p: usize, slot: Slot, seen: SlotEpoch) -> bool {
        let row = &self.store.heads[&slot];
        let Some(owner) = row.head.owner.as_ref().filter(|_| row.head.epoch == seen) else { return false };
        let q = setup.members.iter().position(|member| member.id == *owner).unwrap();
        let Some((_, written)) = self.store.rows.get(owner) else { return false };
        let since = self.processes[q].fresh_since;
        let long = (self.now - since) * setup.members[p].quarters / 4 >= DEAD_AFTER_MS;
        p != q
            && self.processes[q].is_alive()
            && self.now - written < setup.patience()
            && (long || row.granted.as_ref().is_some_and(|(_, at)| *at >= since))
    }

    /// True when a slot's row names this process, or may come to do so.
    pub fn may_own_something(&self, setup: &Setup, p: usize) -> bool {
        let may_happen = |(slot, seen): &(Slot, SlotEpoch)| self.store.head(*slot).epoch == *seen;
        setup.slots.iter().any(|slot| self.store.head(*slot).owner.as_ref() == Some(&setup.members[p].id))
            || self.processes[p].late.iter().any(may_happen)
    }
}
