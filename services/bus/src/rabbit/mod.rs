//! The bus over RabbitMQ. `docs/rabbitmq.md` describes exchanges, queues, messages and what happens when.

mod backoff;
mod config;
mod dead_letters;
mod envelope;
mod error;
mod feed;
mod feed_out;
mod gaps;
mod gateways;
mod lane;
mod lane_task;
mod link;
mod links;
mod names;
mod pull;
mod settle;
mod stats;
mod topology;
mod work;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use lapin::message::Delivery;
use prost::Message;
use stoker_domain::ports::bus::{
    Activity, Bus, BusError, FeedConsumer, GatewayConsumer, ToGateway, WorkConsumer,
};
use stoker_domain::{MemberId, NotificationWork};
use stoker_proto::convert::bus::{to_gateway_to_bus, work_to_bus};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{BrokerUrl, RabbitConfig, RabbitLimits};
pub use dead_letters::{DeadLetter, DeadLetters, Settled, Which};
pub use envelope::{SpanCarrier, TraceCarrier, TraceHeaders};
pub use error::RabbitError;
pub use names::Prefix;
pub use stats::{LaneSnapshot, RabbitSnapshot};

use envelope::{Incoming, Kind, Outgoing, nonce};
use feed_out::{FeedOut, FeedTask};
use lane::Lane;
use lane_task::LaneTask;
use link::Connector;
use links::{Keeper, Links};
use names::{gateway_key, work_key};
use stats::Counters;

/// What errors call the queue of notification work.
const WORK: &str = "notification work";
/// How long the tasks may take to end once they are told to.
const END_WITHIN: Duration = Duration::from_secs(15);

/// What publishers and consumers share.
#[derive(Debug)]
struct Parts {
    config: Arc<RabbitConfig>,
    publishing: Links,
    consuming: Links,
    work: Lane,
    orders: Lane,
    feed: Arc<FeedOut>,
    counters: Arc<Counters>,
    closing: CancellationToken,
}

impl Parts {
    fn trace(&self) -> TraceHeaders {
        let mut headers = TraceHeaders::new();
        if let Some(carrier) = &self.config.trace {
            carrier.inject(&mut headers);
        }
        headers
    }

    fn extract(&self, delivery: &Delivery) {
        if let Some(carrier) = &self.config.trace
            && let Ok(incoming) = Incoming::of(delivery)
        {
            carrier.extract(&incoming.trace());
        }
    }
}

/// The bus over RabbitMQ, for services in processes of their own.
///
/// * **Two connections**, one to publish and one to consume, because a broker that is short of memory or disk stops
///   reading from whoever publishes, acknowledgements and all. Either is made anew whenever it is lost.
/// * **Work** is confirmed when the quorum queue has it. A delivery that is dropped goes back; one that went back too
///   often goes to the [dead letters](Self::dead_letters).
/// * **A publisher** is told the truth within a bound: [`Returned`](BusError::Returned), [`Full`](BusError::Full),
///   [`Unavailable`](BusError::Unavailable) when nothing was sent, and [`Unconfirmed`](BusError::Unconfirmed) when it
///   was and the answer was lost. A caller that drops the future may have published nevertheless.
/// * **After [`close`](Self::close)** publishers are told [`Closed`](BusError::Closed), consumers get `None`.
///
/// The futures of all consumers may be dropped at any await without losing anything.
#[derive(Debug, Clone)]
pub struct RabbitBus {
    parts: Arc<Parts>,
}

