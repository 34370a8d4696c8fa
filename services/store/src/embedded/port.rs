//! The port itself: requests to the writer, reads from snapshots.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use stoker_domain::ports::store::{
    AlarmsQuery, Append, Change, ClaimOutcome, CommandsQuery, CommitOutcome, EventsQuery, NotificationsQuery,
    PointsQuery, RegistryKey, RegistryRow, SlotHead, StateRow, Store, StoreError, SwapOutcome, Version,
};
use stoker_domain::{
    Alarm, AlarmId, Command, CommandId, DeviceKey, Event, LatestValue, MemberId, MemberRow, Notification,
    Point, Slot, SlotEpoch, Subscription,
};
use tokio::sync::oneshot;

use super::EmbeddedStore;
use super::error::{Named, Trouble};
use super::list;
use super::queue::{Chore, LaneName, Work};
use super::state::{read_head, split_version};
use super::tables;
use super::telemetry::{read_latest_of, read_points};
use crate::keys::{KeyBuilder, REGISTRY_SUBSCRIPTION, after_prefix, registry_key, state_key};
use crate::rows::{StateKind, decode, decode_state, encode, encode_state};

impl EmbeddedStore {
    async fn write<T>(
        &self,
        lane: LaneName,
        bytes: usize,
        work: impl FnOnce(oneshot::Sender<T>) -> Work,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(lane, bytes, work(reply)).await.inspect_err(|error| {
            if matches!(error, StoreError::Overloaded(_)) {
                self.counters.overload();
            }
        })?;
        self.answer(answer).await
    }

