//! Whether what was acknowledged is in the store, asked over HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use stoker_sim::{Ledger, SimConfig};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::api::{Api, Point};
use crate::report::Report;

/// Devices that are read at the same time: one for each core of a small machine, and one that waits.
const AT_ONCE: usize = 4;

/// Runs `ask` for every item, a few at a time; the answers come in any order.
pub(crate) async fn for_each<T, A, F>(items: Vec<T>, ask: impl Fn(T) -> F) -> Result<Vec<A>>
where
    F: Future<Output = Result<A>> + Send + 'static,
    A: Send + 'static,
{
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for item in items {
        let (asked, room) = (ask(item), Arc::clone(&room));
        tasks.spawn(async move {
            let _permit = room.acquire_owned().await?;
            asked.await
        });
    }
    let mut answers = Vec::with_capacity(tasks.len());
    while let Some(answer) = tasks.join_next().await {
        answers.push(answer??);
    }
    Ok(answers)
}

/// What of a simulation's ledger is in the store.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    /// Acknowledged readings.
    pub(crate) acked: u64,
    /// Those of them that are in the store with all their keys.
    pub(crate) found: u64,
    /// Points in the store, those of readings included that were not acknowledged.
    pub(crate) points: u64,
    /// Devices of which the ledger is not complete: the run was too long for it.
    pub(crate) overflown: u64,
}

/// Looks for every acknowledged reading by its time, and counts its keys.
pub(crate) async fn readings(
    api: &Api,
    config: &SimConfig,
    ledger: &Arc<Ledger>,
    keys: u32,
) -> Result<Readings> {
    let parts = for_each(config.numbers().collect(), |number| {
        let (api, ledger, device) = (api.clone(), Arc::clone(ledger), config.device_id(number));
        async move {
            let entry = ledger.entry(number).with_context(|| format!("{device} is not in the ledger"))?;
            let mut keys_at: HashMap<i64, u32> = HashMap::new();
            let mut part = Readings { overflown: u64::from(entry.overflown), ..Readings::default() };
            let path = format!("/devices/{device}/telemetry");
            api.each(&path, "&order=asc", |point: Point| {
                part.points += 1;
                // Keys of one reading are distinct, and so are the times of a device's readings.
                *keys_at.entry(point.ts).or_default() += u32::from(!point.key.is_empty());
            })
            .await?;
            part.acked = entry.readings;
            let whole = |ts: &&i64| keys_at.get(ts).is_some_and(|found| *found == keys);
            part.found = u64::try_from(entry.reading_times.iter().filter(whole).count())?;
            Ok(part)
        }
    })
    .await?;
    Ok(parts.into_iter().fold(Readings::default(), |all, part| Readings {
        acked: all.acked + part.acked,
        found: all.found + part.found,
        points: all.points + part.points,
        overflown: all.overflown + part.overflown,
    }))
}

impl Readings {
    /// Puts the promise into a report.
    pub(crate) fn report(&self, report: &mut Report) {
        report.count("points in the store", self.points);
        report.exactly("acknowledged readings in the store, whole", self.acked, self.found);
        report.exactly("devices whose ledger is not complete", 0, self.overflown);
    }
}
