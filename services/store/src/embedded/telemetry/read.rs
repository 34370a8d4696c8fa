//! Reading telemetry: a merge of the days' tables that looks at no more chunks than it must.
//!
//! A chunk is found by its newest time and covers at most its day's greatest span. So in either direction each table
//! tells a *reach*: the first time (in the order asked for) that any chunk not yet looked at may hold. The query always
//! reads on where the reach is nearest, and is done when it has its points and no reach is before the last of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, TableDefinition};
use stoker_domain::ports::store::{Order, PointsQuery};
use stoker_domain::{DeviceKey, LatestValue, Millis, Point};

use super::chunk::{ChunkReader, KeyPool, chunk_key, find_in_chunk, read_chunk_key};
use super::latest::{LatestBytes, LatestEntry, read_latest};
use super::value::take_value;
use super::{DayFacts, corrupt, read_day};
use crate::embedded::error::Trouble;
use crate::embedded::tables::{self, Bytes, Readable, telemetry_table};
use crate::keys::{KeyBuilder, after_prefix};

fn read_days(txn: &ReadTransaction) -> Result<Vec<(u32, DayFacts)>, Trouble> {
    let mut days = Vec::new();
    for row in txn.open_table(tables::TELEMETRY_DAYS)?.iter()? {
        let (key, value) = row?;
        days.push(read_day(key.value(), value.value())?);
    }
    Ok(days)
}

fn open_day(txn: &ReadTransaction, day: u32) -> Result<Readable, Trouble> {
    let name = telemetry_table(day);
    Ok(txn.open_table(TableDefinition::<Bytes, Bytes>::new(&name))?)
}

/// One day's table under the merge.
struct Source {
    day: u32,
    facts: DayFacts,
    rows: Option<redb::Range<'static, Bytes, Bytes>>,
    head: Option<(Millis, u64, redb::AccessGuard<'static, Bytes>)>,
}

/// The points found so far: the best `limit` of them, each with the sequence that it was stored with.
struct Found {
    points: BTreeMap<(Millis, Arc<str>), (u64, Point)>,
    limit: usize,
    order: Order,
}

impl Found {
    fn worst(&self) -> Option<&(Millis, Arc<str>)> {
        if self.points.len() < self.limit {
            return None;
        }
        match self.order {
            Order::Ascending => self.points.last_key_value(),
            Order::Descending => self.points.first_key_value(),
        }
        .map(|(place, _)| place)
    }

    fn take(&mut self, sequence: u64, point: Point) {
        let place = (point.ts, point.key.clone());
        match self.points.get_mut(&place) {
            Some((known, _)) if *known > sequence => {}
            Some(known) => *known = (sequence, point),
            None => {
                self.points.insert(place, (sequence, point));
            }
        }
        if self.points.len() > self.limit {
            match self.order {
                Order::Ascending => self.points.pop_last(),
                Order::Descending => self.points.pop_first(),
            };
        }
    }
}

struct Merge<'q> {
    txn: &'q ReadTransaction,
    query: &'q PointsQuery,
    keys: Option<HashSet<&'q str>>,
    prefix: Vec<u8>,
    low: Millis,
    high: Millis,
    pool: KeyPool,
    found: Found,
}

/// The points of `query`, in its order.
pub(in super::super) fn read_points(
    txn: &ReadTransaction,
    query: &PointsQuery,
) -> Result<Vec<Point>, Trouble> {
    let (mut low, mut high) = (query.from, query.to);
    match (&query.after, query.order) {
        (Some((ts, _)), Order::Ascending) => low = low.max(*ts),
        (Some((ts, _)), Order::Descending) => high = high.min(*ts),
        (None, _) => {}
    }
    if low > high || query.limit == 0 {
        return Ok(Vec::new());
    }
    let mut merge = Merge {
        txn,
        query,
        keys: query.keys.as_ref().map(|keys| keys.iter().map(String::as_str).collect()),
        prefix: KeyBuilder::of_device(&query.device).build(),
        low,
        high,
        pool: KeyPool::default(),
        found: Found { points: BTreeMap::new(), limit: query.limit, order: query.order },
    };
    merge.run()?;
    let points = merge.found.points.into_values().map(|(_, point)| point);
    Ok(match query.order {
        Order::Ascending => points.collect(),
        Order::Descending => points.rev().collect(),
    })
}

