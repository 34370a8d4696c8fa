//! Which index rows this process has written lately, so that it need not write them with every reading.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

/// Rows remembered: 32 bytes and a little more each. When it is full all are forgotten, which costs a write each.
const REMEMBERED: usize = 1 << 20;

/// Remembers when rows were written, by a hash of 128 bits of what they say.
#[derive(Debug)]
pub(super) struct Known {
    rows: Mutex<HashMap<u128, Instant>>,
    /// A row that was written longer ago is written again.
    refresh: Duration,
    max: usize,
}

/// A row, by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RowName(u128);

impl RowName {
    /// Of the parts that identify it.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Xxh3::new();
        for part in parts {
            hash.update(&part.len().to_le_bytes());
            hash.update(part);
        }
        Self(hash.digest128())
    }
}

impl Known {
    pub(super) fn new(refresh: Duration) -> Self {
        Self { rows: Mutex::default(), refresh, max: REMEMBERED }
    }

    /// How long a row has to last so that it outlives everything that was stored on the strength of it.
    pub(super) fn lifetime(&self, retention: Duration) -> Duration {
        // Once more for what is under way while a row grows too old.
        retention.saturating_add(self.refresh * 2)
    }

    /// True when the row was written lately.
    pub(super) fn has(&self, row: RowName) -> bool {
        self.rows.lock().get(&row.0).is_some_and(|written| written.elapsed() < self.refresh)
    }

    /// Remembers rows that were just written; `since` is from before their writing.
    pub(super) fn add(&self, written: impl IntoIterator<Item = RowName>, since: Instant) {
        let mut rows = self.rows.lock();
        for row in written {
            if rows.len() >= self.max {
                rows.clear();
            }
            rows.insert(row.0, since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_until_it_has_to_be_written_again() {
        let known = Known::new(Duration::from_secs(60));
        let (a, b) = (RowName::of(&[b"a", b"bc"]), RowName::of(&[b"ab", b"c"]));
        assert_ne!(a, b, "parts are kept apart");
        known.add([a], Instant::now());
        assert!(known.has(a) && !known.has(b));
        let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(61)) else { return };
        known.add([a], long_ago);
        assert!(!known.has(a));
    }

    #[test]
    fn it_is_bounded() {
        let known = Known { max: 2, ..Known::new(Duration::from_secs(60)) };
        for n in 0..5u8 {
            known.add([RowName::of(&[&[n]])], Instant::now());
        }
        assert!(known.rows.lock().len() <= 2);
        assert!(known.has(RowName::of(&[&[4]])));
    }
}
