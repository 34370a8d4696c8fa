//! Writing telemetry: group by partition, write what belongs together at once.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Instant;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::ports::store::StoreError;
use stoker_domain::{DeviceKey, Millis, Point, Reading, Value};

use super::latest::{cell_timestamp, newest_bytes, week_of};
use super::{AT_ONCE, DAYS, day_of, day_row, key_row, owner};
use crate::cassandra::CassandraStore;
use crate::cassandra::request::{BATCH_ROWS, groups};
use crate::cassandra::stamps::ttl;
use crate::rows::encode;

const ACTION: &str = "write telemetry";

type Job<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// Points of one partition, by key and time: of repeats the last one given.
type Points<'a> = BTreeMap<(&'a str, Millis), &'a Value>;

/// The newest point of each key: of equal times the last one given.
type Newest<'a> = BTreeMap<&'a str, &'a Point>;

impl CassandraStore {
    /// Writes readings as appended at `stamp`, in their order.
    pub(in crate::cassandra) async fn write_readings(
        &self,
        readings: &[Reading],
        stamp: i64,
    ) -> Result<(), StoreError> {
        let mut partitions: BTreeMap<(&DeviceKey, i64), Points<'_>> = BTreeMap::new();
        let mut newest: BTreeMap<&DeviceKey, Newest<'_>> = BTreeMap::new();
        let mut bytes = 0;
        for reading in readings {
            for point in &reading.points {
                bytes += point.weight();
                let points = partitions.entry((&reading.device, day_of(point.ts))).or_default();
                points.insert((&point.key, point.ts), &point.value);
                newest
                    .entry(&reading.device)
                    .or_default()
                    .entry(&point.key)
                    .and_modify(|known| {
                        if known.ts <= point.ts {
                            *known = point;
                        }
                    })
                    .or_insert(point);
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
        let mut jobs: Vec<Job<'_>> = Vec::new();
        for ((device, day), points) in &partitions {
            self.index_jobs(device, *day, points, &mut jobs);
            self.point_jobs(device, *day, points, stamp, &mut jobs);
        }
        for (device, newest) in &newest {
            self.latest_jobs(device, newest, stamp, &mut jobs);
        }
        stream::iter(jobs).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let points = partitions.values().map(BTreeMap::len).sum::<usize>() as u64;
        self.counters.count(|counters| &counters.points, points);
        self.counters.count(|counters| &counters.rows, points);
        Ok(())
    }

    /// Makes sure that the day and its keys are in the indexes.
    fn index_jobs<'a>(
        &'a self,
        device: &'a DeviceKey,
        day: i64,
        points: &Points<'a>,
        jobs: &mut Vec<Job<'a>>,
    ) {
        let known = &self.telemetry_known;
        let ttl = ttl(known.lifetime(self.options.telemetry_retention));
        let name = day_row(device, day);
        if !known.has(name) {
            jobs.push(Box::pin(async move {
                let (began, stamp) = (Instant::now(), Some(self.stamps.next()));
                let values = (DAYS, owner(device), day, ttl);
                self.write(&self.bulk, ACTION, &self.statements.bucket_put, values, stamp).await?;
                known.add([name], began);
                Ok(())
            }));
        }
        let mut keys: Vec<&str> = points.keys().map(|(key, _)| *key).collect();
        keys.dedup();
        keys.retain(|key| !known.has(key_row(device, day, key)));
        for keys in keys.chunks(BATCH_ROWS).map(<[&str]>::to_vec) {
            jobs.push(Box::pin(async move {
                let (began, stamp) = (Instant::now(), Some(self.stamps.next()));
                let (organization, name) = (device.organization.as_str(), device.device.as_str());
                let rows = keys.iter().map(|key| (organization, name, day, *key, ttl)).collect::<Vec<_>>();
                self.write_rows(&self.bulk, ACTION, &self.statements.point_key_put, rows, stamp).await?;
                known.add(keys.iter().map(|key| key_row(device, day, key)), began);
                Ok(())
            }));
        }
    }

    fn point_jobs<'a>(
        &'a self,
        device: &'a DeviceKey,
        day: i64,
        points: &Points<'a>,
        stamp: i64,
        jobs: &mut Vec<Job<'a>>,
    ) {
        let ttl = ttl(self.options.telemetry_retention);
        let (organization, name) = (device.organization.as_str(), device.device.as_str());
        let rows = points
            .iter()
            .map(|((key, ts), value)| {
                let value = encode(*value);
                (key.len() + value.len(), (ttl, value, organization, name, day, *key, *ts))
            })
            .collect();
        for rows in groups(rows) {
            let statement = &self.statements.point_put;
            jobs.push(Box::pin(self.write_rows(&self.bulk, ACTION, statement, rows, Some(stamp))));
        }
    }

    fn latest_jobs<'a>(
        &'a self,
        device: &'a DeviceKey,
        newest: &Newest<'a>,
        stamp: i64,
        jobs: &mut Vec<Job<'a>>,
    ) {
        let ttl = ttl(self.options.telemetry_retention);
        let (organization, name) = (device.organization.as_str(), device.device.as_str());
        let rows = newest
            .values()
            .map(|point| {
                let value = newest_bytes(point, stamp);
                let (key, at) = (&*point.key, cell_timestamp(point.ts));
                (key.len() + value.len(), (at, ttl, value, organization, name, key, week_of(stamp)))
            })
            .collect();
        for rows in groups(rows) {
            let statement = &self.statements.latest_put;
            // The timestamp is in the statement.
            jobs.push(Box::pin(self.write_rows(&self.bulk, ACTION, statement, rows, None)));
        }
    }
}