impl Merge<'_> {
    fn run(&mut self) -> Result<(), Trouble> {
        let mut sources: Vec<Source> = Vec::new();
        // The nearest reach is on top: as a rank, which is smaller where it comes earlier in the order asked for.
        let mut nearest: BinaryHeap<Reverse<(i128, usize)>> = BinaryHeap::new();
        for (day, facts) in read_days(self.txn)? {
            if facts.newest < self.low || facts.oldest > self.high {
                continue;
            }
            let reach = match self.query.order {
                Order::Ascending => facts.oldest.max(self.low),
                Order::Descending => facts.newest.min(self.high),
            };
            nearest.push(Reverse((self.rank(reach), sources.len())));
            sources.push(Source { day, facts, rows: None, head: None });
        }
        while let Some(Reverse((rank, at))) = nearest.pop() {
            if self.found.worst().is_some_and(|(ts, _)| self.rank(*ts) < rank) {
                break;
            }
            let Some(source) = sources.get_mut(at) else { break };
            self.advance(source)?;
            if let Some((newest, _, _)) = &source.head {
                let reach = match self.query.order {
                    Order::Ascending => newest.saturating_sub(source.facts.span),
                    Order::Descending => *newest,
                };
                nearest.push(Reverse((self.rank(reach), at)));
            }
        }
        Ok(())
    }

    fn rank(&self, ts: Millis) -> i128 {
        match self.query.order {
            Order::Ascending => i128::from(ts),
            Order::Descending => -i128::from(ts),
        }
    }

    /// Looks at the chunk at hand and gets the next one.
    fn advance(&mut self, source: &mut Source) -> Result<(), Trouble> {
        if let Some((newest, sequence, bytes)) = source.head.take() {
            self.read_chunk(newest, sequence, bytes.value())?;
        }
        let rows = match &mut source.rows {
            Some(rows) => rows,
            None => {
                let from = KeyBuilder::new().bytes(&self.prefix).oldest_first(self.low).build();
                let last = self.high.saturating_add(source.facts.span);
                let to = chunk_key(&self.prefix, last, u64::MAX);
                let table = open_day(self.txn, source.day)?;
                source.rows.insert(
                    table
                        .range::<&[u8]>((Bound::Included(from.as_slice()), Bound::Included(to.as_slice())))?,
                )
            }
        };
        let next = match self.query.order {
            Order::Ascending => rows.next(),
            Order::Descending => rows.next_back(),
        };
        if let Some(row) = next {
            let (key, value) = row?;
            let (newest, sequence) =
                corrupt(read_chunk_key(key.value()), || format!("chunk of {}", self.query.device))?;
            source.head = Some((newest, sequence, value));
        }
        Ok(())
    }

    fn read_chunk(&mut self, newest: Millis, sequence: u64, bytes: &[u8]) -> Result<(), Trouble> {
        let device = &self.query.device;
        let name = || format!("chunk of {device} at {newest}");
        let mut reader = corrupt(ChunkReader::new(newest, bytes), name)?;
        if reader.oldest() > self.high {
            return Ok(());
        }
        let wanted: Vec<Option<Arc<str>>> = reader
            .keys()
            .iter()
            .map(|key| {
                let wanted = self.keys.as_ref().is_none_or(|keys| keys.contains(key));
                wanted.then(|| self.pool.get(key))
            })
            .collect();
        if wanted.iter().all(Option::is_none) {
            return Ok(());
        }
        while let Some((ts, index, mut raw)) = corrupt(reader.next_raw(), name)? {
            let Some(Some(key)) = wanted.get(index) else { continue };
            if ts < self.low || ts > self.high || !self.is_wanted(ts, key) {
                continue;
            }
            let value = corrupt(take_value(&mut raw), name)?;
            self.found.take(sequence, Point { key: key.clone(), ts, value });
        }
        Ok(())
    }

    /// True for a point after the cursor and better than the worst that is kept.
    fn is_wanted(&self, ts: Millis, key: &Arc<str>) -> bool {
        let place = (ts, key);
        let after_cursor = self.query.after.as_ref().is_none_or(|(ts, key)| match self.query.order {
            Order::Ascending => place > (*ts, key),
            Order::Descending => place < (*ts, key),
        });
        let good_enough = self.found.worst().is_none_or(|(ts, key)| match self.query.order {
            Order::Ascending => place <= (*ts, key),
            Order::Descending => place >= (*ts, key),
        });
        after_cursor && good_enough
    }
}

