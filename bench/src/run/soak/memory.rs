//! Memory and descriptors of the platform's processes over a run, and whether they stay what they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;
use stoker_e2e::Services;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::process;
use crate::report::{Report, grouped};

/// So often each process is looked at.
const EVERY: Duration = Duration::from_secs(30);
/// Then a process has filled its caches and pools, and its share of the devices has connected.
const WARM_UP: Duration = Duration::from_secs(300);
/// A process that lived shorter than that, its warm-up included, is not judged: its quarters would have a few samples each,
/// and what grows in them may as well be the rest of a warm-up.
const JUDGED_AFTER: Duration = Duration::from_secs(20 * 60);
/// What is not growth, in parts of what a process had before: allocators take memory in pieces and give it back late, and
/// a process that took over from a killed one keeps some of that.
const MAY_GROW: f64 = 0.10;
/// Of a small process ten per cent are a few pieces of the allocator; less than this many kB never break the run. What is
/// lost with each message or each device is far more after an hour.
const MAY_GROW_KB: u64 = 8 * 1024;

/// What one look at a process has found.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Since the first look at any of them.
    at: Duration,
    /// Resident memory.
    kb: u64,
    descriptors: u64,
}

/// A process from a start to its end.
#[derive(Debug)]
struct Life {
    name: String,
    pid: u32,
    samples: Vec<Sample>,
}

/// Names and numbers of the processes that run now.
#[derive(Debug, Clone, Default)]
pub(super) struct Pids(Arc<Mutex<Vec<(String, u32)>>>);

impl Pids {
    /// Takes those that run now.
    pub(super) fn set(&self, services: &mut Services) {
        let running = services.all().filter_map(|one| Some((one.name().to_owned(), one.pid().ok()?)));
        *self.0.lock() = running.collect();
    }

    /// What all of them together have in resident memory, in kB.
    pub(super) fn total_kb(&self) -> u64 {
        let pids = self.0.lock().clone();
        pids.iter().filter_map(|(_, pid)| process::memory(*pid).ok()).map(|(all, _)| all).sum()
    }
}

/// Who looks.
pub(super) struct Watch {
    task: JoinHandle<Memory>,
    end: CancellationToken,
    _guard: DropGuard,
}

impl Watch {
    pub(super) fn begin(pids: Pids) -> Self {
        let end = CancellationToken::new();
        let (asked, guard) = (end.clone(), end.clone().drop_guard());
        let task = tokio::spawn(async move {
            let (mut ticks, mut memory, begun) = (interval(EVERY), Memory::default(), Instant::now());
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while asked.run_until_cancelled(ticks.tick()).await.is_some() {
                memory.look(begun.elapsed(), &pids);
            }
            memory
        });
        Self { task, end, _guard: guard }
    }

    pub(super) async fn end(self) -> Result<Memory> {
        self.end.cancel();
        Ok(self.task.await?)
    }
}

/// All lives of all processes. Bounded by the length of the run.
#[derive(Debug, Default)]
pub(super) struct Memory {
    lives: Vec<Life>,
}

/// What a process had in the second and in the last quarter of its time after the warm-up: the medians, in kB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Growth {
    second_kb: u64,
    last_kb: u64,
}

impl Growth {
    fn kb(self) -> u64 {
        self.last_kb.saturating_sub(self.second_kb)
    }

    /// Less than nothing when it shrank.
    fn share(self) -> f64 {
        if self.second_kb == 0 { 0.0 } else { self.last_kb as f64 / self.second_kb as f64 - 1.0 }
    }

    fn is_flat(self) -> bool {
        self.share() <= MAY_GROW || self.kb() <= MAY_GROW_KB
    }
}

fn median(numbers: impl Iterator<Item = u64>) -> Option<u64> {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied()
}

impl Life {
    fn span(&self) -> Option<(Duration, Duration)> {
        Some((self.samples.first()?.at, self.samples.last()?.at))
    }

    /// None of one that did not live long enough.
    fn growth(&self) -> Option<Growth> {
        let (begun, ended) = self.span()?;
        if ended.saturating_sub(begun) < JUDGED_AFTER {
            return None;
        }
        let warm: Vec<Sample> =
            self.samples.iter().filter(|sample| sample.at >= begun + WARM_UP).copied().collect();
        let quarter = warm.len() / 4;
        let of = |samples: &[Sample]| median(samples.iter().map(|sample| sample.kb));
        let second_kb = of(warm.get(quarter..quarter * 2)?)?;
        let last_kb = of(warm.get(warm.len() - quarter..)?)?;
        Some(Growth { second_kb, last_kb })
    }
}

impl Memory {
    fn look(&mut self, at: Duration, pids: &Pids) {
        let pids = pids.0.lock().clone();
        for (name, pid) in pids {
            // One that was just killed has nothing any more.
            if let (Ok((kb, _)), Ok(descriptors)) = (process::memory(pid), process::descriptors(pid)) {
                self.saw(name, pid, Sample { at, kb, descriptors });
            }
        }
    }

    fn saw(&mut self, name: String, pid: u32, sample: Sample) {
        match self.lives.iter_mut().find(|life| life.pid == pid && life.name == name) {
            Some(life) => life.samples.push(sample),
            None => self.lives.push(Life { name, pid, samples: vec![sample] }),
        }
    }

