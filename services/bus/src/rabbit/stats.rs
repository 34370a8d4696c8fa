//! What the adapter counts, for metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How the bus stands at one moment. Counters count from the start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RabbitSnapshot {
    /// The connection for publishing works.
    pub publishing_connected: bool,
    /// The connection for consuming works.
    pub consuming_connected: bool,
    /// The broker has blocked its publishers: it is short of memory or disk.
    pub blocked: bool,
    /// Connections that were lost and made again.
    pub reconnects: u64,
    /// Notification work.
    pub work: LaneSnapshot,
    /// Orders to gateways.
    pub orders: LaneSnapshot,
    /// Items given to the live feed.
    pub activities: u64,
    /// Of those, items dropped before they were sent: the broker was away or too slow.
    pub activities_dropped: u64,
    /// Items that listeners of this process were told they lost.
    pub feed_lost: u64,
    /// Messages that could not be read, by whichever consumer of this process.
    pub unreadable: u64,
    /// Of those, messages that were sent to the dead letters. What was delivered too often the broker sends there.
    pub dead_lettered: u64,
    /// Work that was dropped because its attempt has been handed out again meanwhile.
    pub stale_work: u64,
    /// Deliveries of work that had been delivered before.
    pub redelivered_work: u64,
    /// Acknowledgements of work that did not reach the broker: it comes again.
    pub lost_acknowledgements: u64,
    /// Times a gateway's queue had to be made anew.
    pub gateway_resumed: u64,
    /// Open consumers of this process: work, gateways, feeds.
    pub consumers: usize,
}

/// Messages published with confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneSnapshot {
    /// Given to the lane and not answered yet: waiting for room, or for the broker's confirmation.
    pub under_way: usize,
    /// The broker has them.
    pub confirmed: u64,
    /// Nobody had a queue for them.
    pub returned: u64,
    /// A queue, or the room for unconfirmed ones, was full.
    pub full: u64,
    /// It is not known whether the broker has them.
    pub unconfirmed: u64,
    /// Nothing was sent: there was no connection.
    pub unavailable: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) reconnects: AtomicU64,
    pub(super) activities: AtomicU64,
    pub(super) activities_dropped: AtomicU64,
    pub(super) feed_lost: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) dead_lettered: AtomicU64,
    pub(super) stale_work: AtomicU64,
    pub(super) redelivered_work: AtomicU64,
    pub(super) lost_acknowledgements: AtomicU64,
    pub(super) gateway_resumed: AtomicU64,
    pub(super) consumers: AtomicUsize,
}

/// Counts one more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts a consumer as long as it lives.
#[derive(Debug)]
pub(super) struct Open(std::sync::Arc<Counters>);

impl Open {
    pub(super) fn new(counters: &std::sync::Arc<Counters>) -> Self {
        counters.consumers.fetch_add(1, Ordering::Relaxed);
        Self(std::sync::Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.consumers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
pub(super) struct LaneCounters {
    pub(super) confirmed: AtomicU64,
    pub(super) returned: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) unconfirmed: AtomicU64,
    pub(super) unavailable: AtomicU64,
}

impl LaneCounters {
    pub(super) fn snapshot(&self, under_way: usize) -> LaneSnapshot {
        LaneSnapshot {
            under_way,
            confirmed: self.confirmed.load(Ordering::Relaxed),
            returned: self.returned.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
            unconfirmed: self.unconfirmed.load(Ordering::Relaxed),
            unavailable: self.unavailable.load(Ordering::Relaxed),
        }
    }
}
