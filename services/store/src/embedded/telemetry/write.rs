//! Writing telemetry: group by device, chunk, keep the newest points.

use std::collections::BTreeMap;

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use stoker_domain::{DeviceKey, Point, Reading};

use super::chunk::{ChunkReader, build_chunks, chunk_key, in_order};
use super::latest::{LatestEntry, LatestMap, cut, merge, read_latest, write_latest};
use super::{DayFacts, corrupt, read_day};
use crate::embedded::error::Trouble;
use crate::embedded::stats::Tally;
use crate::embedded::tables::{self, Bytes, Writable, meta, telemetry_table};
use crate::keys::KeyBuilder;

/// What the writer remembers between commits. It is thrown away with the writer when a commit fails, so it never says
/// more than the database.
#[derive(Debug)]
pub(in super::super) struct TelemetryWriter {
    sequence: u64,
    days: BTreeMap<u32, DayFacts>,
}

impl TelemetryWriter {
    /// Reads the sequence and the days.
    pub(in super::super) fn load(txn: &redb::ReadTransaction) -> Result<Self, Trouble> {
        let sequence = match txn.open_table(tables::META)?.get(meta::SEQUENCE)? {
            None => 0,
            Some(bytes) => bytes
                .value()
                .try_into()
                .map(u64::from_be_bytes)
                .map_err(|_| Trouble::corrupt("telemetry_sequence", "not 8 bytes"))?,
        };
        let mut days = BTreeMap::new();
        for row in txn.open_table(tables::TELEMETRY_DAYS)?.iter()? {
            let (key, value) = row?;
            let (day, facts) = read_day(key.value(), value.value())?;
            days.insert(day, facts);
        }
        Ok(Self { sequence, days })
    }

    /// Writes readings, in the order of their appends, as stored on `day`. The result has one entry for each reading.
    pub(in super::super) fn write(
        &mut self,
        txn: &WriteTransaction,
        day: u32,
        readings: &[&Reading],
        tally: &mut Tally,
    ) -> Result<Vec<Result<(), stoker_domain::ports::store::StoreError>>, Trouble> {
        let mut results = vec![Ok(()); readings.len()];
        let name = telemetry_table(day);
        let mut points = txn.open_table(TableDefinition::<Bytes, Bytes>::new(&name))?;
        let mut latest = txn.open_table(tables::LATEST)?;
        let mut facts: Option<DayFacts> = self.days.get(&day).copied();
        // In order of devices, so that neighbours in the trees are written one after the other; stable, so that the
        // readings of one device stay in order.
        let mut order: Vec<usize> = (0..readings.len()).collect();
        order.sort_by(|&a, &b| device_at(readings, a).cmp(&device_at(readings, b)));
        for run in order.chunk_by(|&a, &b| device_at(readings, a) == device_at(readings, b)) {
            let batch: Vec<&Reading> = run.iter().filter_map(|&at| readings.get(at).copied()).collect();
            let outcome = self.write_device(&mut points, &mut latest, day, &batch, &mut facts, tally);
            if let Err(Trouble::Answer(error)) = outcome {
                for &at in run {
                    if let Some(result) = results.get_mut(at) {
                        *result = Err(error.clone());
                    }
                }
            } else {
                outcome?;
            }
        }
        if let Some(facts) = facts
            && self.days.insert(day, facts) != Some(facts)
        {
            let mut days = txn.open_table(tables::TELEMETRY_DAYS)?;
            days.insert(day.to_be_bytes().as_slice(), facts.to_bytes().as_slice())?;
        }
        txn.open_table(tables::META)?.insert(meta::SEQUENCE, self.sequence.to_be_bytes().as_slice())?;
        Ok(results)
    }

    fn write_device(
        &mut self,
        table: &mut Writable<'_>,
        latest: &mut Writable<'_>,
        day: u32,
        batch: &[&Reading],
        facts: &mut Option<DayFacts>,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let Some(device) = batch.first().map(|reading| &reading.device) else { return Ok(()) };
        let points: Vec<&Point> = in_order(batch.iter().flat_map(|reading| &reading.points).collect());
        if points.is_empty() {
            return Ok(());
        }
        let prefix = KeyBuilder::of_device(device).build();
        let chunks = build_chunks(&points);
        let known = latest.get(prefix.as_slice())?;
        let mut map = match &known {
            Some(row) => corrupt(read_latest(row.value()), || format!("newest points of {device}"))?,
            None => LatestMap::new(),
        };
        for chunk in &chunks {
            self.sequence += 1;
            let key = chunk_key(&prefix, chunk.newest, self.sequence);
            table.insert(key.as_slice(), chunk.bytes.as_slice())?;
            tally.rows += 1;
            tally.bytes += (key.len() + chunk.bytes.len()) as u64;
            tally.points += chunk.points as u64;
            let span = chunk.newest - chunk.oldest;
            let here = DayFacts { oldest: chunk.oldest, newest: chunk.newest, span };
            *facts = Some(facts.map_or(here, |facts| facts.widened(here)));
            merge_chunk(&mut map, day, chunk.newest, self.sequence, &chunk.bytes, device)?;
        }
        cut(&mut map);
        let row = write_latest(&map);
        drop(map);
        drop(known);
        latest.insert(prefix.as_slice(), row.as_slice())?;
        tally.rows += 1;
        tally.bytes += (prefix.len() + row.len()) as u64;
        Ok(())
    }

