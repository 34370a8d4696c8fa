//! What a portal hears of the live feed, for all who listen to it. It listens while somebody wants it, and a while longer, so that
//! who comes back finds what was missed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stoker_domain::ports::bus::{Bus, Feed, FeedConsumer};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, Bounds};
use super::item::Item;
use super::position::Position;
use super::reader::{Reader, Told};
use crate::LateBus;
use crate::stats::PortalStats;

/// How long it goes on listening when nobody does any more.
const LINGER: Duration = Duration::from_secs(120);
/// How long beginning to listen may take before it is tried again.
const BEGIN_WITHIN: Duration = Duration::from_secs(15);
/// The pause after that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Publishers have said how far they are when nothing comes for the first, or the second has gone by.
const QUIET: Duration = Duration::from_millis(50);
const SETTLED: Duration = Duration::from_millis(500);
/// Entries that a listener takes at once.
const AT_ONCE: usize = 64;
/// What is kept for those who come back: with ten items a second, a quarter of an hour.
const BOUNDS: Bounds = Bounds { entries: 10_000, bytes: 16 * 1024 * 1024 };

/// The live feed of a portal.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Inner>);

struct Inner {
    bus: Option<LateBus>,
    stats: PortalStats,
    begun: Instant,
    backlog: Mutex<Backlog>,
    /// The number of the next entry.
    end: watch::Sender<u64>,
    listening: watch::Sender<bool>,
    listeners: watch::Sender<usize>,
    most: usize,
    /// Ends all listeners.
    closing: CancellationToken,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}

/// Why nobody can listen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are as many listeners as there may be.
    Full,
    /// The bus cannot be reached.
    Unheard,
    /// There is none.
    NoBus,
}

impl Hub {
    pub(crate) fn new(bus: Option<LateBus>, most: usize, stats: PortalStats) -> Self {
        Self(Arc::new(Inner {
            bus,
            stats,
            begun: Instant::now(),
            backlog: Mutex::new(Backlog::new(BOUNDS)),
            end: watch::Sender::new(0),
            listening: watch::Sender::new(false),
            listeners: watch::Sender::new(0),
            most,
            closing: CancellationToken::new(),
        }))
    }

    /// Joins the listeners.
    pub(super) async fn join(&self, patience: Duration) -> Result<Listener, Refusal> {
        if self.0.bus.is_none() {
            return Err(Refusal::NoBus);
        }
        let room = self.0.listeners.send_if_modified(|count| {
            let room = *count < self.0.most;
            *count += usize::from(room);
            room
        });
        if !room {
            return Err(Refusal::Full);
        }
        self.0.stats.live_listeners.inc();
        let mut listening = self.0.listening.subscribe();
        let listener =
            Listener { hub: self.clone(), end: self.0.end.subscribe(), listening: listening.clone() };
        let heard = listening.wait_for(|listening| *listening);
        match tokio::time::timeout(patience, heard).await {
            Ok(Ok(_)) => Ok(listener),
            _ => Err(Refusal::Unheard),
        }
    }

    /// Listens to the bus while somebody listens here, until `shutdown`; returns when all listeners have gone.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let serving = async {
            let Some(bus) = &self.0.bus else { return std::future::pending().await };
            let mut listeners = self.0.listeners.subscribe();
            // The sender lives as long as this.
            while listeners.wait_for(|count| *count > 0).await.is_ok() {
                self.serve(bus.get()).await;
                self.0.listening.send_replace(false);
                *self.0.backlog.lock() = Backlog::new(BOUNDS);
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        };
        tokio::select! {
            () = serving => {}
            () = shutdown.cancelled() => {}
        }
        self.0.closing.cancel();
        let mut listeners = self.0.listeners.subscribe();
        // Each says goodbye within its own deadline.
        drop(listeners.wait_for(|count| *count == 0).await);
    }

    async fn serve(&self, bus: Option<&Arc<dyn Bus>>) {
        let Some(bus) = bus else { return };
        match tokio::time::timeout(BEGIN_WITHIN, bus.consume_feed()).await {
            Ok(Ok(feed)) => self.listen(feed).await,
            Ok(Err(error)) => tracing::warn!(%error, "the live feed cannot be heard"),
            Err(_) => tracing::warn!("the live feed cannot be heard: the bus does not answer"),
        }
    }

    async fn listen(&self, mut feed: Box<dyn FeedConsumer>) {
        let settled = Instant::now() + SETTLED;
        while let Ok(item) = tokio::time::timeout_at(settled.min(Instant::now() + QUIET), feed.next()).await {
            match item {
                Some(item) => self.hear(item),
                None => return,
            }
        }
        self.0.listening.send_replace(true);
        let mut listeners = self.0.listeners.subscribe();
        let mut last = None;
        loop {
            last = match *listeners.borrow_and_update() {
                0 => last.or(Some(Instant::now() + LINGER)),
                _ => None,
            };
            tokio::select! {
                item = feed.next() => match item {
                    Some(item) => self.hear(item),
                    None => return,
                },
                changed = listeners.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(last.unwrap_or_else(Instant::now)), if last.is_some() => return,
            }
        }
    }

    fn hear(&self, feed: Feed) {
        let now = self.0.begun.elapsed();
        let mut backlog = self.0.backlog.lock();
        match feed {
            Feed::Activity(at, activity) => match Item::of(&activity) {
                Ok(Some(item)) => backlog.push(&at, item, now),
                Ok(None) => backlog.pass(&at, now),
                // It is said why where it happens; listeners see a gap.
                Err(_) => backlog.reached(&at, now),
            },
            Feed::Reached(at) => backlog.reached(&at, now),
            // The numbers tell.
            Feed::Lost(count) => tracing::debug!(count, "items of the live feed were lost"),
        }
        let end = backlog.end();
        drop(backlog);
        self.0.end.send_if_modified(|known| std::mem::replace(known, end) != end);
    }
}

/// One who listens.
pub(super) struct Listener {
    hub: Hub,
    end: watch::Receiver<u64>,
    listening: watch::Receiver<bool>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hub.0.stats.live_listeners.dec();
        self.hub.0.listeners.send_modify(|count| *count -= 1);
    }
}

impl Listener {
    /// From now on, or from where it was. Also where that is.
    pub(super) fn begin(&self, since: Option<&Position>) -> (Reader, Position) {
        Reader::begin(&self.hub.0.backlog.lock(), since)
    }

    /// What comes next; see [`Reader::next`].
    pub(super) fn next(&self, reader: &mut Reader, wants: impl Fn(&Item) -> bool) -> (Vec<Told>, bool) {
        reader.next(&self.hub.0.backlog.lock(), AT_ONCE, wants)
    }

    /// Waits until there is more than up to `cursor`. False when there will be nothing more: the bus is not heard any longer, or
    /// the portal ends.
    pub(super) async fn more(&mut self, cursor: u64) -> bool {
        tokio::select! {
            () = self.hub.0.closing.cancelled() => false,
            _ = self.listening.wait_for(|listening| !*listening) => false,
            more = self.end.wait_for(|end| *end != cursor) => more.is_ok(),
        }
    }
}
