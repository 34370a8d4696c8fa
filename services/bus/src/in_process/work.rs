//! The queue of notification work: confirmed when acknowledged, given back when dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use stoker_domain::NotificationWork;
use stoker_domain::ports::bus::{BusError, WorkConsumer, WorkDelivery};
use stoker_telemetry::trace::{self, Remote};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Limits;

/// What errors call this queue.
const NAME: &str = "notification work";

#[derive(Debug)]
pub(super) struct WorkQueue {
    /// One permit for every message that may exist; a message carries its permit until it is gone.
    room: Arc<Semaphore>,
    room_within: Duration,
    confirm_within: Duration,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes a consumer that waits for a message; one notification per message that becomes available.
    available: Notify,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// By order of publication. What is given back keeps its number, and so comes before everything younger.
    waiting: BTreeMap<u64, Message>,
    /// By delivery. A message that is handed out again is a new delivery: the old one can do nothing any more.
    unacknowledged: BTreeMap<u64, HandedOut>,
    next_number: u64,
    next_delivery: u64,
    next_consumer: u64,
}

#[derive(Debug)]
struct Message {
    /// What it was published in.
    trace: Option<Remote>,
    work: Arc<NotificationWork>,
    /// To the publisher that waits; closed when it does not any more.
    confirm: oneshot::Sender<()>,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct HandedOut {
    number: u64,
    consumer: u64,
    message: Message,
}

impl WorkQueue {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            room: Arc::new(Semaphore::new(limits.work.clamp(1, Semaphore::MAX_PERMITS))),
            room_within: limits.room_within,
            confirm_within: limits.confirm_within,
            shared: Arc::new(Shared {
                state: Mutex::default(),
                available: Notify::new(),
                closed: CancellationToken::new(),
            }),
        }
    }

    pub(super) async fn publish(&self, work: NotificationWork) -> Result<(), BusError> {
        let room = timeout(self.room_within, Arc::clone(&self.room).acquire_owned())
            .await
            .map_err(|_| BusError::Full(NAME.into()))?
            .map_err(|_| BusError::Closed)?;
        let (confirm, confirmed) = oneshot::channel();
        let publication = self.shared.publish(Message {
            trace: Remote::current(),
            work: Arc::new(work),
            confirm,
            _room: room,
        })?;
        let outcome = timeout(self.confirm_within, confirmed).await;
        drop(publication);
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(BusError::Closed),
            Err(_) => Err(BusError::Unconfirmed(format!(
                "no consumer acknowledged it within {} s",
                self.confirm_within.as_secs()
            ))),
        }
    }

    pub(super) fn consume(&self, prefetch: usize) -> Result<Consumer, BusError> {
        let mut state = self.shared.state.lock();
        if state.closed {
            return Err(BusError::Closed);
        }
        let consumer = state.next_consumer;
        state.next_consumer += 1;
        Ok(Consumer {
            consumer,
            // One that may hold nothing would wait for ever.
            prefetch: Arc::new(Semaphore::new(prefetch.clamp(1, Semaphore::MAX_PERMITS))),
            shared: Arc::clone(&self.shared),
        })
    }

    /// How many messages wait, and how many are handed out.
    pub(super) fn depth(&self) -> (usize, usize) {
        let state = self.shared.state.lock();
        (state.waiting.len(), state.unacknowledged.len())
    }

    pub(super) fn close(&self) {
        self.room.close();
        let mut state = self.shared.state.lock();
        state.closed = true;
        // With the messages go their confirmations: their publishers are told that the bus is closed.
        state.waiting.clear();
        state.unacknowledged.clear();
        self.shared.closed.cancel();
    }
}

impl Shared {
    fn publish(self: &Arc<Self>, message: Message) -> Result<Publication, BusError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(BusError::Closed);
        }
        let number = state.next_number;
        state.next_number += 1;
        state.waiting.insert(number, message);
        self.available.notify_one();
        Ok(Publication { number, shared: Arc::clone(self) })
    }

    /// Takes the oldest message for a consumer.
    fn take(self: &Arc<Self>, consumer: u64) -> Option<(u64, Arc<NotificationWork>)> {
        let mut state = self.state.lock();
        let (number, message) = state.waiting.pop_first()?;
        let delivery = state.next_delivery;
        state.next_delivery += 1;
        let work = Arc::clone(&message.work);
        // Handed on in the same poll.
        trace::remember(message.trace.clone());
        state.unacknowledged.insert(delivery, HandedOut { number, consumer, message });
        Some((delivery, work))
    }

    fn acknowledge(&self, delivery: u64) {
        if let Some(handed_out) = self.state.lock().unacknowledged.remove(&delivery) {
            // A publisher that has given up meanwhile publishes again: consumers are idempotent.
            let _gone = handed_out.message.confirm.send(());
        }
    }

    fn give_back(&self, delivery: u64) {
        let mut state = self.state.lock();
        if let Some(handed_out) = state.unacknowledged.remove(&delivery) {
            self.put_back(&mut state, handed_out);
        }
    }

    fn give_back_all_of(&self, consumer: u64) {
        let mut state = self.state.lock();
        let deliveries: Vec<u64> = state
            .unacknowledged
            .iter()
            .filter(|(_, handed_out)| handed_out.consumer == consumer)
            .map(|(&delivery, _)| delivery)
            .collect();
        for delivery in deliveries {
            if let Some(handed_out) = state.unacknowledged.remove(&delivery) {
                self.put_back(&mut state, handed_out);
            }
        }
    }

    fn put_back(&self, state: &mut State, HandedOut { number, message, .. }: HandedOut) {
        // Nobody answers for a message whose publisher has gone: it was taken back, only later.
        if !message.confirm.is_closed() {
            state.waiting.insert(number, message);
            self.available.notify_one();
        }
    }
}

/// A message whose publisher waits. When the publisher goes, by whatever way, a message that still waits goes too.
struct Publication {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.shared.state.lock().waiting.remove(&self.number);
    }
}

pub(super) struct Consumer {
    consumer: u64,
    prefetch: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl Consumer {
    /// Waits for a message with a permit in hand, so that whoever is woken can take what it is woken for.
    async fn wait(&self) -> Option<Box<dyn WorkDelivery>> {
        let permit = Arc::clone(&self.prefetch).acquire_owned().await.ok()?;
        loop {
            let available = self.shared.available.notified();
            if let Some((delivery, work)) = self.shared.take(self.consumer) {
                let shared = Arc::clone(&self.shared);
                return Some(Box::new(Delivery { delivery, work, shared, _prefetch: permit }));
            }
            available.await;
        }
    }
}

#[async_trait]
impl WorkConsumer for Consumer {
    async fn next(&mut self) -> Option<Box<dyn WorkDelivery>> {
        tokio::select! {
            biased;
            () = self.shared.closed.cancelled() => None,
            delivery = self.wait() => delivery,
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.give_back_all_of(self.consumer);
    }
}

struct Delivery {
    delivery: u64,
    work: Arc<NotificationWork>,
    shared: Arc<Shared>,
    _prefetch: OwnedSemaphorePermit,
}

#[async_trait]
impl WorkDelivery for Delivery {
    fn work(&self) -> &NotificationWork {
        &self.work
    }

    async fn ack(self: Box<Self>) {
        self.shared.acknowledge(self.delivery);
        // Dropped here: giving back what is acknowledged finds nothing.
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.shared.give_back(self.delivery);
    }
}
