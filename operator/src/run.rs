//! The operator as a whole: its tasks, what they share, and the order in which they end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use stoker_plan::Operator;
use stoker_telemetry::{Health, PrivatePort, Supervisor, TaskDied};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::act::Actor;
use crate::leader::{Leading, Lease, lead};
use crate::queue::Queue;
use crate::reconcile::Reconciler;
use crate::sample::{Asker, Sampler, Samples, Sampling};
use crate::stats::{Stats, registry};
use crate::watch::{Around, Scope, Stores};

/// What has not ended by then is left: the writes have deadlines of their own, and the Lease runs out.
const END_WITHIN: Duration = Duration::from_secs(20);

/// What the operator is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The one namespace whose resources are looked at; all namespaces when none.
    pub namespace: Option<String>,
    /// What pods run unless their resource names an image.
    pub image: String,
    /// Who this process is, in events.
    pub instance: String,
    /// By which it is told who of several acts; none when there is no other.
    pub lease: Option<Lease>,
    /// Whether it is looked for `ServiceMonitor`.
    pub service_monitors: bool,
    /// How pods are asked.
    pub sampling: Sampling,
}

/// Runs until `shutdown` or until a task dies. `private` is where health and metrics are shown.
///
/// # Errors
/// The first task that died, or that something has not ended in time.
pub async fn run(
    client: Client,
    settings: Settings,
    private: Option<TcpListener>,
    health: Health,
    shutdown: CancellationToken,
) -> Result<()> {
    let (back_end, stats, queue) =
        (CancellationToken::new(), Arc::new(Stats::default()), Arc::new(Queue::default()));
    let mut front = Supervisor::new(health.clone(), shutdown.clone());
    let mut back = Supervisor::new(health.clone(), back_end.clone());
    // Without a task it would have ended before it began.
    let end = back_end.clone();
    back.run("end", async move {
        end.cancelled().await;
        Ok::<(), Infallible>(())
    });
    if let Some(listener) = private {
        let registry = registry(Arc::clone(&stats), Arc::clone(&queue));
        let port = PrivatePort { health: health.clone(), registry };
        back.run("private port", port.run(listener, back_end.clone()));
    }
    let leading = match settings.lease {
        None => {
            stats.leads(true);
            Leading::alone()
        }
        Some(lease) => {
            let leading = Leading::default();
            let task = lead(lease, client.clone(), leading.clone(), Arc::clone(&stats), back_end.clone());
            back.run("leader election", task);
            leading
        }
    };
    let around = Around {
        client: client.clone(),
        queue: Arc::clone(&queue),
        health: health.clone(),
        stats: Arc::clone(&stats),
        shutdown: shutdown.clone(),
    };
    let scope = Scope { namespace: settings.namespace, monitors: settings.service_monitors };
    let stores = Stores::begin(&scope, &around, &mut front);
    let samples = Samples::default();
    let asker = Asker::new(settings.sampling.port).context("failed to make a client of pods")?;
    let sampler = Sampler {
        asker,
        stores: stores.clone(),
        queue: Arc::clone(&queue),
        leading: leading.clone(),
        stats: Arc::clone(&stats),
        shutdown: shutdown.clone(),
    };
    front.run("connections", sampler.clone().count(samples.connections.clone()));
    front.run("degraded", sampler.listen(settings.sampling.every, samples.degraded.clone()));
    let actor = Actor::new(client, stores.clone(), leading.clone(), Arc::clone(&stats), &settings.instance);
    let operator = Operator { image: settings.image, version: env!("CARGO_PKG_VERSION").to_owned() };
    let reconciler = Reconciler { operator, stores, actor, queue, leading, samples, stats };
    front.run("reconciler", Arc::new(reconciler).run(shutdown.clone()));
    ends(front, back, &shutdown, &back_end, &health).await
}

/// First who acts ends, then who holds the Lease: nobody else begins before.
async fn ends(
    front: Supervisor,
    back: Supervisor,
    shutdown: &CancellationToken,
    back_end: &CancellationToken,
    health: &Health,
) -> Result<()> {
    let mut back = Box::pin(back.join());
    let mut front = Box::pin(front.join());
    let mut died: Option<TaskDied> = None;
    let (mut front_over, mut back_over) = (false, false);
    tokio::select! {
        result = &mut front => { died = result.err(); front_over = true; }
        result = &mut back => { died = result.err(); back_over = true; }
        () = shutdown.cancelled() => {}
    }
    health.waiting("end", "the process is ending");
    shutdown.cancel();
    let ending = async {
        if !front_over {
            died = died.or(front.await.err());
        }
        back_end.cancel();
        if !back_over {
            died = died.or(back.await.err());
        }
        died
    };
    match timeout(END_WITHIN, ending).await {
        Ok(None) => Ok(()),
        Ok(Some(died)) => Err(died.into()),
        Err(_) => bail!("not all has ended within {} s", END_WITHIN.as_secs()),
    }
}