    async fn swap(
        &self,
        key: &RegistryKey,
        row: Option<&RegistryRow>,
        expected: Option<Version>,
    ) -> Result<SwapOutcome, StoreError> {
        let (key, row) = (registry_key(key), row.map(encode));
        let bytes = key.len() + row.as_ref().map_or(0, Vec::len);
        self.write(LaneName::Control, bytes, |reply| Work::Swap { key, row, expected, reply }).await?
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn append(&self, batch: Vec<Append>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let bytes = batch.iter().map(Append::weight).sum();
        let bulk = batch.iter().any(|item| matches!(item, Append::Reading(_)));
        let lane = if bulk { LaneName::Bulk } else { LaneName::Control };
        self.write(lane, bytes, |reply| Work::Append { batch, reply }).await?
    }

    async fn claim(&self, slot: Slot, owner: &MemberId, seen: SlotEpoch) -> Result<ClaimOutcome, StoreError> {
        let owner = owner.clone();
        self.write(LaneName::Control, 128, |reply| Work::Claim { slot, owner, seen, reply }).await?
    }

    async fn head(&self, slot: Slot) -> Result<SlotHead, StoreError> {
        self.look_up(move |txn| read_head(&txn.open_table(tables::SLOTS)?, slot)).await
    }

    async fn load(&self, slot: Slot) -> Result<Vec<StateRow>, StoreError> {
        self.look_up(move |txn| {
            let (table, prefix) = (txn.open_table(tables::STATE)?, [slot.0]);
            let end = after_prefix(&prefix);
            let range = (Bound::Included(prefix.as_slice()), end.as_ref().map(Vec::as_slice));
            let mut rows = Vec::new();
            for entry in table.range::<&[u8]>(range)? {
                let (key, bytes) = entry?;
                let key = key.value();
                let name = || format!("state row {key:02x?} of slot {slot}");
                let kind = key.get(1).copied().and_then(StateKind::from_number);
                let kind = kind.ok_or_else(|| Trouble::corrupt(name(), "of an unknown kind"))?;
                let row = decode_state(kind, bytes.value()).named(name)?;
                if state_key(slot, &row.key()) != key {
                    return Err(Trouble::corrupt(name(), "holds another row"));
                }
                rows.push(row);
            }
            Ok(rows)
        })
        .await
    }

    async fn commit(&self, slot: Slot, epoch: SlotEpoch, changes: Vec<Change>) -> CommitOutcome {
        let changes: Vec<(Vec<u8>, Option<Vec<u8>>)> = changes
            .iter()
            .map(|change| {
                let row = match change {
                    Change::Put(row) => Some(encode_state(row)),
                    Change::Delete(_) => None,
                };
                (state_key(slot, &change.key()), row)
            })
            .collect();
        let bytes = changes.iter().map(|(key, row)| 64 + key.len() + row.as_ref().map_or(0, Vec::len)).sum();
        // A failed store has no better word here: the owner has to read before it goes on.
        self.write(LaneName::Control, bytes, |reply| Work::Commit { slot, epoch, changes, reply })
            .await
            .unwrap_or(CommitOutcome::Unknown)
    }

    async fn release(&self, slot: Slot, epoch: SlotEpoch) -> CommitOutcome {
        self.write(LaneName::Control, 64, |reply| Work::Release { slot, epoch, reply })
            .await
            .unwrap_or(CommitOutcome::Unknown)
    }

    async fn member_put(&self, member: MemberRow) -> Result<(), StoreError> {
        if !self.healthy() {
            return Err(self.gone());
        }
        self.members.put(member, self.now())
    }

    async fn members(&self) -> Result<Vec<MemberRow>, StoreError> {
        if !self.healthy() {
            return Err(self.gone());
        }
        Ok(self.members.list(self.now()))
    }

    async fn registry_get(&self, key: &RegistryKey) -> Result<Option<(RegistryRow, Version)>, StoreError> {
        let key = key.clone();
        self.look_up(move |txn| {
            let bytes = registry_key(&key);
            match txn.open_table(tables::REGISTRY)?.get(bytes.as_slice())? {
                None => Ok(None),
                Some(value) => read_registry(&bytes, value.value()).map(Some),
            }
        })
        .await
    }

    async fn subscriptions(&self) -> Result<Vec<(Subscription, Version)>, StoreError> {
        self.look_up(move |txn| {
            let (table, prefix) = (txn.open_table(tables::REGISTRY)?, [REGISTRY_SUBSCRIPTION]);
            let end = after_prefix(&prefix);
            let range = (Bound::Included(prefix.as_slice()), end.as_ref().map(Vec::as_slice));
            let mut subscriptions = Vec::new();
            for entry in table.range::<&[u8]>(range)? {
                let (key, value) = entry?;
                match read_registry(key.value(), value.value())? {
                    (RegistryRow::Subscription(row), version) => subscriptions.push((row, version)),
                    _ => return Err(Trouble::corrupt("registry", "a subscription's row holds another row")),
                }
            }
            Ok(subscriptions)
        })
        .await
    }

    async fn registry_put(
        &self,
        row: RegistryRow,
        expected: Option<Version>,
    ) -> Result<SwapOutcome, StoreError> {
        self.swap(&row.key(), Some(&row), expected).await
    }

    async fn registry_delete(&self, key: &RegistryKey, expected: Version) -> Result<SwapOutcome, StoreError> {
        self.swap(key, None, Some(expected)).await
    }

    async fn points(&self, query: PointsQuery) -> Result<Vec<Point>, StoreError> {
        self.list(move |txn| read_points(txn, &query)).await
    }

    async fn latest(
        &self,
        device: &DeviceKey,
        keys: Option<Vec<String>>,
    ) -> Result<BTreeMap<Arc<str>, LatestValue>, StoreError> {
        let device = device.clone();
        self.look_up(move |txn| read_latest_of(txn, &device, keys.as_deref())).await
    }

    async fn events(&self, query: EventsQuery) -> Result<Vec<Event>, StoreError> {
        self.list(move |txn| list::events(txn, &query)).await
    }

    async fn ended_commands(&self, query: CommandsQuery) -> Result<Vec<Command>, StoreError> {
        self.list(move |txn| list::commands(txn, &query)).await
    }

    async fn ended_command(&self, id: CommandId) -> Result<Option<Command>, StoreError> {
        self.look_up(move |txn| list::read_one(txn, &KeyBuilder::new().minted(id.0).build())).await
    }

    async fn ended_alarms(&self, query: AlarmsQuery) -> Result<Vec<Alarm>, StoreError> {
        self.list(move |txn| list::alarms(txn, &query)).await
    }

    async fn ended_alarm(&self, id: AlarmId) -> Result<Option<Alarm>, StoreError> {
        self.look_up(move |txn| list::read_one(txn, &KeyBuilder::new().minted(id.0).build())).await
    }

    async fn ended_notifications(&self, query: NotificationsQuery) -> Result<Vec<Notification>, StoreError> {
        self.list(move |txn| list::notifications(txn, &query)).await
    }

    async fn forget_device(&self, device: &DeviceKey) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push_chore(Chore::Forget { device: device.clone(), reply })?;
        self.answer(answer).await?
    }
}

fn read_registry(key: &[u8], value: &[u8]) -> Result<(RegistryRow, Version), Trouble> {
    let name = || format!("registry row {key:02x?}");
    let (version, row) =
        split_version(value).ok_or_else(|| Trouble::corrupt(name(), "bytes end too early"))?;
    let row: RegistryRow = decode(row).named(name)?;
    if registry_key(&row.key()) != key {
        return Err(Trouble::corrupt(name(), "holds another row"));
    }
    Ok((row, version))
}
