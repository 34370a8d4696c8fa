//! All clients of a run, at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::client::{Client, Heard, Shared};
use super::filter::Filter;
use super::plan::share;
use crate::random::Random;
use crate::report::grouped;

/// When nothing comes nearer to what is waited for, something hangs: no cut takes half as long.
const STUCK_AFTER: Duration = Duration::from_secs(90);
/// Everybody has heard the end that long after it was said.
const END_WITHIN: Duration = Duration::from_secs(60);
/// And has gone that long after it was told to.
const GONE_WITHIN: Duration = Duration::from_secs(90);
/// How often it is said how it goes.
const SAID_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Clients, for each filter one that is never cut off, and then those that are. They end with the run.
pub(super) struct Clients {
    tasks: JoinSet<Result<(usize, Heard)>>,
    shared: Arc<Shared>,
    count: u64,
}

impl Clients {
    /// Has all of them dial.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        filters: &[Filter],
        clients: u32,
        cuts: u32,
        random: &mut Random,
    ) -> Self {
        let uncut = filters.iter().map(|filter| (filter, 0));
        let cut = (0..clients).zip(filters.iter().cycle());
        let cut = cut.map(|(number, filter)| (filter, share(cuts, clients, number)));
        let (mut tasks, mut count) = (JoinSet::new(), 0);
        for (number, (filter, cuts)) in uncut.chain(cut).enumerate() {
            let client = Client::new(shared, filter.clone(), Random::new(random.next()), cuts);
            tasks.spawn(async move {
                let heard = client.run().await;
                Ok((number, heard.with_context(|| format!("client {number} cannot go on"))?))
            });
            count += 1;
        }
        Self { tasks, shared: Arc::clone(shared), count }
    }

    /// Waits until all have had their hello.
    pub(super) async fn there(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        self.reach("clients listen", &shared.progress.there, self.count).await
    }

    /// Waits until so many have been cut off and have come back.
    pub(super) async fn back(&mut self, cuts: u32) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        self.reach("cuts", &shared.progress.cuts, cuts.into()).await
    }

    async fn reach(&mut self, what: &str, counter: &AtomicU64, wanted: u64) -> Result<()> {
        let begun = Instant::now();
        let (mut said, mut moved, mut before) = (begun, begun, 0);
        let mut looks = interval(LOOK_EVERY);
        loop {
            let reached = counter.load(Ordering::Relaxed);
            if reached >= wanted {
                return Ok(());
            }
            if reached > before {
                (before, moved) = (reached, Instant::now());
            }
            if moved.elapsed() > STUCK_AFTER {
                bail!("{reached} of {wanted} {what}, and no more for {} s", STUCK_AFTER.as_secs());
            }
            if said.elapsed() >= SAID_EVERY {
                said = Instant::now();
                let progress = &self.shared.progress;
                eprintln!(
                    "{:7.1} s  {} of {} {what}; {} items told, {} gaps",
                    begun.elapsed().as_secs_f64(),
                    grouped(reached),
                    grouped(wanted),
                    grouped(progress.items.load(Ordering::Relaxed)),
                    grouped(progress.gaps.load(Ordering::Relaxed)),
                );
            }
            tokio::select! {
                _ = looks.tick() => {}
                Some(ended) = self.tasks.join_next() => {
                    ended??;
                    bail!("a client has ended before everything was told");
                }
            }
        }
    }

    /// Waits until all have heard the end; what each has heard, in their order. Whoever has not heard it in time is judged
    /// by what it has heard.
    pub(super) async fn finish(mut self) -> Result<Vec<Heard>> {
        let mut heard = Vec::new();
        match timeout(END_WITHIN, self.gather(&mut heard)).await {
            Ok(gathered) => gathered?,
            Err(_) => {
                self.shared.end.cancel();
                let gathered = timeout(GONE_WITHIN, self.gather(&mut heard)).await;
                gathered.context("a client does not end")??;
            }
        }
        heard.sort_by_key(|(number, _)| *number);
        Ok(heard.into_iter().map(|(_, heard)| heard).collect())
    }

    async fn gather(&mut self, heard: &mut Vec<(usize, Heard)>) -> Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            heard.push(ended??);
        }
        Ok(())
    }
}
