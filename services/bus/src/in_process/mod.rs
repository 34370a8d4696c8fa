//! The bus within one process: queues behind locks, woken by hand. It starts no task and has no unbounded queue.

mod feed;
mod gateways;
mod work;

use std::time::Duration;

use async_trait::async_trait;
use stoker_domain::MemberId;
use stoker_domain::NotificationWork;
use stoker_domain::ports::bus::{
    Activity, Bus, BusError, FeedConsumer, GatewayConsumer, ToGateway, WorkConsumer,
};

use feed::LiveFeed;
use gateways::GatewayQueues;
use work::WorkQueue;

/// The bounds of an [`InProcessBus`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How much notification work may be published and not acknowledged yet, waiting and handed out together. At
    /// about 2 KiB each the default is 8 MiB.
    pub work: usize,
    /// How long a publisher of work waits for room before it is told [`BusError::Full`].
    pub room_within: Duration,
    /// How long a publisher of work waits for the acknowledgement before it is told [`BusError::Unconfirmed`]. Longer
    /// than a slow attempt takes, shorter than the time after which core hands an attempt out again (120 s), so that
    /// no message outlives its attempt.
    pub confirm_within: Duration,
    /// How many messages wait for one gateway.
    pub gateway: usize,
    /// How far behind a consumer of the live feed may be before it loses items; rounded up to a power of two.
    pub feed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            work: 4_096,
            room_within: Duration::from_secs(10),
            confirm_within: Duration::from_secs(90),
            gateway: 1_024,
            feed: 4_096,
        }
    }
}

/// How full the bus is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Notification work that no consumer has yet.
    pub work_waiting: usize,
    /// Notification work that a consumer has and has not acknowledged.
    pub work_unacknowledged: usize,
    /// Gateways with a queue.
    pub gateways: usize,
    /// Consumers of the live feed.
    pub feed_consumers: usize,
}

/// Another one each time that the process starts: random, or where there is no randomness by the time.
fn process_name() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let number = getrandom::u64().unwrap_or(since.as_nanos() as u64);
    format!("{number:016x}")
}

/// The bus for services that share a process.
///
/// It keeps no message longer than somebody answers for it, because it is memory and what must not be lost stands in
/// its publisher's outbox:
///
/// * **Work** is confirmed when a consumer has acknowledged it. It is kept as long as its publisher waits or a consumer
///   holds it: a publisher that is cancelled, or gives up, takes back what no consumer has yet, and what comes back
///   after that is dropped; it was never confirmed, so its publisher publishes it again. A delivery that is dropped
///   unacknowledged goes to whichever consumer asks next, before everything published after it. A [`WorkConsumer`]
///   that is dropped gives back all it had; acknowledging one of those afterwards does nothing.
/// * **A gateway's queue** belongs to the newest consumer of that member. One that is replaced still gets what its
///   queue had accepted, then `None`.
/// * **After [`close`](Self::close)** publishers are told [`BusError::Closed`], also those that wait; consumers of work
///   get `None` at once, gateways and feeds after what they had already been given.
///
/// The futures of all consumers may be dropped at any await without losing anything.
#[derive(Debug)]
pub struct InProcessBus {
    work: WorkQueue,
    gateways: GatewayQueues,
    feed: LiveFeed,
}

impl InProcessBus {
    /// An empty bus. A bound of zero counts as one.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            work: WorkQueue::new(limits),
            gateways: GatewayQueues::new(limits.gateway.max(1)),
            feed: LiveFeed::new(limits.feed.max(1), &process_name()),
        }
    }

    /// Ends the bus for everybody; see the type. Closing twice does nothing more.
    pub fn close(&self) {
        self.work.close();
        self.gateways.close();
        self.feed.close();
    }

    /// How full it is, for metrics.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (work_waiting, work_unacknowledged) = self.work.depth();
        Snapshot {
            work_waiting,
            work_unacknowledged,
            gateways: self.gateways.count(),
            feed_consumers: self.feed.consumers(),
        }
    }
}

impl Default for InProcessBus {
    fn default() -> Self {
        Self::new(&Limits::default())
    }
}

#[async_trait]
impl Bus for InProcessBus {
    async fn publish_work(&self, work: NotificationWork) -> Result<(), BusError> {
        self.work.publish(work).await
    }

    async fn publish_to_gateway(&self, gateway: &MemberId, message: ToGateway) -> Result<(), BusError> {
        self.gateways.publish(gateway, message)
    }

    fn publish_activity(&self, activity: Activity) {
        self.feed.publish(activity);
    }

    fn feed_wanted(&self) -> bool {
        self.feed.wanted()
    }

    async fn consume_work(&self, prefetch: usize) -> Result<Box<dyn WorkConsumer>, BusError> {
        Ok(Box::new(self.work.consume(prefetch)?))
    }

    async fn consume_gateway(&self, gateway: &MemberId) -> Result<Box<dyn GatewayConsumer>, BusError> {
        Ok(Box::new(self.gateways.consume(gateway)?))
    }

    async fn consume_feed(&self) -> Result<Box<dyn FeedConsumer>, BusError> {
        Ok(Box::new(self.feed.consume(true)?))
    }

    async fn follow_feed(&self) -> Result<Box<dyn FeedConsumer>, BusError> {
        Ok(Box::new(self.feed.consume(false)?))
    }
}
