//! The port itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::ports::store::{
    AlarmsQuery, Append, Change, ClaimOutcome, CommandsQuery, CommitOutcome, EventsQuery, NotificationsQuery,
    PointsQuery, RegistryKey, RegistryRow, SlotHead, StateRow, Store, StoreError, SwapOutcome, Version,
};
use stoker_domain::{
    Alarm, AlarmId, Command, CommandId, DeviceKey, Event, LatestValue, MemberId, MemberRow, Notification,
    Point, Slot, SlotEpoch, Subscription,
};

use super::CassandraStore;
use super::stamps::micros;

/// Items of one append under way at once.
const AT_ONCE: usize = 16;

/// What has ended, by its id: of one append the last of an id.
enum Ended {
    Command(Command),
    Alarm(Alarm),
    Notification(Notification),
}

impl CassandraStore {
    async fn write_ended(&self, item: Ended, stamp: i64) -> Result<(), StoreError> {
        match item {
            Ended::Command(item) => self.write_item(&item, stamp).await,
            Ended::Alarm(item) => self.write_item(&item, stamp).await,
            Ended::Notification(item) => self.write_item(&item, stamp).await,
        }
    }
}

#[async_trait]
impl Store for CassandraStore {
    async fn append(&self, batch: Vec<Append>) -> Result<(), StoreError> {
        // First of all: appends count in the order of their calls.
        let stamp = self.stamps.next();
        let began = Instant::now();
        let (mut readings, mut events) = (Vec::new(), Vec::new());
        let mut ended = BTreeMap::new();
        for item in batch {
            match item {
                Append::Reading(reading) => readings.push(reading),
                Append::Event(event) => events.push(event),
                Append::Command(item) => drop(ended.insert((1, item.id.0), Ended::Command(item))),
                Append::Alarm(item) => drop(ended.insert((2, item.id.0), Ended::Alarm(item))),
                Append::Notification(item) => {
                    drop(ended.insert((3, item.id.0), Ended::Notification(item)));
                }
            }
        }
        let items = stream::iter(ended.into_values())
            .map(|item| self.write_ended(item, stamp))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
        // Boxed: what the driver keeps of requests is large.
        let (readings, events, items) = tokio::join!(
            Box::pin(self.write_readings(&readings, stamp)),
            Box::pin(self.write_events(events, stamp)),
            Box::pin(items),
        );
        self.counters.append(began.elapsed());
        readings.and(events).and(items)
    }

    async fn claim(&self, slot: Slot, owner: &MemberId, seen: SlotEpoch) -> Result<ClaimOutcome, StoreError> {
        self.claim_whole(slot, owner, seen).await
    }

    async fn head(&self, slot: Slot) -> Result<SlotHead, StoreError> {
        self.slot_head(slot).await
    }

    async fn load(&self, slot: Slot) -> Result<Vec<StateRow>, StoreError> {
        self.load_slot(slot).await
    }

    async fn commit(&self, slot: Slot, epoch: SlotEpoch, changes: Vec<Change>) -> CommitOutcome {
        self.commit_slot(slot, epoch, &changes).await
    }

    async fn release(&self, slot: Slot, epoch: SlotEpoch) -> CommitOutcome {
        self.release_slot(slot, epoch).await
    }

    async fn member_put(&self, member: MemberRow) -> Result<(), StoreError> {
        self.put_member(&member).await
    }

    async fn members(&self) -> Result<Vec<MemberRow>, StoreError> {
        self.list_members().await
    }

    async fn registry_get(&self, key: &RegistryKey) -> Result<Option<(RegistryRow, Version)>, StoreError> {
        self.get_registry(key).await
    }

    async fn subscriptions(&self) -> Result<Vec<(Subscription, Version)>, StoreError> {
        self.list_subscriptions().await
    }

    async fn registry_put(
        &self,
        row: RegistryRow,
        expected: Option<Version>,
    ) -> Result<SwapOutcome, StoreError> {
        self.put_registry(&row, expected).await
    }

    async fn registry_delete(&self, key: &RegistryKey, expected: Version) -> Result<SwapOutcome, StoreError> {
        self.delete_registry(key, expected).await
    }

    async fn points(&self, query: PointsQuery) -> Result<Vec<Point>, StoreError> {
        self.read_points(&query).await
    }

    async fn latest(
        &self,
        device: &DeviceKey,
        keys: Option<Vec<String>>,
    ) -> Result<BTreeMap<Arc<str>, LatestValue>, StoreError> {
        self.read_latest(device, keys.as_deref()).await
    }

    async fn events(&self, query: EventsQuery) -> Result<Vec<Event>, StoreError> {
        self.list_events(&query).await
    }

    async fn ended_commands(&self, query: CommandsQuery) -> Result<Vec<Command>, StoreError> {
        self.list_commands(&query).await
    }

    async fn ended_command(&self, id: CommandId) -> Result<Option<Command>, StoreError> {
        self.read_item(id.0).await
    }

    async fn ended_alarms(&self, query: AlarmsQuery) -> Result<Vec<Alarm>, StoreError> {
        self.list_alarms(&query).await
    }

    async fn ended_alarm(&self, id: AlarmId) -> Result<Option<Alarm>, StoreError> {
        self.read_item(id.0).await
    }

    async fn ended_notifications(&self, query: NotificationsQuery) -> Result<Vec<Notification>, StoreError> {
        self.list_notifications(&query).await
    }

    async fn forget_device(&self, device: &DeviceKey) -> Result<(), StoreError> {
        let began = Instant::now();
        let skew = self.options.clock_skew;
        // Later than what any process has written so far, whatever its clock says ...
        let stamp = self.stamps.next().saturating_add(micros(skew));
        Box::pin(self.forget_telemetry(device, stamp)).await?;
        Box::pin(self.forget_history(device, stamp)).await?;
        // ... and earlier than what any process writes once this has returned.
        tokio::time::sleep((skew * 2).saturating_sub(began.elapsed())).await;
        Ok(())
    }
}
