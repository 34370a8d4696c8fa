//! Where the owner of each slot was when somebody last said so.

use std::sync::Arc;

use stoker_domain::model::Slot;

/// One address for each slot, or none. An address may be wrong: whoever is asked there passes the request on.
#[derive(Debug)]
pub(crate) struct Hints(Box<[Option<Arc<str>>]>);

impl Default for Hints {
    fn default() -> Self {
        Self(Slot::all().map(|_| None).collect())
    }
}

impl Hints {
    pub(crate) fn of(&self, slot: Slot) -> Option<&Arc<str>> {
        self.0.get(usize::from(slot.0)).and_then(Option::as_ref)
    }

    pub(crate) fn learn(&mut self, slot: Slot, address: &str) {
        let Some(hint) = self.0.get_mut(usize::from(slot.0)) else { return };
        if hint.as_deref() != Some(address) {
            *hint = Some(address.into());
        }
    }

    /// That one is wrong, or of no use; one that came meanwhile stays.
    pub(crate) fn forget(&mut self, slot: Slot, address: &str) {
        if let Some(hint) = self.0.get_mut(usize::from(slot.0)) {
            hint.take_if(|hint| **hint == *address);
        }
    }

    /// Nobody who is known any more, or is reached, stays.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        for hint in &mut self.0 {
            hint.take_if(|hint| !keep(hint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_the_hint_that_came_last() {
        let mut hints = Hints::default();
        assert!(Slot::all().all(|slot| hints.of(slot).is_none()));
        for slot in Slot::all() {
            hints.learn(slot, if slot.0 < 128 { "a:1" } else { "b:1" });
        }
        hints.learn(Slot(0), "b:1");
        assert_eq!(hints.of(Slot(0)).map(|hint| &**hint), Some("b:1"));
        assert_eq!(hints.of(Slot(127)).map(|hint| &**hint), Some("a:1"));
        assert_eq!(hints.of(Slot(255)).map(|hint| &**hint), Some("b:1"));
    }

    #[test]
    fn only_the_hint_that_was_wrong_is_forgotten() {
        let mut hints = Hints::default();
        hints.learn(Slot(1), "a:1");
        hints.learn(Slot(2), "a:1");
        hints.forget(Slot(1), "b:1");
        assert!(hints.of(Slot(1)).is_some(), "a better one came meanwhile");
        hints.forget(Slot(1), "a:1");
        assert!(hints.of(Slot(1)).is_none() && hints.of(Slot(2)).is_some());
    }

    #[test]
    fn all_hints_at_a_core_go_with_it() {
        let mut hints = Hints::default();
        for slot in Slot::all() {
            hints.learn(slot, if slot.0 % 2 == 0 { "a:1" } else { "b:1" });
        }
        hints.retain(|address| address != "a:1");
        assert_eq!(Slot::all().filter(|slot| hints.of(*slot).is_some()).count(), 128);
        assert!(hints.of(Slot(0)).is_none() && hints.of(Slot(1)).is_some());
    }
}
