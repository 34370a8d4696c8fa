//! The newest point of each key: beside the points of its day. Which day that is stands by itself, for a device may have
//! been silent for long, and a key of it for longer.
//!
//! A cell's timestamp is the time of its point, so the greatest time stays. Of equal times the database keeps the cell
//! that expires later, and of those the greater bytes: these begin with the time and the stamp of the append, so the
//! later append stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::ports::store::{Order, StoreError};
use stoker_domain::{DeviceKey, LatestValue, Millis, Value};

use super::read::Slice;
use super::{AT_ONCE, KEYS_MAX};
use crate::cassandra::CassandraStore;
use crate::cassandra::error::corrupt;
use crate::rows::decode;

const ACTION: &str = "read the newest points";

/// The timestamp of the cell of a point with that time, in microseconds.
pub(super) fn cell_timestamp(ts: Millis) -> i64 {
    // The least number means "none" to the database.
    ts.saturating_mul(1_000).max(i64::MIN + 1)
}

/// The week in which something was stored: when what was stored in one week expires, it hides nothing of another.
pub(super) fn week_of(stamp: i64) -> i32 {
    const WEEK_US: i64 = 7 * 86_400_000_000;
    i32::try_from(stamp.div_euclid(WEEK_US)).unwrap_or(i32::MAX)
}

