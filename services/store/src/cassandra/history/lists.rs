//! Lists: buckets from the newest on, entries of each in order, and entries written and removed.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::ports::store::{
    AlarmsQuery, CommandsQuery, EventsQuery, NotificationsQuery, Order, StoreError,
};
use stoker_domain::{Alarm, Command, Event, Notification};

use super::{AFTER_ALL_PLACES, AT_ONCE, Entry, List, of_alarm, of_device, of_kind, of_organization};
use crate::cassandra::CassandraStore;
use crate::cassandra::error::corrupt;
use crate::cassandra::known::RowName;
use crate::cassandra::request::{BATCH_ROWS, groups};
use crate::cassandra::stamps::ttl;
use crate::keys::{KeyBuilder, after_prefix, read_minted_greatest_first};
use crate::rows::{Stored, decode};

const READ: &str = "read a list of history";
const WRITE: &str = "write to the lists of history";

/// Buckets looked up at once.
const BUCKETS_PAGE: i32 = 400;
/// Buckets looked into at once, when those before had too little.
const BUCKETS_AT_ONCE: usize = 8;
/// Entries read at once.
const ENTRIES_PAGE: usize = 200;

/// An entry as it was found.
#[derive(Debug)]
pub(in crate::cassandra) struct Found {
    pub(super) place: Vec<u8>,
    pub(super) facts: String,
    pub(super) value: Option<Vec<u8>>,
}

/// What is wanted of a list.
struct Walk<'q> {
    list: List,
    owner: String,
    /// The first place.
    start: Vec<u8>,
    /// The first place behind it all.
    end: Vec<u8>,
    /// The oldest and the newest bucket.
    buckets: (i64, i64),
    limit: usize,
    wanted: &'q (dyn Fn(&str) -> bool + Sync),
}

/// The first place after one.
fn behind(mut place: Vec<u8>) -> Vec<u8> {
    place.push(0);
    place
}

impl CassandraStore {
    /// Buckets of a list between two, in that order; fewer than `limit` only when there are no more.
    pub(in crate::cassandra) async fn buckets(
        &self,
        list: &str,
        owner: &str,
        low: i64,
        high: i64,
        order: Order,
        limit: i32,
    ) -> Result<Vec<i64>, StoreError> {
        let statement = match order {
            Order::Ascending => &self.statements.buckets_ascending,
            Order::Descending => &self.statements.buckets_descending,
        };
        let rows = self.read(READ, statement, (list, owner, low, high, limit)).await?;
        let buckets = rows.rows::<(i64,)>().map_err(|error| self.place.odd(READ, error))?;
        buckets.map(|row| row.map(|(bucket,)| bucket).map_err(|error| self.place.odd(READ, error))).collect()
    }

    async fn walk(&self, walk: &Walk<'_>) -> Result<Vec<Found>, StoreError> {
        let (mut found, (low, mut high)) = (Vec::new(), walk.buckets);
        let mut width = 1;
        while found.len() < walk.limit && low <= high {
            let name = walk.list.name();
            let buckets = self.buckets(name, &walk.owner, low, high, Order::Descending, BUCKETS_PAGE).await?;
            let Some(last) = buckets.last().copied() else { break };
            let mut rest = buckets.as_slice();
            while !rest.is_empty() && found.len() < walk.limit {
                let (now, later) = rest.split_at(width.min(rest.len()));
                rest = later;
                let missing = walk.limit - found.len();
                let lists: Vec<Vec<Found>> = stream::iter(now.iter().copied())
                    .map(|bucket| self.walk_bucket(walk, bucket, missing))
                    .buffered(BUCKETS_AT_ONCE)
                    .try_collect()
                    .await?;
                found.extend(lists.into_iter().flatten());
                width = (width * 2).min(BUCKETS_AT_ONCE);
            }
            let Some(next) = last.checked_sub(1) else { break };
            high = next;
        }
        found.truncate(walk.limit);
        Ok(found)
    }

    async fn walk_bucket(
        &self,
        walk: &Walk<'_>,
        bucket: i64,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let (mut found, mut start) = (Vec::new(), walk.start.clone());
        while found.len() < limit && start < walk.end {
            let (page, last) = self.page(walk.list, &walk.owner, bucket, (&start, &walk.end)).await?;
            found.extend(page.into_iter().filter(|found| (walk.wanted)(&found.facts)));
            let Some(last) = last else { break };
            start = behind(last);
        }
        found.truncate(limit);
        Ok(found)
    }