/// What keeps a [`RabbitBus`] alive; to be run under supervision.
#[derive(Debug)]
pub struct RabbitDriver {
    keepers: [(&'static str, Keeper); 2],
    lanes: [(&'static str, LaneTask); 2],
    feed: FeedTask,
    closing: CancellationToken,
}

impl RabbitBus {
    /// Joins the bus: connects, and declares what it relies on.
    ///
    /// # Errors
    /// When the broker refuses us or a queue of ours exists with other settings, at once; when it cannot be reached
    /// within [`RabbitLimits::start_within`].
    pub async fn connect(config: RabbitConfig) -> Result<(Self, RabbitDriver), RabbitError> {
        let config = Arc::new(config);
        let counters = Arc::<Counters>::default();
        let connector = Connector::new(Arc::clone(&config))?;
        let keep = |role| Keeper::start(connector.clone(), Arc::clone(&config), role, Arc::clone(&counters));
        let (publish_keeper, publishing) = Box::pin(keep("publishing")).await?;
        let (consume_keeper, consuming) = Box::pin(keep("consuming")).await?;
        let publisher = nonce()?;
        let closing = CancellationToken::new();
        let lane = |letter: char, patient: bool| {
            let (lane, jobs) = Lane::new(publishing.clone(), &config.limits, patient, closing.clone());
            let task = LaneTask {
                jobs,
                links: publishing.clone(),
                limits: config.limits.clone(),
                exchange: config.prefix.events(),
                id_prefix: format!("{publisher}-{letter}"),
            };
            (lane, task)
        };
        let ((work, work_task), (orders, orders_task)) = (lane('w', true), lane('o', false));
        let (feed, feed_task) =
            FeedOut::new(&config, publishing.clone(), publisher.clone(), Arc::clone(&counters));
        let driver = RabbitDriver {
            keepers: [("publishing connection", publish_keeper), ("consuming connection", consume_keeper)],
            lanes: [("lane of work", work_task), ("lane of orders", orders_task)],
            feed: feed_task,
            closing: closing.clone(),
        };
        match config.guest {
            true => {
                tracing::debug!(broker = %config.url, prefix = %config.prefix, "joined the bus as a guest")
            }
            false => tracing::info!(broker = %config.url, prefix = %config.prefix, "joined the bus"),
        }
        let parts = Parts { config, publishing, consuming, work, orders, feed, counters, closing };
        Ok((Self { parts: Arc::new(parts) }, driver))
    }

    /// Ends the bus for everybody; the [driver](RabbitDriver::run) then comes to its end. What has been published by
    /// now is still confirmed, for a few seconds.
    pub fn close(&self) {
        self.parts.closing.cancel();
    }

    /// Where messages go that nobody can do anything with.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(Arc::clone(&self.parts))
    }

    /// How it stands, for metrics and health.
    #[must_use]
    pub fn snapshot(&self) -> RabbitSnapshot {
        let Parts { publishing, consuming, work, orders, counters, .. } = &*self.parts;
        let publishing = publishing.now();
        RabbitSnapshot {
            publishing_connected: publishing.is_ok(),
            consuming_connected: consuming.now().is_ok(),
            blocked: publishing.is_ok_and(|link| link.blocked()),
            reconnects: counters.reconnects.load(Ordering::Relaxed),
            work: work.snapshot(),
            orders: orders.snapshot(),
            activities: counters.activities.load(Ordering::Relaxed),
            activities_dropped: counters.activities_dropped.load(Ordering::Relaxed),
            feed_lost: counters.feed_lost.load(Ordering::Relaxed),
            unreadable: counters.unreadable.load(Ordering::Relaxed),
            dead_lettered: counters.dead_lettered.load(Ordering::Relaxed),
            stale_work: counters.stale_work.load(Ordering::Relaxed),
            redelivered_work: counters.redelivered_work.load(Ordering::Relaxed),
            lost_acknowledgements: counters.lost_acknowledgements.load(Ordering::Relaxed),
            gateway_resumed: counters.gateway_resumed.load(Ordering::Relaxed),
            consumers: counters.consumers.load(Ordering::Relaxed),
        }
    }
}

impl RabbitDriver {
    /// Runs until the bus is closed.
    ///
    /// # Errors
    /// When one of its tasks has died; the others are ended with it.
    pub async fn run(self) -> Result<(), RabbitError> {
        let Self { keepers, lanes, feed, closing } = self;
        // The connections outlive what uses them.
        let closed = CancellationToken::new();
        let (mut users, mut connections) = (JoinSet::new(), JoinSet::new());
        let mut names = std::collections::HashMap::new();
        for (name, lane) in lanes {
            names.insert(users.spawn(lane.run(closing.clone())).id(), name);
        }
        names.insert(users.spawn(feed.run(closing.clone())).id(), "live feed");
        for (name, keeper) in keepers {
            names.insert(connections.spawn(keeper.run(closed.clone())).id(), name);
        }
        let died = loop {
            let ended = tokio::select! {
                biased;
                () = closing.cancelled() => break None,
                Some(ended) = users.join_next_with_id() => ended,
                Some(ended) = connections.join_next_with_id() => ended,
            };
            // Also one that ended in peace: it was not told to.
            let (id, reason) = match ended {
                Ok((id, ())) if closing.is_cancelled() => {
                    names.remove(&id);
                    continue;
                }
                Ok((id, ())) => (id, "it ended".to_owned()),
                Err(error) => (error.id(), error.to_string()),
            };
            let task = names.get(&id).copied().unwrap_or("bus");
            break Some(RabbitError::TaskDied { task, reason });
        };
        closing.cancel();
        let ends = async {
            while users.join_next().await.is_some() {}
            closed.cancel();
            while connections.join_next().await.is_some() {}
        };
        if tokio::time::timeout(END_WITHIN, ends).await.is_err() {
            users.shutdown().await;
            connections.shutdown().await;
        }
        died.map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Bus for RabbitBus {
    async fn publish_work(&self, work: NotificationWork) -> Result<(), BusError> {
        let message = Outgoing {
            kind: Kind::Work,
            routing_key: work_key(&work),
            body: work_to_bus(work).encode_to_vec(),
            sequence: None,
            trace: self.parts.trace(),
        };
        self.parts.work.publish(WORK, message).await
    }

    async fn publish_to_gateway(&self, gateway: &MemberId, message: ToGateway) -> Result<(), BusError> {
        let message = Outgoing {
            kind: Kind::Order,
            routing_key: gateway_key(gateway),
            body: to_gateway_to_bus(message).encode_to_vec(),
            sequence: None,
            trace: self.parts.trace(),
        };
        self.parts.orders.publish(gateway.as_str(), message).await
    }

    fn publish_activity(&self, activity: Activity) {
        if !self.parts.closing.is_cancelled() {
            self.parts.feed.publish(activity, || self.parts.trace());
        }
    }

    fn feed_wanted(&self) -> bool {
        self.parts.feed.wanted()
    }

    async fn consume_work(&self, prefetch: usize) -> Result<Box<dyn WorkConsumer>, BusError> {
        Ok(Box::new(work::Consumer::start(&self.parts, prefetch).await?))
    }

    async fn consume_gateway(&self, gateway: &MemberId) -> Result<Box<dyn GatewayConsumer>, BusError> {
        Ok(Box::new(gateways::Consumer::start(&self.parts, gateway).await?))
    }

    async fn consume_feed(&self) -> Result<Box<dyn FeedConsumer>, BusError> {
        Ok(Box::new(feed::Consumer::start(&self.parts, true).await?))
    }

    async fn follow_feed(&self) -> Result<Box<dyn FeedConsumer>, BusError> {
        Ok(Box::new(feed::Consumer::start(&self.parts, false).await?))
    }
}
