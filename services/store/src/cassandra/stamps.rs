//! Write timestamps: of two writes of one cell the one with the greater timestamp stays.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Makes timestamps in microseconds, each greater than the one before: appends count in the order of their calls.
#[derive(Debug, Default)]
pub(super) struct Stamps(AtomicI64);

impl Stamps {
    /// The next one.
    pub(super) fn next(&self) -> i64 {
        self.after(now_us())
    }

    fn after(&self, now: i64) -> i64 {
        let step = |last: i64| Some(now.max(last + 1));
        // The closure never refuses, so both arms are the value before.
        let (Ok(last) | Err(last)) = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        now.max(last + 1)
    }
}

/// Microseconds since the epoch.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Whole microseconds.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Seconds for a TTL: at least one, at most the twenty years that the database allows.
pub(super) fn ttl(duration: Duration) -> i32 {
    const MAX: u64 = 20 * 365 * 24 * 3600;
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i32::try_from(seconds.clamp(1, MAX)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stamp_is_greater_than_the_one_before_even_when_the_clock_goes_back() {
        let stamps = Stamps::default();
        assert_eq!([100, 100, 50, 200].map(|now| stamps.after(now)), [100, 101, 102, 200]);
        assert!(stamps.next() < stamps.next());
    }

    #[test]
    fn a_ttl_is_never_zero_which_would_be_for_ever() {
        assert_eq!(ttl(Duration::ZERO), 1);
        assert_eq!(ttl(Duration::from_millis(1_001)), 2);
        assert_eq!(ttl(Duration::MAX), 630_720_000);
    }
}
