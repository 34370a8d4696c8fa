//! Slots: conditional writes on one partition each.

use std::collections::BTreeMap;
use std::time::Instant;

use scylla::statement::batch::BatchStatement;
use stoker_domain::ports::store::{
    COMMIT_BYTES_MAX, Change, ClaimOutcome, CommitOutcome, SlotHead, StateRow, StoreError,
};
use stoker_domain::{MemberId, SLOT_COUNT, Slot, SlotEpoch};
use tokio::sync::{Mutex, MutexGuard};

use super::CassandraStore;
use super::error::corrupt;
use super::request::{Applied, Values};
use crate::keys::state_key;
use crate::rows::{StateKind, decode_state, encode_state};

/// Changes of one commit: the protocol counts statements in 16 bits.
const CHANGES_MAX: usize = 60_000;

/// Greater than every key of the rows that come and go: no id has such a byte, and those that slots make are 17 bytes.
const AFTER_ALL_KEYS: [u8; 18] = [0xff; 18];

/// Above so many ranges, putting traces together would leave as many as it takes away.
const RANGES_MAX: usize = 128;

/// One turn at a time for each slot: its owner commits one change after the other anyway, and conditional writes and
/// serial reads that meet make each other start anew. Holds the keys that were deleted since traces were put together.
#[derive(Debug)]
pub(super) struct Sweeps(Box<[Mutex<Vec<RowKey>>; SLOT_COUNT]>);

impl Default for Sweeps {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Mutex::default())))
    }
}

impl Sweeps {
    async fn turn(&self, slot: Slot) -> MutexGuard<'_, Vec<RowKey>> {
        // There is one for every number that a slot can have.
        self.0[usize::from(slot.0)].lock().await
    }
}

/// The key of a row within its slot.
type RowKey = (u8, Vec<u8>);

fn column(slot: Slot) -> i16 {
    i16::from(slot.0)
}

fn row_key(slot: Slot, key: &stoker_domain::ports::store::StateKey) -> RowKey {
    // The first two bytes are slot and kind, which are columns here.
    (StateKind::of(key) as u8, state_key(slot, key).split_off(2))
}

fn epoch_of(column: Option<i64>) -> SlotEpoch {
    SlotEpoch(column.unwrap_or(0).cast_unsigned())
}

impl CassandraStore {
    pub(super) async fn slot_head(&self, slot: Slot) -> Result<SlotHead, StoreError> {
        let _slot = self.sweeps.turn(slot).await;
        self.read_head(slot).await
    }

    async fn read_head(&self, slot: Slot) -> Result<SlotHead, StoreError> {
        const ACTION: &str = "read the head of a slot";
        let rows = self.read(ACTION, &self.statements.slot_head, (column(slot),)).await?;
        let row = rows.maybe_first_row::<(i16, Option<i64>, Option<&str>)>();
        match row.map_err(|error| self.place.odd(ACTION, error))? {
            Some((_, epoch, owner)) => head(slot, epoch, owner),
            None => Ok(SlotHead { epoch: SlotEpoch(0), owner: None }),
        }
    }

    pub(super) async fn claim_slot(
        &self,
        slot: Slot,
        owner: &MemberId,
        seen: SlotEpoch,
    ) -> Result<ClaimOutcome, StoreError> {
        self.claim_slot_as(slot, owner, seen, SlotEpoch(seen.0.saturating_add(1))).await
    }

