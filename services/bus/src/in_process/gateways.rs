//! One bounded queue for each gateway that listens.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use stoker_domain::MemberId;
use stoker_domain::ports::bus::{BusError, GatewayConsumer, GatewayItem, ToGateway};
use tokio::sync::mpsc::{self, error::TrySendError};

#[derive(Debug)]
pub(super) struct GatewayQueues {
    bound: usize,
    queues: Arc<Mutex<Queues>>,
}

#[derive(Debug, Default)]
struct Queues {
    closed: bool,
    by_member: HashMap<MemberId, Queue>,
    /// Tells a consumer that was replaced from the one that replaced it.
    next_generation: u64,
}

#[derive(Debug)]
struct Queue {
    generation: u64,
    sender: mpsc::Sender<ToGateway>,
}

impl GatewayQueues {
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, queues: Arc::default() }
    }

    pub(super) fn publish(&self, gateway: &MemberId, message: ToGateway) -> Result<(), BusError> {
        // Sent under the lock, so that a message never goes to a queue that has been taken away already.
        let queues = self.queues.lock();
        if queues.closed {
            return Err(BusError::Closed);
        }
        let queue = queues.by_member.get(gateway).ok_or_else(|| BusError::Returned(gateway.to_string()))?;
        queue.sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => BusError::Full(gateway.to_string()),
            TrySendError::Closed(_) => BusError::Returned(gateway.to_string()),
        })
    }

    pub(super) fn consume(&self, gateway: &MemberId) -> Result<Consumer, BusError> {
        let (sender, receiver) = mpsc::channel(self.bound);
        let mut queues = self.queues.lock();
        if queues.closed {
            return Err(BusError::Closed);
        }
        let generation = queues.next_generation;
        queues.next_generation += 1;
        // The sender of a queue that is replaced is dropped here: its consumer gets the rest, then `None`.
        queues.by_member.insert(gateway.clone(), Queue { generation, sender });
        Ok(Consumer { gateway: gateway.clone(), generation, receiver, queues: Arc::clone(&self.queues) })
    }

    pub(super) fn count(&self) -> usize {
        self.queues.lock().by_member.len()
    }

    pub(super) fn close(&self) {
        let mut queues = self.queues.lock();
        queues.closed = true;
        queues.by_member.clear();
    }
}

pub(super) struct Consumer {
    gateway: MemberId,
    generation: u64,
    receiver: mpsc::Receiver<ToGateway>,
    queues: Arc<Mutex<Queues>>,
}

#[async_trait]
impl GatewayConsumer for Consumer {
    async fn next(&mut self) -> Option<GatewayItem> {
        self.receiver.recv().await.map(GatewayItem::Message)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        if queues.by_member.get(&self.gateway).is_some_and(|queue| queue.generation == self.generation) {
            queues.by_member.remove(&self.gateway);
        }
    }
}
