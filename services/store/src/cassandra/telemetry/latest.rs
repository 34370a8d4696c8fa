//! The newest point of each key.
//!
//! A cell's timestamp is the time of its point, so the greatest time stays. Of equal times the database keeps the cell
//! that expires later, and of those the greater bytes: these begin with the time and the stamp of the append, so the
//! later append stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::ports::store::{Order, StoreError};
use stoker_domain::{DeviceKey, LatestValue, Millis, Point};

use super::read::Slice;
use super::{AT_ONCE, KEYS_MAX};
use crate::cassandra::CassandraStore;
use crate::cassandra::error::corrupt;
use crate::rows::{decode, encode};

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

/// A point as the newest of its key.
pub(super) fn newest_bytes(point: &Point, stamp: i64) -> Vec<u8> {
    let mut bytes = point.ts.to_be_bytes().to_vec();
    bytes.extend_from_slice(&stamp.to_be_bytes());
    bytes.extend_from_slice(&encode(&point.value));
    bytes
}

/// Time, stamp and the value's bytes.
fn split_newest(bytes: &[u8]) -> Option<(Millis, i64, &[u8])> {
    let (ts, rest) = bytes.split_first_chunk::<8>()?;
    let (stamp, value) = rest.split_first_chunk::<8>()?;
    Some((Millis::from_be_bytes(*ts), i64::from_be_bytes(*stamp), value))
}

type Latest = BTreeMap<Arc<str>, LatestValue>;

impl CassandraStore {
    /// The newest points of a device; of one that has more than [`KEYS_MAX`] keys, of the first by name.
    pub(in crate::cassandra) async fn read_latest(
        &self,
        device: &DeviceKey,
        keys: Option<&[String]>,
    ) -> Result<Latest, StoreError> {
        const ACTION: &str = "read the newest points";
        let mut newest: BTreeMap<Arc<str>, (Millis, i64, LatestValue)> = BTreeMap::new();
        let mut is_forgotten = false;
        type Columns<'a> = (Option<&'a str>, Option<i64>, Option<&'a [u8]>);
        let values = (device.organization.as_str(), device.device.as_str());
        // A key has a row for each week of retention in which it was stored.
        self.read_all(ACTION, &self.statements.latest, values, |page| {
            for row in page.rows::<Columns<'_>>().map_err(|error| self.place.odd(ACTION, error))? {
                let (key, forgotten, value) = row.map_err(|error| self.place.odd(ACTION, error))?;
                is_forgotten |= forgotten.is_some();
                let (Some(key), Some(bytes), false) = (key, value, is_forgotten) else { continue };
                if keys.is_some_and(|keys| !keys.iter().any(|wanted| wanted == key)) {
                    continue;
                }
                let known = newest.get(key).map(|(ts, stamp, _)| (*ts, *stamp));
                if known.is_none() && newest.len() >= KEYS_MAX {
                    continue;
                }
                let name = || format!("newest point {key} of {device}");
                let (ts, stamp, value) = split_newest(bytes)
                    .ok_or_else(|| StoreError::Corrupt(format!("{}: bytes end too early", name())))?;
                if known.is_some_and(|known| known >= (ts, stamp)) {
                    continue;
                }
                let value = decode(value).map_err(|error| corrupt(name(), &error))?;
                newest.insert(Arc::from(key), (ts, stamp, LatestValue { ts, value }));
            }
            Ok(())
        })
        .await?;
        if is_forgotten {
            return self.latest_of_points(device, keys).await;
        }
        Ok(newest.into_iter().map(|(key, (_, _, latest))| (key, latest)).collect())
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
    use stoker_domain::Value;

    use super::*;

    #[test]
    fn of_equal_times_the_later_append_has_the_greater_bytes() {
        let bytes = |value, stamp| newest_bytes(&Point { key: "t".into(), ts: -5, value }, stamp);
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
