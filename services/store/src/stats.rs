//! Counts of what a store does, as plain data.

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
pub(crate) struct AtomicHistogram {
    buckets: [AtomicU64; BUCKETS],
    count: AtomicU64,
    sum: AtomicU64,
}

impl AtomicHistogram {
    pub(crate) fn add(&self, value: u64) {
        let index = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(bucket) = self.buckets.get(index.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|n| {
                self.buckets.get(n).map_or(0, |bucket| bucket.load(Ordering::Relaxed))
            }),
            count: self.count.load(Ordering::Relaxed),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// Makes a struct of counts, and one that counts them.
macro_rules! stats {
    ($stats:ident { $($(#[$doc:meta])* $kind:ident $name:ident),+ $(,)? }) => {
        /// What the store has done since it was opened. Counters only grow; times are microseconds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $stats {
            $($(#[$doc])* pub $name: $crate::stats::stats!(@plain $kind)),+
        }

        /// The same, being counted.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: $crate::stats::stats!(@atomic $kind)),+
        }

        impl Counters {
            /// All counts now; those of one moment may be of slightly different ages.
            pub(super) fn snapshot(&self) -> $stats {
                $stats { $($name: $crate::stats::stats!(@read $kind self.$name)),+ }
            }
        }
    };
    (@plain counter) => { u64 };
    (@plain gauge) => { u64 };
    (@plain histogram) => { $crate::stats::Histogram };
    (@atomic counter) => { std::sync::atomic::AtomicU64 };
    (@atomic gauge) => { std::sync::atomic::AtomicU64 };
    (@atomic histogram) => { $crate::stats::AtomicHistogram };
    (@read counter $field:expr) => { $field.load(std::sync::atomic::Ordering::Relaxed) };
    (@read gauge $field:expr) => { $field.load(std::sync::atomic::Ordering::Relaxed) };
    (@read histogram $field:expr) => { $field.snapshot() };
}
pub(crate) use stats;

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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
