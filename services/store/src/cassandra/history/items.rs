//! Commands, alarms and notifications that have ended, by id.

use stoker_domain::MintedId;
use stoker_domain::ports::store::StoreError;

use super::{Entry, Item, id_bytes};
use crate::cassandra::CassandraStore;
use crate::cassandra::error::corrupt;
use crate::cassandra::stamps::ttl;
use crate::rows::{decode, encode};

impl CassandraStore {
    /// One by its id.
    pub(in crate::cassandra) async fn read_item<T: Item>(
        &self,
        id: MintedId,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.read_item_and_stamp(id).await?.map(|(item, _)| item))
    }

    /// One by its id, and the stamp of its append.
    async fn read_item_and_stamp<T: Item>(&self, id: MintedId) -> Result<Option<(T, i64)>, StoreError> {
        const ACTION: &str = "read one item of history";
        let key = id_bytes(id);
        let rows = self.read(ACTION, &self.statements.item_get, (T::NAME, &key)).await?;
        let row = rows.maybe_first_row::<(Option<&[u8]>, Option<i64>)>();
        let Some((Some(value), stamp)) = row.map_err(|error| self.place.odd(ACTION, error))? else {
            return Ok(None);
        };
        let item = decode(value).map_err(|error| corrupt(format_args!("{} {key:02x?}", T::NAME), &error))?;
        Ok(Some((item, stamp.unwrap_or(i64::MIN))))
    }

    /// Writes one as appended at `stamp`; it takes the place of the one with the same id.
    ///
    /// First go the entries that no longer hold, then come the new ones, last the item itself: whatever stops this on
    /// the way, the next try finds the old one and does it all again. What is there may come from a process whose clock
    /// is ahead: the new one is later than that in any case.
    pub(in crate::cassandra) async fn write_item<T: Item>(
        &self,
        item: &T,
        stamp: i64,
    ) -> Result<(), StoreError> {
        const ACTION: &str = "write one item of history";
        let entries = item.entries();
        let mut stamp = stamp;
        if let Some((old, written)) = self.read_item_and_stamp::<T>(item.id()).await? {
            stamp = stamp.max(written.saturating_add(1));
            let stale: Vec<Entry> = old
                .entries()
                .into_iter()
                .filter(|old| !entries.iter().any(|entry| entry.same_place(old)))
                .collect();
            self.remove_entries(stale, stamp).await?;
        }
        let (bytes, ttl) = (encode(item), ttl(self.options.history_retention));
        let entries = entries.into_iter().map(|entry| (entry, ttl, bytes.as_slice())).collect();
        self.write_entries(entries, stamp).await?;
        let values = (T::NAME, id_bytes(item.id()), &bytes, ttl);
        self.write(&self.control, ACTION, &self.statements.item_put, values, Some(stamp)).await?;
        self.counters.count(|counters| &counters.rows, 1);
        Ok(())
    }
}
