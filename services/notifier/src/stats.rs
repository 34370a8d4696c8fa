//! Counters, read by whoever serves metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stoker_domain::{AttemptResult, ChannelKind, Millis};

/// Upper bounds, in milliseconds, of the buckets of [`LatencySnapshot`]; the last bucket has none.
pub const LATENCY_BOUNDS_MS: [u64; 9] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 30_000, 300_000];

const BUCKETS: usize = LATENCY_BOUNDS_MS.len() + 1;
const CHANNELS: [ChannelKind; 2] = [ChannelKind::Email, ChannelKind::Webhook];
const RESULTS: [AttemptResult; 4] =
    [AttemptResult::Sent, AttemptResult::Delivered, AttemptResult::Retry, AttemptResult::Refused];

/// What a notifier counts; only [`NotifierStats::snapshot`] is for others.
#[derive(Debug, Default)]
pub struct NotifierStats {
    email: Channel,
    webhook: Channel,
    held: AtomicU64,
    given_back: AtomicU64,
    report_failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Channel {
    attempts: [AtomicU64; RESULTS.len()],
    turned_away: AtomicU64,
    under_way: AtomicU64,
    latency: [AtomicU64; BUCKETS],
    latency_sum_ms: AtomicU64,
}

/// All counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifierSnapshot {
    /// By channel.
    pub channels: Vec<ChannelSnapshot>,
    /// Attempts taken from the bus and not acknowledged yet.
    pub held: u64,
    /// Attempts given back to the bus unfinished, on shutdown.
    pub given_back: u64,
    /// Reports to core that had to be tried again.
    pub report_failures: u64,
}

/// The counters of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSnapshot {
    /// Which.
    pub channel: ChannelKind,
    /// Attempts by result, those turned away included.
    pub attempts: Vec<(AttemptResult, u64)>,
    /// Attempts that were not carried out because the lane or the host's share of it was full.
    pub turned_away: u64,
    /// Attempts that are being delivered.
    pub under_way: u64,
    /// From the making of a notification until its recipient had it.
    pub latency: LatencySnapshot,
}

/// A histogram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencySnapshot {
    /// How many fell into each bucket of [`LATENCY_BOUNDS_MS`], not cumulative; the last is beyond all bounds.
    pub buckets: Vec<u64>,
    /// The sum of all, in milliseconds.
    pub sum_ms: u64,
}

impl LatencySnapshot {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl NotifierStats {
    /// Reads all counters. Each is exact; together they may be of slightly different moments.
    #[must_use]
    pub fn snapshot(&self) -> NotifierSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let channels = CHANNELS.into_iter().map(|kind| {
            let channel = self.channel(kind);
            ChannelSnapshot {
                channel: kind,
                attempts: RESULTS.into_iter().zip(channel.attempts.iter().map(read)).collect(),
                turned_away: read(&channel.turned_away),
                under_way: read(&channel.under_way),
                latency: LatencySnapshot {
                    buckets: channel.latency.iter().map(read).collect(),
                    sum_ms: read(&channel.latency_sum_ms),
                },
            }
        });
        NotifierSnapshot {
            channels: channels.collect(),
            held: read(&self.held),
            given_back: read(&self.given_back),
            report_failures: read(&self.report_failures),
        }
    }

    /// An attempt has ended, `after_ms` after its notification was made.
    pub(crate) fn ended(&self, kind: ChannelKind, result: AttemptResult, after_ms: Millis) {
        let channel = self.channel(kind);
        for (known, counter) in RESULTS.iter().zip(&channel.attempts) {
            if *known == result {
                add(counter, 1);
            }
        }
        if matches!(result, AttemptResult::Sent | AttemptResult::Delivered) {
            // Another host's clock may be ahead of ours.
            let after_ms = u64::try_from(after_ms).unwrap_or(0);
            let bucket = LATENCY_BOUNDS_MS.iter().position(|&bound| after_ms <= bound).unwrap_or(BUCKETS - 1);
            if let Some(counter) = channel.latency.get(bucket) {
                add(counter, 1);
            }
            add(&channel.latency_sum_ms, after_ms);
        }
    }

    pub(crate) fn turned_away(&self, kind: ChannelKind) {
        add(&self.channel(kind).turned_away, 1);
    }

    pub(crate) fn report_failed(&self) {
        add(&self.report_failures, 1);
    }

    /// Counts an attempt as held until what is returned is dropped, and as given back unless it is told otherwise.
    pub(crate) fn holds(self: &Arc<Self>) -> Held {
        Held { gauge: Gauge::up(self, |stats| &stats.held), acknowledged: false }
    }

    /// Counts an attempt as under way until what is returned is dropped.
    pub(crate) fn under_way(self: &Arc<Self>, kind: ChannelKind) -> Gauge {
        match kind {
            ChannelKind::Email => Gauge::up(self, |stats| &stats.email.under_way),
            ChannelKind::Webhook => Gauge::up(self, |stats| &stats.webhook.under_way),
        }
    }

    fn channel(&self, kind: ChannelKind) -> &Channel {
        match kind {
            ChannelKind::Email => &self.email,
            ChannelKind::Webhook => &self.webhook,
        }
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// An attempt that is held.
pub(crate) struct Held {
    gauge: Gauge,
    acknowledged: bool,
}

impl Held {
    pub(crate) fn acknowledged(mut self) {
        self.acknowledged = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.acknowledged {
            add(&self.gauge.stats.given_back, 1);
        }
    }
}

/// One more, until dropped: also when its task is aborted.
pub(crate) struct Gauge {
    stats: Arc<NotifierStats>,
    counter: fn(&NotifierStats) -> &AtomicU64,
}

impl Gauge {
    fn up(stats: &Arc<NotifierStats>, counter: fn(&NotifierStats) -> &AtomicU64) -> Self {
        add(counter(stats), 1);
        Self { stats: Arc::clone(stats), counter }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        (self.counter)(&self.stats).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_says_what_was_counted() {
        let stats = Arc::new(NotifierStats::default());
        let held = stats.holds();
        let under_way = stats.under_way(ChannelKind::Webhook);
        stats.ended(ChannelKind::Webhook, AttemptResult::Delivered, 80);
        stats.ended(ChannelKind::Webhook, AttemptResult::Delivered, -3);
        stats.ended(ChannelKind::Webhook, AttemptResult::Retry, 80);
        stats.ended(ChannelKind::Email, AttemptResult::Sent, 1_000_000);
        stats.turned_away(ChannelKind::Email);
        let during = stats.snapshot();
        let (email, webhook) = (&during.channels[0], &during.channels[1]);
        assert_eq!((during.held, email.under_way, webhook.under_way), (1, 0, 1));
        assert_eq!(webhook.attempts[1..3], [(AttemptResult::Delivered, 2), (AttemptResult::Retry, 1)]);
        assert_eq!(webhook.latency.buckets[..2], [1, 1]);
        assert_eq!((webhook.latency.count(), webhook.latency.sum_ms), (2, 80));
        assert_eq!(email.latency.buckets[BUCKETS - 1], 1);
        assert_eq!(email.turned_away, 1);
        drop(under_way);
        held.acknowledged();
        drop(stats.holds());
        let after = stats.snapshot();
        assert_eq!((after.held, after.given_back, after.channels[1].under_way), (0, 1, 0));
    }
}
