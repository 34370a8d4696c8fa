//! Points of a device: day by day, and within a day the series of its keys merged by time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::ports::store::{Order, PointsQuery, StoreError};
use stoker_domain::{DeviceKey, Millis, Point, Value};

use super::{AT_ONCE, DAYS, KEYS_MAX, day_of, owner};
use crate::cassandra::CassandraStore;
use crate::cassandra::error::corrupt;
use crate::rows::decode;

const ACTION: &str = "read points";

/// Days looked up at once.
const DAYS_PAGE: i32 = 400;

/// Points of one key read at once: values may be of kilobytes.
const SLICE_MAX: usize = 500;

/// What is wanted of one day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice<'a> {
    pub(super) device: &'a DeviceKey,
    pub(super) day: i64,
    /// From this time on.
    pub(super) low: Millis,
    /// Up to this time.
    pub(super) high: Millis,
    pub(super) order: Order,
}

/// One series within a day.
struct Series<'a> {
    key: Arc<str>,
    slice: Slice<'a>,
    read: VecDeque<(Millis, Value)>,
    /// There may be more than what was read.
    more: bool,
}

impl CassandraStore {
    /// The days that a device has points of, between two of them, in that order; fewer than [`DAYS_PAGE`] only when
    /// there are no more.
    pub(super) async fn days(
        &self,
        device: &DeviceKey,
        low: i64,
        high: i64,
        order: Order,
    ) -> Result<Vec<i64>, StoreError> {
        self.buckets(DAYS, &owner(device), low, high, order, DAYS_PAGE).await
    }

    /// The wanted keys of a day, in order.
    pub(super) async fn keys_of(
        &self,
        device: &DeviceKey,
        day: i64,
        wanted: Option<&[String]>,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        if let Some(wanted) = wanted {
            let mut keys: Vec<Arc<str>> = wanted.iter().map(|key| Arc::from(key.as_str())).collect();
            keys.sort();
            keys.dedup();
            return Ok(keys);
        }
        let limit = i32::try_from(KEYS_MAX + 1).unwrap_or(i32::MAX);
        let values = (device.organization.as_str(), device.device.as_str(), day, limit);
        let rows = self.read(ACTION, &self.statements.point_keys, values).await?;
        let mut keys = Vec::new();
        for row in rows.rows::<(&str,)>().map_err(|error| self.place.odd(ACTION, error))? {
            let (key,) = row.map_err(|error| self.place.odd(ACTION, error))?;
            keys.push(Arc::from(key));
        }
        if keys.len() > KEYS_MAX {
            return Err(StoreError::Failed(format!(
                "device {device} has points of more than {KEYS_MAX} keys on one day: name the keys"
            )));
        }
        Ok(keys)
    }

    /// At most so many points of one key within a day.
    pub(super) async fn read_slice(
        &self,
        slice: Slice<'_>,
        key: &str,
        limit: usize,
    ) -> Result<Vec<(Millis, Value)>, StoreError> {
        let (organization, device) = (slice.device.organization.as_str(), slice.device.device.as_str());
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let values = (organization, device, slice.day, key, slice.low, slice.high, limit);
        let statement = match slice.order {
            Order::Ascending => &self.statements.points_ascending,
            Order::Descending => &self.statements.points_descending,
        };
        let rows = self.read(ACTION, statement, values).await?;
        let mut points = Vec::with_capacity(rows.rows_num());
        for row in rows.rows::<(i64, Option<&[u8]>)>().map_err(|error| self.place.odd(ACTION, error))? {
            let (ts, value) = row.map_err(|error| self.place.odd(ACTION, error))?;
            let name = || format!("point {key} of {} at {ts}", slice.device);
            if let Some(value) = value {
                points.push((ts, decode(value).map_err(|error| corrupt(name(), &error))?));
            }
        }
        Ok(points)
    }

