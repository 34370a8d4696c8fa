//! What the embedded store counts about itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::stats::{micros, stats};

stats! { Stats {
    /// Durable transactions of the writer.
    counter transactions,
    /// Requests answered.
    counter requests,
    /// Commits of slots that went in.
    counter commits,
    /// Commits of slots that were refused.
    counter fenced,
    /// Rows written: chunks, newest points, events, state and registry rows.
    counter rows,
    /// Bytes of these, without indexes and the database's own.
    counter bytes,
    /// Points of telemetry in them.
    counter points,
    /// Requests refused for want of room.
    counter overloaded,
    /// Reads carried out.
    counter reads,
    /// Rows removed by retention or with their device.
    counter removed,
    /// Requests that wait for the writer now.
    gauge waiting,
    /// How long the last transaction took, from its first row until it was durable.
    gauge last_commit_us,
    /// How long the last flush to the disk took.
    gauge last_fsync_us,
    /// Requests per transaction.
    histogram group_size,
    /// How long transactions took.
    histogram commit_us,
    /// How long flushes to the disk took.
    histogram fsync_us,
} }

/// What one transaction did.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) commits: u64,
    pub(super) fenced: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) points: u64,
}

impl Counters {
    pub(super) fn group(&self, requests: usize, tally: Tally, took: Duration) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(requests as u64, Ordering::Relaxed);
        self.commits.fetch_add(tally.commits, Ordering::Relaxed);
        self.fenced.fetch_add(tally.fenced, Ordering::Relaxed);
        self.rows.fetch_add(tally.rows, Ordering::Relaxed);
        self.bytes.fetch_add(tally.bytes, Ordering::Relaxed);
        self.points.fetch_add(tally.points, Ordering::Relaxed);
        self.group_size.add(requests as u64);
        self.last_commit_us.store(micros(took), Ordering::Relaxed);
        self.commit_us.add(micros(took));
    }

    pub(super) fn chore(&self, removed: u64) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.removed.fetch_add(removed, Ordering::Relaxed);
    }

    pub(super) fn fsync(&self, took: Duration) {
        self.last_fsync_us.store(micros(took), Ordering::Relaxed);
        self.fsync_us.add(micros(took));
    }

    pub(super) fn overload(&self) {
        self.overloaded.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self, requests: usize) {
        self.waiting.store(requests as u64, Ordering::Relaxed);
    }
}