/// A point as the newest of its key: its time, when it was appended, and its value's bytes.
pub(super) fn newest_bytes(ts: Millis, stamp: i64, value: &[u8]) -> Vec<u8> {
    let mut bytes = ts.to_be_bytes().to_vec();
    bytes.extend_from_slice(&stamp.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// Time, stamp and the value's bytes.
fn split_newest(bytes: &[u8]) -> Option<(Millis, i64, &[u8])> {
    let (ts, rest) = bytes.split_first_chunk::<8>()?;
    let (stamp, value) = rest.split_first_chunk::<8>()?;
    Some((Millis::from_be_bytes(*ts), i64::from_be_bytes(*stamp), value))
}

type Latest = BTreeMap<Arc<str>, LatestValue>;

/// A point that is the newest of its key as far as is known: its time, when it was appended, and the value.
type Newest = (Millis, i64, Value);

/// What is known of a key.
#[derive(Default)]
struct Known {
    newest: Option<Newest>,
    /// Of one of these the newest point is: the greatest that still has any.
    days: BTreeSet<i64>,
}

impl Known {
    fn offer(&mut self, newest: Newest) {
        if self.newest.as_ref().is_none_or(|(ts, stamp, _)| (*ts, *stamp) < (newest.0, newest.1)) {
            self.newest = Some(newest);
        }
    }
}

fn newest(device: &DeviceKey, key: &str, bytes: &[u8]) -> Result<Newest, StoreError> {
    let name = || format!("newest point {key} of {device}");
    let (ts, stamp, value) =
        split_newest(bytes).ok_or_else(|| StoreError::Corrupt(format!("{}: bytes end too early", name())))?;
    Ok((ts, stamp, decode(value).map_err(|error| corrupt(name(), &error))?))
}

impl CassandraStore {
    /// The newest points of a device; of one that has more than [`KEYS_MAX`] keys, of the first by name.
    pub(in crate::cassandra) async fn read_latest(
        &self,
        device: &DeviceKey,
        keys: Option<&[String]>,
    ) -> Result<Latest, StoreError> {
        let mut known: BTreeMap<Arc<str>, Known> = BTreeMap::new();
        let mut is_forgotten = false;
        type Columns<'a> = (Option<&'a str>, Option<i64>, Option<i64>, Option<&'a [u8]>);
        let values = (device.organization.as_str(), device.device.as_str());
        // A key has a row for each week of retention in which it was stored.
        self.read_all(ACTION, &self.statements.latest, values, |page| {
            for row in page.rows::<Columns<'_>>().map_err(|error| self.place.odd(ACTION, error))? {
                let (key, forgotten, day, bytes) = row.map_err(|error| self.place.odd(ACTION, error))?;
                is_forgotten |= forgotten.is_some();
                let (Some(key), false) = (key, is_forgotten) else { continue };
                if keys.is_some_and(|keys| !keys.iter().any(|wanted| wanted == key)) {
                    continue;
                }
                if !known.contains_key(key) && known.len() >= KEYS_MAX {
                    continue;
                }
                let known = known.entry(Arc::from(key)).or_default();
                known.days.extend(day);
                if let Some(bytes) = bytes {
                    known.offer(newest(device, key, bytes)?);
                }
            }
            Ok(())
        })
        .await?;
        if is_forgotten {
            return self.latest_of_points(device, keys).await;
        }
        self.look_up_days(device, &mut known).await?;
        let latest = known.into_iter().filter_map(|(key, known)| {
            let (ts, _, value) = known.newest?;
            Some((key, LatestValue { ts, value }))
        });
        Ok(latest.collect())
    }

    /// Looks up each key on the greatest of its days; on the next one when it has expired there.
    async fn look_up_days(
        &self,
        device: &DeviceKey,
        known: &mut BTreeMap<Arc<str>, Known>,
    ) -> Result<(), StoreError> {
        loop {
            let mut wanted: BTreeMap<i64, BTreeSet<Arc<str>>> = BTreeMap::new();
            for (key, known) in known.iter_mut() {
                if let Some(day) = known.days.pop_last() {
                    wanted.entry(day).or_default().insert(key.clone());
                }
            }
            if wanted.is_empty() {
                return Ok(());
            }
            let found: Vec<Vec<(Arc<str>, Newest)>> = stream::iter(wanted)
                .map(|(day, keys)| self.newest_of_day(device, day, keys))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            for (key, newest) in found.into_iter().flatten() {
                if let Some(known) = known.get_mut(&key) {
                    known.offer(newest);
                    known.days.clear();
                }
            }
        }
    }

    /// The newest points of a day, of these keys; of one key there may be several.
    async fn newest_of_day(
        &self,
        device: &DeviceKey,
        day: i64,
        keys: BTreeSet<Arc<str>>,
    ) -> Result<Vec<(Arc<str>, Newest)>, StoreError> {
        let values = (device.organization.as_str(), device.device.as_str(), day);
        let mut found = Vec::new();
        self.read_all(ACTION, &self.statements.newest, values, |page| {
            let rows = page.rows::<(&str, Option<&[u8]>)>();
            for row in rows.map_err(|error| self.place.odd(ACTION, error))? {
                let (key, bytes) = row.map_err(|error| self.place.odd(ACTION, error))?;
                if let (Some(bytes), Some(key)) = (bytes, keys.get(key)) {
                    found.push((key.clone(), newest(device, key, bytes)?));
                }
            }
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// The same out of the points themselves, from the newest day on: of a device that was forgotten lately. What hides
    /// the newest points of the forgotten one would hide those of the one that was made again.
    async fn latest_of_points(
        &self,
        device: &DeviceKey,
        keys: Option<&[String]>,
    ) -> Result<Latest, StoreError> {
        let mut latest = Latest::new();
        let mut high = i64::MAX;
        loop {
            let days = self.days(device, i64::MIN, high, Order::Descending).await?;
            let Some(last) = days.last().copied() else { return Ok(latest) };
            for day in days {
                let mut wanted = self.keys_of(device, day, keys).await?;
                wanted.retain(|key| !latest.contains_key(key));
                let found: Vec<Option<(Arc<str>, LatestValue)>> = stream::iter(wanted)
                    .map(async |key| {
                        let order = Order::Descending;
                        let slice = Slice { device, day, low: i64::MIN, high: i64::MAX, order };
                        let point = self.read_slice(slice, &key, 1).await?.pop();
                        Ok::<_, StoreError>(point.map(|(ts, value)| (key, LatestValue { ts, value })))
                    })
                    .buffer_unordered(AT_ONCE)
                    .try_collect()
                    .await?;
                latest.extend(found.into_iter().flatten());
            }
            let Some(next) = last.checked_sub(1) else { return Ok(latest) };
            high = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::encode;

    #[test]
    fn of_equal_times_the_later_append_has_the_greater_bytes() {
        let bytes = |value, stamp| newest_bytes(-5, stamp, &encode(&value));
        let (big, small) = (Value::Text("zzz".into()), Value::Integer(0));
        assert!(bytes(big, 1_000) < bytes(small.clone(), 1_001));
        let stored = bytes(small.clone(), 7);
        assert_eq!(split_newest(&stored), Some((-5, 7, encode(&small).as_slice())));
        assert_eq!(split_newest(&stored[..15]), None);
    }

    #[test]
    fn any_time_has_a_timestamp() {
        assert_eq!(cell_timestamp(1_750_000_000_000), 1_750_000_000_000_000);
        assert!(cell_timestamp(-1) < cell_timestamp(0));
        assert_eq!((cell_timestamp(i64::MIN), cell_timestamp(i64::MAX)), (i64::MIN + 1, i64::MAX));
    }
}
