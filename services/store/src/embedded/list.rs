//! Lists of history: an index in the order of the list, and the rows it points to.

use std::ops::Bound;

use redb::{ReadTransaction, TableDefinition};
use stoker_domain::ports::store::{AlarmsQuery, CommandsQuery, EventsQuery, NotificationsQuery};
use stoker_domain::{Alarm, Command, Event, Notification};

use super::error::{Named, Trouble};
use super::history::{Historic, read_row};
use super::tables::{self, Bytes};
use crate::keys::{KeyBuilder, MINTED_LENGTH, after_prefix, read_minted_greatest_first};

/// One item by its key.
pub(super) fn read_one<T: Historic>(txn: &ReadTransaction, key: &[u8]) -> Result<Option<T>, Trouble> {
    let Some(bytes) = txn.open_table(T::ROWS)?.get(key)? else { return Ok(None) };
    read_row(bytes.value()).named(|| format!("{} {key:02x?}", T::KIND)).map(|(_, item)| Some(item))
}

/// Walks an index and reads the rows it points to.
struct Walk<'q> {
    index: TableDefinition<'static, Bytes, Bytes>,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    limit: usize,
    /// Whether an entry with that value is wanted.
    wanted: &'q dyn Fn(&[u8]) -> bool,
    /// The key of the row that an entry points to.
    row_key: &'q dyn Fn(&[u8]) -> Option<Vec<u8>>,
}

impl Walk<'_> {
    fn run<T: Historic>(self, txn: &ReadTransaction) -> Result<Vec<T>, Trouble> {
        let mut items = Vec::new();
        if let (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end)) =
            (&self.start, &self.end)
            && start >= end
        {
            return Ok(items);
        }
        let (index, rows) = (txn.open_table(self.index)?, txn.open_table(T::ROWS)?);
        let range = (self.start.as_ref().map(Vec::as_slice), self.end.as_ref().map(Vec::as_slice));
        for entry in index.range::<&[u8]>(range)? {
            if items.len() >= self.limit {
                break;
            }
            let (key, value) = entry?;
            if !(self.wanted)(value.value()) {
                continue;
            }
            let row_key = (self.row_key)(key.value())
                .ok_or_else(|| Trouble::corrupt(T::KIND, "an entry of a list is too short"))?;
            // Both tables are of one snapshot, so a missing row is one that retention could not read.
            if let Some(bytes) = rows.get(row_key.as_slice())? {
                let (_, item) = read_row(bytes.value()).named(|| format!("{} {row_key:02x?}", T::KIND))?;
                items.push(item);
            }
        }
        Ok(items)
    }
}

/// Events: newest first, then by device and id.
pub(super) fn events(txn: &ReadTransaction, query: &EventsQuery) -> Result<Vec<Event>, Trouble> {
    let organization = KeyBuilder::of_organization(&query.organization);
    let (index, prefix, row_prefix) = match (&query.device, &query.kind) {
        // Another organization's device has no events here.
        (Some(device), _) if device.organization != query.organization => return Ok(Vec::new()),
        (Some(device), _) => {
            let prefix = KeyBuilder::of_device(device);
            (tables::EVENTS_BY_DEVICE, prefix.clone(), prefix)
        }
        (None, Some(kind)) => (tables::EVENTS_BY_KIND, organization.clone().text(kind), organization),
        (None, None) => (tables::EVENTS_BY_TIME, organization.clone(), organization),
    };
    let first = prefix.clone().newest_first(query.to).build();
    let start = match &query.after {
        Some((ts, key, id)) => {
            let place = prefix.clone().newest_first(*ts);
            let place = match &query.device {
                Some(_) => place.id(id.as_str()),
                None => place.id(key.device.as_str()).id(id.as_str()),
            };
            let place = place.build();
            if place < first { Bound::Included(first) } else { Bound::Excluded(place) }
        }
        None => Bound::Included(first),
    };
    let end = after_prefix(&prefix.clone().newest_first(query.from).build());
    let (prefix, row_prefix) = (prefix.build(), row_prefix.build());
    let by_device = query.device.is_some();
    Walk {
        index,
        start,
        end,
        limit: query.limit,
        wanted: &|value| match &query.kind {
            Some(kind) if by_device => value == kind.as_bytes(),
            _ => true,
        },
        row_key: &|entry| Some([&row_prefix, entry.get(prefix.len() + 8..)?].concat()),
    }
    .run(txn)
}

