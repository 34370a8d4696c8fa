//! One listener's way through the backlog. Pure.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;

use super::backlog::{Backlog, Batch, Entry, GONE};
use super::item::{self, Item};
use super::position::Position;

/// What a listener is told.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// What happened, and where the listener stands with it, if that is not where all others do.
    Item(Arc<Entry>, Option<Position>),
    /// Something is missing here.
    Gap,
}

impl Told {
    /// As it is sent. None when that cannot be made.
    pub(super) fn frame(&self) -> Option<Utf8Bytes> {
        match self {
            Self::Item(entry, None) => entry.frame(),
            Self::Item(entry, Some(own)) => entry.frame_at(own),
            Self::Gap => Some(item::gap()),
        }
    }
}

/// Where a listener is.
#[derive(Debug)]
pub(super) struct Reader {
    /// The entry to read next.
    cursor: u64,
    /// What it had when it began, as long as that may be more than what it was told here.
    had: Option<Position>,
    begun: Duration,
    /// Something that happened before it began cannot be had any more; to be said first.
    gap: bool,
    /// The last that it was told is that something is missing.
    said_gap: bool,
}

impl Reader {
    /// Begins now, or where it was. Also where that is.
    pub(super) fn begin(backlog: &Backlog, since: Option<&Position>, now: Duration) -> (Self, Position) {
        match since {
            None => {
                let cursor = backlog.end();
                let this = Self { cursor, had: None, begun: now, gap: false, said_gap: false };
                (this, backlog.position())
            }
            Some(since) => {
                let start = backlog.resume(since);
                let (cursor, had) = (start.cursor, Some(since.clone()));
                (Self { cursor, had, begun: now, gap: start.gap, said_gap: false }, since.clone())
            }
        }
    }

    /// Up to which entry it has read.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// What it reads next, so many entries at most.
    pub(super) fn read(&self, backlog: &Backlog, most: usize) -> Batch {
        // Whoever comes back begins at the first entry, which goes with the next that is heard when all places are taken. That
        // is no loss when it had all that has gone, and nothing new when it is yet to be told of a gap.
        let unread = backlog.first() > self.cursor;
        let excused = unread && (self.gap || self.had.as_ref().is_some_and(|had| !backlog.has_lost(had)));
        backlog.read(if excused { backlog.first() } else { self.cursor }, most)
    }

    /// What it is told of what comes next.
    pub(super) fn take(&mut self, batch: Batch, wants: impl Fn(&Item) -> bool) -> Vec<Told> {
        let mut told = Vec::new();
        if std::mem::take(&mut self.gap) || batch.overrun {
            self.tell_gap(&mut told);
        }
        self.cursor = batch.cursor;
        for entry in batch.entries {
            self.pass(entry, &wants, &mut told);
        }
        told
    }

    fn pass(&mut self, entry: Arc<Entry>, wants: &impl Fn(&Item) -> bool, told: &mut Vec<Told>) {
        let known = self.had.as_ref().and_then(|had| had.of(&entry.publisher));
        self.forget(&entry);
        if known.is_some_and(|known| known >= entry.number) {
            return;
        }
        if let Some(number) = self.had.as_mut().and_then(|had| had.0.get_mut(&entry.publisher)) {
            *number = entry.number;
        }
        match &entry.item {
            None => self.tell_gap(told),
            Some(item) if wants(item) => {
                self.said_gap = false;
                // It may have had more, from a portal that heard the publishers in another order.
                let own = self.had.as_ref().map(|had| entry.position.merged(had));
                told.push(Told::Item(entry, own));
            }
            Some(_) => {}
        }
    }

    fn tell_gap(&mut self, told: &mut Vec<Told>) {
        if !std::mem::replace(&mut self.said_gap, true) {
            told.push(Told::Gap);
        }
    }

    /// Forgets what it had, once whoever stands at this entry has that, too: from then on it stands where all others do.
    fn forget(&mut self, entry: &Entry) {
        let Some(had) = &mut self.had else { return };
        if entry.heard.saturating_sub(self.begun) >= GONE {
            // Of publishers that have gone it was told by a gap. Kept, they would make another each time that it comes again.
            had.0.retain(|publisher, _| entry.position.of(publisher).is_some());
        }
        if entry.position.covers(had) {
            self.had = None;
        }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
