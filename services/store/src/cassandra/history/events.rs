//! Events: of two with one device and id the first stays.
//!
//! The first is told by a conditional insert under the id; what is there under it afterwards, this event or an earlier
//! one, is what the lists show. Its entries are written each time: an append that was stopped half-way is finished by
//! the next one.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::statement::batch::BatchStatement;
use stoker_domain::ports::store::StoreError;
use stoker_domain::{DeviceKey, Event};
use xxhash_rust::xxh3::xxh3_64;

use super::{AT_ONCE, Listed};
use crate::cassandra::CassandraStore;
use crate::cassandra::error::corrupt;
use crate::cassandra::request::{Applied, Values};
use crate::cassandra::stamps::ttl;
use crate::rows::{decode, encode};

const ACTION: &str = "write events";

/// Into how many partitions the ids of one device's events are spread. Never changed: it is where they are.
pub(super) const SHARDS: i8 = 64;

/// Events of one conditional batch: it is carried out as a whole or not at all.
const EVENTS_AT_ONCE: usize = 50;

/// Each try that is refused shows at least one event that is there already, unless another process is adding some.
const TRIES_MAX: usize = EVENTS_AT_ONCE + 8;

fn shard_of(id: &str) -> i8 {
    i8::try_from(xxh3_64(id.as_bytes()) % u64::from(SHARDS.cast_unsigned())).unwrap_or_default()
}

/// An event as it is kept, and for how many seconds more.
struct Kept {
    event: Event,
    bytes: Vec<u8>,
    ttl: i32,
}

impl CassandraStore {
    /// Writes events as appended at `stamp`, in their order.
    pub(in crate::cassandra) async fn write_events(
        &self,
        events: Vec<Event>,
        stamp: i64,
    ) -> Result<(), StoreError> {
        let mut groups: BTreeMap<(DeviceKey, i8), BTreeMap<String, Event>> = BTreeMap::new();
        for event in events {
            let group = groups.entry((event.device.clone(), shard_of(event.id.as_str()))).or_default();
            group.entry(event.id.as_str().to_owned()).or_insert(event);
        }
        let mut batches = Vec::new();
        for ((device, shard), group) in groups {
            let mut rest: Vec<Event> = group.into_values().collect();
            while !rest.is_empty() {
                let later = rest.split_off(rest.len().min(EVENTS_AT_ONCE));
                batches.push((device.clone(), shard, rest));
                rest = later;
            }
        }
        let kept: Vec<Vec<Kept>> = stream::iter(batches)
            .map(async |(device, shard, events)| self.keep(&device, shard, events).await)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let kept: Vec<Kept> = kept.into_iter().flatten().collect();
        let entries = kept
            .iter()
            .flat_map(|kept| {
                kept.event.entries().into_iter().map(|entry| (entry, kept.ttl, kept.bytes.as_slice()))
            })
            .collect();
        self.write_entries(entries, stamp).await
    }

    /// Puts events of one partition under their ids, unless these are taken; what is under them now.
    async fn keep(&self, device: &DeviceKey, shard: i8, events: Vec<Event>) -> Result<Vec<Kept>, StoreError> {
        let ttl = ttl(self.options.history_retention);
        let mut rest: BTreeMap<String, Kept> = events
            .into_iter()
            .map(|event| {
                let bytes = encode(&event);
                (event.id.as_str().to_owned(), Kept { event, bytes, ttl })
            })
            .collect();
        let mut kept = Vec::with_capacity(rest.len());
        for _ in 0..TRIES_MAX {
            if rest.is_empty() {
                return Ok(kept);
            }
            let statements = vec![BatchStatement::from(self.statements.event_put.clone()); rest.len()];
            let values: Vec<Values> = rest
                .iter()
                .map(|(id, kept)| {
                    let organization = device.organization.as_str().to_owned();
                    let name = device.device.as_str().to_owned();
                    Box::new((organization, name, shard, id.clone(), kept.bytes.clone(), ttl)) as Values
                })
                .collect();
            let turn = self.turn(&self.control).await?;
            let applied = self.conditional_batch(ACTION, statements, values, "id").await?;
            drop(turn);
            if matches!(applied, Applied::Yes) {
                self.counters.count(|counters| &counters.rows, rest.len() as u64);
                kept.extend(std::mem::take(&mut rest).into_values());
                return Ok(kept);
            }
            for (id, earlier) in self.earlier(device, shard, rest.keys()).await? {
                rest.remove(&id);
                kept.push(earlier);
            }
        }
        Err(StoreError::Overloaded(format!("too many processes write events of {device} at once")))
    }

    /// Those of the ids that are taken, with their events.
    async fn earlier(
        &self,
        device: &DeviceKey,
        shard: i8,
        ids: impl Iterator<Item = &String>,
    ) -> Result<Vec<(String, Kept)>, StoreError> {
        let ids: Vec<&String> = ids.collect();
        let values = (device.organization.as_str(), device.device.as_str(), shard, ids);
        let rows = self.read(ACTION, &self.statements.events_get, values).await?;
        let mut earlier = Vec::new();
        type Columns<'a> = (Option<String>, Option<&'a [u8]>, Option<i32>);
        for row in rows.rows::<Columns<'_>>().map_err(|error| self.place.odd(ACTION, error))? {
            let (Some(id), Some(value), left) = row.map_err(|error| self.place.odd(ACTION, error))? else {
                continue;
            };
            let event: Event =
                decode(value).map_err(|error| corrupt(format_args!("event {id} of {device}"), &error))?;
            let ttl = left.unwrap_or_else(|| ttl(self.options.history_retention)).max(1);
            earlier.push((id, Kept { event, bytes: value.to_vec(), ttl }));
        }
        Ok(earlier)
    }

    /// Frees all ids of a device's events. Ordered among the conditional inserts by the database itself.
    pub(super) async fn free_event_ids(&self, device: &DeviceKey, stamp: i64) -> Result<(), StoreError> {
        let ttl = ttl(self.options.history_retention);
        stream::iter(0..SHARDS)
            .map(async |shard| {
                let (organization, name) =
                    (device.organization.as_str().to_owned(), device.device.as_str().to_owned());
                let mark = (ttl, stamp, organization.clone(), name.clone(), shard, stamp);
                let statements = vec![
                    BatchStatement::from(self.statements.events_mark.clone()),
                    BatchStatement::from(self.statements.events_forget.clone()),
                ];
                let values: Vec<Values> = vec![Box::new(mark), Box::new((organization, name, shard))];
                let _turn = self.turn(&self.control).await?;
                let action = "free the ids of a device's events";
                // Refused only when this very call was carried out before: its stamp is there.
                self.conditional_batch(action, statements, values, "forgotten").await.map(drop)
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These numbers are where events are in clusters.
    #[test]
    fn the_shard_of_an_event_never_changes() {
        assert_eq!(["e1", "e2", "boiler-7:42"].map(shard_of), [47, 52, 63]);
    }
}
