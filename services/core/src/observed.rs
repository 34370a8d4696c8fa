//! The store and the bus as a core uses them: what takes time is measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use stoker_domain::model::{
    Alarm, AlarmId, Command, CommandId, DeviceKey, Event, LatestValue, MemberId, MemberRow, Notification,
    NotificationWork, Point, Slot, SlotEpoch, Subscription,
};
use stoker_domain::ports::bus::{
    Activity, Bus, BusError, FeedConsumer, GatewayConsumer, ToGateway, WorkConsumer,
};
use stoker_domain::ports::store::{
    AlarmsQuery, Append, Change, ClaimOutcome, CommandsQuery, CommitOutcome, EventsQuery, NotificationsQuery,
    PointsQuery, RegistryKey, RegistryRow, SlotHead, StateRow, Store, StoreError, SwapOutcome, Version,
};
use stoker_telemetry::Clock;
use stoker_telemetry::trace::Remote;
use tracing::{Instrument, Span};

use crate::stats::{CoreStats, micros};

/// A store whose writes are measured.
pub(crate) struct ObservedStore {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) stats: Arc<CoreStats>,
}

/// Hands a call on as it is.
macro_rules! pass {
    ($($name:ident($($value:ident: $of:ty),*) -> $result:ty;)+) => {
        #[async_trait]
        impl Store for ObservedStore {
            async fn append(&self, batch: Vec<Append>) -> Result<(), StoreError> {
                self.observed_append(batch).await
            }

            async fn commit(&self, slot: Slot, epoch: SlotEpoch, changes: Vec<Change>) -> CommitOutcome {
                self.observed_commit(slot, epoch, changes).await
            }

            $(async fn $name(&self, $($value: $of),*) -> $result {
                self.store.$name($($value),*).await
            })+
        }
    };
}

pass! {
    claim(slot: Slot, owner: &MemberId, seen: SlotEpoch) -> Result<ClaimOutcome, StoreError>;
    head(slot: Slot) -> Result<SlotHead, StoreError>;
    load(slot: Slot) -> Result<Vec<StateRow>, StoreError>;
    release(slot: Slot, epoch: SlotEpoch) -> CommitOutcome;
    member_put(member: MemberRow) -> Result<(), StoreError>;
    members() -> Result<Vec<MemberRow>, StoreError>;
    registry_get(key: &RegistryKey) -> Result<Option<(RegistryRow, Version)>, StoreError>;
    subscriptions() -> Result<Vec<(Subscription, Version)>, StoreError>;
    registry_put(row: RegistryRow, expected: Option<Version>) -> Result<SwapOutcome, StoreError>;
    registry_delete(key: &RegistryKey, expected: Version) -> Result<SwapOutcome, StoreError>;
    points(query: PointsQuery) -> Result<Vec<Point>, StoreError>;
    latest(device: &DeviceKey, keys: Option<Vec<String>>) -> Result<BTreeMap<Arc<str>, LatestValue>, StoreError>;
    events(query: EventsQuery) -> Result<Vec<Event>, StoreError>;
    ended_commands(query: CommandsQuery) -> Result<Vec<Command>, StoreError>;
    ended_command(id: CommandId) -> Result<Option<Command>, StoreError>;
    ended_alarms(query: AlarmsQuery) -> Result<Vec<Alarm>, StoreError>;
    ended_alarm(id: AlarmId) -> Result<Option<Alarm>, StoreError>;
    ended_notifications(query: NotificationsQuery) -> Result<Vec<Notification>, StoreError>;
    forget_device(device: &DeviceKey) -> Result<(), StoreError>;
}

impl ObservedStore {
    async fn observed_append(&self, batch: Vec<Append>) -> Result<(), StoreError> {
        let began = Instant::now();
        let span = match Remote::current() {
            Some(_) => tracing::info_span!("store append", rows = batch.len()),
            None => Span::none(),
        };
        let appended = self.store.append(batch).instrument(span).await;
        self.stats.append.time(began.elapsed());
        appended
    }

    async fn observed_commit(&self, slot: Slot, epoch: SlotEpoch, changes: Vec<Change>) -> CommitOutcome {
        let (began, size) = (Instant::now(), changes.len());
        let span = match Remote::current() {
            Some(_) => tracing::info_span!("store commit", %slot, %epoch, changes = size),
            None => Span::none(),
        };
        let outcome = self.store.commit(slot, epoch, changes).instrument(span).await;
        self.stats.commit.time(began.elapsed());
        self.stats.commit_changes.count(u64::try_from(size).unwrap_or(u64::MAX));
        outcome
    }
}

/// A bus whose confirmations are measured.
pub(crate) struct ObservedBus {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) clock: Clock,
    pub(crate) stats: Arc<CoreStats>,
}

#[async_trait]
impl Bus for ObservedBus {
    async fn publish_work(&self, work: NotificationWork) -> Result<(), BusError> {
        let began = Instant::now();
        let first = (work.notification.tried == 0).then_some(work.notification.created_at);
        let span = match Remote::current() {
            Some(_) => tracing::info_span!(
                "publish work", otel.kind = "producer", notification = %work.notification.id
            ),
            None => Span::none(),
        };
        let published = self.bus.publish_work(work).instrument(span).await;
        if published.is_ok() {
            self.stats.work_confirmed.time(began.elapsed());
            if let Some(created_at) = first {
                self.stats.handed_on.count(micros(self.clock.now_ms().saturating_sub(created_at)));
            }
        }
        published
    }

    async fn publish_to_gateway(&self, gateway: &MemberId, message: ToGateway) -> Result<(), BusError> {
        let began = Instant::now();
        let span = match Remote::current() {
            Some(_) => tracing::info_span!("publish order", otel.kind = "producer", device = %message.device),
            None => Span::none(),
        };
        let published = self.bus.publish_to_gateway(gateway, message).instrument(span).await;
        if published.is_ok() {
            self.stats.order_confirmed.time(began.elapsed());
        }
        published
    }

    fn publish_activity(&self, activity: Activity) {
        self.bus.publish_activity(activity);
    }

    fn feed_wanted(&self) -> bool {
        self.bus.feed_wanted()
    }

    async fn consume_work(&self, prefetch: usize) -> Result<Box<dyn WorkConsumer>, BusError> {
        self.bus.consume_work(prefetch).await
    }

    async fn consume_gateway(&self, gateway: &MemberId) -> Result<Box<dyn GatewayConsumer>, BusError> {
        self.bus.consume_gateway(gateway).await
    }

    async fn consume_feed(&self) -> Result<Box<dyn FeedConsumer>, BusError> {
        self.bus.consume_feed().await
    }

    async fn follow_feed(&self) -> Result<Box<dyn FeedConsumer>, BusError> {
        self.bus.follow_feed().await
    }
}
