//! Which index rows this process has written lately, so that it need not write them with every reading.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

/// Rows remembered: as many as fit into a table of 2^20 places of 33 bytes, 35 MB. When it is full all are forgotten,
/// which costs a write each.
const REMEMBERED: usize = FIRST_LOOK << 10;

/// So many are remembered before it is looked for the first time which of them are too old: a table of 2^10 places.
const FIRST_LOOK: usize = 7 << 7;

/// Remembers when rows were written, by a hash of 128 bits of what they say.
#[derive(Debug)]
pub(super) struct Known {
    rows: Mutex<Rows>,
    /// A row that was written longer ago is written again.
    refresh: Duration,
    max: usize,
}

#[derive(Debug)]
struct Rows {
    written: HashMap<u128, Instant>,
    /// With so many it is looked which of them are too old. Each day and each alarm has rows of its own, and those of the
    /// days before would stay until it is full.
    look_at: usize,
}

impl Rows {
    fn make_room(&mut self, refresh: Duration, max: usize) {
        self.written.retain(|_, written| written.elapsed() < refresh);
        if self.written.len() <= self.look_at / 2 {
            self.written.shrink_to_fit();
        } else if self.look_at < max {
            // It would be full again soon, and each time all of it looked through.
            self.look_at = max.min(self.look_at * 2);
        } else {
            self.written.clear();
        }
    }
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
        let rows = Rows { written: HashMap::new(), look_at: FIRST_LOOK };
        Self { rows: Mutex::new(rows), refresh, max: REMEMBERED }
    }

    /// How long a row has to last so that it outlives everything that was stored on the strength of it.
    pub(super) fn lifetime(&self, retention: Duration) -> Duration {
        // Once more for what is under way while a row grows too old.
        retention.saturating_add(self.refresh * 2)
    }

    /// True when the row was written lately.
    pub(super) fn has(&self, row: RowName) -> bool {
        self.rows.lock().written.get(&row.0).is_some_and(|written| written.elapsed() < self.refresh)
    }

    /// Remembers rows that were just written; `since` is from before their writing.
    pub(super) fn add(&self, written: impl IntoIterator<Item = RowName>, since: Instant) {
        let mut rows = self.rows.lock();
        for row in written {
            if rows.written.len() >= rows.look_at.min(self.max) {
                rows.make_room(self.refresh, self.max);
            }
            rows.written.insert(row.0, since);
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

    /// How many are remembered, in a table for how many.
    fn size(known: &Known) -> (usize, usize) {
        let rows = known.rows.lock();
        (rows.written.len(), rows.written.capacity())
    }

    fn row(day: u64, number: u64) -> RowName {
        RowName::of(&[&day.to_le_bytes(), &number.to_le_bytes()])
    }

    #[test]
    fn it_is_bounded() {
        const MAX: usize = FIRST_LOOK * 4;
        let known = Known { max: MAX, ..Known::new(Duration::from_secs(60)) };
        for number in 0..MAX as u64 {
            known.add([row(0, number)], Instant::now());
        }
        assert_eq!(size(&known), (MAX, MAX), "all of them, in a table that is full");
        assert!((0..MAX as u64).all(|number| known.has(row(0, number))));
        for number in 0..MAX as u64 * 3 {
            known.add([row(1, number)], Instant::now());
            assert!(size(&known).0 <= MAX && size(&known).1 <= MAX && known.has(row(1, number)));
        }
    }

    #[test]
    fn what_is_too_old_makes_room() {
        const EACH_DAY: u64 = FIRST_LOOK as u64 + 100;
        let known = Known::new(Duration::from_secs(60));
        let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(61)) else { return };
        let mut most = 0;
        for day in 1..=100 {
            known.add((0..EACH_DAY).map(|number| row(day, number)), long_ago);
            most = most.max(size(&known).1);
        }
        known.add((0..EACH_DAY).map(|number| row(0, number)), Instant::now());
        assert!((0..EACH_DAY).all(|number| known.has(row(0, number))));
        assert!(most <= FIRST_LOOK * 2, "a table for {most} rows");
    }
}