    /// Shows every life, and judges those that were long enough.
    pub(super) fn judge(mut self, report: &mut Report) {
        self.lives.sort_by(|one, other| one.name.cmp(&other.name).then(one.span().cmp(&other.span())));
        let head =
            ["from min", "to min", "2nd quarter kB", "last quarter kB", "growth %", "most kB", "files"];
        let mut lines = Vec::new();
        let mut judged = 0;
        for life in &self.lives {
            let Some((begun, ended)) = life.span() else { continue };
            let minutes = |at: Duration| at.as_secs_f64() / 60.0;
            let growth = life.growth();
            let number = |of: fn(Growth) -> f64| growth.map_or(f64::NAN, of);
            let most = |of: fn(&Sample) -> u64| life.samples.iter().map(of).max().unwrap_or(0) as f64;
            lines.push((
                life.name.clone(),
                vec![
                    minutes(begun),
                    minutes(ended),
                    number(|growth| growth.second_kb as f64),
                    number(|growth| growth.last_kb as f64),
                    number(|growth| growth.share() * 100.0),
                    most(|sample| sample.kb),
                    most(|sample| sample.descriptors),
                ],
            ));
            if let Some(growth) = growth {
                judged += 1;
                report.promise(growth.is_flat(), sentence(&life.name, minutes(begun), growth));
            }
        }
        report.named("memory", head.map(ToOwned::to_owned).into(), lines);
        report.count("processes whose memory is judged, each start for itself", judged);
        let shorter = u64::try_from(self.lives.len()).unwrap_or(u64::MAX).saturating_sub(judged);
        let name = format!("those that lived less than {} min, and are not", JUDGED_AFTER.as_secs() / 60);
        report.count(name, shorter);
    }
}

fn sentence(name: &str, begun: f64, growth: Growth) -> String {
    format!(
        "memory of {name}, started at minute {begun:.0}: {} kB in the second quarter, {} kB in the last, {:+.1} %; may grow by {:.0} % or {} kB",
        grouped(growth.second_kb),
        grouped(growth.last_kb),
        growth.share() * 100.0,
        MAY_GROW * 100.0,
        grouped(MAY_GROW_KB),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that was looked at so often, with what it had at each minute of its life.
    fn life(minutes: u64, kb: impl Fn(u64) -> u64) -> Life {
        let at = |number: u64| EVERY * u32::try_from(number).unwrap();
        let sample = |number| Sample { at: at(number), kb: kb(number / 2), descriptors: 10 };
        Life { name: "core-1".to_owned(), pid: 1, samples: (0..=minutes * 2).map(sample).collect() }
    }

    #[test]
    fn what_stays_as_it_is_is_flat_whatever_its_warm_up_was() {
        let growth = life(60, |minute| if minute < 5 { minute * 20_000 } else { 100_000 }).growth().unwrap();
        assert_eq!(growth, Growth { second_kb: 100_000, last_kb: 100_000 });
        assert!(growth.is_flat());
    }

    #[test]
    fn what_grows_all_the_time_is_not() {
        let growth = life(60, |minute| 100_000 + minute * 1_000).growth().unwrap();
        // After five minutes of warm-up, the second quarter is around minute 25 and the last around minute 53.
        assert_eq!(growth, Growth { second_kb: 125_000, last_kb: 153_000 });
        assert!(!growth.is_flat() && growth.kb() == 28_000);
    }

    #[test]
    fn both_the_share_and_the_number_have_to_be_too_much() {
        assert!(Growth { second_kb: 20_000, last_kb: 28_000 }.is_flat(), "40 %, and 8 MB at most");
        assert!(Growth { second_kb: 400_000, last_kb: 430_000 }.is_flat(), "30 MB, and 10 % at most");
        assert!(!Growth { second_kb: 80_000, last_kb: 90_000 }.is_flat());
        assert!(Growth { second_kb: 90_000, last_kb: 40_000 }.is_flat());
    }

    #[test]
    fn a_short_peak_is_no_growth() {
        let growth = life(60, |minute| if minute == 55 { 900_000 } else { 100_000 }).growth().unwrap();
        assert!(growth.is_flat(), "{growth:?}");
    }

    #[test]
    fn a_short_life_is_not_judged_and_each_start_is_a_life() {
        assert_eq!(life(19, |_| 1).growth(), None);
        assert!(life(20, |_| 1).growth().is_some());
        let mut memory = Memory::default();
        for (pid, at) in [(7, 0), (7, 30), (8, 60)] {
            let sample = Sample { at: Duration::from_secs(at), kb: 5, descriptors: 1 };
            memory.saw("gateway-1".to_owned(), pid, sample);
        }
        let counts: Vec<usize> = memory.lives.iter().map(|life| life.samples.len()).collect();
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn growth_breaks_the_run_and_is_shown() {
        let mut report = Report::new("x");
        Memory { lives: vec![life(60, |minute| 100_000 + minute * 1_000)] }.judge(&mut report);
        let shown = report.to_string();
        assert!(!report.holds() && shown.contains("BROKEN  memory of core-1"), "{shown}");
        assert!(
            shown.contains("125,000 kB in the second quarter, 153,000 kB in the last, +22.4 %"),
            "{shown}"
        );
    }
}