    /// One page of a bucket, and the last place in it if there may be more behind.
    pub(super) async fn page(
        &self,
        list: List,
        owner: &str,
        bucket: i64,
        (start, end): (&[u8], &[u8]),
    ) -> Result<(Vec<Found>, Option<Vec<u8>>), StoreError> {
        let limit = i32::try_from(ENTRIES_PAGE).unwrap_or(i32::MAX);
        let values = (list.name(), owner, bucket, start, end, limit);
        let rows = self.read(READ, &self.statements.entries, values).await?;
        let mut page = Vec::with_capacity(rows.rows_num());
        type Columns = (Vec<u8>, Option<String>, Option<Vec<u8>>);
        for row in rows.rows::<Columns>().map_err(|error| self.place.odd(READ, error))? {
            let (place, facts, value) = row.map_err(|error| self.place.odd(READ, error))?;
            page.push(Found { place, facts: facts.unwrap_or_default(), value });
        }
        let last = (page.len() >= ENTRIES_PAGE).then(|| page.last().map(|found| found.place.clone()));
        Ok((page, last.flatten()))
    }

    async fn listed<T: Stored>(&self, walk: Walk<'_>) -> Result<Vec<T>, StoreError> {
        let found = self.walk(&walk).await?;
        let items = found.into_iter().filter_map(|Found { place, value, .. }| {
            let name = || format!("entry {place:02x?} of {} {}", walk.list.name(), walk.owner);
            Some(decode(&value?).map_err(|error| corrupt(name(), &error)))
        });
        items.collect()
    }

    pub(in crate::cassandra) async fn list_events(
        &self,
        query: &EventsQuery,
    ) -> Result<Vec<Event>, StoreError> {
        let (list, owner) = match (&query.device, &query.kind) {
            // Another organization's device has no events here.
            (Some(device), _) if device.organization != query.organization => return Ok(Vec::new()),
            (Some(device), _) => (List::EventsByDevice, of_device(device)),
            (None, Some(kind)) => (List::EventsByKind, of_kind(&query.organization, kind)),
            (None, None) => (List::EventsByOrganization, of_organization(&query.organization)),
        };
        let mut start = KeyBuilder::new().newest_first(query.to).build();
        let mut newest = query.to;
        if let Some((ts, key, id)) = &query.after {
            let place = KeyBuilder::new().newest_first(*ts);
            let place = match &query.device {
                Some(_) => place.id(id.as_str()),
                None => place.id(key.device.as_str()).id(id.as_str()),
            };
            start = start.max(behind(place.build()));
            newest = newest.min(*ts);
        }
        let end = match after_prefix(&KeyBuilder::new().newest_first(query.from).build()) {
            std::ops::Bound::Excluded(end) => end,
            _ => AFTER_ALL_PLACES.to_vec(),
        };
        let by_device = query.device.is_some();
        let walk = Walk {
            list,
            owner,
            start,
            end,
            buckets: (list.bucket(query.from), list.bucket(newest)),
            limit: query.limit,
            wanted: &|facts| !by_device || query.kind.as_ref().is_none_or(|kind| kind == facts),
        };
        self.listed(walk).await
    }

    pub(in crate::cassandra) async fn list_commands(
        &self,
        query: &CommandsQuery,
    ) -> Result<Vec<Command>, StoreError> {
        let mut start = query
            .after
            .map(|id| behind(KeyBuilder::new().minted_greatest_first(id.0).build()))
            .unwrap_or_default();
        let mut commands = Vec::new();
        while commands.len() < query.limit {
            let wanted = query.limit - commands.len();
            let walk = Walk {
                list: List::CommandsByDevice,
                owner: of_device(&query.device),
                start,
                end: AFTER_ALL_PLACES.to_vec(),
                buckets: (0, 0),
                limit: wanted,
                wanted: &|facts| query.state.is_none_or(|state| facts == state.as_str()),
            };
            let found = self.walk(&walk).await?;
            let (more, last) = (found.len() >= wanted, found.last().map(|found| found.place.clone()));
            let read: Vec<Option<Command>> = stream::iter(found)
                .map(async |found| match read_minted_greatest_first(&found.place) {
                    Some(id) => self.read_item(id).await,
                    None => {
                        Err(StoreError::Corrupt("an entry of a list of commands is too short".to_owned()))
                    }
                })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            // One that is listed and gone has just expired.
            commands.extend(read.into_iter().flatten());
            let (true, Some(last)) = (more, last) else { break };
            start = behind(last);
        }
        Ok(commands)
    }

    pub(in crate::cassandra) async fn list_alarms(
        &self,
        query: &AlarmsQuery,
    ) -> Result<Vec<Alarm>, StoreError> {
        let (list, owner) = match &query.device {
            Some(device) if device.organization != query.organization => return Ok(Vec::new()),
            Some(device) => (List::AlarmsByDevice, of_device(device)),
            None => (List::AlarmsByOrganization, of_organization(&query.organization)),
        };
        let after =
            query.after.map(|(at, id)| (at, KeyBuilder::new().newest_first(at).minted_greatest_first(id.0)));
        let wanted = |facts: &str| {
            let mut words = facts.split(' ');
            let (severity, kind) = (words.next(), words.next());
            query.severity.is_none_or(|wanted| severity == Some(wanted.as_str()))
                && query.kind.is_none_or(|wanted| kind == Some(wanted.as_str()))
        };
        self.listed(newest_first(list, owner, after, query.limit, &wanted)).await
    }

