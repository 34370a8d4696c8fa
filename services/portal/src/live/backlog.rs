//! What was heard last, so that who was away for a while goes on without a gap. Pure: time is passed in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use stoker_domain::ports::bus::FeedPosition;

use super::item::{self, Item};
use super::position::{PUBLISHERS_MOST, Position};

/// A publisher of which nothing was heard for so long, and of which nothing is kept, has gone. Those who are there say every few
/// seconds how far they are.
pub(super) const GONE: Duration = Duration::from_secs(600);
/// What an entry weighs besides its item and its position: the queue's place, the pointers, and the rest of the frame.
const OVERHEAD: usize = 256;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

/// What is known of a publisher.
#[derive(Debug)]
struct Head {
    /// How far it has come.
    number: u64,
    /// All after this one is kept here; of what was before, something may be missing.
    floor: u64,
    heard: Duration,
}

/// One step of the feed, as this portal heard it. All listeners share it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) publisher: Arc<str>,
    /// How far the publisher had come with it.
    pub(super) number: u64,
    /// What happened; none where something was lost.
    pub(super) item: Option<Item>,
    /// Where whoever has got this and all before it stands.
    pub(super) position: Position,
    /// When it was heard.
    pub(super) heard: Duration,
    /// Made when the first listener is told: with many of them, that is most of the work.
    frame: OnceLock<Option<Utf8Bytes>>,
}

impl Entry {
    /// The frame of all who stand at its position. None when it cannot be made, which is said where that happens.
    pub(super) fn frame(&self) -> Option<Utf8Bytes> {
        self.frame.get_or_init(|| self.frame_at(&self.position)).clone()
    }

    /// A frame for one who stands elsewhere.
    pub(super) fn frame_at(&self, position: &Position) -> Option<Utf8Bytes> {
        match &self.item {
            Some(item) => item.frame(&position.text()).ok().map(Utf8Bytes::from),
            None => Some(item::gap()),
        }
    }

    fn weight(&self) -> usize {
        OVERHEAD + self.item.as_ref().map_or(0, Item::weight) + self.position.weight()
    }
}

/// Where a listener is to begin.
#[derive(Debug)]
pub(super) struct Start {
    /// The entry to read next.
    pub(super) cursor: u64,
    /// Something since then cannot be had any more.
    pub(super) gap: bool,
}

/// What a listener reads at once.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) cursor: u64,
    /// It was so slow that entries went which it had not read.
    pub(super) overrun: bool,
}

/// The newest of the feed.
#[derive(Debug)]
pub(super) struct Backlog {
    bounds: Bounds,
    entries: VecDeque<Arc<Entry>>,
    /// The number of the first entry that is kept; they are counted from 0.
    first: u64,
    bytes: usize,
    heads: HashMap<Arc<str>, Head>,
}

impl Backlog {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, entries: VecDeque::new(), first: 0, bytes: 0, heads: HashMap::new() }
    }

    /// Where whoever has got everything stands.
    pub(super) fn position(&self) -> Position {
        Position(self.heads.iter().map(|(publisher, head)| (Arc::clone(publisher), head.number)).collect())
    }

    /// The number of the next entry.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// An item came.
    pub(super) fn push(&mut self, at: &FeedPosition, item: Item, now: Duration) {
        let before = self.advance(at, at.number.saturating_sub(1), now);
        if before.is_some_and(|before| before >= at.number) {
            return;
        }
        if let Some(head) = self.heads.get_mut(&at.publisher) {
            head.number = at.number;
        }
        self.append(at, Some(item), now);
    }

    /// A publisher says how far it is.
    pub(super) fn reached(&mut self, at: &FeedPosition, now: Duration) {
        self.advance(at, at.number, now);
    }

    /// Notes that all of a publisher up to `number` has been. Returns how far it was before.
    fn advance(&mut self, at: &FeedPosition, number: u64, now: Duration) -> Option<u64> {
        let Some(head) = self.heads.get_mut(&at.publisher) else {
            self.make_room(now);
            self.heads.insert(Arc::clone(&at.publisher), Head { number, floor: number, heard: now });
            return None;
        };
        head.heard = now;
        let before = head.number;
        if number > before {
            (head.number, head.floor) = (number, number);
            self.append(&FeedPosition { publisher: Arc::clone(&at.publisher), number }, None, now);
        }
        Some(before)
    }

    /// For one more publisher: those that have gone are forgotten, and where these are too few, the one that was heard of last.
    fn make_room(&mut self, now: Duration) {
        self.heads.retain(|_, head| head.floor < head.number || now.saturating_sub(head.heard) < GONE);
        if self.heads.len() >= PUBLISHERS_MOST {
            let oldest = self.heads.iter().min_by_key(|(_, head)| head.heard);
            let oldest = oldest.map(|(publisher, _)| Arc::clone(publisher));
            if let Some(oldest) = oldest {
                self.heads.remove(&oldest);
            }
        }
    }

    fn append(&mut self, at: &FeedPosition, item: Option<Item>, heard: Duration) {
        let (publisher, number) = (Arc::clone(&at.publisher), at.number);
        let position = self.position();
        let entry = Entry { publisher, number, item, position, heard, frame: OnceLock::new() };
        self.bytes += entry.weight();
        self.entries.push_back(Arc::new(entry));
        while self.entries.len() > self.bounds.entries || self.bytes > self.bounds.bytes {
            let Some(gone) = self.entries.pop_front() else { return };
            self.first += 1;
            self.bytes -= gone.weight();
            if let Some(head) = self.heads.get_mut(&gone.publisher) {
                head.floor = head.floor.max(gone.number);
            }
        }
    }

    /// For a listener that was at `since`: everything that is kept, of which it skips what it has.
    pub(super) fn resume(&self, since: &Position) -> Start {
        // Who is known to the one and not to the other may have said something in between.
        let unheard = since.0.keys().any(|publisher| !self.heads.contains_key(publisher));
        Start { cursor: self.first, gap: unheard || self.has_lost(since) }
    }

    /// Whether something that one at `since` has not had is not kept any more.
    pub(super) fn has_lost(&self, since: &Position) -> bool {
        self.heads.iter().any(|(publisher, head)| since.of(publisher).unwrap_or(0) < head.floor)
    }

    /// The number of the first entry that is kept.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// What comes next for a listener, so many entries at most.
    pub(super) fn read(&self, cursor: u64, most: usize) -> Batch {
        if cursor < self.first {
            // It cannot keep up: what is left would only make it later.
            return Batch { entries: Vec::new(), cursor: self.end(), overrun: true };
        }
        let skip = usize::try_from(cursor - self.first).unwrap_or(usize::MAX);
        let entries: Vec<_> = self.entries.iter().skip(skip).take(most).cloned().collect();
        let cursor = cursor + entries.len() as u64;
        Batch { entries, cursor, overrun: false }
    }
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