/// The first device after all of those prefixes' (the first of all for none) that has points, by its prefix.
pub(in super::super) fn next_device(
    txn: &ReadTransaction,
    after: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, Trouble> {
    let start = after.map_or(Bound::Unbounded, after_prefix);
    // The end of one device's keys is where those of the next may begin.
    let start = match &start {
        Bound::Excluded(key) => Bound::Included(key.as_slice()),
        _ if after.is_some() => return Ok(None),
        _ => Bound::Unbounded,
    };
    let mut next: Option<Vec<u8>> = None;
    for (day, _) in read_days(txn)? {
        let table = open_day(txn, day)?;
        let Some(row) = table.range::<&[u8]>((start, Bound::Unbounded))?.next() else { continue };
        let (key, _) = row?;
        let (prefix, _) = key
            .value()
            .split_last_chunk::<16>()
            .ok_or_else(|| Trouble::corrupt(telemetry_table(day), "the key of a chunk is too short"))?;
        if next.as_deref().is_none_or(|next| prefix < next) {
            next = Some(prefix.to_vec());
        }
    }
    Ok(next)
}

/// The newest point of each key of a device, or of the given keys.
pub(in super::super) fn read_latest_of(
    txn: &ReadTransaction,
    device: &DeviceKey,
    keys: Option<&[String]>,
) -> Result<BTreeMap<Arc<str>, LatestValue>, Trouble> {
    let prefix = KeyBuilder::of_device(device).build();
    let Some(row) = txn.open_table(tables::LATEST)?.get(prefix.as_slice())? else {
        return Ok(BTreeMap::new());
    };
    let map = corrupt(read_latest(row.value()), || format!("newest points of {device}"))?;
    let mut values = BTreeMap::new();
    let mut add = |key: &str, entry: &LatestEntry<'_>| -> Result<(), Trouble> {
        let name = || format!("newest point {key} of {device}");
        let value = match entry.value {
            LatestBytes::Inline(mut raw) => Some(corrupt(take_value(&mut raw), name)?),
            LatestBytes::In { newest, sequence } => {
                let chunk = chunk_key(&prefix, newest, sequence);
                match open_day(txn, entry.day) {
                    Ok(table) => match table.get(chunk.as_slice())? {
                        Some(bytes) => corrupt(find_in_chunk(newest, bytes.value(), key, entry.ts), name)?,
                        None => None,
                    },
                    // Retention has taken the day, though not this entry of a row that it could not read.
                    Err(Trouble::Storage(redb::Error::TableDoesNotExist(_))) => None,
                    Err(trouble) => return Err(trouble),
                }
            }
        };
        if let Some(value) = value {
            values.insert(Arc::from(key), LatestValue { ts: entry.ts, value });
        }
        Ok(())
    };
    match keys {
        None => {
            for (key, entry) in &map {
                add(key, entry)?;
            }
        }
        Some(keys) => {
            for key in keys {
                if let Some(entry) = map.get(key.as_str()) {
                    add(key, entry)?;
                }
            }
        }
    }
    Ok(values)
}