/// The key of a row whose id stands at the end of an entry, the greatest first.
fn minted_row_key(entry: &[u8]) -> Option<Vec<u8>> {
    let id = read_minted_greatest_first(entry.last_chunk::<MINTED_LENGTH>()?)?;
    Some(KeyBuilder::new().minted(id).build())
}

fn after_or_from(place: Option<KeyBuilder>, prefix: &[u8]) -> Bound<Vec<u8>> {
    place.map_or_else(|| Bound::Included(prefix.to_vec()), |place| Bound::Excluded(place.build()))
}

/// Ended commands of one device: greatest id first.
pub(super) fn commands(txn: &ReadTransaction, query: &CommandsQuery) -> Result<Vec<Command>, Trouble> {
    let device = KeyBuilder::of_device(&query.device);
    let place = query.after.map(|id| device.clone().minted_greatest_first(id.0));
    let prefix = device.build();
    Walk {
        index: tables::COMMANDS_BY_DEVICE,
        start: after_or_from(place, &prefix),
        end: after_prefix(&prefix),
        limit: query.limit,
        wanted: &|value| query.state.is_none_or(|state| value == state.as_str().as_bytes()),
        row_key: &minted_row_key,
    }
    .run(txn)
}

/// Cleared alarms: newest raised first, then greatest id first.
pub(super) fn alarms(txn: &ReadTransaction, query: &AlarmsQuery) -> Result<Vec<Alarm>, Trouble> {
    let (index, prefix) = match &query.device {
        Some(device) if device.organization != query.organization => return Ok(Vec::new()),
        Some(device) => (tables::ALARMS_BY_DEVICE, KeyBuilder::of_device(device)),
        None => (tables::ALARMS_BY_TIME, KeyBuilder::of_organization(&query.organization)),
    };
    let place = query.after.map(|(at, id)| prefix.clone().newest_first(at).minted_greatest_first(id.0));
    let prefix = prefix.build();
    Walk {
        index,
        start: after_or_from(place, &prefix),
        end: after_prefix(&prefix),
        limit: query.limit,
        wanted: &|value| {
            let mut words = value.split(|byte| *byte == b' ');
            let (severity, kind) = (words.next(), words.next());
            query.severity.is_none_or(|wanted| severity == Some(wanted.as_str().as_bytes()))
                && query.kind.is_none_or(|wanted| kind == Some(wanted.as_str().as_bytes()))
        },
        row_key: &minted_row_key,
    }
    .run(txn)
}

/// Ended notifications: newest made first, then greatest id first.
pub(super) fn notifications(
    txn: &ReadTransaction,
    query: &NotificationsQuery,
) -> Result<Vec<Notification>, Trouble> {
    let organization = KeyBuilder::of_organization(&query.organization);
    let (index, prefix) = match query.alarm {
        Some(alarm) => (tables::NOTIFICATIONS_BY_ALARM, organization.minted(alarm.0)),
        None => (tables::NOTIFICATIONS_BY_TIME, organization),
    };
    let place = query.after.map(|(at, id)| prefix.clone().newest_first(at).minted_greatest_first(id.0));
    let prefix = prefix.build();
    Walk {
        index,
        start: after_or_from(place, &prefix),
        end: after_prefix(&prefix),
        limit: query.limit,
        wanted: &|value| query.state.is_none_or(|state| value == state.as_str().as_bytes()),
        row_key: &minted_row_key,
    }
    .run(txn)
}
