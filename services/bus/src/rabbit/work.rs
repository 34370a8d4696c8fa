//! Notification work from the consumer's side.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use lapin::Acker;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use stoker_domain::NotificationWork;
use stoker_domain::ports::bus::{BusError, WorkConsumer, WorkDelivery};
use stoker_proto::convert::bus::work_from_bus;
use tokio::time::timeout;

use super::Parts;
use super::envelope::{Incoming, Kind, Unreadable, now_ms};
use super::pull::{Attach, Pulled, Puller, Subscription};
use super::stats::{Counters, Open, count};

pub(super) struct Consumer {
    puller: Puller,
    parts: Arc<Parts>,
    _open: Open,
}

impl Consumer {
    pub(super) async fn start(parts: &Arc<Parts>, prefetch: usize) -> Result<Self, BusError> {
        let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
        let queue = parts.config.prefix.work();
        let attach: Attach = Arc::new(move |link| {
            let queue = queue.clone();
            async move {
                let channel = link.channel().await?;
                Subscription::open(link, channel, queue, prefetch, None).await
            }
            .boxed()
        });
        let (limits, closing) = (&parts.config.limits, parts.closing.clone());
        let puller = Puller::start(parts.consuming.clone(), limits, closing, attach).await?;
        Ok(Self { puller, parts: Arc::clone(parts), _open: Open::new(&parts.counters) })
    }

    /// `None`: not to be delivered; it is settled already.
    fn take(&self, delivery: &Delivery) -> Option<Box<dyn WorkDelivery>> {
        let (counters, limits) = (&self.parts.counters, &self.parts.config.limits);
        if delivery.redelivered {
            count(&counters.redelivered_work);
        }
        let (work, age_ms) = match read(delivery) {
            Ok((work, published_ms)) => (work, now_ms().saturating_sub(published_ms)),
            Err(error) => {
                unreadable(counters, delivery, &error);
                return None;
            }
        };
        if u128::try_from(age_ms).is_ok_and(|age| age > limits.work_fresh_for.as_millis()) {
            count(&counters.stale_work);
            tracing::debug!(notification = %work.notification.id, age_ms, "an attempt was handed out anew meanwhile");
            let _queued = delivery.acker.ack(BasicAckOptions::default()).now_or_never();
            return None;
        }
        self.parts.extract(delivery);
        Some(Box::new(Taken {
            work,
            acker: Some(delivery.acker.clone()),
            within: limits.answer_within,
            counters: Arc::clone(counters),
        }))
    }
}

fn read(delivery: &Delivery) -> Result<(NotificationWork, i64), Unreadable> {
    let incoming = Incoming::of(delivery)?;
    Ok((work_from_bus(incoming.read(Kind::Work)?)?, incoming.published_ms))
}

/// Sends a message to the dead letters.
pub(super) fn unreadable(counters: &Counters, delivery: &Delivery, error: &Unreadable) {
    count(&counters.unreadable);
    tracing::warn!(key = %delivery.routing_key, %error, "a message that cannot be read goes to the dead letters");
    count(&counters.dead_lettered);
    let _queued = delivery.acker.reject(BasicRejectOptions { requeue: false }).now_or_never();
}

#[async_trait]
impl WorkConsumer for Consumer {
    async fn next(&mut self) -> Option<Box<dyn WorkDelivery>> {
        loop {
            if let Pulled::Delivery(delivery) = self.puller.next().await?
                && let Some(taken) = self.take(&delivery)
            {
                return Some(taken);
            }
        }
    }
}

struct Taken {
    work: NotificationWork,
    acker: Option<Acker>,
    within: Duration,
    counters: Arc<Counters>,
}

#[async_trait]
impl WorkDelivery for Taken {
    fn work(&self) -> &NotificationWork {
        &self.work
    }

    async fn ack(mut self: Box<Self>) {
        let Some(acker) = self.acker.take() else { return };
        let written = timeout(self.within, acker.ack(BasicAckOptions::default())).await;
        if !matches!(written, Ok(Ok(true))) {
            self.counters.lost_acknowledgements.fetch_add(1, Ordering::Relaxed);
            let id = &self.work.notification.id;
            tracing::debug!(notification = %id, "an acknowledgement did not reach the broker: the work comes again");
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take() {
            let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
            // The first poll queues the frame. Without a connection the broker has taken it back already.
            let _queued = acker.nack(back).now_or_never();
        }
    }
}
