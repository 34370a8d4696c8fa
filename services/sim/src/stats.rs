//! What a simulation counts while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the latency buckets, in microseconds; a last one holds all that took longer.
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Time from a PUBLISH to its PUBACK, in buckets.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let index = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_us.fetch_add(us, Relaxed);
        self.max_us.fetch_max(us, Relaxed);
    }

    fn snapshot(&self) -> Latency {
        let mut buckets = [0; BOUNDS_US.len() + 1];
        for (count, bucket) in buckets.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Relaxed);
        }
        Latency { buckets, sum_us: self.sum_us.load(Relaxed), max_us: self.max_us.load(Relaxed) }
    }
}

/// Times from PUBLISH to PUBACK up to some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    buckets: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
    max_us: u64,
}

impl Latency {
    /// How many were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their mean; zero when there are none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum_us.checked_div(self.count()).unwrap_or(0))
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }

    /// A time that the given share of all (0.99 for p99) did not exceed: the upper bound of its bucket, so it is
    /// never too good; zero when there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        for (count, bound) in self.buckets.iter().zip(BOUNDS_US) {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(bound.min(self.max_us));
            }
        }
        self.max()
    }

    /// What was measured since `earlier`; the longest stays that of the whole time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = *self;
        for (count, before) in since.buckets.iter_mut().zip(earlier.buckets) {
            *count = count.saturating_sub(before);
        }
        since.sum_us = since.sum_us.saturating_sub(earlier.sum_us);
        since
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts of a running simulation. All only grow, but for `connected`.
        #[derive(Debug, Default)]
        pub struct SimStats {
            $(pub(crate) $name: AtomicU64,)*
            pub(crate) latency: Histogram,
        }

        /// What was counted up to some moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct StatsSnapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// Times from PUBLISH to PUBACK.
            pub latency: Latency,
        }

        impl SimStats {
            /// What was counted up to now.
            #[must_use]
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $($name: self.$name.load(Relaxed),)* latency: self.latency.snapshot() }
            }
        }
    };
}

counters! {
    /// Devices with a session now.
    connected,
    /// Sessions that were granted.
    connects,
    /// Those of them that were not the device's first.
    reconnects,
    /// Connects that failed or took too long.
    connect_failures,
    /// Connects that were answered with a refusal.
    connects_refused,
    /// Sessions that the server ended: by DISCONNECT, or by closing the connection.
    ended_by_server,
    /// Sessions that ended because an answer took too long.
    ended_by_timeout,
    /// Sessions that ended because the server sent what it must not.
    protocol_errors,
    /// Readings written to a connection.
    readings_published,
    /// Readings whose PUBACK came.
    readings_acked,
    /// Readings whose session ended before their PUBACK came: in the store or not, nobody knows.
    readings_unacked,
    /// Readings left out because the window was full.
    readings_left_out,
    /// Faults that came.
    faults_raised,
    /// Faults that went.
    faults_cleared,
    /// Fault events whose PUBACK came.
    events_acked,
    /// Fault events dropped because too many waited for a connection.
    events_dropped,
    /// Commands carried out and answered.
    commands_answered,
    /// Commands that came again and got the same answer, without being carried out again.
    commands_repeated,
    /// PUBACKs that refused their message.
    refused,
    /// Subscriptions that were refused.
    subscriptions_refused,
    /// PUBACKs that did not come in the order of their publishes.
    acks_out_of_order,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_never_too_good() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(0.99), Duration::ZERO);
        for _ in 0..99 {
            histogram.record(Duration::from_micros(400));
        }
        let before = histogram.snapshot();
        histogram.record(Duration::from_secs(20));
        let all = histogram.snapshot();
        assert_eq!(all.count(), 100);
        assert_eq!(all.quantile(0.5), Duration::from_micros(500));
        assert_eq!(all.quantile(0.99), Duration::from_micros(500));
        assert_eq!(all.quantile(1.0), Duration::from_secs(20));
        assert_eq!(all.since(&before).count(), 1);
        assert_eq!(before.max(), Duration::from_micros(400));
        assert_eq!(before.quantile(0.5), Duration::from_micros(400), "no bucket ends above the longest");
    }
}
