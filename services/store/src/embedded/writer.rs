//! The one writer: takes what waits, writes it in one transaction, makes that durable, then answers everybody.
//!
//! Groups form by themselves while a transaction is under way; there is no timer. The requests of a group are
//! independent: one that is refused, or that meets a row that cannot be read, leaves the others alone. When the
//! database itself fails, nobody is told that anything was written, and the writer ends for good: after a commit that
//! failed, only opening anew can tell what is there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use redb::{Database, WriteTransaction};
use stoker_domain::Reading;
use stoker_domain::ports::store::{Append, ClaimOutcome, CommitOutcome, StoreError, SwapOutcome};

use super::error::Trouble;
use super::health::Health;
use super::history::{Tables, put};
use super::options::Clock;
use super::purge::{Retention, forget_device_step, purge_step};
use super::queue::{Chore, Queue, Request, Turn, Work};
use super::state::{claim, commit, release, swap};
use super::stats::{Counters, Tally};
use super::tables::day_of;
use super::telemetry::TelemetryWriter;

/// What the writer's thread owns.
pub(super) struct Writer {
    pub(super) database: Arc<Database>,
    pub(super) queue: Arc<Queue>,
    pub(super) telemetry: TelemetryWriter,
    pub(super) counters: Arc<Counters>,
    pub(super) health: Arc<Health>,
    pub(super) clock: Clock,
    pub(super) retention: Retention,
}

/// What one request is told once it is durable.
enum Outcome {
    Append(Result<(), StoreError>),
    Claim(Result<ClaimOutcome, StoreError>),
    Commit(CommitOutcome),
    Swap(Result<SwapOutcome, StoreError>),
}

impl Writer {
    /// Works until the queue is closed and empty, or until it fails; then the queue is dead and `health` says why.
    pub(super) fn run(mut self) {
        let queue = self.queue.clone();
        let health = self.health.clone();
        let result = catch_unwind(AssertUnwindSafe(|| self.work()));
        let why = match result {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("the writer panicked: {}", panic_text(&*panic)),
        };
        // In this order: who is told of the failure must find it in `health`.
        health.fail(why);
        queue.kill();
    }

    fn work(&mut self) -> Result<(), redb::Error> {
        while let Some(Turn { group, chore }) = self.queue.take() {
            self.counters.waiting(self.queue.waiting());
            if !group.is_empty() {
                self.write_group(group)?;
            }
            if let Some(chore) = chore {
                self.step(chore)?;
            }
        }
        Ok(())
    }

    fn begin(&self) -> Result<WriteTransaction, redb::Error> {
        let mut txn = self.database.begin_write()?;
        // Without it, opening after a crash walks the whole file.
        txn.set_quick_repair(true);
        Ok(txn)
    }

    fn write_group(&mut self, group: Vec<Request>) -> Result<(), redb::Error> {
        let start = Instant::now();
        let mut tally = Tally::default();
        let result = self.begin().and_then(|txn| {
            let outcomes = self.apply(&txn, &group, &mut tally)?;
            txn.commit()?;
            Ok(outcomes)
        });
        match result {
            Ok(outcomes) => {
                self.counters.group(group.len(), tally, start.elapsed());
                for (request, outcome) in group.into_iter().zip(outcomes) {
                    answer(request, outcome);
                }
                Ok(())
            }
            Err(error) => {
                // Before anybody is answered: a caller that asks again finds the store failed.
                self.health.fail(error.to_string());
                for request in group {
                    refuse(request, &error);
                }
                Err(error)
            }
        }
    }

