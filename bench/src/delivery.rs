//! What has reached somebody: the mails and webhooks that a sink has accepted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep;

/// One mail or webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// When it was accepted.
    pub(crate) at: Instant,
    /// The idempotency key.
    pub(crate) key: String,
    /// The alarm's id.
    pub(crate) alarm: String,
    /// `raised` or `cleared`.
    pub(crate) step: String,
    /// The alarm's code.
    pub(crate) code: String,
}

/// All that was accepted so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deliveries(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    accepted: Vec<Delivery>,
    unreadable: u64,
}

impl Deliveries {
    /// Keeps one; `None` is one that is not as it should be.
    pub(crate) fn accept(&self, delivery: Option<Delivery>) {
        let mut kept = self.0.lock();
        match delivery {
            Some(delivery) => kept.accepted.push(delivery),
            None => kept.unreadable += 1,
        }
    }

    /// All so far.
    pub(crate) fn all(&self) -> Vec<Delivery> {
        self.0.lock().accepted.clone()
    }

    /// How many were accepted of which key, alarm or step can't be told.
    pub(crate) fn unreadable(&self) -> u64 {
        self.0.lock().unreadable
    }

    /// Waits until there are as many, and then for as long as nothing more comes; false when they did not come in
    /// time.
    pub(crate) async fn settle(&self, count: usize, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let (mut last, mut since) = (self.0.lock().accepted.len(), Instant::now());
        loop {
            sleep(Duration::from_millis(50)).await;
            let now = self.0.lock().accepted.len();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            // Duplicates come within a moment, or after a failed attempt that no sink here makes.
            if now >= count && since.elapsed() > Duration::from_secs(1) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
        }
    }
}

/// Deliveries of one alarm and step.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The first one's time.
    pub(crate) first: Option<Instant>,
    /// How many there were, repetitions of the same notification included.
    pub(crate) count: u64,
    /// The different idempotency keys.
    pub(crate) keys: Vec<String>,
}

/// Sorts deliveries by alarm (or code, as `by` says) and step.
pub(crate) fn sorted(
    deliveries: &[Delivery],
    by: impl Fn(&Delivery) -> &str,
) -> HashMap<(String, String), Told> {
    let mut sorted: HashMap<(String, String), Told> = HashMap::new();
    for delivery in deliveries {
        let told = sorted.entry((by(delivery).to_owned(), delivery.step.clone())).or_default();
        told.first = Some(told.first.map_or(delivery.at, |first| first.min(delivery.at)));
        told.count += 1;
        if !told.keys.contains(&delivery.key) {
            told.keys.push(delivery.key.clone());
        }
    }
    sorted
}
