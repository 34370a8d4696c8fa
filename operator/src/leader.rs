//! Who of several operators acts: the holder of a Lease. A process that may have lost it acts no more, even if it does
//! not know yet: what counts is when it was renewed last, by its own clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError, LeaseParams};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::due::due;
use crate::failure::explained;
use crate::stats::Stats;

/// Another operator waits so long for one that is gone …
const LASTS: Duration = Duration::from_secs(15);
/// … and one that leads renews so long before that.
const EARLIER: Duration = Duration::from_secs(5);
/// The Lease is given back within this time, or left to run out.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait after the Lease could not be had or made.
const RETRY: Duration = Duration::from_secs(5);

/// Which Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub namespace: String,
    /// Who this process is: nobody else is called so.
    pub identity: String,
}

/// Whether this process leads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leading(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// There is nobody else.
    alone: bool,
    elected: AtomicBool,
    /// When the last renewal that has succeeded was sent.
    renewed: Mutex<Option<Instant>>,
    changed: Notify,
}

impl Leading {
    /// For a process that shares with nobody.
    pub(crate) fn alone() -> Self {
        Self(Arc::new(State { alone: true, ..State::default() }))
    }

    /// Whether it may act now.
    pub(crate) fn holds(&self) -> bool {
        self.holds_at(Instant::now())
    }

    fn holds_at(&self, now: Instant) -> bool {
        let elected = self.0.elected.load(Ordering::Acquire);
        self.0.alone || (elected && self.until().is_some_and(|until| now < until))
    }

    fn until(&self) -> Option<Instant> {
        let renewed = *self.0.renewed.lock();
        renewed.map(|renewed| renewed + LASTS)
    }

    fn renewed(&self, sent: Instant) {
        let mut renewed = self.0.renewed.lock();
        *renewed = Some(renewed.map_or(sent, |before| before.max(sent)));
    }

    fn elected(&self, is: bool) {
        self.0.elected.store(is, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Returns when it leads.
    pub(crate) async fn begins(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.holds() {
                return;
            }
            changed.await;
        }
    }
}

/// Why this process can lead no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaderError {
    /// Somebody else may lead by now.
    #[error("the Lease {0} is lost: another operator may lead by now")]
    Lost(String),
    /// The one who renews it has ended.
    #[error("the Lease {lease} is renewed no more: {why}")]
    Ended {
        /// Which.
        lease: String,
        /// Why.
        why: String,
    },
}

/// Holds the Lease, or waits for it, until it is told to end; then it gives it back. To be told only when nothing is
/// done any more.
pub(crate) async fn lead(
    lease: Lease,
    client: Client,
    leading: Leading,
    stats: Arc<Stats>,
    shutdown: CancellationToken,
) -> Result<(), LeaderError> {
    let name = format!("{}/{}", lease.namespace, lease.name);
    let manager = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        manager = manager(&lease, noticing(client, leading.clone()), &name) => manager,
    };
    let (mut elected, mut renewing) = manager.watch().await;
    let result = loop {
        let until = leading.until().filter(|_| leading.0.elected.load(Ordering::Acquire));
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            changed = elected.changed() => {
                if changed.is_err() {
                    let why = "its task has ended".to_owned();
                    break Err(LeaderError::Ended { lease: name, why });
                }
                let is = *elected.borrow_and_update();
                if !is && leading.0.elected.load(Ordering::Acquire) {
                    break Err(LeaderError::Lost(name));
                }
                leading.elected(is);
                stats.leads(is);
                if is {
                    tracing::info!(lease = name, "leads from now on");
                }
            }
            () = due(until) => {
                // It may have been renewed while this was waited for.
                if !leading.holds() {
                    break Err(LeaderError::Lost(name));
                }
            }
        }
    };
    leading.elected(false);
    stats.leads(false);
    // Nobody listens any more: by that it is given back.
    drop(elected);
    match timeout(RELEASE_WITHIN, &mut renewing).await {
        Ok(Ok(Ok(_))) => {}
        Ok(Ok(Err(error))) => tracing::warn!("the Lease is not given back, and runs out: {}", said(&error)),
        Ok(Err(error)) => tracing::warn!(%error, "the Lease is not given back, and runs out"),
        Err(_) => {
            renewing.abort();
            tracing::warn!("the Lease is not given back in time, and runs out");
        }
    }
    result
}

/// Finds the Lease, or makes it.
async fn manager(lease: &Lease, client: Client, name: &str) -> LeaseManager {
    let mut before = None;
    loop {
        let parameters = LeaseParams::new(&lease.identity, LASTS.as_secs(), EARLIER.as_secs());
        let built = LeaseManagerBuilder::new(client.clone(), &lease.name)
            .with_namespace(&lease.namespace)
            .with_parameters(parameters)
            .build();
        match built.await {
            Ok(manager) => return manager,
            Err(error) => {
                let why = said(&error);
                if before.as_ref() != Some(&why) {
                    tracing::error!("failed to get or make the Lease {name}: {why}; it is tried again");
                    before = Some(why);
                }
                sleep(RETRY).await;
            }
        }
    }
}

fn said(error: &LeaseManagerError) -> String {
    match error {
        LeaseManagerError::KubeError(error) => explained(error),
        other => stoker_telemetry::chain(other),
    }
}

/// Notes when a change of the Lease that has succeeded was sent: whoever renews it does not tell.
fn noticing(client: Client, leading: Leading) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, leading) = (client.clone(), leading.clone());
        async move {
            let sent = Instant::now();
            let changes = request.method() == Method::PATCH;
            let answer = client.send(request).await?;
            if changes && answer.status().is_success() {
                leading.renewed(sent);
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_not_renewed_in_time_does_not_lead() {
        let (leading, start) = (Leading::default(), Instant::now());
        assert!(!leading.holds_at(start));
        leading.elected(true);
        assert!(!leading.holds_at(start), "nothing was renewed");
        leading.renewed(start);
        assert!(leading.holds_at(start + LASTS - Duration::from_millis(1)));
        assert!(!leading.holds_at(start + LASTS));
        leading.renewed(start + Duration::from_secs(10));
        assert!(leading.holds_at(start + LASTS));
        leading.elected(false);
        assert!(!leading.holds_at(start));
        assert!(Leading::alone().holds_at(start + LASTS * 100));
    }

    #[tokio::test]
    async fn who_waits_to_lead_is_told() {
        let leading = Leading::default();
        let waiting = tokio::spawn({
            let leading = leading.clone();
            async move { leading.begins().await }
        });
        tokio::task::yield_now().await;
        leading.renewed(Instant::now());
        leading.elected(true);
        timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
    }
}
