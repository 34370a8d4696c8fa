//! How core answers: what the pace goes by at which a gateway lets its devices go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use stoker_domain::drain::Answers;

/// Counts of calls since they were taken last.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    answered: AtomicU64,
    took_us: AtomicU64,
    failed: AtomicU64,
    waiting: AtomicU64,
}

/// A call that waits for its answer, until it is dropped.
struct Waiting<'a>(&'a AtomicU64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pulse {
    /// Carries a call out, and counts how it went.
    pub(crate) async fn of<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        let began = Instant::now();
        let result = call.await;
        drop(waiting);
        match &result {
            Ok(_) => {
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.took_us.fetch_add(took, Ordering::Relaxed);
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => self.failed(),
        }
        result
    }

    /// Something was not answered in time.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted since this was asked last.
    pub(crate) fn take(&self) -> Answers {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        Answers {
            answered: take(&self.answered),
            took_us: take(&self.took_us),
            failed: take(&self.failed),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn calls_are_counted_once_and_those_that_wait_each_time() {
        let pulse = Pulse::default();
        assert_eq!(pulse.of(async { Ok::<_, ()>(1) }).await, Ok(1));
        assert_eq!(pulse.of(async { Err::<(), _>(2) }).await, Err(2));
        {
            let mut call = Box::pin(pulse.of(std::future::pending::<Result<(), ()>>()));
            assert!((&mut call).now_or_never().is_none());
            let Answers { answered, failed, waiting, .. } = pulse.take();
            assert_eq!((answered, failed, waiting), (1, 1, 1));
            let Answers { answered, failed, waiting, .. } = pulse.take();
            assert_eq!((answered, failed, waiting), (0, 0, 1));
        }
        assert_eq!(pulse.take(), Answers::default(), "nobody waits for it any more");
    }
}
