//! Events and what has ended: rows by id, lists by index, and the order of storing that retention goes by.

use std::collections::HashMap;

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use stoker_domain::{Alarm, Command, Event, Millis, Notification};

use super::error::{Named, Trouble};
use super::stats::Tally;
use super::tables::{self, Bytes, Writable};
use crate::keys::KeyBuilder;
use crate::rows::{Stored, decode, encode};

/// Tables of one write transaction, opened when they are first needed.
pub(super) struct Tables<'txn> {
    txn: &'txn WriteTransaction,
    open: HashMap<String, Writable<'txn>>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn new(txn: &'txn WriteTransaction) -> Self {
        Self { txn, open: HashMap::new() }
    }

    pub(super) fn get(
        &mut self,
        definition: TableDefinition<'static, Bytes, Bytes>,
    ) -> Result<&mut Writable<'txn>, Trouble> {
        use redb::TableHandle;
        let name = definition.name();
        // Two look-ups in place of one entry: the name is copied only the first time.
        if !self.open.contains_key(name) {
            self.open.insert(name.to_owned(), self.txn.open_table(definition)?);
        }
        self.open.get_mut(name).ok_or_else(|| Trouble::corrupt(name, "the table is not there"))
    }
}

type Definition = TableDefinition<'static, Bytes, Bytes>;

/// An entry of an index: table, key, value.
type IndexEntry = (Definition, Vec<u8>, Vec<u8>);

/// Something kept by id, with indexes.
pub(super) trait Historic: Stored {
    /// The table of its rows.
    const ROWS: Definition;
    /// Its number in `stored`; never given another meaning.
    const TAG: u8;
    /// Whether a later append of the same id changes anything.
    const REPLACES: bool;
    /// Its key among the rows.
    fn row_key(&self) -> Vec<u8>;
    /// Its entries in indexes.
    fn index_entries(&self) -> Vec<IndexEntry>;
}

impl Historic for Event {
    const ROWS: Definition = tables::EVENTS;
    const TAG: u8 = 1;
    const REPLACES: bool = false;

    fn row_key(&self) -> Vec<u8> {
        KeyBuilder::of_device(&self.device).id(self.id.as_str()).build()
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        let device = self.device.device.as_str();
        let organization = KeyBuilder::of_organization(&self.device.organization);
        let by_time = organization.clone().newest_first(self.ts).id(device).id(self.id.as_str());
        let by_kind = organization.text(&self.kind.0).newest_first(self.ts).id(device).id(self.id.as_str());
        let by_device = KeyBuilder::of_device(&self.device).newest_first(self.ts).id(self.id.as_str());
        vec![
            (tables::EVENTS_BY_TIME, by_time.build(), Vec::new()),
            (tables::EVENTS_BY_KIND, by_kind.build(), Vec::new()),
            (tables::EVENTS_BY_DEVICE, by_device.build(), self.kind.0.clone().into_bytes()),
        ]
    }
}

impl Historic for Command {
    const ROWS: Definition = tables::COMMANDS;
    const TAG: u8 = 2;
    const REPLACES: bool = true;

    fn row_key(&self) -> Vec<u8> {
        KeyBuilder::new().minted(self.id.0).build()
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        let by_device = KeyBuilder::of_device(&self.device).minted_greatest_first(self.id.0);
        vec![(tables::COMMANDS_BY_DEVICE, by_device.build(), self.state.as_str().as_bytes().to_vec())]
    }
}

/// What the indexes of alarms hold, so that a filter needs no row: severity and kind, as words.
pub(super) fn alarm_facts(severity: &str, kind: &str) -> Vec<u8> {
    format!("{severity} {kind}").into_bytes()
}

impl Historic for Alarm {
    const ROWS: Definition = tables::ALARMS;
    const TAG: u8 = 3;
    const REPLACES: bool = true;

    fn row_key(&self) -> Vec<u8> {
        KeyBuilder::new().minted(self.id.0).build()
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        let place =
            |key: KeyBuilder| key.newest_first(self.raised_at).minted_greatest_first(self.id.0).build();
        let facts = alarm_facts(self.severity.as_str(), self.kind.as_str());
        vec![
            (
                tables::ALARMS_BY_TIME,
                place(KeyBuilder::of_organization(&self.device.organization)),
                facts.clone(),
            ),
            (tables::ALARMS_BY_DEVICE, place(KeyBuilder::of_device(&self.device)), facts),
        ]
    }
}