    fn apply(
        &mut self,
        txn: &WriteTransaction,
        group: &[Request],
        tally: &mut Tally,
    ) -> Result<Vec<Outcome>, redb::Error> {
        let now = (self.clock)();
        let mut readings: Vec<&Reading> = Vec::new();
        let mut reading_of: Vec<usize> = Vec::new();
        let mut outcomes = Vec::with_capacity(group.len());
        let mut tables = Tables::new(txn);
        for (at, request) in group.iter().enumerate() {
            outcomes.push(match &request.work {
                Work::Append { batch, .. } => {
                    let mut result = Ok(());
                    for item in batch {
                        let outcome = match item {
                            Append::Reading(reading) => {
                                readings.push(reading);
                                reading_of.push(at);
                                Ok(())
                            }
                            Append::Event(item) => put(&mut tables, item, now, tally),
                            Append::Command(item) => put(&mut tables, item, now, tally),
                            Append::Alarm(item) => put(&mut tables, item, now, tally),
                            Append::Notification(item) => put(&mut tables, item, now, tally),
                        };
                        result = result.and(answer_of(outcome)?);
                    }
                    Outcome::Append(result)
                }
                Work::Claim { slot, owner, seen, .. } => {
                    Outcome::Claim(answer_of(claim(&mut tables, *slot, owner, *seen))?)
                }
                Work::Commit { slot, epoch, changes, .. } => {
                    let outcome = answer_of(commit(&mut tables, *slot, *epoch, changes, tally))?;
                    // Of a slot whose head cannot be read nobody can say anything; reading it tells why.
                    Outcome::Commit(outcome.unwrap_or(CommitOutcome::Unknown))
                }
                Work::Release { slot, epoch, .. } => {
                    let outcome = answer_of(release(&mut tables, *slot, *epoch))?;
                    Outcome::Commit(outcome.unwrap_or(CommitOutcome::Unknown))
                }
                Work::Swap { key, row, expected, .. } => {
                    Outcome::Swap(answer_of(swap(&mut tables, key, row.as_deref(), *expected, tally))?)
                }
            });
        }
        drop(tables);
        if !readings.is_empty() {
            let results = answer_of(self.telemetry.write(txn, day_of(now), &readings, tally))?;
            let results = results.unwrap_or_else(|error| vec![Err(error); readings.len()]);
            for (at, result) in reading_of.into_iter().zip(results) {
                if let (Some(Outcome::Append(outcome)), Err(error)) = (outcomes.get_mut(at), result) {
                    *outcome = Err(error);
                }
            }
        }
        Ok(outcomes)
    }

    fn step(&mut self, chore: Chore) -> Result<(), redb::Error> {
        let txn = self.begin()?;
        match chore {
            Chore::Purge { now, mut report, reply } => {
                let before = report.rows;
                let step = purge_step(&txn, &mut self.telemetry, self.retention, now, &mut report);
                match answer_of(step)? {
                    Ok(done) => {
                        txn.commit()?;
                        self.counters.chore(report.rows - before);
                        if done {
                            // An error here and below: the caller has gone, which changes nothing.
                            let _ = reply.send(Ok(report));
                        } else {
                            self.queue.put_back(Chore::Purge { now, report, reply });
                        }
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Chore::Forget { device, reply } => {
                let mut removed = 0;
                match answer_of(forget_device_step(&txn, &self.telemetry, &device, &mut removed))? {
                    Ok(done) => {
                        txn.commit()?;
                        self.counters.chore(removed);
                        if done {
                            let _ = reply.send(Ok(()));
                        } else {
                            self.queue.put_back(Chore::Forget { device, reply });
                        }
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
        }
        Ok(())
    }
}

/// Sets apart what concerns one request from what ends the store.
fn answer_of<T>(result: Result<T, Trouble>) -> Result<Result<T, StoreError>, redb::Error> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Trouble::Answer(error)) => Ok(Err(error)),
        Err(Trouble::Storage(error)) => Err(error),
    }
}

fn answer(request: Request, outcome: Outcome) {
    // A caller that has gone away does not hear it; what was asked is done all the same.
    match (request.into_work(), outcome) {
        (Work::Append { reply, .. }, Outcome::Append(result)) => drop(reply.send(result)),
        (Work::Claim { reply, .. }, Outcome::Claim(result)) => drop(reply.send(result)),
        (Work::Commit { reply, .. } | Work::Release { reply, .. }, Outcome::Commit(outcome)) => {
            let _ = reply.send(outcome);
        }
        (Work::Swap { reply, .. }, Outcome::Swap(result)) => drop(reply.send(result)),
        // Cannot be: outcomes are made from these requests. Dropping the reply tells the caller that it failed.
        _ => {}
    }
}

fn refuse(request: Request, error: &redb::Error) {
    let failed = StoreError::Failed(error.to_string());
    match request.into_work() {
        Work::Append { reply, .. } => drop(reply.send(Err(failed))),
        Work::Claim { reply, .. } => drop(reply.send(Err(failed))),
        Work::Commit { reply, .. } | Work::Release { reply, .. } => {
            let _ = reply.send(CommitOutcome::Unknown);
        }
        Work::Swap { reply, .. } => drop(reply.send(Err(failed))),
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
