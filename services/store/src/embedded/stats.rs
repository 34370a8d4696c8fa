//! What the store counts about itself, as plain data.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const BUCKETS: usize = 32;

/// Counts of values by their size: bucket `n` holds those below `2^n` that the bucket before does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Counts; index 0 is the value zero, index `n` the values from `2^(n-1)` to `2^n - 1`.
    pub buckets: [u64; BUCKETS],
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

impl Histogram {
    /// An upper bound of the value below which the share `q` (0 to 1) lies; exact to a factor of two. Zero when empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> u64 {
        let wanted = (self.count as f64 * q).ceil() as u64;
        let mut seen = 0;
        for (n, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return (1u64 << n) - 1;
            }
        }
        0
    }
}

#[derive(Debug, Default)]
struct AtomicHistogram {
    buckets: [AtomicU64; BUCKETS],
    count: AtomicU64,
    sum: AtomicU64,
}

impl AtomicHistogram {
    fn add(&self, value: u64) {
        let index = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(bucket) = self.buckets.get(index.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn snapshot(&self) -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|n| {
                self.buckets.get(n).map_or(0, |bucket| bucket.load(Ordering::Relaxed))
            }),
            count: self.count.load(Ordering::Relaxed),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $kind:ident $name:ident),+ $(,)?) => {
        /// What the store has done since it was opened. Counters only grow; times are microseconds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: stats!(@plain $kind)),+
        }

        /// The same, being counted.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($name: stats!(@atomic $kind)),+
        }

        impl Counters {
            /// All counts now; those of one moment may be of slightly different ages.
            pub(super) fn snapshot(&self) -> Stats {
                Stats { $($name: stats!(@read $kind self.$name)),+ }
            }
        }
    };
    (@plain counter) => { u64 };
    (@plain gauge) => { u64 };
    (@plain histogram) => { Histogram };
    (@atomic counter) => { AtomicU64 };
    (@atomic gauge) => { AtomicU64 };
    (@atomic histogram) => { AtomicHistogram };
    (@read counter $field:expr) => { $field.load(Ordering::Relaxed) };
    (@read gauge $field:expr) => { $field.load(Ordering::Relaxed) };
    (@read histogram $field:expr) => { $field.snapshot() };
}

stats! {
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
}

/// What one transaction did.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) commits: u64,
    pub(super) fenced: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) points: u64,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_an_upper_bound() {
        let histogram = AtomicHistogram::default();
        assert_eq!(histogram.snapshot().quantile(0.99), 0);
        for value in 1..=1000 {
            histogram.add(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count, 1000);
        assert_eq!(snapshot.quantile(0.5), 511);
        assert_eq!(snapshot.quantile(1.0), 1023);
        histogram.add(u64::MAX);
        assert!(histogram.snapshot().quantile(1.0) > 1_000_000);
    }
}
