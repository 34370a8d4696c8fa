//! One listener's way through the backlog. Pure.

use std::sync::Arc;

use super::backlog::{Backlog, Entry};
use super::item::Item;
use super::position::Position;

/// What a listener is told.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// What happened, and where whoever has this and all before it stands.
    Item(Arc<Item>, Arc<str>),
    /// Something is missing here.
    Gap,
}

/// Where a listener is.
#[derive(Debug)]
pub(super) struct Reader {
    /// The entry to read next.
    cursor: u64,
    /// What it had when it began, as long as that may be more than what it was told here.
    had: Option<Position>,
    /// Something that happened before it began cannot be had any more; to be said first.
    gap: bool,
    /// The last that it was told is that something is missing.
    said_gap: bool,
}

impl Reader {
    /// Begins now, or where it was. Also where that is.
    pub(super) fn begin(backlog: &Backlog, since: Option<&Position>) -> (Self, Position) {
        match since {
            None => {
                let this = Self { cursor: backlog.end(), had: None, gap: false, said_gap: false };
                (this, backlog.position())
            }
            Some(since) => {
                let start = backlog.resume(since);
                let had = Some(since.clone());
                (Self { cursor: start.cursor, had, gap: start.gap, said_gap: false }, since.clone())
            }
        }
    }

    /// Up to which entry it has read.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// What comes next, of so many entries at most. True when there was anything, if only for others.
    pub(super) fn next(
        &mut self,
        backlog: &Backlog,
        most: usize,
        wants: impl Fn(&Item) -> bool,
    ) -> (Vec<Told>, bool) {
        let batch = backlog.read(self.cursor, most);
        let mut told = Vec::new();
        if std::mem::take(&mut self.gap) || batch.overrun {
            self.tell_gap(&mut told);
        }
        self.cursor = batch.cursor;
        for entry in &batch.entries {
            self.pass(entry, &wants, &mut told);
        }
        if self.had.as_ref().is_some_and(|had| self.cursor == backlog.end() && backlog.position().covers(had))
        {
            self.had = None;
        }
        (told, batch.overrun || !batch.entries.is_empty())
    }

    fn pass(&mut self, entry: &Entry, wants: &impl Fn(&Item) -> bool, told: &mut Vec<Told>) {
        let known = self.had.as_ref().and_then(|had| had.of(&entry.publisher));
        if known.is_some_and(|known| known >= entry.number) {
            return;
        }
        match &entry.item {
            None => self.tell_gap(told),
            Some(item) if wants(item) => {
                self.said_gap = false;
                told.push(Told::Item(Arc::clone(item), self.position(entry)));
            }
            Some(_) => {}
        }
    }

    fn tell_gap(&mut self, told: &mut Vec<Told>) {
        if !std::mem::replace(&mut self.said_gap, true) {
            told.push(Told::Gap);
        }
    }

    /// Where it stands with an entry. It may have had more, from a portal that heard the publishers in another order.
    fn position(&self, entry: &Entry) -> Arc<str> {
        match (&self.had, entry.position.parse::<Position>()) {
            (Some(had), Ok(position)) => had.merged(&position).text().into(),
            _ => Arc::clone(&entry.position),
        }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
