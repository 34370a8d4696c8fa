//! How many items of the live feed a listener has missed.

use std::collections::HashMap;

/// Publishers that are remembered. One process is one; the least recently heard goes first.
const PUBLISHERS: usize = 1_024;

#[derive(Debug, Clone, Copy)]
struct Heard {
    sequence: u64,
    turn: u64,
}

/// How far the listener has come with each publisher.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    heard: HashMap<String, Heard>,
    turn: u64,
}

/// What an item's number tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heed {
    /// So many are missing before it.
    pub(super) missing: u64,
    /// It was not heard before.
    pub(super) new: bool,
}

impl Gaps {
    /// An item of that number came. The first of a publisher is where listening begins.
    pub(super) fn item(&mut self, publisher: &str, sequence: u64) -> Heed {
        match self.advance(publisher, sequence) {
            None => Heed { missing: 0, new: true },
            Some(before) => {
                Heed { missing: sequence.saturating_sub(before).saturating_sub(1), new: sequence > before }
            }
        }
    }

    /// A publisher says that it has come this far. Gives how many of those did not come here.
    pub(super) fn beacon(&mut self, publisher: &str, sequence: u64) -> u64 {
        self.advance(publisher, sequence).map_or(0, |before| sequence.saturating_sub(before))
    }

    /// How far it was before.
    fn advance(&mut self, publisher: &str, sequence: u64) -> Option<u64> {
        self.turn += 1;
        let turn = self.turn;
        if let Some(heard) = self.heard.get_mut(publisher) {
            let before = heard.sequence;
            *heard = Heard { sequence: before.max(sequence), turn };
            return Some(before);
        }
        if self.heard.len() >= PUBLISHERS
            && let Some(oldest) =
                self.heard.iter().min_by_key(|(_, heard)| heard.turn).map(|(name, _)| name.clone())
        {
            self.heard.remove(&oldest);
        }
        self.heard.insert(publisher.to_owned(), Heard { sequence, turn });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_counted_for_each_publisher() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.item("a", 7), Heed { missing: 0, new: true }, "listening begins here");
        assert_eq!(gaps.item("a", 8), Heed { missing: 0, new: true });
        assert_eq!(gaps.item("b", 3), Heed { missing: 0, new: true });
        assert_eq!(gaps.item("a", 12), Heed { missing: 3, new: true });
        assert_eq!(gaps.item("a", 11), Heed { missing: 0, new: false });
        assert_eq!(gaps.beacon("a", 12), 0);
        assert_eq!(gaps.beacon("a", 15), 3, "the last ones were lost, and nothing followed");
        assert_eq!(gaps.item("a", 16), Heed { missing: 0, new: true });
        assert_eq!(gaps.beacon("c", 9), 0);
        assert_eq!(gaps.item("c", 10), Heed { missing: 0, new: true });
    }

    #[test]
    fn no_more_publishers_are_remembered_than_the_bound() {
        let mut gaps = Gaps::default();
        for n in 0..PUBLISHERS as u64 + 10 {
            gaps.item(&format!("p{n}"), n);
        }
        assert_eq!(gaps.heard.len(), PUBLISHERS);
        assert!(!gaps.heard.contains_key("p0") && gaps.heard.contains_key("p10"));
    }
}
