//! The live feed from the listener's side.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures_util::FutureExt;
use lapin::message::Delivery;
use lapin::options::BasicConsumeOptions;
use stoker_domain::ports::bus::{BusError, Feed, FeedConsumer, FeedPosition};
use stoker_proto::bus::v1 as bus;
use stoker_proto::convert::bus::activity_from_bus;

use super::Parts;
use super::config::RabbitConfig;
use super::envelope::{Incoming, Kind, Unreadable, nonce};
use super::error::RabbitError;
use super::feed_out::Wanted;
use super::gaps::{Gaps, Heed};
use super::link::Link;
use super::names::ALL_ACTIVITY;
use super::pull::{Attach, Pulled, Puller, Subscription, consume};
use super::stats::{Open, count};
use super::topology::{Step, WhenFull};

/// Says in this process that somebody listens, as long as it lives.
struct Here(Arc<Wanted>);

impl Here {
    fn new(wanted: &Arc<Wanted>) -> Self {
        wanted.here.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(wanted))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.here.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct Consumer {
    puller: Puller,
    parts: Arc<Parts>,
    gaps: Gaps,
    /// To be told next.
    ready: VecDeque<Feed>,
    /// Taken and not acknowledged; acknowledged together, by halves of the prefetch.
    unacknowledged: u16,
    _here: Option<Here>,
    _open: Open,
}

impl Consumer {
    /// Returns when every publisher has had the time to learn of it, if it counts: things are published for it.
    pub(super) async fn start(parts: &Arc<Parts>, counts: bool) -> Result<Self, BusError> {
        let config = Arc::clone(&parts.config);
        let attach: Attach = Arc::new(move |link| attach(Arc::clone(&config), link, counts).boxed());
        let (limits, closing) = (&parts.config.limits, parts.closing.clone());
        let here = counts.then(|| Here::new(&parts.feed.wanted));
        let puller = Puller::start(parts.consuming.clone(), limits, closing, attach).await?;
        let this = Self {
            puller,
            parts: Arc::clone(parts),
            gaps: Gaps::default(),
            ready: VecDeque::new(),
            unacknowledged: 0,
            _here: here,
            _open: Open::new(&parts.counters),
        };
        if counts {
            // They ask once in that time; a half of it more for the broker's answer.
            tokio::time::sleep(limits.listeners_every.mul_f32(1.5)).await;
        }
        Ok(this)
    }

    fn take(&mut self, delivery: &Delivery) {
        if let Err(error) = self.read(delivery) {
            // No dead letter: the feed is lossy, and one queue of many lost one item of many.
            count(&self.parts.counters.unreadable);
            tracing::warn!(key = %delivery.routing_key, %error, "an item of the live feed cannot be read");
        }
        self.unacknowledged += 1;
        if self.unacknowledged >= (self.parts.config.limits.feed_prefetch / 2).max(1) {
            self.unacknowledged = 0;
            self.puller.acknowledge_up_to(delivery.delivery_tag);
        }
    }

    fn read(&mut self, delivery: &Delivery) -> Result<(), Unreadable> {
        let incoming = Incoming::of(delivery)?;
        let (publisher, sequence) = incoming.sequence()?;
        if incoming.is(Kind::Beacon) {
            let missing = self.gaps.beacon(&publisher, sequence);
            self.lost(missing);
            let position = FeedPosition { publisher: publisher.into(), number: sequence };
            self.ready.push_back(Feed::Reached(position));
            return Ok(());
        }
        let Heed { missing, new } = self.gaps.item(&publisher, sequence);
        self.lost(missing);
        if new {
            let item =
                incoming.read::<bus::Activity>(Kind::Activity).and_then(|item| Ok(activity_from_bus(item)?));
            match item {
                Ok(activity) => {
                    self.parts.extract(delivery);
                    let position = FeedPosition { publisher: publisher.into(), number: sequence };
                    self.ready.push_back(Feed::Activity(position, Arc::new(activity)));
                }
                Err(error) => {
                    self.lost(1);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn lost(&mut self, missing: u64) {
        if missing > 0 {
            self.parts.counters.feed_lost.fetch_add(missing, Ordering::Relaxed);
            self.ready.push_back(Feed::Lost(missing));
        }
    }
}

async fn attach(
    config: Arc<RabbitConfig>,
    link: Arc<Link>,
    counts: bool,
) -> Result<Subscription, RabbitError> {
    let (prefix, limits) = (&config.prefix, &config.limits);
    let queue = prefix.feed(&nonce()?);
    let channel = link.channel().await?;
    let step = Step { link: &link, channel: &channel };
    step.own_queue(&config, &queue, ALL_ACTIVITY, limits.feed, WhenFull::DropOldest).await?;
    let counted = if counts {
        // From here on the publishers count us. The queue is there already.
        Some(consume(&link, &channel, prefix.listeners(), BasicConsumeOptions::default()).await?)
    } else {
        None
    };
    Subscription::open(link, channel, queue, limits.feed_prefetch, counted).await
}

#[async_trait]
impl FeedConsumer for Consumer {
    async fn next(&mut self) -> Option<Feed> {
        loop {
            if let Some(feed) = self.ready.pop_front() {
                return Some(feed);
            }
            match self.puller.next().await? {
                // What was missed meanwhile is told by the publishers' numbers.
                Pulled::Attached => self.unacknowledged = 0,
                Pulled::Delivery(delivery) => self.take(&delivery),
            }
        }
    }
}
