//! Traces of deletions in a slot: put together, so that whoever takes the slot over need not read past each of them.

use scylla::statement::batch::BatchStatement;
use stoker_domain::ports::store::{CommitOutcome, StoreError};
use stoker_domain::{SLOT_COUNT, Slot, SlotEpoch};
use tokio::sync::{Mutex, MutexGuard};

use super::CassandraStore;
use super::request::Values;
use super::slots::column;
use crate::rows::StateKind;

/// Greater than every key of the rows that come and go: no id has such a byte, and those that slots make are 17 bytes.
const AFTER_ALL_KEYS: [u8; 18] = [0xff; 18];

/// Ranges that one conditional write deletes: there is one for each gap between living rows, and many devices have many
/// open commands. What is deleted in a gap later takes the place of this trace.
const RANGES_AT_ONCE: usize = 256;

/// While putting together fails, so many times what is put together at once is remembered. The database then is out of
/// order for hours, and what was forgotten goes by itself after ten days.
const KEPT_TIMES: usize = 4;

/// The key of a row within its slot.
pub(super) type RowKey = (u8, Vec<u8>);

/// What was deleted since traces were put together.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    keys: Vec<RowKey>,
    /// Of the keys, those that were there the last time, which failed.
    kept: usize,
}

impl Deleted {
    pub(super) fn add(&mut self, keys: Vec<RowKey>) {
        self.keys.extend(keys);
    }

    /// The keys whose traces are to be put together now: after so many that are new.
    pub(super) fn due(&mut self, after: usize) -> Option<Vec<RowKey>> {
        if self.keys.len() - self.kept < after.max(1) {
            return None;
        }
        self.kept = 0;
        Some(std::mem::take(&mut self.keys))
    }

    /// Takes back what could not be put together; how many keys are given up.
    fn keep(&mut self, mut keys: Vec<RowKey>, after: usize) -> usize {
        let lost = keys.len().saturating_sub(after.max(1).saturating_mul(KEPT_TIMES));
        keys.drain(..lost);
        self.kept = keys.len();
        self.keys.splice(..0, keys);
        lost
    }
}

/// One turn at a time for each slot: its owner commits one change after the other anyway, and conditional writes and
/// serial reads that meet make each other start anew.
#[derive(Debug)]
pub(super) struct Sweeps(Box<[Mutex<Deleted>; SLOT_COUNT]>);

impl Default for Sweeps {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Mutex::default())))
    }
}

impl Sweeps {
    pub(super) async fn turn(&self, slot: Slot) -> MutexGuard<'_, Deleted> {
        // There is one for every number that a slot can have.
        self.0[usize::from(slot.0)].lock().await
    }
}

/// Why traces were not put together.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error("the rows that live could not be read: {0}")]
    Read(StoreError),
    #[error("the deletion ended as {0:?}")]
    Write(CommitOutcome),
}

impl SweepError {
    /// What is to be said of the commit before it, which is there. Unless nobody knows what becomes of a deletion: it may
    /// come at any time while the epoch stands, and take with it what was put between two rows since. So its epoch is to
    /// end, as after a commit of which nobody knows.
    fn of_commit(self) -> CommitOutcome {
        match self {
            Self::Read(_) => CommitOutcome::Committed,
            Self::Write(outcome) => outcome,
        }
    }
}

impl CassandraStore {
    /// Puts the traces of deleted rows together. Each deletion is kept for days, and whoever loads the slot reads past
    /// all of them: with many commands a second they would be more than the database is willing to read. One deletion
    /// of the range between two living rows stands for all within it, and compaction drops what it covers.
    ///
    /// Nobody adds a row meanwhile: the caller holds the slot's turn, and other processes are fenced.
    pub(super) async fn sweep(
        &self,
        slot: Slot,
        epoch: SlotEpoch,
        deleted: &[RowKey],
    ) -> Result<(), SweepError> {
        const ACTION: &str = "put the traces of deletions together";
        let mut living: Vec<RowKey> = Vec::new();
        let first = (StateKind::Command as u8).cast_signed();
        self.read_all(ACTION, &self.statements.slot_keys, (column(slot), first), |page| {
            for row in
                page.rows::<(Option<i8>, Option<Vec<u8>>)>().map_err(|error| self.place.odd(ACTION, error))?
            {
                if let (Some(kind), Some(key)) = row.map_err(|error| self.place.odd(ACTION, error))? {
                    living.push((kind.cast_unsigned(), key));
                }
            }
            Ok(())
        })
        .await
        .map_err(SweepError::Read)?;
        for ranges in gaps(&living, deleted).chunks(RANGES_AT_ONCE) {
            let statements =
                vec![BatchStatement::from(self.statements.slot_delete_between.clone()); ranges.len()];
            let values = ranges
                .iter()
                .cloned()
                .map(|(kind, low, high)| Box::new((column(slot), kind.cast_signed(), low, high)) as Values);
            match self.guarded(ACTION, slot, epoch, statements, values.collect()).await {
                CommitOutcome::Committed => {}
                other => return Err(SweepError::Write(other)),
            }
        }
        Ok(())
    }

