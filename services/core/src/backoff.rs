//! Waiting longer after each failure, with jitter, so that many who fail together do not come back together.

use std::time::Duration;

/// Doubles from a first pause up to a greatest one; each is shortened by up to half at random.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    greatest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, greatest: Duration) -> Self {
        Self { next: first, greatest }
    }

    /// Waits.
    pub(crate) async fn pause(&mut self) {
        let jitter = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
        tokio::time::sleep(self.next.mul_f64(1.0 - jitter / 2.0)).await;
        self.next = self.next.saturating_mul(2).min(self.greatest);
    }
}
