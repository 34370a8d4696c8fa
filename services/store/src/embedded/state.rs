//! The conditional writes: slots and registry.

use redb::ReadableTable;
use stoker_domain::ports::store::{ClaimOutcome, CommitOutcome, SlotHead, SwapOutcome, Version};
use stoker_domain::{MemberId, Slot, SlotEpoch};

use super::error::{Named, Trouble};
use super::history::Tables;
use super::stats::Tally;
use super::tables::{self, Bytes};
use crate::rows::{Head, decode, encode};

/// Who owns a slot, out of the table of slots.
pub(super) fn read_head(table: &impl ReadableTable<Bytes, Bytes>, slot: Slot) -> Result<SlotHead, Trouble> {
    match table.get([slot.0].as_slice())? {
        None => Ok(SlotHead { epoch: SlotEpoch(0), owner: None }),
        Some(bytes) => {
            decode::<Head>(bytes.value()).named(|| format!("head of slot {slot}")).map(|head| head.0)
        }
    }
}

/// `epoch + 1, owner = me IF epoch = seen`.
pub(super) fn claim(
    tables: &mut Tables<'_>,
    slot: Slot,
    owner: &MemberId,
    seen: SlotEpoch,
) -> Result<ClaimOutcome, Trouble> {
    let table = tables.get(tables::SLOTS)?;
    let head = read_head(table, slot)?;
    if head.epoch != seen {
        return Ok(ClaimOutcome::Refused(head));
    }
    let epoch = SlotEpoch(seen.0 + 1);
    let head = Head(SlotHead { epoch, owner: Some(owner.clone()) });
    table.insert([slot.0].as_slice(), encode(&head).as_slice())?;
    Ok(ClaimOutcome::Claimed(epoch))
}

/// All changes if `epoch` is the slot's, none otherwise. Epoch zero is nobody's: nothing is ever committed by it.
pub(super) fn commit(
    tables: &mut Tables<'_>,
    slot: Slot,
    epoch: SlotEpoch,
    changes: &[(Vec<u8>, Option<Vec<u8>>)],
    tally: &mut Tally,
) -> Result<CommitOutcome, Trouble> {
    let current = read_head(tables.get(tables::SLOTS)?, slot)?.epoch;
    if current != epoch || epoch == SlotEpoch(0) {
        tally.fenced += 1;
        return Ok(CommitOutcome::Fenced { current });
    }
    let table = tables.get(tables::STATE)?;
    for (key, row) in changes {
        match row {
            Some(row) => {
                tally.rows += 1;
                tally.bytes += (key.len() + row.len()) as u64;
                table.insert(key.as_slice(), row.as_slice())?;
            }
            None => drop(table.remove(key.as_slice())?),
        }
    }
    tally.commits += 1;
    Ok(CommitOutcome::Committed)
}

/// `owner = none IF epoch = mine`.
pub(super) fn release(
    tables: &mut Tables<'_>,
    slot: Slot,
    epoch: SlotEpoch,
) -> Result<CommitOutcome, Trouble> {
    let table = tables.get(tables::SLOTS)?;
    let current = read_head(table, slot)?.epoch;
    if current != epoch || epoch == SlotEpoch(0) {
        return Ok(CommitOutcome::Fenced { current });
    }
    let head = Head(SlotHead { epoch, owner: None });
    table.insert([slot.0].as_slice(), encode(&head).as_slice())?;
    Ok(CommitOutcome::Committed)
}

/// A registry row as it is kept: its version, then the row.
pub(super) fn split_version(bytes: &[u8]) -> Option<(Version, &[u8])> {
    let (version, row) = bytes.split_first_chunk::<8>()?;
    Some((Version::from_be_bytes(*version), row))
}

/// Writes or removes a registry row if its version is `expected`.
pub(super) fn swap(
    tables: &mut Tables<'_>,
    key: &[u8],
    row: Option<&[u8]>,
    expected: Option<Version>,
    tally: &mut Tally,
) -> Result<SwapOutcome, Trouble> {
    let table = tables.get(tables::REGISTRY)?;
    let current = match table.get(key)? {
        None => None,
        Some(bytes) => {
            let (version, _) = split_version(bytes.value()).ok_or_else(|| {
                Trouble::corrupt(format_args!("registry row {key:02x?}"), "bytes end too early")
            })?;
            Some(version)
        }
    };
    if current != expected {
        return Ok(SwapOutcome::Conflict(current));
    }
    let Some(row) = row else {
        table.remove(key)?;
        return Ok(SwapOutcome::Swapped(0));
    };
    let version = expected.unwrap_or(0) + 1;
    let mut bytes = version.to_be_bytes().to_vec();
    bytes.extend_from_slice(row);
    tally.rows += 1;
    tally.bytes += (key.len() + bytes.len()) as u64;
    table.insert(key, bytes.as_slice())?;
    Ok(SwapOutcome::Swapped(version))
}
