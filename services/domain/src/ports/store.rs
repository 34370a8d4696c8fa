//! The store port: history that needs no owner, the slot's table behind one conditional write, and the registry.
//!
//! * **History** — readings, events, ended commands, alarms and notifications — is appended. Appends are idempotent:
//!   the same item again changes nothing that can be seen.
//! * **Slot state** is what an owner must reload. It changes only by [`Store::commit`], which names the epoch that the
//!   caller believes in and is refused when somebody has taken over since.
//! * **Registry** rows span slots and change by compare-and-swap on a version.
//!
//! * **Members** are rows that vanish by themselves unless their process writes them again and again. They are a hint.
//!
//! There is no transaction over several slots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{
    Alarm, AlarmId, AlarmKind, Attributes, Command, CommandId, CommandState, Device, DeviceCounters,
    DeviceKey, Event, EventId, LatestValue, MemberId, MemberRow, Millis, Notification, NotificationId,
    OrganizationId, Point, Presence, Reading, Severity, Slot, SlotEpoch, Subscription, SubscriptionId,
    TokenHash,
};

/// Why the store could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot take the work now; nothing is known to be written. Try again later.
    #[error("the store is overloaded: {0}")]
    Overloaded(String),
    /// It failed. What was asked may or may not have happened.
    #[error("the store failed: {0}")]
    Failed(String),
    /// What it holds cannot be read: written by a newer version, or damaged.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
}

/// One item of history.
#[derive(Debug, Clone, PartialEq)]
pub enum Append {
    /// Telemetry. Of two points of one series and time the later append wins.
    Reading(Reading),
    /// A fact. Of two with one device and id the first stays.
    Event(Event),
    /// A command that has ended. A later append of the same id replaces it.
    Command(Command),
    /// An alarm that was cleared. A later append of the same id replaces it (it may be acknowledged afterwards).
    Alarm(Alarm),
    /// A notification that has ended. A later append of the same id replaces it.
    Notification(Notification),
}

/// One row of the slot's table.
#[derive(Debug, Clone, PartialEq)]
pub enum StateRow {
    /// A device's record.
    Device(Device),
    /// Its newest session.
    Presence(Presence),
    /// Its attributes.
    Attributes(Attributes),
    /// Its counters.
    Counters(DeviceCounters),
    /// A command that is open, or has ended and is not archived yet.
    Command(Command),
    /// An alarm that is active, or was cleared and is not archived yet.
    Alarm(Alarm),
    /// A notification under way, or ended and not archived yet.
    Notification(Notification),
    /// An attempt to be handed to a notifier, until the bus has confirmed it.
    Outbox(OutboxEntry),
    /// A device that was removed, until its history is.
    Removal(Removal),
}

/// Which row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKey {
    /// A device's record.
    Device(DeviceKey),
    /// Its newest session.
    Presence(DeviceKey),
    /// Its attributes.
    Attributes(DeviceKey),
    /// Its counters.
    Counters(DeviceKey),
    /// A command.
    Command(CommandId),
    /// An alarm.
    Alarm(AlarmId),
    /// A notification.
    Notification(NotificationId),
    /// An outbox entry.
    Outbox(NotificationId),
    /// What was removed and is to be forgotten.
    Removal(DeviceKey),
}

impl StateRow {
    /// The key of this row.
    #[must_use]
    pub fn key(&self) -> StateKey {
        match self {
            Self::Device(row) => StateKey::Device(row.key.clone()),
            Self::Presence(row) => StateKey::Presence(row.key.clone()),
            Self::Attributes(row) => StateKey::Attributes(row.key.clone()),
            Self::Counters(row) => StateKey::Counters(row.key.clone()),
            Self::Command(row) => StateKey::Command(row.id),
            Self::Alarm(row) => StateKey::Alarm(row.id),
            Self::Notification(row) => StateKey::Notification(row.id),
            Self::Outbox(row) => StateKey::Outbox(row.notification),
            Self::Removal(row) => StateKey::Removal(row.device.clone()),
        }
    }
}

/// A device whose history is to be removed. No device of that id is made meanwhile: it would see that history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Which.
    pub device: DeviceKey,
    /// When it was removed.
    pub at: Millis,
}

/// An attempt that is to be published. A notification has at most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Which notification; its row holds the rest.
    pub notification: NotificationId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When it was put there.
    pub at: Millis,
}

/// One change of the slot's table.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Writes a row, new or not.
    Put(Box<StateRow>),
    /// Removes a row, if it is there.
    Delete(StateKey),
}