    pub(in crate::cassandra) async fn list_notifications(
        &self,
        query: &NotificationsQuery,
    ) -> Result<Vec<Notification>, StoreError> {
        let (list, owner) = match query.alarm {
            Some(alarm) => (List::NotificationsByAlarm, of_alarm(&query.organization, alarm)),
            None => (List::NotificationsByOrganization, of_organization(&query.organization)),
        };
        let after =
            query.after.map(|(at, id)| (at, KeyBuilder::new().newest_first(at).minted_greatest_first(id.0)));
        let wanted = |facts: &str| query.state.is_none_or(|state| facts == state.as_str());
        self.listed(newest_first(list, owner, after, query.limit, &wanted)).await
    }

    /// Writes entries, each with its lifetime in seconds and the bytes of what it is about.
    ///
    /// Those in a device's own lists first: whatever stops this on the way, they lead to the others when the device is
    /// forgotten.
    pub(super) async fn write_entries(
        &self,
        entries: Vec<(Entry, i32, &[u8])>,
        stamp: i64,
    ) -> Result<(), StoreError> {
        let (own, shared): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(entry, ..)| entry.list.is_a_devices_own());
        self.write_in_any_order(own, stamp).await?;
        self.write_in_any_order(shared, stamp).await
    }

    async fn write_in_any_order(
        &self,
        entries: Vec<(Entry, i32, &[u8])>,
        stamp: i64,
    ) -> Result<(), StoreError> {
        let mut partitions: BTreeMap<(List, String, i64), Vec<Row<'_>>> = BTreeMap::new();
        for (entry, ttl, value) in entries {
            let Entry { list, owner, bucket, place, facts } = entry;
            let value = list.holds_value().then_some(value);
            partitions.entry((list, owner, bucket)).or_default().push(Row { place, facts, value, ttl });
        }
        let written = partitions.values().map(Vec::len).sum::<usize>() as u64;
        let writes: Vec<_> = partitions
            .into_iter()
            .map(|((list, owner, bucket), rows)| self.write_bucket(list, owner, bucket, rows, stamp))
            .collect();
        stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.counters.count(|counters| &counters.rows, written);
        Ok(())
    }

    async fn write_bucket(
        &self,
        list: List,
        owner: String,
        bucket: i64,
        rows: Vec<Row<'_>>,
        stamp: i64,
    ) -> Result<(), StoreError> {
        let (known, list, owner) = (&self.history_known, list.name(), owner.as_str());
        let name = RowName::of(&[list.as_bytes(), owner.as_bytes(), &bucket.to_le_bytes()]);
        if !known.has(name) {
            let began = Instant::now();
            let values = (list, owner, bucket, ttl(known.lifetime(self.options.history_retention)));
            let stamp = Some(self.stamps.next());
            self.write(&self.control, WRITE, &self.statements.bucket_put, values, stamp).await?;
            known.add([name], began);
        }
        let rows = rows
            .into_iter()
            .map(|Row { place, facts, value, ttl }| {
                let size = place.len() + facts.len() + value.map_or(0, <[u8]>::len);
                (size, (list, owner, bucket, place, facts, value, ttl))
            })
            .collect();
        for rows in groups(rows) {
            let statement = &self.statements.entry_put;
            self.write_rows(&self.control, WRITE, statement, rows, Some(stamp)).await?;
        }
        Ok(())
    }

    /// Removes entries that were written before `stamp`.
    pub(super) async fn remove_entries(&self, entries: Vec<Entry>, stamp: i64) -> Result<(), StoreError> {
        let mut partitions: BTreeMap<(List, String, i64), Vec<Vec<u8>>> = BTreeMap::new();
        for Entry { list, owner, bucket, place, .. } in entries {
            partitions.entry((list, owner, bucket)).or_default().push(place);
        }
        stream::iter(partitions)
            .map(async |((list, owner, bucket), places)| {
                for places in places.chunks(BATCH_ROWS) {
                    let rows: Vec<_> =
                        places.iter().map(|place| (list.name(), owner.as_str(), bucket, place)).collect();
                    let statement = &self.statements.entry_delete;
                    self.write_rows(&self.control, WRITE, statement, rows, Some(stamp)).await?;
                }
                Ok::<_, StoreError>(())
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }
}

/// A row of a list to be written.
struct Row<'a> {
    place: Vec<u8>,
    facts: String,
    value: Option<&'a [u8]>,
    ttl: i32,
}

/// All of a list, the newest first, or what comes after one place.
fn newest_first<'q>(
    list: List,
    owner: String,
    after: Option<(i64, KeyBuilder)>,
    limit: usize,
    wanted: &'q (dyn Fn(&str) -> bool + Sync),
) -> Walk<'q> {
    let newest = after.as_ref().map_or(i64::MAX, |(at, _)| *at);
    let start = after.map(|(_, place)| behind(place.build())).unwrap_or_default();
    let buckets = (list.bucket(i64::MIN), list.bucket(newest));
    Walk { list, owner, start, end: AFTER_ALL_PLACES.to_vec(), buckets, limit, wanted }
}
