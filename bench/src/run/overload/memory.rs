//! Memory of the platform's processes over a run.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Scene;
use crate::process;
use crate::report::Report;

/// So often each process is looked at.
const EVERY: Duration = Duration::from_millis(100);
/// What a process may take at twice the load beside half as much again as it takes at the usual one: the queues that the
/// architecture bounds, filled.
const ROOM_MB: f64 = 192.0;

/// Resident memory of each process in kB, over time.
pub(super) struct Memory {
    names: Vec<String>,
    samples: Vec<(Instant, Vec<u64>)>,
}

/// Who looks.
pub(super) struct Watch {
    task: JoinHandle<Result<Memory>>,
    end: CancellationToken,
    _guard: DropGuard,
}

impl Watch {
    pub(super) fn begin(scene: &Scene) -> Self {
        let (pids, end) = (scene.pids.clone(), CancellationToken::new());
        let (asked, guard) = (end.clone(), end.clone().drop_guard());
        let task = tokio::spawn(async move {
            let (mut ticks, mut samples) = (interval(EVERY), Vec::new());
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !asked.is_cancelled() {
                ticks.tick().await;
                let now = pids.iter().map(|(_, pid)| Ok(process::memory(*pid)?.0)).collect::<Result<_>>()?;
                samples.push((Instant::now(), now));
            }
            Ok(Memory { names: pids.into_iter().map(|(name, _)| name).collect(), samples })
        });
        Self { task, end, _guard: guard }
    }

    pub(super) async fn end(self) -> Result<Memory> {
        self.end.cancel();
        self.task.await?
    }
}

impl Memory {
    /// What the columns of [`Memory::most`] are called.
    pub(super) fn head(&self) -> impl Iterator<Item = String> {
        self.names.iter().map(|name| format!("{name} MB"))
    }

    /// The most that each process had between the two times, in MB.
    pub(super) fn most(&self, from: Instant, to: Instant) -> Vec<f64> {
        let within = || self.samples.iter().filter(|(at, _)| (from..=to).contains(at));
        let most = |index| within().filter_map(|(_, all)| all.get(index)).max().copied().unwrap_or_default();
        (0..self.names.len()).map(|index| most(index) as f64 / 1e3).collect()
    }

    /// Whether memory stayed bounded.
    pub(super) fn judge(&self, what: &str, usual: &[f64], too_much: &[f64], report: &mut Report) {
        for ((name, usual), too_much) in self.names.iter().zip(usual).zip(too_much) {
            let bound = usual * 1.5 + ROOM_MB;
            report.promise(
                *too_much <= bound,
                format!("{what}: {name} takes {too_much:.0} MB at most when there is too much to do, and may take {bound:.0} MB"),
            );
        }
    }
}