impl Change {
    /// Writes `row`.
    #[must_use]
    pub fn put(row: StateRow) -> Self {
        Self::Put(Box::new(row))
    }

    /// The key of the row it touches.
    #[must_use]
    pub fn key(&self) -> StateKey {
        match self {
            Self::Put(row) => row.key(),
            Self::Delete(key) => key.clone(),
        }
    }
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// All changes are in the store.
    Committed,
    /// None is: the slot has another epoch by now.
    Fenced {
        /// The epoch that the store holds.
        current: SlotEpoch,
    },
    /// Nobody can say, and it may even happen later, up to the next claim of the slot: claim it and read before
    /// deciding.
    Unknown,
}

/// An owner keeps its commits below so many bytes of keys and rows: databases refuse greater ones, and whoever waits for
/// a greater one waits long. A store may answer one above it with [`CommitOutcome::Unknown`] without trying.
pub const COMMIT_BYTES_MAX: usize = 8 << 20;

/// A member's row vanishes when it was not written for so long. Whoever has to know earlier watches the row change.
pub const MEMBER_TTL: Duration = Duration::from_secs(30);

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The slot is the caller's, with this epoch.
    Claimed(SlotEpoch),
    /// Somebody was faster.
    Refused(SlotHead),
}

/// Who owns a slot, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotHead {
    /// Counts take-overs; zero before the first.
    pub epoch: SlotEpoch,
    /// The recorded owner; none when it was released or never owned.
    pub owner: Option<MemberId>,
}

/// Which registry row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegistryKey {
    /// An access token.
    Token(TokenHash),
    /// A subscription.
    Subscription(OrganizationId, SubscriptionId),
    /// A setting of the whole platform.
    Setting(String),
}

/// One registry row.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistryRow {
    /// Whose token it is. Void when the device's record says otherwise.
    Token {
        /// The hash of the token.
        hash: TokenHash,
        /// The device it lets in.
        device: DeviceKey,
    },
    /// A subscription.
    Subscription(Subscription),
    /// A setting, such as the key under which tokens are hashed.
    Setting {
        /// Its name.
        name: String,
        /// Its value.
        value: Vec<u8>,
    },
}

impl RegistryRow {
    /// The key of this row.
    #[must_use]
    pub fn key(&self) -> RegistryKey {
        match self {
            Self::Token { hash, .. } => RegistryKey::Token(*hash),
            Self::Subscription(row) => RegistryKey::Subscription(row.organization.clone(), row.id.clone()),
            Self::Setting { name, .. } => RegistryKey::Setting(name.clone()),
        }
    }
}

/// Counts the writes of a registry row; the first is 1.
pub type Version = u64;

/// How a conditional registry write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapOutcome {
    /// Done; the row's version now (zero after a removal).
    Swapped(Version),
    /// The row has another version: this one, or none when it is not there.
    Conflict(Option<Version>),
}

/// In which order a list comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// Which points of a device. Bounds are inclusive; order is by time, then key.
#[derive(Debug, Clone, PartialEq)]
pub struct PointsQuery {
    /// Whose.
    pub device: DeviceKey,
    /// Only these keys; all when none.
    pub keys: Option<Vec<String>>,
    /// From this time on.
    pub from: Millis,
    /// Up to this time.
    pub to: Millis,
    /// Continue after this point (in the given order).
    pub after: Option<(Millis, Arc<str>)>,
    /// At most so many.
    pub limit: usize,
    /// In which order.
    pub order: Order,
}

/// Which events. Bounds are inclusive; newest first, then by device and id.
#[derive(Debug, Clone, PartialEq)]
pub struct EventsQuery {
    /// Whose organization.
    pub organization: OrganizationId,
    /// Only this device's.
    pub device: Option<DeviceKey>,
    /// Only this kind.
    pub kind: Option<String>,
    /// From this time on.
    pub from: Millis,
    /// Up to this time.
    pub to: Millis,
    /// Continue after this one.
    pub after: Option<(Millis, DeviceKey, EventId)>,
    /// At most so many.
    pub limit: usize,
}

/// Which ended commands: newest (by id within the device's slot, so by making) first.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandsQuery {
    /// Whose.
    pub device: DeviceKey,
    /// Only with this final state.
    pub state: Option<CommandState>,
    /// Continue after (so older than) this one.
    pub after: Option<CommandId>,
    /// At most so many.
    pub limit: usize,
}

