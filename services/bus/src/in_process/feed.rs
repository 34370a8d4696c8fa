//! The live feed: a ring that the slow fall out of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use stoker_domain::ports::bus::{Activity, BusError, Feed, FeedConsumer};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct LiveFeed {
    ring: broadcast::Sender<Arc<Activity>>,
    /// Kept beside the ring because asking the ring takes its lock, and every reading asks.
    consumers: Arc<AtomicUsize>,
    closed: CancellationToken,
}

impl LiveFeed {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            ring: broadcast::Sender::new(bound),
            consumers: Arc::default(),
            closed: CancellationToken::new(),
        }
    }

    pub(super) fn publish(&self, activity: Activity) {
        if self.wanted() && !self.closed.is_cancelled() {
            // The last consumer may have gone in between: then nobody wants it, which is no error.
            let _nobody = self.ring.send(Arc::new(activity));
        }
    }

    pub(super) fn wanted(&self) -> bool {
        self.consumers() > 0
    }

    pub(super) fn consumers(&self) -> usize {
        self.consumers.load(Ordering::Relaxed)
    }

    pub(super) fn consume(&self) -> Result<Consumer, BusError> {
        if self.closed.is_cancelled() {
            return Err(BusError::Closed);
        }
        let ring = self.ring.subscribe();
        self.consumers.fetch_add(1, Ordering::Relaxed);
        Ok(Consumer { ring, consumers: Arc::clone(&self.consumers), closed: self.closed.clone() })
    }

    pub(super) fn close(&self) {
        self.closed.cancel();
    }
}

pub(super) struct Consumer {
    ring: broadcast::Receiver<Arc<Activity>>,
    consumers: Arc<AtomicUsize>,
    closed: CancellationToken,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.consumers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl FeedConsumer for Consumer {
    async fn next(&mut self) -> Option<Feed> {
        tokio::select! {
            // The ring first: what was published before the close is still told.
            biased;
            item = self.ring.recv() => match item {
                Ok(activity) => Some(Feed::Activity(activity)),
                Err(RecvError::Lagged(count)) => Some(Feed::Lost(count)),
                Err(RecvError::Closed) => None,
            },
            () = self.closed.cancelled() => None,
        }
    }
}