    pub(in crate::cassandra) async fn read_points(
        &self,
        query: &PointsQuery,
    ) -> Result<Vec<Point>, StoreError> {
        let (mut low, mut high) = (query.from, query.to);
        match (&query.after, query.order) {
            (Some((ts, _)), Order::Ascending) => low = low.max(*ts),
            (Some((ts, _)), Order::Descending) => high = high.min(*ts),
            (None, _) => {}
        }
        let mut points = Vec::new();
        if query.keys.as_ref().is_some_and(Vec::is_empty) {
            return Ok(points);
        }
        let (mut first, mut last) = (day_of(low), day_of(high));
        while points.len() < query.limit && low <= high && first <= last {
            let days = self.days(&query.device, first, last, query.order).await?;
            let Some(end) = days.last().copied() else { break };
            for day in days {
                if points.len() >= query.limit {
                    break;
                }
                let slice = Slice { device: &query.device, day, low, high, order: query.order };
                self.read_day(query, slice, &mut points).await?;
            }
            match query.order {
                Order::Ascending => first = end + 1,
                Order::Descending => last = end - 1,
            }
        }
        Ok(points)
    }

    /// Adds the points of one day, up to the query's limit.
    async fn read_day(
        &self,
        query: &PointsQuery,
        slice: Slice<'_>,
        points: &mut Vec<Point>,
    ) -> Result<(), StoreError> {
        let keys = self.keys_of(slice.device, slice.day, query.keys.as_deref()).await?;
        let wanted = query.limit.saturating_sub(points.len());
        // What is due to one key when all report alike, and a little more.
        let share = (wanted / keys.len().max(1) + 8).clamp(16, SLICE_MAX).min(wanted.max(1));
        let reads: Vec<_> = keys
            .into_iter()
            .filter_map(|key| Some(Series::new(slice_after(query, slice, &key)?, key)))
            .map(|mut series| async move {
                self.read_on(&mut series, share).await?;
                Ok::<_, StoreError>(series)
            })
            .collect();
        let mut series: Vec<Series<'_>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        // Where each series goes on, by time and then by key: the keys are in order, so are their numbers.
        let mut heads: BTreeMap<(Millis, usize), Value> = BTreeMap::new();
        for (number, series) in series.iter_mut().enumerate() {
            if let Some((ts, value)) = series.read.pop_front() {
                heads.insert((ts, number), value);
            }
        }
        while points.len() < query.limit {
            let next = match slice.order {
                Order::Ascending => heads.pop_first(),
                Order::Descending => heads.pop_last(),
            };
            let Some(((ts, number), value)) = next else { break };
            let Some(series) = series.get_mut(number) else { break };
            points.push(Point { key: series.key.clone(), ts, value });
            if series.read.is_empty() && series.more && points.len() < query.limit {
                self.read_on(series, share).await?;
            }
            if let Some((ts, value)) = series.read.pop_front() {
                heads.insert((ts, number), value);
            }
        }
        Ok(())
    }

    /// Reads the next points of a series.
    async fn read_on(&self, series: &mut Series<'_>, limit: usize) -> Result<(), StoreError> {
        let read = self.read_slice(series.slice, &series.key, limit).await?;
        series.more = read.len() >= limit;
        if let Some((ts, _)) = read.last() {
            let rest = match series.slice.order {
                Order::Ascending => ts.checked_add(1).map(|low| series.slice.low = low),
                Order::Descending => ts.checked_sub(1).map(|high| series.slice.high = high),
            };
            series.more &= rest.is_some();
        }
        series.read = read.into();
        Ok(())
    }
}

impl<'a> Series<'a> {
    fn new(slice: Slice<'a>, key: Arc<str>) -> Self {
        Self { key, slice, read: VecDeque::new(), more: true }
    }
}

/// What is left of a slice for one key after the query's cursor; none when nothing is.
fn slice_after<'a>(query: &PointsQuery, mut slice: Slice<'a>, key: &str) -> Option<Slice<'a>> {
    if let Some((ts, after)) = &query.after {
        match slice.order {
            Order::Ascending => {
                let low = if key > &**after { *ts } else { ts.checked_add(1)? };
                slice.low = slice.low.max(low);
            }
            Order::Descending => {
                let high = if key < &**after { *ts } else { ts.checked_sub(1)? };
                slice.high = slice.high.min(high);
            }
        }
    }
    (slice.low <= slice.high).then_some(slice)
}
