//! Keeps a connection: makes a new one whenever it is lost, and tells everybody which one is the one to use.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stoker_domain::ports::bus::BusError;
use stoker_telemetry::chain;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::config::RabbitConfig;
use super::error::RabbitError;
use super::link::{Connector, Link};
use super::stats::Counters;
use super::topology;

/// The same reason for which there is no connection is said again after so long.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct State {
    link: Option<Arc<Link>>,
    /// Why there is none.
    why: String,
}

/// Where to ask for the connection that works now.
#[derive(Debug, Clone)]
pub(super) struct Links(watch::Receiver<State>);

impl Links {
    /// The connection that works now, as far as is known.
    pub(super) fn now(&self) -> Result<Arc<Link>, BusError> {
        let state = self.0.borrow();
        match &state.link {
            Some(link) if !link.lost().is_cancelled() => Ok(Arc::clone(link)),
            Some(link) => Err(BusError::Unavailable(link.why())),
            None => Err(BusError::Unavailable(state.why.clone())),
        }
    }

    /// Waits for one; `None` when there will be none any more.
    pub(super) async fn wait(&mut self) -> Option<Arc<Link>> {
        let good = |state: &State| state.link.as_ref().is_some_and(|link| !link.lost().is_cancelled());
        // Cloned under the guard: what is seen is what is given.
        self.0.wait_for(good).await.ok()?.link.clone()
    }
}

/// The task behind [`Links`].
#[derive(Debug)]
pub(super) struct Keeper {
    connector: Connector,
    config: Arc<RabbitConfig>,
    role: &'static str,
    links: watch::Sender<State>,
    first: Arc<Link>,
    counters: Arc<Counters>,
}

impl Keeper {
    /// Connects for the first time, trying again for as long as the configuration allows. What trying again cannot
    /// mend is told at once.
    pub(super) async fn start(
        connector: Connector,
        config: Arc<RabbitConfig>,
        role: &'static str,
        counters: Arc<Counters>,
    ) -> Result<(Self, Links), RabbitError> {
        let deadline = Instant::now() + config.limits.start_within;
        let mut backoff = Backoff::new();
        let first = loop {
            match join(&connector, &config, role).await {
                Ok(link) => break Arc::new(link),
                Err(error) if error.is_final() || Instant::now() >= deadline => return Err(error),
                Err(error) => tracing::warn!(error = chain(&error), "failed to join the bus, trying again"),
            }
            backoff.pause().await;
        };
        let (links, receiver) = watch::channel(State { link: Some(Arc::clone(&first)), why: String::new() });
        Ok((Self { connector, config, role, links, first, counters }, Links(receiver)))
    }

    /// Keeps it until `stop`, then closes it.
    pub(super) async fn run(self, stop: CancellationToken) {
        let Self { connector, config, role, links, first: mut link, counters } = self;
        let mut backoff = Backoff::new();
        loop {
            let since = Instant::now();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    links.send_replace(State { link: None, why: "the bus is closed".into() });
                    link.close().await;
                    return;
                }
                () = link.watch() => {}
            }
            let why = link.why();
            tracing::warn!(connection = role, why, "the connection to the broker was lost");
            links.send_replace(State { link: None, why });
            backoff.lasted(since.elapsed());
            link = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                again = again(&connector, &config, role, &links, &mut backoff) => Arc::new(again),
            };
            counters.reconnects.fetch_add(1, Ordering::Relaxed);
            tracing::info!(connection = role, "connected to the broker again");
            links.send_replace(State { link: Some(Arc::clone(&link)), why: String::new() });
        }
    }
}

/// Connects again, for as long as it takes.
async fn again(
    connector: &Connector,
    config: &RabbitConfig,
    role: &str,
    links: &watch::Sender<State>,
    backoff: &mut Backoff,
) -> Link {
    let mut said: Option<(String, Instant)> = None;
    loop {
        // A pause before the first try as well: many lost their connection at the same moment.
        backoff.pause().await;
        match join(connector, config, role).await {
            Ok(link) => return link,
            Err(error) => {
                let error = chain(&error);
                let known =
                    said.as_ref().is_some_and(|(why, at)| *why == error && at.elapsed() < SAY_AGAIN_AFTER);
                if known {
                    tracing::debug!(connection = role, error, "failed to join the bus, trying again");
                } else {
                    tracing::warn!(connection = role, error, "failed to join the bus, trying again");
                    said = Some((error.clone(), Instant::now()));
                }
                links.send_replace(State { link: None, why: error });
            }
        }
    }
}

/// A connection with everything declared that is relied on.
async fn join(connector: &Connector, config: &RabbitConfig, role: &str) -> Result<Link, RabbitError> {
    let link = connector.open(role).await?;
    let declared = match config.guest {
        true => topology::look(&link, config).await,
        false => topology::declare(&link, config).await,
    };
    if let Err(error) = declared {
        // Goodbye first, so that the broker's log does not speak of a client that vanished.
        let _not_needed = tokio::time::timeout(Duration::from_secs(1), link.close()).await;
        return Err(error);
    }
    Ok(link)
}
