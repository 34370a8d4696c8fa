//! Waiting longer after each failure, with jitter, so that many who fail together do not come back together.

use std::time::Duration;

use stoker_domain::pause;

/// Doubles from a first pause up to a greatest one; each is shortened by up to half at random.
#[derive(Debug)]
pub(crate) struct Backoff(pause::Backoff);

impl Backoff {
    pub(crate) fn new(first: Duration, greatest: Duration) -> Self {
        Self(pause::Backoff::new(first, greatest))
    }

    /// Waits.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.0.next(getrandom::u32().unwrap_or(u32::MAX))).await;
    }
}
