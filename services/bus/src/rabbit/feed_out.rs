//! The live feed from the publisher's side: a bounded buffer that never makes anybody wait, and a task that writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use lapin::Channel;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use parking_lot::Mutex;
use prost::Message;
use stoker_domain::ports::bus::Activity;
use stoker_proto::convert::bus::activity_to_bus;
use stoker_telemetry::chain;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::config::RabbitConfig;
use super::envelope::{Kind, MAX_BODY, Outgoing, TraceHeaders};
use super::error::RabbitError;
use super::link::Link;
use super::links::Links;
use super::names::{BEACON, activity_key};
use super::stats::{Counters, count};

/// Nobody asks more often than this whether somebody listens.
const OFTEN: Duration = Duration::from_millis(10);
/// Items written to the connection together.
const TOGETHER: usize = 64;

/// Whether anybody listens, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Of all processes: the broker counted none when it was asked last.
    nobody: AtomicBool,
    /// Of this process: known at once.
    pub(super) here: AtomicUsize,
}

impl Wanted {
    /// Until the broker has been asked it may well be so.
    fn get(&self) -> bool {
        self.here.load(Ordering::Relaxed) > 0 || !self.nobody.load(Ordering::Relaxed)
    }
}

struct Item {
    message: Outgoing,
    bytes: usize,
}

/// What goes to the live feed.
#[derive(Debug)]
pub(super) struct FeedOut {
    /// The number of the newest item, also of one that was dropped: listeners see the gap.
    newest: Mutex<u64>,
    /// Something was not published since then, because nobody listened.
    skipped: AtomicBool,
    items: mpsc::Sender<Item>,
    bytes: AtomicUsize,
    byte_limit: usize,
    publisher: String,
    pub(super) wanted: Arc<Wanted>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl FeedOut {
    /// The publisher's side, and the task to be run.
    pub(super) fn new(
        config: &Arc<RabbitConfig>,
        links: Links,
        publisher: String,
        counters: Arc<Counters>,
    ) -> (Arc<Self>, FeedTask) {
        let (items, receiver) = mpsc::channel(config.limits.activities.max(1));
        let this = Arc::new(Self {
            newest: Mutex::new(0),
            skipped: AtomicBool::new(false),
            items,
            bytes: AtomicUsize::new(0),
            byte_limit: config.limits.activity_bytes,
            publisher,
            wanted: Arc::default(),
            counters,
        });
        let task =
            FeedTask { items: receiver, links, config: Arc::clone(config), feed: Arc::clone(&this), sent: 0 };
        (this, task)
    }

    pub(super) fn wanted(&self) -> bool {
        self.wanted.get()
    }

    /// Never waits: at the bound the item is dropped and counted, here and by whoever listens. Only what has a place is
    /// encoded: while the broker is away, that would be the work of every reading.
    pub(super) fn publish(&self, activity: Activity, trace: impl FnOnce() -> TraceHeaders) {
        if !self.wanted() {
            if !self.skipped.load(Ordering::Relaxed) {
                self.skipped.store(true, Ordering::Relaxed);
            }
            return;
        }
        count(&self.counters.activities);
        let Some((place, routing_key, body)) = self.place_for(activity) else {
            *self.newest.lock() += 1;
            count(&self.counters.activities_dropped);
            return;
        };
        let (bytes, trace) = (body.len(), trace());
        // Numbered and queued under one lock, so that the order of the numbers is that of the queue.
        let mut newest = self.newest.lock();
        *newest += 1 + u64::from(self.skipped.swap(false, Ordering::Relaxed));
        let sequence = Some((self.publisher.clone(), *newest));
        let message = Outgoing { kind: Kind::Activity, routing_key, body, sequence, trace };
        place.send(Item { message, bytes });
    }

    /// A place in the buffer, with what goes there; none at either bound.
    fn place_for(&self, activity: Activity) -> Option<(mpsc::Permit<'_, Item>, String, Vec<u8>)> {
        let place = self.items.try_reserve().ok()?;
        let routing_key = activity_key(&activity);
        let message = activity_to_bus(activity);
        let bytes = message.encoded_len();
        if bytes > MAX_BODY {
            return None;
        }
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.byte_limit {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        Some((place, routing_key, message.encode_to_vec()))
    }
}

/// Writes the live feed, and asks now and then whether anybody listens.
#[derive(Debug)]
pub(super) struct FeedTask {
    items: mpsc::Receiver<Item>,
    links: Links,
    config: Arc<RabbitConfig>,
    feed: Arc<FeedOut>,
    /// The number of the last item taken from the buffer.
    sent: u64,
}

impl FeedTask {
    /// Until `closing`; what waits then is dropped.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        loop {
            let link = tokio::select! {
                biased;
                () = closing.cancelled() => return,
                link = self.links.wait() => link,
            };
            let Some(link) = link else { return };
            tokio::select! {
                biased;
                () = closing.cancelled() => return,
                () = link.lost().cancelled() => {}
                result = self.serve(&link) => if let Err(error) = result {
                    link.cut(chain(&error));
                },
            }
        }
    }

