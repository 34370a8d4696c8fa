//! The store with faults: what a disk, a killed process or a damaged row do to those who ask it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use stoker_domain::ports::store::{
    AlarmsQuery, Append, Change, ClaimOutcome, CommandsQuery, CommitOutcome, EventsQuery, NotificationsQuery,
    PointsQuery, RegistryKey, RegistryRow, SlotHead, StateRow, Store, StoreError, SwapOutcome, Version,
};
use stoker_domain::{
    Alarm, AlarmId, Command, CommandId, DeviceKey, Event, LatestValue, MemberId, MemberRow, Notification,
    Point, Slot, SlotEpoch, Subscription,
};
use tokio::sync::watch;

/// A store that fails as it is told.
pub(crate) struct Faulty {
    inner: Arc<dyn Store>,
    /// What the store holds of this device cannot be read.
    damaged: Option<DeviceKey>,
    /// Appends wait while this is true.
    held: watch::Sender<bool>,
    /// Everything fails.
    cut: AtomicBool,
    /// The process never gets so far as to remove a device's history.
    forgets: bool,
    /// About the bytes of the greatest commit.
    heaviest: AtomicUsize,
    /// Ended commands are not taken.
    refuses_archives: AtomicBool,
    /// What became of ended commands and removed devices.
    steps: Mutex<Vec<Step>>,
}

/// What became of an ended command, or of a removed device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Refused,
    Archived,
    Forgotten,
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            damaged: None,
            held: watch::Sender::new(false),
            cut: AtomicBool::new(false),
            forgets: true,
            heaviest: AtomicUsize::new(0),
            refuses_archives: AtomicBool::new(false),
            steps: Mutex::default(),
        }
    }

    /// The same, with something unreadable of `device`.
    pub(crate) fn damaged(self, device: DeviceKey) -> Self {
        Self { damaged: Some(device), ..self }
    }

    /// The same, killed before any device's history is removed.
    pub(crate) fn forgetting_nothing(self) -> Self {
        Self { forgets: false, ..self }
    }

    /// From now on nobody is reached: everything fails.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Takes no ended command, or takes them again.
    pub(crate) fn refuse_archives(&self, refuses: bool) {
        self.refuses_archives.store(refuses, Ordering::SeqCst);
    }

    /// What became of ended commands and removed devices, in order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.lock().clone()
    }

    /// About the bytes of the greatest commit that was asked of it.
    pub(crate) fn heaviest_commit(&self) -> usize {
        self.heaviest.load(Ordering::SeqCst)
    }

    /// Appends that are held up.
    pub(crate) fn held(&self) -> usize {
        self.held.receiver_count()
    }

    /// Holds appends up, or lets them go.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }
}

/// An answer of a store that is not reached.
trait Failing {
    fn failed() -> Self;
}

impl<T> Failing for Result<T, StoreError> {
    fn failed() -> Self {
        Err(StoreError::Failed("cut off".to_owned()))
    }
}

impl Failing for CommitOutcome {
    fn failed() -> Self {
        Self::Unknown
    }
}

macro_rules! hand_on {
    ($($name:ident($($arg:ident: $of:ty),*) -> $answer:ty;)+) => {
        #[async_trait]
        impl Store for Faulty {
            async fn append(&self, batch: Vec<Append>) -> Result<(), StoreError> {
                // An error says that the value is gone: not while it is borrowed.
                drop(self.held.subscribe().wait_for(|held| !held).await);
                if self.cut.load(Ordering::SeqCst) {
                    return Failing::failed();
                }
                let damaged = |item: &Append| match item {
                    Append::Reading(reading) => Some(&reading.device) == self.damaged.as_ref(),
                    _ => false,
                };
                if batch.iter().any(damaged) {
                    return Err(StoreError::Corrupt("newest points of a device".to_owned()));
                }
                let is_archive = batch.iter().any(|item| matches!(item, Append::Command(_)));
                if is_archive && self.refuses_archives.load(Ordering::SeqCst) {
                    self.steps.lock().push(Step::Refused);
                    return Err(StoreError::Overloaded("told to be".to_owned()));
                }
                self.inner.append(batch).await?;
                if is_archive {
                    self.steps.lock().push(Step::Archived);
                }
                Ok(())
            }

            async fn forget_device(&self, device: &DeviceKey) -> Result<(), StoreError> {
                if !self.forgets {
                    std::future::pending::<()>().await;
                }
                self.inner.forget_device(device).await?;
                self.steps.lock().push(Step::Forgotten);
                Ok(())
            }

            async fn commit(&self, slot: Slot, epoch: SlotEpoch, changes: Vec<Change>) -> CommitOutcome {
                self.heaviest.fetch_max(changes.iter().map(Change::weight).sum(), Ordering::SeqCst);
                if self.cut.load(Ordering::SeqCst) {
                    return Failing::failed();
                }
                self.inner.commit(slot, epoch, changes).await
            }

            $(async fn $name(&self, $($arg: $of),*) -> $answer {
                if self.cut.load(Ordering::SeqCst) {
                    return Failing::failed();
                }
                self.inner.$name($($arg),*).await
            })+
        }
    };
}

hand_on! {
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
    latest(device: &DeviceKey, keys: Option<Vec<String>>)
        -> Result<BTreeMap<Arc<str>, LatestValue>, StoreError>;
    events(query: EventsQuery) -> Result<Vec<Event>, StoreError>;
    ended_commands(query: CommandsQuery) -> Result<Vec<Command>, StoreError>;
    ended_command(id: CommandId) -> Result<Option<Command>, StoreError>;
    ended_alarms(query: AlarmsQuery) -> Result<Vec<Alarm>, StoreError>;
    ended_alarm(id: AlarmId) -> Result<Option<Alarm>, StoreError>;
    ended_notifications(query: NotificationsQuery) -> Result<Vec<Notification>, StoreError>;
}