    /// Counts how it went; what failed is done the next time. Returns what is to be said of the commit before it.
    pub(super) fn swept(
        &self,
        slot: Slot,
        outcome: Result<(), SweepError>,
        deleted: &mut Deleted,
        keys: Vec<RowKey>,
    ) -> CommitOutcome {
        match outcome {
            Ok(()) => {
                self.counters.count(|counters| &counters.swept, 1);
                CommitOutcome::Committed
            }
            Err(error) => {
                let given_up = deleted.keep(keys, self.options.sweep_after);
                tracing::warn!(%slot, given_up, %error, "traces of deletions in a slot were not put together");
                self.counters.count(|counters| &counters.sweeps_failed, 1);
                error.of_commit()
            }
        }
    }
}

/// The gaps between living rows, in order, in which something was deleted: kind and both ends, which are not part.
fn gaps(living: &[RowKey], deleted: &[RowKey]) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let mut ranges: Vec<(u8, Vec<u8>, Vec<u8>)> = deleted
        .iter()
        .filter_map(|row| {
            // A row that was written again since is living.
            let next = living.binary_search(row).err()?;
            let end = |index: Option<usize>, none: &[u8]| match index.and_then(|index| living.get(index)) {
                Some((kind, key)) if *kind == row.0 => key.clone(),
                _ => none.to_vec(),
            };
            Some((row.0, end(next.checked_sub(1), &[]), end(Some(next), &AFTER_ALL_KEYS)))
        })
        .collect();
    ranges.sort();
    ranges.dedup();
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: u8, key: u8) -> RowKey {
        (kind, vec![key; 17])
    }

    #[test]
    fn what_was_deleted_between_living_rows_is_one_range() {
        let living = [row(5, 10), row(5, 20), row(7, 5)];
        let deleted = vec![row(5, 1), row(5, 2), row(5, 11), row(5, 19), row(5, 12), row(6, 3), row(7, 9)];
        let all = AFTER_ALL_KEYS.to_vec();
        let expected = [
            (5, vec![], vec![10; 17]),
            (5, vec![10; 17], vec![20; 17]),
            (6, vec![], all.clone()),
            (7, vec![5; 17], all),
        ];
        assert_eq!(gaps(&living, &deleted), expected);
    }

    #[test]
    fn a_deletion_that_may_still_come_ends_the_epoch_in_which_it_may() {
        let read = SweepError::Read(StoreError::Failed("away".to_owned()));
        assert_eq!(read.of_commit(), CommitOutcome::Committed);
        for outcome in [CommitOutcome::Unknown, CommitOutcome::Fenced { current: SlotEpoch(3) }] {
            assert_eq!(SweepError::Write(outcome).of_commit(), outcome);
        }
    }

    #[test]
    fn a_row_that_was_written_again_is_in_no_range() {
        assert_eq!(gaps(&[row(5, 10)], &[row(5, 10)]), []);
        assert_eq!(gaps(&[], &[]), []);
    }

    fn counters(deleted: &Deleted) -> Vec<u8> {
        deleted.keys.iter().map(|(_, key)| key[0]).collect()
    }

    #[test]
    fn what_could_not_be_put_together_waits_for_the_next_time_and_the_oldest_are_given_up_in_the_end() {
        let mut deleted = Deleted::default();
        deleted.add(vec![row(5, 1)]);
        assert_eq!(deleted.due(2), None);
        deleted.add(vec![row(5, 2)]);
        let keys = deleted.due(2).unwrap();
        assert_eq!(keys, [row(5, 1), row(5, 2)]);
        deleted.keep(keys, 2);
        assert_eq!(deleted.due(2), None, "not at every commit while it fails");
        deleted.add(vec![row(5, 3), row(5, 4)]);
        let keys = deleted.due(2).unwrap();
        assert_eq!(keys.len(), 4);
        deleted.keep(keys, 2);
        for n in (5..=10).step_by(2) {
            deleted.add(vec![row(5, n), row(5, n + 1)]);
            let keys = deleted.due(2).unwrap();
            deleted.keep(keys, 2);
        }
        assert_eq!(counters(&deleted), [3, 4, 5, 6, 7, 8, 9, 10]);
        deleted.add(vec![row(5, 11)]);
        let keys = deleted.due(0).unwrap();
        assert_eq!((keys.len(), counters(&deleted)), (9, vec![]));
        assert_eq!(deleted.due(0), None, "there is nothing to be put together");
    }
}
