//! Times, and what share of them was how long.

use std::time::Duration;

/// Sub-buckets of one power of two: the upper bound of a bucket is less than 1/64 above any time in it.
const PARTS: u64 = 64;
/// Times up to 2^38 µs, three days, have buckets of their own.
const BUCKETS: usize = 34 * 64;

/// Times in buckets of less than 1.6 % of their value. Grows with nothing.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max_us: 0 }
    }
}

/// Below 64 each value has its own bucket; above, each power of two has 64.
fn bucket(us: u64) -> usize {
    let index = if us < PARTS {
        us
    } else {
        let shift = u64::from(us.ilog2()) - 6;
        (shift + 1) * PARTS + ((us >> shift) & (PARTS - 1))
    };
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The greatest value in a bucket.
fn upper(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    match (index / PARTS).checked_sub(1) {
        None => index,
        Some(shift) => ((PARTS + index % PARTS + 1) << shift) - 1,
    }
}

impl Histogram {
    /// Counts one.
    pub(crate) fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.buckets.get_mut(bucket(us)) {
            *count += 1;
        }
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Counts all that another one has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The longest.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }

    /// A time that the given share of all did not exceed, at most 1.6 % too long; zero when there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(upper(index).min(self.max_us));
            }
        }
        self.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_near_its_bound() {
        let mut last = 0;
        for us in (0..5_000).chain((5_000..50_000_000).step_by(977)) {
            let index = bucket(us);
            assert!(index >= last && us <= upper(index), "{us}");
            assert!(upper(index) as f64 <= us as f64 * 1.016 + 0.5, "{us} {}", upper(index));
            last = index;
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        for us in 1..=1_000 {
            histogram.record(Duration::from_micros(us));
        }
        let near = |share: f64, us: f64| {
            let found = histogram.quantile(share).as_micros() as f64;
            assert!((us..us * 1.016).contains(&found), "{share}: {found}");
        };
        near(0.5, 500.0);
        near(0.99, 990.0);
        assert_eq!(histogram.quantile(1.0), Duration::from_micros(1_000));
        let mut both = histogram.clone();
        both.add(&histogram);
        assert_eq!((both.count, both.quantile(0.5)), (2_000, histogram.quantile(0.5)));
    }

    #[test]
    fn a_time_beyond_all_buckets_is_still_counted() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_secs(u64::MAX));
        assert_eq!(histogram.count, 1);
    }
}
