//! Writing telemetry: group by partition, write what belongs together at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::time::Instant;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::errors::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::batch::BatchStatement;
use stoker_domain::ports::store::StoreError;
use stoker_domain::{DeviceKey, Millis, Reading, Value};

use super::latest::{cell_timestamp, newest_bytes, week_of};
use super::{DAY, DAYS, day_of, day_row, key_row, owner};
use crate::cassandra::CassandraStore;
use crate::cassandra::known::RowName;
use crate::cassandra::request::{BATCH_ROWS, groups};
use crate::cassandra::stamps::ttl;
use crate::rows::encode;

const ACTION: &str = "write telemetry";

/// Writes of one append under way at once: what its lane has free when it begins, within these. With few, a batch of many devices
/// takes as many times what a slow node takes for one, and their devices wait for the last of it. With many in each of many
/// appends, the last of them would wait for their turns until they are told that the store is overloaded.
const WRITES_AT_ONCE: RangeInclusive<usize> = 16..=128;

fn writes_at_once(free: usize) -> usize {
    free.clamp(*WRITES_AT_ONCE.start(), *WRITES_AT_ONCE.end())
}

type Job<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// Points of one partition, by key and time: of repeats the last one given.
type Points<'a> = BTreeMap<(&'a str, Millis), &'a Value>;

/// A row of the partition of a day's points, with its statement's values in their order.
enum Row<'a> {
    Key((&'a str, &'a str, i64, &'a str, i32)),
    Point((i32, Vec<u8>, &'a str, &'a str, i64, &'a str, Millis)),
    Newest((i64, i32, Vec<u8>, &'a str, &'a str, i64, &'a str, i32)),
}

impl SerializeRow for Row<'_> {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        match self {
            Self::Key(values) => values.serialize(context, writer),
            Self::Point(values) => values.serialize(context, writer),
            Self::Newest(values) => values.serialize(context, writer),
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl CassandraStore {
    /// Writes readings as appended at `stamp`, in their order.
    pub(in crate::cassandra) async fn write_readings(
        &self,
        readings: &[Reading],
        stamp: i64,
    ) -> Result<(), StoreError> {
        let mut partitions: BTreeMap<(&DeviceKey, i64), Points<'_>> = BTreeMap::new();
        let mut bytes = 0;
        for reading in readings {
            for point in &reading.points {
                bytes += point.weight();
                let points = partitions.entry((&reading.device, day_of(point.ts))).or_default();
                points.insert((&point.key, point.ts), &point.value);
            }
        }
        if partitions.is_empty() {
            return Ok(());
        }
        let _room = self.telemetry_room.take(bytes).await.inspect_err(|error| {
            if matches!(error, StoreError::Overloaded(_)) {
                self.counters.count(|counters| &counters.overloaded, 1);
            }
        })?;
        let (mut jobs, mut fresh, began) = (Vec::<Job<'_>>::new(), Vec::new(), Instant::now());
        for ((device, day), points) in &partitions {
            let keys = self.index_jobs(device, *day, points, stamp, &mut jobs, &mut fresh);
            self.point_jobs(device, *day, points, &keys, stamp, &mut jobs);
        }
        let at_once = writes_at_once(self.bulk.free());
        stream::iter(jobs).buffer_unordered(at_once).try_collect::<()>().await?;
        self.telemetry_known.add(fresh, began);
        let points = partitions.values().map(BTreeMap::len).sum::<usize>() as u64;
        self.counters.count(|counters| &counters.points, points);
        self.counters.count(|counters| &counters.rows, points);
        Ok(())
    }

    /// Makes sure that the day is in the indexes; says which of its keys are not in its own, and what is known when all is
    /// written.
    fn index_jobs<'a>(
        &'a self,
        device: &'a DeviceKey,
        day: i64,
        points: &Points<'a>,
        appended: i64,
        jobs: &mut Vec<Job<'a>>,
        fresh: &mut Vec<RowName>,
    ) -> BTreeSet<&'a str> {
        let known = &self.telemetry_known;
        let ttl = ttl(known.lifetime(self.options.telemetry_retention));
        let name = day_row(device, day);
        if !known.has(name) {
            fresh.push(name);
            jobs.push(Box::pin(async move {
                let values = (DAYS, owner(device), day, ttl);
                let stamp = Some(self.stamps.next());
                self.write(&self.bulk, ACTION, &self.statements.bucket_put, values, stamp).await
            }));
        }
        let mut keys: Vec<&str> = points.keys().map(|(key, _)| *key).collect();
        keys.dedup();
        keys.retain(|key| !known.has(key_row(device, day, key)));
        fresh.extend(keys.iter().map(|key| key_row(device, day, key)));
        for keys in keys.chunks(BATCH_ROWS).map(<[&str]>::to_vec) {
            jobs.push(Box::pin(async move {
                let (organization, name) = (device.organization.as_str(), device.device.as_str());
                // Written again it is the same but for its end, and of these the later one stays.
                let (at, week) = (cell_timestamp(day.saturating_mul(DAY)), week_of(appended));
                let rows = keys.iter().map(|key| (at, ttl, day, organization, name, *key, week)).collect();
                self.write_rows(&self.bulk, ACTION, &self.statements.latest_day_put, rows, None).await
            }));
        }
        keys.into_iter().collect()
    }

    /// The points, which of them are the newest of the day, and the names of fresh keys.
    fn point_jobs<'a>(
        &'a self,
        device: &'a DeviceKey,
        day: i64,
        points: &Points<'a>,
        fresh: &BTreeSet<&'a str>,
        stamp: i64,
        jobs: &mut Vec<Job<'a>>,
    ) {
        let retention = ttl(self.options.telemetry_retention);
        let (organization, name) = (device.organization.as_str(), device.device.as_str());
        let mut rows = Vec::with_capacity(points.len() * 2 + fresh.len());
        let lifetime = ttl(self.telemetry_known.lifetime(self.options.telemetry_retention));
        rows.extend(fresh.iter().map(|key| (key.len(), Row::Key((organization, name, day, key, lifetime)))));
        let mut rest = points.iter().peekable();
        while let Some(((key, ts), value)) = rest.next() {
            let value = encode(*value);
            if rest.peek().is_none_or(|((next, _), _)| next != key) {
                let (newest, at) = (newest_bytes(*ts, stamp, &value), cell_timestamp(*ts));
                let size = key.len() + newest.len();
                let row = Row::Newest((at, retention, newest, organization, name, day, key, week_of(stamp)));
                rows.push((size, row));
            }
            rows.push((
                key.len() + value.len(),
                Row::Point((retention, value, organization, name, day, key, *ts)),
            ));
        }
        for rows in groups(rows) {
            let statements = rows.iter().map(|row| match row {
                Row::Key(_) => &self.statements.point_key_put,
                Row::Point(_) => &self.statements.point_put,
                Row::Newest(_) => &self.statements.newest_put,
            });
            let statements = statements.cloned().map(BatchStatement::from).collect();
            jobs.push(Box::pin(self.write_batch(&self.bulk, ACTION, statements, rows, Some(stamp))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_appends_take_what_is_free_and_those_behind_them_little() {
        let (mut free, mut taken) = (256_usize, Vec::new());
        for _ in 0..4 {
            taken.push(writes_at_once(free));
            free = free.saturating_sub(writes_at_once(free));
        }
        assert_eq!(taken, [128, 128, 16, 16]);
    }
}
