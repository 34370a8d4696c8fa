//! Writing what a file holds: work of bounded size, each of which may be done twice.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::ports::store::{
    Append, Change, CommitOutcome, RegistryRow, StateRow, Store, StoreError, SwapOutcome,
};
use stoker_domain::{Slot, SlotEpoch};

use super::{again, registry_name};
use crate::cassandra::CassandraStore;
use crate::transfer::TransferError;

/// Rows of the registry that are written at once.
const AT_ONCE: usize = 16;

/// Work of one kind.
pub(super) enum Work {
    Registry(Vec<RegistryRow>),
    Commit(Slot, SlotEpoch, Vec<StateRow>),
    Append(Vec<Append>),
}

impl CassandraStore {
    pub(super) async fn work(&self, work: Work) -> Result<(), TransferError> {
        match work {
            Work::Registry(rows) => {
                stream::iter(rows)
                    .map(async |row| self.write_registry(&row).await)
                    .buffer_unordered(AT_ONCE)
                    .try_collect::<()>()
                    .await
            }
            Work::Commit(slot, epoch, rows) => self.write_state(slot, epoch, rows).await,
            Work::Append(items) => {
                again("write history", async || Box::pin(self.append(items.clone())).await).await
            }
        }
    }

    /// The slot is ours and its rows are from the file: a commit that nobody knows of may be made again.
    async fn write_state(
        &self,
        slot: Slot,
        epoch: SlotEpoch,
        rows: Vec<StateRow>,
    ) -> Result<(), TransferError> {
        let changes: Vec<Change> = rows.into_iter().map(Change::put).collect();
        let fenced =
            again("write rows of a slot", async || match self.commit_slot(slot, epoch, &changes).await {
                CommitOutcome::Committed => Ok(false),
                CommitOutcome::Fenced { .. } => Ok(true),
                CommitOutcome::Unknown => {
                    Err(StoreError::Failed("nobody knows whether they are there".to_owned()))
                }
            })
            .await?;
        if fenced { Err(TransferError::Lost { slot }) } else { Ok(()) }
    }

    async fn write_registry(&self, row: &RegistryRow) -> Result<(), TransferError> {
        const ACTION: &str = "write a row of the registry";
        let mut expected = None;
        loop {
            match again(ACTION, async || self.put_registry(row, expected).await).await? {
                SwapOutcome::Swapped(_) => return Ok(()),
                SwapOutcome::Conflict(_) => {}
            }
            expected = match again(ACTION, async || self.get_registry(&row.key()).await).await? {
                Some((found, _)) if found == *row => return Ok(()),
                // Made by a core that once ran here, with no device: nothing depends on it.
                Some((RegistryRow::Setting { .. }, version)) => Some(version),
                Some((found, _)) => {
                    let (keyspace, what) = (self.options.keyspace.clone(), registry_name(&found));
                    return Err(TransferError::NotEmpty { keyspace, what });
                }
                None => None,
            };
        }
    }
}
