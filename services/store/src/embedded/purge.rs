//! Retention and forgetting, in steps so small that nobody who writes has to wait long.

use std::ops::Bound;

use redb::{ReadableTable, WriteTransaction};
use stoker_domain::{Alarm, Command, DeviceKey, Event, Millis, Notification};

use super::error::Trouble;
use super::history::{Historic, Tables, remove};
use super::tables::{self, DAY, Writable};
use super::telemetry::{TelemetryWriter, forget_step, prune_day_step};
use crate::keys::{KeyBuilder, MINTED_LENGTH, after_prefix, read_minted_greatest_first, read_time};

/// Rows that one step removes at most: about ten milliseconds of the writer's time.
pub(super) const STEP_ROWS: usize = 1_000;

/// What a purge has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PurgeReport {
    /// Rows of telemetry and history.
    pub rows: u64,
    /// Days of telemetry that are gone.
    pub days: u64,
}

/// How long things are kept, in milliseconds from their storing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    pub(super) telemetry: i64,
    pub(super) history: i64,
}

/// One step of retention as of `now`. True when there is nothing more to do.
///
/// Telemetry goes by whole days of storing: a day goes when its last moment is past retention.
pub(super) fn purge_step(
    txn: &WriteTransaction,
    telemetry: &mut TelemetryWriter,
    retention: Retention,
    now: Millis,
    report: &mut PurgeReport,
) -> Result<bool, Trouble> {
    let mut budget = STEP_ROWS;
    let mut done = true;
    if let Some(day) = telemetry.oldest_day()
        && now.saturating_sub(retention.telemetry) >= (i64::from(day) + 1).saturating_mul(DAY)
    {
        done = false;
        if prune_day_step(txn, day, &mut budget)? {
            telemetry.forget_day(day);
            report.days += 1;
        }
    }
    let horizon = KeyBuilder::new().oldest_first(now.saturating_sub(retention.history)).build();
    let mut tables = Tables::new(txn);
    let expired = first_keys(
        tables.get(tables::STORED)?,
        (Bound::Unbounded, Bound::Excluded(horizon.as_slice())),
        budget,
    )?;
    done &= expired.len() < budget;
    budget -= expired.len();
    for entry in expired {
        remove_stored(&mut tables, &entry)?;
    }
    report.rows += (STEP_ROWS - budget) as u64;
    Ok(done)
}

fn remove_stored(tables: &mut Tables<'_>, entry: &[u8]) -> Result<(), Trouble> {
    let parts = entry.split_first_chunk::<8>().and_then(|(at, rest)| Some((at, rest.split_first()?)));
    if let Some((at, (tag, key))) = parts {
        match *tag {
            Event::TAG => remove::<Event>(tables, key)?,
            Command::TAG => remove::<Command>(tables, key)?,
            Alarm::TAG => remove::<Alarm>(tables, key)?,
            Notification::TAG => remove::<Notification>(tables, key)?,
            tag => tracing::warn!(tag, stored_at = read_time(*at), "removed an entry of an unknown kind"),
        }
    }
    // Gone already in most cases; in the others it must not come up again.
    tables.get(tables::STORED)?.remove(entry)?;
    Ok(())
}

/// One step of forgetting a device. True when nothing of it is left.
pub(super) fn forget_device_step(
    txn: &WriteTransaction,
    telemetry: &TelemetryWriter,
    device: &DeviceKey,
    removed: &mut u64,
) -> Result<bool, Trouble> {
    let mut budget = STEP_ROWS;
    let done = forget_within(txn, telemetry, device, &mut budget);
    *removed += (STEP_ROWS - budget) as u64;
    done
}

fn forget_within(
    txn: &WriteTransaction,
    telemetry: &TelemetryWriter,
    device: &DeviceKey,
    budget: &mut usize,
) -> Result<bool, Trouble> {
    let prefix = KeyBuilder::of_device(device).build();
    // First, as it refers to chunks.
    txn.open_table(tables::LATEST)?.remove(prefix.as_slice())?;
    for day in telemetry.days() {
        if !forget_step(txn, day, &prefix, budget)? {
            return Ok(false);
        }
    }
    let mut tables = Tables::new(txn);
    for key in keys_with_prefix(tables.get(tables::EVENTS)?, &prefix, *budget)? {
        remove::<Event>(&mut tables, &key)?;
        *budget -= 1;
    }
    for (index, remove) in [
        (tables::COMMANDS_BY_DEVICE, remove::<Command> as fn(&mut Tables<'_>, &[u8]) -> _),
        (tables::ALARMS_BY_DEVICE, remove::<Alarm>),
        (tables::NOTIFICATIONS_BY_DEVICE, remove::<Notification>),
    ] {
        for entry in keys_with_prefix(tables.get(index)?, &prefix, *budget)? {
            if let Some(id) = entry.last_chunk::<MINTED_LENGTH>() {
                let greatest_first = redb::TableHandle::name(&index)
                    != redb::TableHandle::name(&tables::NOTIFICATIONS_BY_DEVICE);
                let id = match read_minted_greatest_first(id) {
                    Some(id) if greatest_first => KeyBuilder::new().minted(id).build(),
                    _ => id.to_vec(),
                };
                remove(&mut tables, &id)?;
            }
            // Its row took it along, unless that could not be read.
            tables.get(index)?.remove(entry.as_slice())?;
            *budget -= 1;
        }
    }
    Ok(*budget > 0)
}

fn keys_with_prefix(table: &Writable<'_>, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, Trouble> {
    let end = after_prefix(prefix);
    first_keys(table, (Bound::Included(prefix), end.as_ref().map(Vec::as_slice)), limit)
}

fn first_keys(
    table: &Writable<'_>,
    range: (Bound<&[u8]>, Bound<&[u8]>),
    limit: usize,
) -> Result<Vec<Vec<u8>>, Trouble> {
    let mut keys = Vec::new();
    for row in table.range::<&[u8]>(range)?.take(limit) {
        keys.push(row?.0.value().to_vec());
    }
    Ok(keys)
}

/// Removes up to `budget` rows whose keys begin with `prefix`. True when none is left.
pub(super) fn remove_prefix(
    table: &mut Writable<'_>,
    prefix: &[u8],
    budget: &mut usize,
) -> Result<bool, Trouble> {
    let keys = keys_with_prefix(table, prefix, *budget)?;
    let done = keys.len() < *budget;
    *budget -= keys.len();
    for key in keys {
        table.remove(key.as_slice())?;
    }
    Ok(done)
}