/// Which cleared alarms: newest raised first, then by id descending.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmsQuery {
    /// Whose organization.
    pub organization: OrganizationId,
    /// Only this device's.
    pub device: Option<DeviceKey>,
    /// Only this severity.
    pub severity: Option<Severity>,
    /// Only this kind.
    pub kind: Option<AlarmKind>,
    /// Continue after this one.
    pub after: Option<(Millis, AlarmId)>,
    /// At most so many.
    pub limit: usize,
}

/// Which ended notifications: newest made first, then by id descending.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationsQuery {
    /// Whose organization.
    pub organization: OrganizationId,
    /// Only those of this alarm.
    pub alarm: Option<AlarmId>,
    /// Only with this final state.
    pub state: Option<crate::model::NotificationState>,
    /// Continue after this one.
    pub after: Option<(Millis, NotificationId)>,
    /// At most so many.
    pub limit: usize,
}

/// The store port. All writes are durable when they return `Ok`.
///
/// Lists hold at most `limit` items; fewer than `limit` means there are no more.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Appends history. All of it is durable on `Ok`; on an error any part of it may be. Of appends under way at once,
    /// the one that was called later is the later one, whichever ends first.
    async fn append(&self, batch: Vec<Append>) -> Result<(), StoreError>;

    /// Takes a slot over: `epoch + 1, owner = me IF epoch = seen`.
    async fn claim(&self, slot: Slot, owner: &MemberId, seen: SlotEpoch) -> Result<ClaimOutcome, StoreError>;

    /// Who owns a slot.
    async fn head(&self, slot: Slot) -> Result<SlotHead, StoreError>;

    /// Everything in the slot's table, read after (never before) the caller's claim.
    async fn load(&self, slot: Slot) -> Result<Vec<StateRow>, StoreError>;

    /// Changes the slot's table, all or nothing, if `epoch` still is its epoch.
    async fn commit(&self, slot: Slot, epoch: SlotEpoch, changes: Vec<Change>) -> CommitOutcome;

    /// Gives a slot up: `owner = none IF epoch = mine`. The epoch stays: whoever takes the slot over counts on from it.
    /// An owner commits nothing more once it has begun to release.
    async fn release(&self, slot: Slot, epoch: SlotEpoch) -> CommitOutcome;

    /// Writes a member's row; it lasts for [`MEMBER_TTL`].
    async fn member_put(&self, member: MemberRow) -> Result<(), StoreError>;

    /// The rows of all members that were written within [`MEMBER_TTL`], in order of their ids.
    async fn members(&self) -> Result<Vec<MemberRow>, StoreError>;

    /// One registry row and its version.
    async fn registry_get(&self, key: &RegistryKey) -> Result<Option<(RegistryRow, Version)>, StoreError>;

    /// All subscriptions of the platform, with their versions.
    async fn subscriptions(&self) -> Result<Vec<(Subscription, Version)>, StoreError>;

    /// Writes a row if its version is `expected`; `None`: if it is not there.
    async fn registry_put(
        &self,
        row: RegistryRow,
        expected: Option<Version>,
    ) -> Result<SwapOutcome, StoreError>;

    /// Removes a row if its version is `expected`.
    async fn registry_delete(&self, key: &RegistryKey, expected: Version) -> Result<SwapOutcome, StoreError>;

    /// Points of one device.
    async fn points(&self, query: PointsQuery) -> Result<Vec<Point>, StoreError>;

    /// The newest point of each series of a device, or of the given keys.
    async fn latest(
        &self,
        device: &DeviceKey,
        keys: Option<Vec<String>>,
    ) -> Result<BTreeMap<Arc<str>, LatestValue>, StoreError>;

    /// Events.
    async fn events(&self, query: EventsQuery) -> Result<Vec<Event>, StoreError>;

    /// Ended commands of one device.
    async fn ended_commands(&self, query: CommandsQuery) -> Result<Vec<Command>, StoreError>;

    /// One ended command.
    async fn ended_command(&self, id: CommandId) -> Result<Option<Command>, StoreError>;

    /// Cleared alarms.
    async fn ended_alarms(&self, query: AlarmsQuery) -> Result<Vec<Alarm>, StoreError>;

    /// One cleared alarm.
    async fn ended_alarm(&self, id: AlarmId) -> Result<Option<Alarm>, StoreError>;

    /// Ended notifications.
    async fn ended_notifications(&self, query: NotificationsQuery) -> Result<Vec<Notification>, StoreError>;

    /// Removes a device's telemetry, events, ended commands, alarms and notifications.
    async fn forget_device(&self, device: &DeviceKey) -> Result<(), StoreError>;
}
