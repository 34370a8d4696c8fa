//! The slots of an import: taken at its beginning, given up at its end.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::ports::store::{ClaimOutcome, CommitOutcome, StateRow, StoreError};
use stoker_domain::{MemberId, Slot, SlotEpoch};

use super::again;
use crate::cassandra::CassandraStore;
use crate::transfer::{ExportFile, TransferError};

/// Slots looked at, taken or given up at once.
const AT_ONCE: usize = 16;

fn all() -> impl Iterator<Item = Slot> {
    (0..=u8::MAX).map(Slot)
}

impl CassandraStore {
    /// What stands in a slot that is not this import's, for people.
    pub(super) async fn first_row(
        &self,
        slot: Slot,
        member: &MemberId,
    ) -> Result<Option<String>, TransferError> {
        const ACTION: &str = "look into a slot";
        let head = again(ACTION, async || self.slot_head(slot).await).await?;
        if head.epoch == SlotEpoch(0) || head.owner.as_ref() == Some(member) {
            return Ok(None);
        }
        let rows = again(ACTION, async || self.load_slot(slot).await).await?;
        Ok(rows.first().map(|row| match row {
            StateRow::Device(row) => format!("the device {}", row.key),
            row => format!("{:?} in slot {slot}", row.key()),
        }))
    }

    /// Takes all slots, each with an epoch above that of whoever made what is in the file.
    pub(super) async fn take_slots(
        &self,
        file: &ExportFile,
        member: &MemberId,
    ) -> Result<Vec<SlotEpoch>, TransferError> {
        stream::iter(all())
            .map(async |slot| {
                let made = file.epochs.get(usize::from(slot.0)).copied().unwrap_or(SlotEpoch(0));
                self.take_slot(slot, made, member).await
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn take_slot(
        &self,
        slot: Slot,
        made: SlotEpoch,
        member: &MemberId,
    ) -> Result<SlotEpoch, TransferError> {
        const ACTION: &str = "take a slot";
        let head = again(ACTION, async || self.slot_head(slot).await).await?;
        if head.owner.as_ref() == Some(member) && head.epoch > made {
            return Ok(head.epoch);
        }
        if self.first_row(slot, member).await?.is_some() {
            return Err(TransferError::Lost { slot });
        }
        let epoch = SlotEpoch(head.epoch.max(made).0.saturating_add(1));
        match again(ACTION, async || self.claim_slot_as(slot, member, head.epoch, epoch).await).await? {
            ClaimOutcome::Claimed(epoch) => Ok(epoch),
            // By the try before, whose answer was lost.
            ClaimOutcome::Refused(head) if head.owner.as_ref() == Some(member) && head.epoch == epoch => {
                Ok(epoch)
            }
            ClaimOutcome::Refused(_) => Err(TransferError::Lost { slot }),
        }
    }

    /// Gives up what is still this import's.
    pub(super) async fn release_slots(&self, member: &MemberId) -> Result<(), TransferError> {
        stream::iter(all())
            .map(async |slot| {
                again("give a slot up", async || {
                    let head = self.slot_head(slot).await?;
                    if head.owner.as_ref() != Some(member) {
                        return Ok(());
                    }
                    match self.release_slot(slot, head.epoch).await {
                        CommitOutcome::Unknown => {
                            Err(StoreError::Failed("nobody knows whether it is".to_owned()))
                        }
                        // Fenced: somebody has it already.
                        CommitOutcome::Committed | CommitOutcome::Fenced { .. } => Ok(()),
                    }
                })
                .await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }
}