    /// Takes a slot over with an epoch that may be further on: what comes from elsewhere carries epochs, too.
    pub(super) async fn claim_slot_as(
        &self,
        slot: Slot,
        owner: &MemberId,
        seen: SlotEpoch,
        epoch: SlotEpoch,
    ) -> Result<ClaimOutcome, StoreError> {
        const ACTION: &str = "claim a slot";
        let mut deleted = self.sweeps.turn(slot).await;
        let turn = self.turn(&self.control).await?;
        let (number, name) = (epoch.0.cast_signed(), owner.as_str());
        let applied = if seen == SlotEpoch(0) {
            let values = (number, name, column(slot));
            self.conditional(ACTION, &self.statements.slot_first_claim, values, "epoch").await
        } else {
            let values = (number, name, column(slot), seen.0.cast_signed());
            self.conditional(ACTION, &self.statements.slot_claim, values, "epoch").await
        };
        drop(turn);
        // What a refusal shows is the condition's column alone, and an error nothing.
        let outcome = match applied {
            Ok(Applied::Yes) => ClaimOutcome::Claimed(epoch),
            Ok(Applied::No(..)) => ClaimOutcome::Refused(self.read_head(slot).await?),
            Err(error) => match self.read_head(slot).await {
                Ok(head) => claim_by_head(head, owner, seen, epoch).ok_or(error)?,
                Err(_) => return Err(error),
            },
        };
        if matches!(outcome, ClaimOutcome::Claimed(_)) {
            deleted.clear();
        }
        Ok(outcome)
    }