    async fn serve(&mut self, link: &Link) -> Result<(), RabbitError> {
        let (writing, asking) = (link.channel().await?, link.channel().await?);
        let mut ask = tokio::time::interval(self.config.limits.listeners_every.max(OFTEN));
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(TOGETHER);
        loop {
            tokio::select! {
                biased;
                _ = ask.tick() => {
                    if self.anybody(link, &asking).await? {
                        self.write(link, &writing, vec![self.beacon()]).await?;
                    }
                }
                taken = self.items.recv_many(&mut batch, TOGETHER) => {
                    if taken == 0 {
                        return Ok(());
                    }
                    let bytes: usize = batch.iter().map(|item| item.bytes).sum();
                    self.feed.bytes.fetch_sub(bytes, Ordering::Relaxed);
                    let messages: Vec<_> = batch.drain(..).map(|item| item.message).collect();
                    let last = messages.last().and_then(|message| message.sequence.as_ref());
                    self.sent = last.map_or(self.sent, |(_, sequence)| *sequence);
                    self.write(link, &writing, messages).await?;
                }
            }
        }
    }

    /// Everybody who listens consumes from one queue, and the broker says how many do.
    async fn anybody(&self, link: &Link, channel: &Channel) -> Result<bool, RabbitError> {
        let options = QueueDeclareOptions::default().passive();
        let name = self.config.prefix.listeners();
        let asked = channel.queue_declare(name.into(), options, FieldTable::default());
        let listeners = link.ask("count the listeners of the feed", asked).await?.consumer_count();
        self.feed.wanted.nobody.store(listeners == 0, Ordering::Relaxed);
        Ok(listeners > 0)
    }

    /// How far the feed has come, so that a listener learns of a loss also when nothing follows.
    fn beacon(&self) -> Outgoing {
        let mut newest = self.feed.newest.lock();
        *newest += u64::from(self.feed.skipped.swap(false, Ordering::Relaxed));
        // With an empty buffer, all up to the newest was written or dropped. The lock keeps it empty.
        let sequence = if self.items.is_empty() { *newest } else { self.sent };
        Outgoing {
            kind: Kind::Beacon,
            routing_key: BEACON.into(),
            body: Vec::new(),
            sequence: Some((self.feed.publisher.clone(), sequence)),
            trace: TraceHeaders::new(),
        }
    }

    /// Waits until they are written to the connection, which is what bounds them.
    async fn write(
        &self,
        link: &Link,
        channel: &Channel,
        messages: Vec<Outgoing>,
    ) -> Result<(), RabbitError> {
        let exchange = self.config.prefix.events();
        let written = join_all(messages.iter().map(|message| {
            let (key, properties) = (message.routing_key.as_str().into(), message.properties(None));
            let options = BasicPublishOptions::default();
            channel.basic_publish(exchange.as_str().into(), key, options, &message.body, properties)
        }));
        let all = written.map(|results| results.into_iter().collect::<lapin::Result<Vec<_>>>());
        link.ask("write to the live feed", all).await.map(drop)
    }
}
