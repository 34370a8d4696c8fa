//! Looks at namespaces: what is seen of one, what is to be done about it, and doing it. Several at once, each by one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use stoker_plan::Operator;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::act::{Actor, Carried};
use crate::facts::Snapshot;
use crate::failure::Failure;
use crate::leader::Leading;
use crate::queue::{Ended, Queue, Turn};
use crate::sample::Samples;
use crate::stats::Stats;
use crate::watch::Stores;

/// So many namespaces are looked at at the same time.
const AT_ONCE: usize = 4;
/// At the end, a write that is under way is waited for, and no longer than this.
const END_WITHIN: Duration = Duration::from_secs(10);

/// What is needed to look at a namespace.
pub(crate) struct Reconciler {
    pub(crate) operator: Operator,
    pub(crate) stores: Stores,
    pub(crate) actor: Actor,
    pub(crate) queue: Arc<Queue>,
    pub(crate) leading: Leading,
    pub(crate) samples: Samples,
    pub(crate) stats: Arc<Stats>,
}

impl Reconciler {
    /// Works the queue off, as soon as this process leads and has seen all there is, until it is told to end.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), Infallible> {
        let begins = async {
            self.stores.whole().await;
            self.leading.begins().await;
        };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = begins => {}
        }
        let mut looks = JoinSet::new();
        loop {
            while looks.len() < AT_ONCE
                && let Some(turn) = self.queue.take()
            {
                let this = Arc::clone(&self);
                let span = tracing::info_span!("reconcile", namespace = turn.namespace);
                // Boxed, or each look would be as large as all that it may wait for.
                looks.spawn(Box::pin(async move { this.look(turn).await }.instrument(span)));
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.queue.wait(), if looks.len() < AT_ONCE => {}
                Some(ended) = looks.join_next() => {
                    // A look that panics is one that nobody knows the end of.
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        }
        let end = async { while looks.join_next().await.is_some() {} };
        if timeout(END_WITHIN, end).await.is_err() {
            tracing::warn!("a write is left under way: whoever leads next looks anew");
            looks.shutdown().await;
        }
        Ok(())
    }

    async fn look(&self, turn: Turn) {
        let begun = Instant::now();
        let ended = self.attempt(&turn).await.unwrap_or_else(|failure| {
            tracing::warn!("{failure}");
            Ended::Unavailable
        });
        self.stats.looked(ended, begun.elapsed());
        self.queue.ended(&turn.namespace, ended);
    }

    /// # Errors
    /// Nobody answers, or what was written before is not seen.
    async fn attempt(&self, Turn { namespace, helps }: &Turn) -> Result<Ended, Failure> {
        self.actor.begin(namespace, *helps);
        self.actor.seen(namespace).await?;
        let snapshot = Snapshot::of(namespace, &self.stores);
        if snapshot.is_empty() {
            self.actor.forget(namespace);
            self.stats.certificates(namespace, None);
            return Ok(Ended::Empty);
        }
        let (carried, again) = match snapshot.wanted() {
            Ok(wanted) => {
                let facts = snapshot.facts(&self.operator, &self.samples, Timestamp::now());
                self.stats.certificates(namespace, facts.certificates.first_end());
                let plan = stoker_plan::plan(&wanted, &facts);
                let again = [plan.again, plan.certificates.again].into_iter().flatten().min();
                (self.actor.carry_out(&plan, &snapshot, &facts).await?, again)
            }
            // Until somebody changes it.
            Err(unreadable) => (self.actor.say_unreadable(namespace, &unreadable).await?, None),
        };
        let again = [again, self.actor.end(namespace)].into_iter().flatten().min();
        Ok(match carried {
            Carried::Out => Ended::Done(again),
            Carried::ButForChanges => Ended::Again(again),
            Carried::ButForFailures => Ended::Refused(again),
        })
    }
}