    pub(super) async fn load_slot(&self, slot: Slot) -> Result<Vec<StateRow>, StoreError> {
        const ACTION: &str = "load a slot";
        let _slot = self.sweeps.turn(slot).await;
        let mut rows = Vec::new();
        self.read_all(ACTION, &self.statements.slot_load, (column(slot),), |page| {
            type Columns<'a> = (Option<i8>, Option<&'a [u8]>, Option<&'a [u8]>);
            for row in page.rows::<Columns<'_>>().map_err(|error| self.place.odd(ACTION, error))? {
                // A slot without rows still has its head, which comes as a row of nothing.
                let (Some(kind), Some(key), Some(value)) =
                    row.map_err(|error| self.place.odd(ACTION, error))?
                else {
                    continue;
                };
                let name = || format!("row {kind} {key:02x?} of slot {slot}");
                let number = kind.cast_unsigned();
                let kind = StateKind::from_number(number)
                    .ok_or_else(|| StoreError::Corrupt(format!("{}: of an unknown kind", name())))?;
                let row = decode_state(kind, value).map_err(|error| corrupt(name(), &error))?;
                if row_key(slot, &row.key()) != (number, key.to_vec()) {
                    return Err(StoreError::Corrupt(format!("{}: holds another row", name())));
                }
                rows.push(row);
            }
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    pub(super) async fn commit_slot(
        &self,
        slot: Slot,
        epoch: SlotEpoch,
        changes: &[Change],
    ) -> CommitOutcome {
        // Within one batch all changes have one timestamp: of several of one row only the last may be in it.
        let mut rows: BTreeMap<RowKey, Option<Vec<u8>>> = BTreeMap::new();
        for change in changes {
            let row = match change {
                Change::Put(row) => Some(encode_state(row)),
                Change::Delete(_) => None,
            };
            rows.insert(row_key(slot, &change.key()), row);
        }
        let bytes: usize =
            rows.iter().map(|((_, key), row)| key.len() + row.as_ref().map_or(0, Vec::len)).sum();
        if bytes > COMMIT_BYTES_MAX || rows.len() > CHANGES_MAX {
            tracing::error!(%slot, bytes, rows = rows.len(), "a commit is too great and was not tried");
            self.counters.count(|counters| &counters.unknown, 1);
            return CommitOutcome::Unknown;
        }
        let mut deleted = self.sweeps.turn(slot).await;
        let began = Instant::now();
        let written = rows.len() as u64;
        // Rows that come and go leave traces; the long-lived kinds are seldom deleted.
        let gone: Vec<RowKey> = rows
            .iter()
            .filter(|((kind, _), row)| row.is_none() && *kind >= StateKind::Command as u8)
            .map(|(key, _)| key.clone())
            .collect();
        let (mut statements, mut values) = (Vec::new(), Vec::<Values>::new());
        for ((kind, key), row) in rows {
            let (slot, kind) = (column(slot), kind.cast_signed());
            match row {
                Some(row) => {
                    statements.push(BatchStatement::from(self.statements.slot_put.clone()));
                    values.push(Box::new((slot, kind, key, row)));
                }
                None => {
                    statements.push(BatchStatement::from(self.statements.slot_delete.clone()));
                    values.push(Box::new((slot, kind, key)));
                }
            }
        }
        let outcome = self.guarded("commit to a slot", slot, epoch, statements, values).await;
        self.counters.commit(began.elapsed());
        if outcome == CommitOutcome::Committed {
            self.counters.count(|counters| &counters.rows, written);
            deleted.extend(gone);
            if deleted.len() >= self.options.sweep_after.max(1) {
                let deleted = std::mem::take(&mut *deleted);
                self.sweep(slot, epoch, deleted).await;
            }
        }
        outcome
    }

    /// `IF epoch = mine`, all or nothing.
    async fn guarded(
        &self,
        action: &str,
        slot: Slot,
        epoch: SlotEpoch,
        mut statements: Vec<BatchStatement>,
        mut values: Vec<Values>,
    ) -> CommitOutcome {
        if epoch == SlotEpoch(0) {
            // Nobody's epoch. The caller learns whose it is, if it can be read.
            return match self.read_head(slot).await {
                Ok(head) => self.fenced(head.epoch),
                Err(_) => CommitOutcome::Unknown,
            };
        }
        let number = epoch.0.cast_signed();
        statements.insert(0, BatchStatement::from(self.statements.slot_guard.clone()));
        values.insert(0, Box::new((number, column(slot), number)));
        let applied = match self.control.patient_turn().await {
            Ok(_turn) => self.conditional_batch(action, statements, values, "epoch").await,
            Err(closed) => Err(closed),
        };
        self.outcome(slot, epoch, applied)
    }

    fn outcome(&self, slot: Slot, epoch: SlotEpoch, applied: Result<Applied, StoreError>) -> CommitOutcome {
        match applied {
            Ok(Applied::Yes) => {
                self.counters.count(|counters| &counters.commits, 1);
                CommitOutcome::Committed
            }
            Ok(Applied::No(current)) => self.fenced(epoch_of(current)),
            Err(error) => {
                tracing::warn!(%slot, %epoch, %error, "nobody knows whether a commit went in");
                self.counters.count(|counters| &counters.unknown, 1);
                CommitOutcome::Unknown
            }
        }
    }

    fn fenced(&self, current: SlotEpoch) -> CommitOutcome {
        self.counters.count(|counters| &counters.fenced, 1);
        CommitOutcome::Fenced { current }
    }

    pub(super) async fn release_slot(&self, slot: Slot, epoch: SlotEpoch) -> CommitOutcome {
        if epoch == SlotEpoch(0) {
            return self.guarded("release a slot", slot, epoch, Vec::new(), Vec::new()).await;
        }
        let values = (column(slot), epoch.0.cast_signed());
        let _slot = self.sweeps.turn(slot).await;
        let applied = match self.control.patient_turn().await {
            Ok(_turn) => {
                self.conditional("release a slot", &self.statements.slot_release, values, "epoch").await
            }
            Err(closed) => Err(closed),
        };
        self.outcome(slot, epoch, applied)
    }

    /// Puts the traces of deleted rows together. Each deletion is kept for days, and whoever loads the slot reads past
    /// all of them: with many commands a second they would be more than the database is willing to read. One deletion
    /// of the range between two living rows stands for all within it, and compaction drops what it covers.
    ///
    /// Nobody adds a row meanwhile: the caller holds the slot's turn, and other processes are fenced. That it fails is
    /// no harm; the next time does it.
    async fn sweep(&self, slot: Slot, epoch: SlotEpoch, deleted: Vec<RowKey>) {
        const ACTION: &str = "put the traces of deletions together";
        let mut living: Vec<RowKey> = Vec::new();
        let first = (StateKind::Command as u8).cast_signed();
        let read = self
            .read_all(ACTION, &self.statements.slot_keys, (column(slot), first), |page| {
                for row in page
                    .rows::<(Option<i8>, Option<Vec<u8>>)>()
                    .map_err(|error| self.place.odd(ACTION, error))?
                {
                    if let (Some(kind), Some(key)) = row.map_err(|error| self.place.odd(ACTION, error))? {
                        living.push((kind.cast_unsigned(), key));
                    }
                }
                Ok(())
            })
            .await;
        let ranges = gaps(&living, deleted);
        if read.is_err() || ranges.is_empty() || ranges.len() > RANGES_MAX {
            return;
        }
        let statements =
            vec![BatchStatement::from(self.statements.slot_delete_between.clone()); ranges.len()];
        let values = ranges
            .into_iter()
            .map(|(kind, low, high)| Box::new((column(slot), kind.cast_signed(), low, high)) as Values)
            .collect();
        if self.guarded(ACTION, slot, epoch, statements, values).await == CommitOutcome::Committed {
            self.counters.count(|counters| &counters.swept, 1);
        }
    }
}

/// What became of a claim without an answer; none while it may still be on its way.
fn claim_by_head(
    head: SlotHead,
    owner: &MemberId,
    seen: SlotEpoch,
    epoch: SlotEpoch,
) -> Option<ClaimOutcome> {
    if head.epoch <= seen {
        return None;
    }
    if head.epoch == epoch && head.owner.as_ref() == Some(owner) {
        return Some(ClaimOutcome::Claimed(head.epoch));
    }
    // Epochs only grow: it will not go in any more.
    Some(ClaimOutcome::Refused(head))
}

fn head(slot: Slot, epoch: Option<i64>, owner: Option<&str>) -> Result<SlotHead, StoreError> {
    let owner = owner
        .map(MemberId::new)
        .transpose()
        .map_err(|error| StoreError::Corrupt(format!("head of slot {slot}: its owner: {error}")))?;
    Ok(SlotHead { epoch: epoch_of(epoch), owner })
}

/// The gaps between living rows, in order, in which something was deleted: kind and both ends, which are not part.
fn gaps(living: &[RowKey], deleted: Vec<RowKey>) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let mut ranges: Vec<(u8, Vec<u8>, Vec<u8>)> = deleted
        .into_iter()
        .filter_map(|row| {
            // A row that was written again since is living.
            let next = living.binary_search(&row).err()?;
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
        assert_eq!(gaps(&living, deleted), expected);
    }

    #[test]
    fn a_claim_without_an_answer_is_decided_by_the_head_unless_it_may_still_arrive() {
        let me = MemberId::new("me").unwrap();
        let head = |epoch, owner: Option<&str>| SlotHead {
            epoch: SlotEpoch(epoch),
            owner: owner.map(|owner| MemberId::new(owner).unwrap()),
        };
        let outcome = |head: &SlotHead| claim_by_head(head.clone(), &me, SlotEpoch(5), SlotEpoch(6));
        assert_eq!(outcome(&head(6, Some("me"))), Some(ClaimOutcome::Claimed(SlotEpoch(6))));
        for open in [head(5, None), head(5, Some("me")), head(5, Some("other"))] {
            assert_eq!(outcome(&open), None);
        }
        for lost in [head(6, Some("other")), head(6, None), head(7, Some("me"))] {
            assert_eq!(outcome(&lost), Some(ClaimOutcome::Refused(lost)));
        }
    }

    #[test]
    fn a_row_that_was_written_again_is_in_no_range() {
        assert_eq!(gaps(&[row(5, 10)], vec![row(5, 10)]), []);
        assert_eq!(gaps(&[], vec![]), []);
    }
}
