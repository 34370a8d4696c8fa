//! Slots: conditional writes on one partition each.

use std::collections::BTreeMap;
use std::time::Instant;

use scylla::statement::batch::BatchStatement;
use stoker_domain::ports::store::{
    COMMIT_BYTES_MAX, Change, ClaimOutcome, CommitOutcome, SlotHead, StateRow, StoreError,
};
use stoker_domain::{MemberId, Slot, SlotEpoch};

use super::CassandraStore;
use super::error::corrupt;
use super::request::{Applied, Values};
use super::sweep::{Deleted, RowKey};
use crate::keys::state_key;
use crate::rows::{StateKind, decode_state, encode_state};

/// Changes of one commit: the protocol counts statements in 16 bits.
const CHANGES_MAX: usize = 60_000;

pub(super) fn column(slot: Slot) -> i16 {
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
            *deleted = Deleted::default();
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
            deleted.add(gone);
            if let Some(keys) = deleted.due(self.options.sweep_after) {
                let swept = self.sweep(slot, epoch, &keys).await;
                return self.swept(slot, swept, &mut deleted, keys);
            }
        }
        outcome
    }

    /// `IF epoch = mine`, all or nothing.
    pub(super) async fn guarded(
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
