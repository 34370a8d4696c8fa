//! What a portal hears of the live feed, for all who listen to it. It asks for it while somebody wants it, and a while longer, so
//! that who comes back finds what was missed; and hears what other portals ask for, so that who comes from there does, too.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stoker_domain::ports::bus::{Bus, BusError, Feed, FeedConsumer};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, Bounds};
use super::item::Item;
use super::position::{self, Position};
use super::reader::{Reader, Told};
use crate::LateBus;
use crate::stats::PortalStats;

/// How long it goes on listening when nobody does any more.
const LINGER: Duration = Duration::from_secs(120);
/// How long beginning to listen may take before it is tried again.
const BEGIN_WITHIN: Duration = Duration::from_secs(15);
/// The pause after that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// By then what was on its way has come: by a feed that is about to be left, and how far the publishers are.
const SETTLED: Duration = Duration::from_millis(100);
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

    /// Hears the bus until `shutdown`: what is published for listeners elsewhere, so that they can go on here, and while somebody
    /// listens here, everything. Returns when all listeners have gone.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let serving = async {
            let Some(late) = &self.0.bus else { return std::future::pending().await };
            let mut said = None;
            loop {
                if let Some(bus) = late.get() {
                    let why = match self.serve(bus.as_ref()).await {
                        Err(why) => why,
                        Ok(never) => match never {},
                    };
                    self.0.listening.send_replace(false);
                    // Once, and not each second for as long as the broker is away.
                    if said.as_ref() != Some(&why) {
                        tracing::warn!("the live feed is not heard: {why}; it is tried again");
                        said = Some(why);
                    }
                }
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

    /// Follows, listens, and follows again, until the bus is not heard any longer.
    async fn serve(&self, bus: &dyn Bus) -> Result<Infallible, String> {
        let mut feed = begun(bus.follow_feed()).await?;
        let mut listeners = self.0.listeners.subscribe();
        loop {
            let wanted = async { drop(listeners.wait_for(|count| *count > 0).await) };
            self.hear_while(&mut feed, wanted).await?;
            feed = self.hear_on(feed, bus.consume_feed()).await?;
            self.hear_while(&mut feed, tokio::time::sleep(SETTLED)).await?;
            self.0.listening.send_replace(true);
            self.hear_while(&mut feed, self.unwanted()).await?;
            self.0.listening.send_replace(false);
            feed = self.hear_on(feed, bus.follow_feed()).await?;
        }
    }

    /// Goes from one feed to the next. What was on its way by the one when the other began is heard first, in its order; what
    /// comes by both is taken once.
    async fn hear_on(
        &self,
        mut feed: Box<dyn FeedConsumer>,
        next: impl Future<Output = Result<Box<dyn FeedConsumer>, BusError>>,
    ) -> Result<Box<dyn FeedConsumer>, String> {
        let next = self.hear_while(&mut feed, begun(next)).await??;
        self.hear_while(&mut feed, tokio::time::sleep(SETTLED)).await?;
        Ok(next)
    }

    /// Comes when nobody has listened for a while.
    async fn unwanted(&self) {
        let mut listeners = self.0.listeners.subscribe();
        loop {
            drop(listeners.wait_for(|count| *count == 0).await);
            let again = listeners.wait_for(|count| *count > 0);
            if tokio::time::timeout(LINGER, again).await.is_err() {
                return;
            }
        }
    }

    /// Hears until that is done. An error: the bus has closed before.
    async fn hear_while<T>(
        &self,
        feed: &mut Box<dyn FeedConsumer>,
        work: impl Future<Output = T>,
    ) -> Result<T, String> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                item = feed.next() => self.hear(item.ok_or("the bus is closed")?),
            }
        }
    }

    fn hear(&self, feed: Feed) {
        let (at, activity) = match feed {
            Feed::Activity(at, activity) => (at, Some(activity)),
            Feed::Reached(at) => (at, None),
            Feed::Lost(count) => {
                // The numbers tell.
                tracing::debug!(count, "items of the live feed were lost");
                return;
            }
        };
        if !position::is_name(&at.publisher) {
            // Listeners would be given positions that nobody takes back. Said once; the rest is counted.
            if self.0.stats.live_ignored.inc() == 0 {
                tracing::warn!(publisher = ?at.publisher, "a publisher of the live feed is ignored: no core has such a name");
            }
            return;
        }
        // Made before the lock is taken, which all listeners wait for.
        let shown = activity.map(|activity| Item::of(&activity));
        let now = self.0.begun.elapsed();
        let mut backlog = self.0.backlog.lock();
        match shown {
            Some(Ok(item)) => backlog.push(&at, item, now),
            // Why an item cannot be shown is said where that happens; listeners see a gap.
            Some(Err(_)) | None => backlog.reached(&at, now),
        }
        let end = backlog.end();
        drop(backlog);
        self.0.end.send_if_modified(|known| std::mem::replace(known, end) != end);
    }
}

/// A feed that was begun.
async fn begun(
    feed: impl Future<Output = Result<Box<dyn FeedConsumer>, BusError>>,
) -> Result<Box<dyn FeedConsumer>, String> {
    match tokio::time::timeout(BEGIN_WITHIN, feed).await {
        Ok(begun) => begun.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the bus has not answered within {} s", BEGIN_WITHIN.as_secs())),
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
        let now = self.hub.0.begun.elapsed();
        Reader::begin(&self.hub.0.backlog.lock(), since, now)
    }

    /// What comes next; nothing of many entries when none of them is wanted.
    pub(super) fn next(&self, reader: &mut Reader, wants: impl Fn(&Item) -> bool) -> Vec<Told> {
        let batch = reader.read(&self.hub.0.backlog.lock(), AT_ONCE);
        reader.take(batch, wants)
    }

    /// Waits until there is more than up to `cursor`. False when there will be nothing more: the bus is not heard any longer, or
    /// the portal ends.
    pub(super) async fn more(&mut self, cursor: u64) -> bool {
        tokio::select! {
            () = self.hub.0.closing.cancelled() => false,
            _ = self.listening.wait_for(|listening| !*listening) => false,
            more = self.end.wait_for(|end| *end > cursor) => more.is_ok(),
        }
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
