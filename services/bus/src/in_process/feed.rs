//! The live feed: a ring that the slow fall out of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use stoker_domain::ports::bus::{Activity, BusError, Feed, FeedConsumer, FeedPosition};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

type Item = (u64, Arc<Activity>);

#[derive(Debug)]
pub(super) struct LiveFeed {
    ring: broadcast::Sender<Item>,
    publisher: Arc<str>,
    /// The number of the newest item. Held while it is put into the ring, so that numbers come in their order.
    newest: Mutex<u64>,
    /// Something was not published since then, because nobody listened.
    skipped: AtomicBool,
    /// Kept beside the ring because asking the ring takes its lock, and every reading asks.
    consumers: Arc<AtomicUsize>,
    closed: CancellationToken,
}

impl LiveFeed {
    /// `publisher` is another one each time that the process starts.
    pub(super) fn new(bound: usize, publisher: &str) -> Self {
        Self {
            ring: broadcast::Sender::new(bound),
            publisher: publisher.into(),
            newest: Mutex::new(0),
            skipped: AtomicBool::new(false),
            consumers: Arc::default(),
            closed: CancellationToken::new(),
        }
    }

    pub(super) fn publish(&self, activity: Activity) {
        if self.closed.is_cancelled() {
            return;
        }
        if !self.wanted() {
            if !self.skipped.load(Ordering::Relaxed) {
                self.skipped.store(true, Ordering::Relaxed);
            }
            return;
        }
        let activity = Arc::new(activity);
        let mut newest = self.newest.lock();
        *newest += 1 + u64::from(self.skipped.swap(false, Ordering::Relaxed));
        // The last consumer may have gone in between: then nobody wants it, which is no error.
        let _nobody = self.ring.send((*newest, activity));
    }

    pub(super) fn wanted(&self) -> bool {
        self.consumers() > 0
    }

    pub(super) fn consumers(&self) -> usize {
        self.consumers.load(Ordering::Relaxed)
    }

    /// `counts`: things are published for it.
    pub(super) fn consume(&self, counts: bool) -> Result<Consumer, BusError> {
        if self.closed.is_cancelled() {
            return Err(BusError::Closed);
        }
        let counted = counts.then(|| Counted::new(&self.consumers));
        let mut newest = self.newest.lock();
        *newest += u64::from(self.skipped.swap(false, Ordering::Relaxed));
        let (ring, publisher) = (self.ring.subscribe(), Arc::clone(&self.publisher));
        let begins = Some(FeedPosition { publisher: Arc::clone(&publisher), number: *newest });
        Ok(Consumer { ring, publisher, begins, _counted: counted, closed: self.closed.clone() })
    }

    pub(super) fn close(&self) {
        self.closed.cancel();
    }
}

pub(super) struct Consumer {
    ring: broadcast::Receiver<Item>,
    publisher: Arc<str>,
    /// To be said first: from where on it listens.
    begins: Option<FeedPosition>,
    _counted: Option<Counted>,
    closed: CancellationToken,
}

/// Says that somebody listens, as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(consumers: &Arc<AtomicUsize>) -> Self {
        consumers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(consumers))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl FeedConsumer for Consumer {
    async fn next(&mut self) -> Option<Feed> {
        if let Some(begins) = self.begins.take() {
            return Some(Feed::Reached(begins));
        }
        tokio::select! {
            // The ring first: what was published before the close is still told.
            biased;
            item = self.ring.recv() => match item {
                Ok((number, activity)) => {
                    let position = FeedPosition { publisher: Arc::clone(&self.publisher), number };
                    Some(Feed::Activity(position, activity))
                }
                Err(RecvError::Lagged(count)) => Some(Feed::Lost(count)),
                Err(RecvError::Closed) => None,
            },
            () = self.closed.cancelled() => None,
        }
    }
}