    /// Forgets a day whose table is gone.
    pub(in super::super) fn forget_day(&mut self, day: u32) {
        self.days.remove(&day);
    }

    /// The oldest day that is held.
    pub(in super::super) fn oldest_day(&self) -> Option<u32> {
        self.days.keys().next().copied()
    }

    /// All days that are held, oldest first.
    pub(in super::super) fn days(&self) -> impl Iterator<Item = u32> {
        self.days.keys().copied()
    }
}

fn device_at<'a>(readings: &[&'a Reading], at: usize) -> Option<&'a DeviceKey> {
    readings.get(at).map(|reading| &reading.device)
}

/// Takes the points of a chunk into the newest ones.
fn merge_chunk<'a>(
    map: &mut LatestMap<'a>,
    day: u32,
    newest: i64,
    sequence: u64,
    bytes: &'a [u8],
    device: &DeviceKey,
) -> Result<(), Trouble> {
    let name = || format!("chunk of {device} at {newest}");
    let mut reader = corrupt(ChunkReader::new(newest, bytes), name)?;
    let keys = reader.keys().to_vec();
    while let Some((ts, index, raw)) = corrupt(reader.next_raw(), name)? {
        if let Some(key) = keys.get(index) {
            merge(map, key, LatestEntry::of(ts, day, raw, newest, sequence));
        }
    }
    Ok(())
}

/// Removes up to `budget` rows of a device from the telemetry of `day` and, when none is left there, says so.
pub(in super::super) fn forget_step(
    txn: &WriteTransaction,
    day: u32,
    prefix: &[u8],
    budget: &mut usize,
) -> Result<bool, Trouble> {
    let name = telemetry_table(day);
    let mut table = txn.open_table(TableDefinition::<Bytes, Bytes>::new(&name))?;
    crate::embedded::purge::remove_prefix(&mut table, prefix, budget)
}

/// Removes up to `budget` rows of the telemetry of `day`, with the newest points that were stored on it; when none is
/// left, the table too. True when it is gone.
pub(in super::super) fn prune_day_step(
    txn: &WriteTransaction,
    day: u32,
    budget: &mut usize,
) -> Result<bool, Trouble> {
    let name = telemetry_table(day);
    let definition = TableDefinition::<Bytes, Bytes>::new(&name);
    let mut table = txn.open_table(definition)?;
    let mut latest = txn.open_table(tables::LATEST)?;
    let mut pruned: Option<Vec<u8>> = None;
    while *budget > 0 {
        let Some((key, _)) = table.pop_first()? else { break };
        *budget -= 1;
        let prefix = key.value().split_last_chunk::<16>().map_or(&[][..], |(prefix, _)| prefix);
        if pruned.as_deref() != Some(prefix) {
            prune_latest(&mut latest, prefix, day)?;
            pruned = Some(prefix.to_vec());
        }
    }
    if !table.is_empty()? {
        return Ok(false);
    }
    drop(table);
    // The table is empty, so this touches a page or two and not the whole day.
    txn.delete_table(definition)?;
    txn.open_table(tables::TELEMETRY_DAYS)?.remove(day.to_be_bytes().as_slice())?;
    Ok(true)
}

fn prune_latest(latest: &mut Writable<'_>, prefix: &[u8], day: u32) -> Result<(), Trouble> {
    let Some(known) = latest.get(prefix)? else { return Ok(()) };
    // A row that cannot be read is left for whoever asks for it: retention goes on.
    let Ok(mut map) = read_latest(known.value()) else { return Ok(()) };
    let before = map.len();
    map.retain(|_, entry| entry.day > day);
    if map.len() == before {
        return Ok(());
    }
    let row = (!map.is_empty()).then(|| write_latest(&map));
    drop(map);
    drop(known);
    match row {
        Some(row) => drop(latest.insert(prefix, row.as_slice())?),
        None => drop(latest.remove(prefix)?),
    }
    Ok(())
}
