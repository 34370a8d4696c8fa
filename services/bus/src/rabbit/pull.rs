//! Consuming from a queue over connections that come and go.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use stoker_domain::ports::bus::BusError;
use stoker_telemetry::chain;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::config::RabbitLimits;
use super::error::RabbitError;
use super::link::Link;
use super::links::Links;

/// A consumer on one connection. Dropping it closes its channel, which gives back what is not acknowledged.
pub(super) struct Subscription {
    link: Arc<Link>,
    channel: Channel,
    consumer: Consumer,
    /// Consumers that are only to be counted.
    _counted: Option<Consumer>,
}

impl Subscription {
    /// Consumes from a queue, `prefetch` messages ahead.
    pub(super) async fn open(
        link: Arc<Link>,
        channel: Channel,
        queue: String,
        prefetch: u16,
        counted: Option<Consumer>,
    ) -> Result<Self, RabbitError> {
        let ahead = channel.basic_qos(prefetch.max(1), BasicQosOptions::default());
        link.ask("set the prefetch", ahead).await?;
        let consumer = consume(&link, &channel, queue, BasicConsumeOptions::default()).await?;
        Ok(Self { link, channel, consumer, _counted: counted })
    }
}

pub(super) async fn consume(
    link: &Link,
    channel: &Channel,
    queue: String,
    options: BasicConsumeOptions,
) -> Result<Consumer, RabbitError> {
    let doing = format!("consume from queue {queue}");
    let consumed = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
    link.ask(&doing, consumed).await
}

/// Declares what is needed and subscribes, on a given connection.
pub(super) type Attach =
    Arc<dyn Fn(Arc<Link>) -> BoxFuture<'static, Result<Subscription, RabbitError>> + Send + Sync>;

/// Subscribes. Where that fails, the connection goes with it: with the next one everything is declared again, also
/// what somebody has deleted.
async fn attached(attach: Attach, link: Arc<Link>) -> Result<Subscription, RabbitError> {
    let attached = attach(Arc::clone(&link)).await;
    if let Err(error) = &attached {
        link.cut(format!("failed to subscribe: {}", chain(&error)));
    }
    attached
}

/// What comes.
pub(super) enum Pulled {
    Delivery(Box<Delivery>),
    /// The subscription is a new one.
    Attached,
}

/// `None`: there will be no connection any more.
type Attaching = BoxFuture<'static, Option<Result<Subscription, RabbitError>>>;

enum State {
    Subscribed(Box<Subscription>),
    /// Goes on where it was when the one who waited for it gave up: begun anew with each wait, it might never end.
    Attaching(Attaching),
}

/// Pulls deliveries, subscribing anew whenever it must. Its future may be dropped at any await.
pub(super) struct Puller {
    links: Links,
    closing: CancellationToken,
    attach: Attach,
    state: State,
    since: Instant,
    backoff: Backoff,
}

impl Puller {
    /// Subscribes for the first time, within the limits.
    pub(super) async fn start(
        mut links: Links,
        limits: &RabbitLimits,
        closing: CancellationToken,
        attach: Attach,
    ) -> Result<Self, BusError> {
        if closing.is_cancelled() {
            return Err(BusError::Closed);
        }
        let deadline = Instant::now() + limits.room_within;
        let link = match timeout_at(deadline, links.wait()).await {
            Ok(Some(link)) => link,
            Ok(None) => return Err(BusError::Closed),
            Err(_) => links.now()?,
        };
        let state = State::Subscribed(Box::new(attached(Arc::clone(&attach), link).await?));
        Ok(Self { links, closing, attach, state, since: Instant::now(), backoff: Backoff::new() })
    }

    /// The next; `None` when the bus closes.
    pub(super) async fn next(&mut self) -> Option<Pulled> {
        loop {
            match &mut self.state {
                State::Subscribed(subscription) => {
                    let (consumer, lost) = (&mut subscription.consumer, subscription.link.lost());
                    let ended = tokio::select! {
                        biased;
                        () = self.closing.cancelled() => return None,
                        () = lost.cancelled() => subscription.link.why(),
                        delivery = consumer.next() => match delivery {
                            Some(Ok(delivery)) => return Some(Pulled::Delivery(Box::new(delivery))),
                            Some(Err(error)) => error.to_string(),
                            None => "the broker has ended the subscription".into(),
                        },
                    };
                    tracing::info!(queue = %subscription.consumer.queue(), ended, "subscribing anew");
                    self.backoff.lasted(self.since.elapsed());
                    self.again();
                }
                State::Attaching(attaching) => {
                    let attached = tokio::select! {
                        biased;
                        () = self.closing.cancelled() => return None,
                        attached = attaching => attached,
                    };
                    match attached {
                        Some(Ok(subscription)) => {
                            self.state = State::Subscribed(Box::new(subscription));
                            self.since = Instant::now();
                            return Some(Pulled::Attached);
                        }
                        Some(Err(error)) => {
                            tracing::warn!(error = chain(&error), "failed to subscribe, trying again");
                            self.again();
                        }
                        None => {
                            // Who asks once more gets the same answer.
                            self.state = State::Attaching(Box::pin(std::future::ready(None)));
                            return None;
                        }
                    }
                }
            }
        }
    }

    /// Lets go of the subscription and makes another, after a pause.
    fn again(&mut self) {
        let (attach, mut links) = (Arc::clone(&self.attach), self.links.clone());
        let not_before = Instant::now() + self.backoff.next_pause();
        self.state = State::Attaching(Box::pin(async move {
            sleep_until(not_before).await;
            let link = links.wait().await?;
            Some(attached(attach, link).await)
        }));
    }

    /// Acknowledges everything up to this delivery, without waiting for it to be written.
    pub(super) fn acknowledge_up_to(&self, tag: u64) {
        use futures_util::FutureExt;
        use lapin::options::BasicAckOptions;
        if let State::Subscribed(subscription) = &self.state {
            // The first poll queues the frame. Should it fail, so does the connection, and it comes again.
            let _queued =
                subscription.channel.basic_ack(tag, BasicAckOptions { multiple: true }).now_or_never();
        }
    }
}