impl Historic for Notification {
    const ROWS: Definition = tables::NOTIFICATIONS;
    const TAG: u8 = 4;
    const REPLACES: bool = true;

    fn row_key(&self) -> Vec<u8> {
        KeyBuilder::new().minted(self.id.0).build()
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        let place =
            |key: KeyBuilder| key.newest_first(self.created_at).minted_greatest_first(self.id.0).build();
        let organization = KeyBuilder::of_organization(&self.device.organization);
        let state = self.state.as_str().as_bytes().to_vec();
        vec![
            (tables::NOTIFICATIONS_BY_TIME, place(organization.clone()), state.clone()),
            (tables::NOTIFICATIONS_BY_ALARM, place(organization.minted(self.alarm.0)), state),
            (
                tables::NOTIFICATIONS_BY_DEVICE,
                KeyBuilder::of_device(&self.device).minted(self.id.0).build(),
                Vec::new(),
            ),
        ]
    }
}

/// A row as it is kept: the time of storing, then the row.
pub(super) fn split_row(bytes: &[u8]) -> Option<(Millis, &[u8])> {
    let (stored_at, row) = bytes.split_first_chunk::<8>()?;
    Some((Millis::from_be_bytes(*stored_at), row))
}

/// The row out of what is kept.
pub(super) fn read_row<T: Stored>(bytes: &[u8]) -> Result<(Millis, T), crate::rows::RowError> {
    let Some((stored_at, row)) = split_row(bytes) else {
        return Err(crate::rows::RowError { row: T::KIND, why: "bytes end too early".to_owned() });
    };
    Ok((stored_at, decode(row)?))
}

fn stored_key(stored_at: Millis, tag: u8, row_key: &[u8]) -> Vec<u8> {
    KeyBuilder::new().oldest_first(stored_at).bytes(&[tag]).bytes(row_key).build()
}

/// Writes one item of history as stored at `now`.
pub(super) fn put<T: Historic>(
    tables: &mut Tables<'_>,
    item: &T,
    now: Millis,
    tally: &mut Tally,
) -> Result<(), Trouble> {
    let key = item.row_key();
    let known = match tables.get(T::ROWS)?.get(key.as_slice())? {
        Some(_) if !T::REPLACES => return Ok(()),
        Some(bytes) => Some(read_row::<T>(bytes.value()).named(|| format!("{} {key:02x?}", T::KIND))?),
        None => None,
    };
    if let Some((stored_at, known)) = known {
        remove_entries(tables, &known, stored_at, &key)?;
    }
    let mut row = now.to_be_bytes().to_vec();
    row.extend_from_slice(&encode(item));
    tally.rows += 1;
    tally.bytes += (key.len() + row.len()) as u64;
    tables.get(T::ROWS)?.insert(key.as_slice(), row.as_slice())?;
    for (index, key, value) in item.index_entries() {
        tables.get(index)?.insert(key.as_slice(), value.as_slice())?;
    }
    tables.get(tables::STORED)?.insert(stored_key(now, T::TAG, &key).as_slice(), [].as_slice())?;
    Ok(())
}

fn remove_entries<T: Historic>(
    tables: &mut Tables<'_>,
    item: &T,
    stored_at: Millis,
    key: &[u8],
) -> Result<(), Trouble> {
    for (index, key, _) in item.index_entries() {
        tables.get(index)?.remove(key.as_slice())?;
    }
    tables.get(tables::STORED)?.remove(stored_key(stored_at, T::TAG, key).as_slice())?;
    Ok(())
}

/// Removes one item of history. One that cannot be read goes without its entries in lists, which lists skip.
pub(super) fn remove<T: Historic>(tables: &mut Tables<'_>, key: &[u8]) -> Result<(), Trouble> {
    let Some(bytes) = tables.get(T::ROWS)?.remove(key)?.map(|bytes| bytes.value().to_vec()) else {
        return Ok(());
    };
    match read_row::<T>(&bytes) {
        Ok((stored_at, item)) => remove_entries(tables, &item, stored_at, key),
        Err(error) => {
            tracing::warn!(%error, ?key, "removed a row that cannot be read");
            if let Some((stored_at, _)) = split_row(&bytes) {
                tables.get(tables::STORED)?.remove(stored_key(stored_at, T::TAG, key).as_slice())?;
            }
            Ok(())
        }
    }
}
