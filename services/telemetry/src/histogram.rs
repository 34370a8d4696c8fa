//! Histograms that cost next to nothing where hundreds of thousands of values a second come.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Upper bounds in microseconds, from a tenth of a millisecond to half a minute: what happens while somebody waits.
pub const LATENCY: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];
/// Upper bounds in microseconds, from ten milliseconds to a week: what may wait for somebody to come back.
pub const STAGES: &[u64] = &[
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    3_600_000_000,
    86_400_000_000,
    604_800_000_000,
];
/// Upper bounds of sizes of groups.
pub const SIZES: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/// Threads that count at the same time do so in different places, up to so many.
const SHARDS: usize = 4;
/// The most buckets a histogram has, the one without a bound included.
const BUCKETS: usize = 20;

thread_local! {
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

/// The counts of some threads, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// A histogram of whole numbers.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    shards: [Shard; SHARDS],
}

/// All of a histogram at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// The upper bounds; one bucket more has none.
    pub bounds: &'static [u64],
    /// How many fell into each bucket, not cumulative.
    pub buckets: Vec<u64>,
    /// The sum of all.
    pub sum: u64,
}

impl HistogramSnapshot {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Histogram {
    /// One with these bounds, of which there are at most nineteen; more are left out.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let bounds = bounds.get(..BUCKETS - 1).unwrap_or(bounds);
        Self { bounds, shards: Default::default() }
    }

    fn bucket(&self, value: u64) -> usize {
        self.bounds.partition_point(|&bound| bound < value)
    }

    /// Counts one value.
    pub fn count(&self, value: u64) {
        let mut batch = self.batch();
        batch.count(value);
    }

    /// Counts a time, in microseconds.
    pub fn time(&self, time: Duration) {
        self.count(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts several values together: nothing is shared with other threads until it is dropped.
    #[must_use]
    pub fn batch(&self) -> HistogramBatch<'_> {
        HistogramBatch { histogram: self, buckets: [0; BUCKETS], sum: 0 }
    }

    /// All of it now. Each number is exact; together they may be of slightly different moments.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut buckets = vec![0_u64; self.bounds.len() + 1];
        let mut sum = 0_u64;
        for shard in &self.shards {
            for (all, some) in buckets.iter_mut().zip(&shard.buckets) {
                *all += some.load(Ordering::Relaxed);
            }
            sum = sum.wrapping_add(shard.sum.load(Ordering::Relaxed));
        }
        HistogramSnapshot { bounds: self.bounds, buckets, sum }
    }
}

/// Values that are counted together.
#[derive(Debug)]
pub struct HistogramBatch<'a> {
    histogram: &'a Histogram,
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl HistogramBatch<'_> {
    /// Counts one value.
    pub fn count(&mut self, value: u64) {
        if let Some(bucket) = self.buckets.get_mut(self.histogram.bucket(value)) {
            *bucket += 1;
        }
        self.sum = self.sum.saturating_add(value);
    }

    /// Counts a time, in microseconds.
    pub fn time(&mut self, time: Duration) {
        self.count(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

impl Drop for HistogramBatch<'_> {
    fn drop(&mut self) {
        let shard = SHARD.try_with(|shard| *shard).unwrap_or(0);
        let Some(shard) = self.histogram.shards.get(shard) else { return };
        for (all, some) in shard.buckets.iter().zip(self.buckets).filter(|(_, some)| *some > 0) {
            all.fetch_add(some, Ordering::Relaxed);
        }
        shard.sum.fetch_add(self.sum, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_below_its_bound_and_the_rest_beyond_all() {
        let histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, u64::from(u32::MAX)] {
            histogram.count(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets, [2, 2, 2]);
        assert_eq!((snapshot.count(), snapshot.sum), (6, 62 + u64::from(u32::MAX)));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let histogram = Histogram::new(LATENCY);
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let histogram = &histogram;
                scope.spawn(move || {
                    for round in 0..100 {
                        let mut batch = histogram.batch();
                        for value in 0..100 {
                            batch.count(thread * 1_000_000 + round * 100 + value);
                        }
                    }
                });
            }
        });
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 80_000);
        let each: u64 = (0..10_000).sum();
        assert_eq!(snapshot.sum, (0..8).map(|thread| thread * 1_000_000 * 10_000 + each).sum::<u64>());
    }

    #[test]
    fn the_bounds_grow_and_fit() {
        for bounds in [LATENCY, STAGES, SIZES] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
            assert!(bounds.len() < BUCKETS, "{bounds:?}");
        }
    }
}
