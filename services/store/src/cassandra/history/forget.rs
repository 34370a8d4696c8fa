//! Forgetting a device's history: its own lists lead to everything else, and go last.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::ports::store::{Order, StoreError};
use stoker_domain::{Alarm, Command, DeviceKey, Event, MintedId, Notification};

use super::lists::Found;
use super::{AFTER_ALL_PLACES, AT_ONCE, Entry, Item, List, Listed, id_bytes, of_device};
use crate::cassandra::CassandraStore;
use crate::keys::{MINTED_LENGTH, read_minted_greatest_first};
use crate::rows::decode;

const BUCKETS_PAGE: i32 = 400;

/// The id at the end of a place.
fn id_of(found: &Found) -> Option<MintedId> {
    read_minted_greatest_first(found.place.last_chunk::<MINTED_LENGTH>()?)
}

impl CassandraStore {
    /// Removes all that was written before `stamp`.
    pub(in crate::cassandra) async fn forget_history(
        &self,
        device: &DeviceKey,
        stamp: i64,
    ) -> Result<(), StoreError> {
        self.forget_list(device, List::EventsByDevice, stamp).await?;
        self.free_event_ids(device, stamp).await?;
        self.forget_list(device, List::CommandsByDevice, stamp).await?;
        self.forget_list(device, List::AlarmsByDevice, stamp).await?;
        self.forget_list(device, List::NotificationsByDevice, stamp).await
    }

    /// Goes through one list of the device and takes away what its entries stand for, then the entries.
    async fn forget_list(&self, device: &DeviceKey, list: List, stamp: i64) -> Result<(), StoreError> {
        let (owner, mut high) = (of_device(device), i64::MAX);
        loop {
            let order = Order::Descending;
            let buckets = self.buckets(list.name(), &owner, i64::MIN, high, order, BUCKETS_PAGE).await?;
            let Some(next) = buckets.last().and_then(|last| last.checked_sub(1)) else { return Ok(()) };
            for bucket in buckets {
                let mut start = Vec::new();
                loop {
                    let range = (start.as_slice(), AFTER_ALL_PLACES.as_slice());
                    let (found, last) = self.page(list, &owner, bucket, range).await?;
                    match list {
                        List::CommandsByDevice => self.forget_items::<Command>(device, &found, stamp).await?,
                        List::AlarmsByDevice => self.forget_items::<Alarm>(device, &found, stamp).await?,
                        List::NotificationsByDevice => {
                            self.forget_items::<Notification>(device, &found, stamp).await?;
                        }
                        _ => self.forget_events(&found, stamp).await?,
                    }
                    let own = found.into_iter().map(|found| {
                        let (owner, place) = (owner.clone(), found.place);
                        Entry { list, owner, bucket, place, facts: String::new() }
                    });
                    self.remove_entries(own.collect(), stamp).await?;
                    let Some(mut last) = last else { break };
                    last.push(0);
                    start = last;
                }
            }
            high = next;
        }
    }

    /// Removes the entries of events from lists that are not the device's own. An event that cannot be read stays in
    /// them, where it cannot be read either.
    async fn forget_events(&self, found: &[Found], stamp: i64) -> Result<(), StoreError> {
        let events = found.iter().filter_map(|found| decode::<Event>(found.value.as_ref()?).ok());
        let entries = events.flat_map(|event| event.entries()).filter(is_shared).collect();
        self.remove_entries(entries, stamp).await
    }

    /// Removes items and their entries in lists that are not the device's own.
    async fn forget_items<T: Item>(
        &self,
        device: &DeviceKey,
        found: &[Found],
        stamp: i64,
    ) -> Result<(), StoreError> {
        let all: Vec<_> = found.iter().map(|found| self.forget_item::<T>(device, found, stamp)).collect();
        stream::iter(all).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    async fn forget_item<T: Item>(
        &self,
        device: &DeviceKey,
        found: &Found,
        stamp: i64,
    ) -> Result<(), StoreError> {
        let Some(id) = id_of(found) else { return Ok(()) };
        let item = match self.read_item::<T>(id).await {
            Ok(item) => item,
            Err(StoreError::Corrupt(why)) => {
                tracing::warn!(why, "a row that cannot be read is forgotten without some of its entries");
                None
            }
            Err(error) => return Err(error),
        };
        // The entries first: they are found through the item. They are there without it while it is being written.
        let entries = item.map_or_else(|| T::entries_told_by(device, found), |item| item.entries());
        self.remove_entries(entries.into_iter().filter(is_shared).collect(), stamp).await?;
        let (statement, values) = (&self.statements.item_delete, (T::NAME, id_bytes(id)));
        self.write(&self.control, "forget an item of history", statement, values, Some(stamp)).await
    }
}

/// True for entries in lists that are not the device's own.
fn is_shared(entry: &Entry) -> bool {
    !entry.list.is_a_devices_own()
}
