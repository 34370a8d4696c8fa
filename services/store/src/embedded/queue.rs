//! What waits for the writer: three lanes, each with a bound.
//!
//! * *control* — commits of slots, claims, registry, appends without telemetry: first in every group, so that a flood
//!   of readings delays no command;
//! * *bulk* — readings;
//! * *idle* — retention and forgetting, one step between two groups.
//!
//! A full lane makes callers wait, in order, up to a deadline: the newest work is shed, never what was accepted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use stoker_domain::ports::store::{Append, ClaimOutcome, CommitOutcome, StoreError, SwapOutcome, Version};
use stoker_domain::{DeviceKey, MemberId, Millis, Slot, SlotEpoch};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::PurgeReport;

/// An answer to be given once the group is durable.
pub(super) type Reply<T> = oneshot::Sender<T>;

/// What a caller wants written. Rows come encoded: that is done by the callers, not by the one writer.
#[derive(Debug)]
pub(super) enum Work {
    /// History.
    Append { batch: Vec<Append>, reply: Reply<Result<(), StoreError>> },
    /// A take-over.
    Claim { slot: Slot, owner: MemberId, seen: SlotEpoch, reply: Reply<Result<ClaimOutcome, StoreError>> },
    /// Changes of a slot's table: keys with the new row, or none to remove it.
    Commit {
        slot: Slot,
        epoch: SlotEpoch,
        changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        reply: Reply<CommitOutcome>,
    },
    /// A slot is given up.
    Release { slot: Slot, epoch: SlotEpoch, reply: Reply<CommitOutcome> },
    /// A registry row, or none to remove it, if the version is the expected one.
    Swap {
        key: Vec<u8>,
        row: Option<Vec<u8>>,
        expected: Option<Version>,
        reply: Reply<Result<SwapOutcome, StoreError>>,
    },
}

/// Room that is taken: one item, and its bytes.
type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Work with the room that it takes in its lane; given back when it is done.
#[derive(Debug)]
pub(super) struct Request {
    /// What is wanted.
    pub(super) work: Work,
    /// Bytes, as estimated.
    pub(super) bytes: usize,
    room: Places,
}

impl Request {
    /// Gives the room back and the work out: who is answered finds room for what comes next.
    pub(super) fn into_work(self) -> Work {
        drop(self.room);
        self.work
    }
}

/// What is done step by step when the writer has nothing better to do.
#[derive(Debug)]
pub(super) enum Chore {
    /// Retention as of `now`.
    Purge { now: Millis, report: PurgeReport, reply: Reply<Result<PurgeReport, StoreError>> },
    /// Everything of one device.
    Forget { device: DeviceKey, reply: Reply<Result<(), StoreError>> },
}

/// Which lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneName {
    /// Everything but readings.
    Control,
    /// Readings.
    Bulk,
}

/// The bounds of one lane.
#[derive(Debug)]
struct Room {
    items: Arc<Semaphore>,
    kibibytes: Arc<Semaphore>,
    kibibytes_max: u32,
}

impl Room {
    fn new(items: usize, bytes: usize) -> Self {
        let kibibytes_max =
            u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4);
        Self {
            items: Arc::new(Semaphore::new(items.max(1))),
            kibibytes: Arc::new(Semaphore::new(kibibytes_max as usize)),
            kibibytes_max,
        }
    }

    async fn acquire(&self, bytes: usize) -> Option<Places> {
        // A request that is greater than the lane takes all of it rather than waiting for ever.
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.kibibytes_max);
        let item = self.items.clone().acquire_owned().await.ok()?;
        let room = self.kibibytes.clone().acquire_many_owned(wanted).await.ok()?;
        Some((item, room))
    }
}

#[derive(Debug, Default)]
struct Lanes {
    control: VecDeque<Request>,
    bulk: VecDeque<Request>,
    idle: VecDeque<Chore>,
    closed: Option<&'static str>,
}

/// The bounds of the queue and of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Items that wait or are under way, of each lane.
    pub(super) items: usize,
    /// Bytes of these, of each lane.
    pub(super) bytes: usize,
    /// Items of one group.
    pub(super) group_items: usize,
    /// Bytes of one group.
    pub(super) group_bytes: usize,
    /// How long a caller waits for room.
    pub(super) wait: Duration,
}

/// Chores that may wait at once: each is a person's request or a timer of ours.
const CHORES_MAX: usize = 1_024;

/// What waits for the writer.
#[derive(Debug)]
pub(super) struct Queue {
    lanes: Mutex<Lanes>,
    wake: Condvar,
    control: Room,
    bulk: Room,
    bounds: Bounds,
}

/// What the writer takes at once.
#[derive(Debug)]
pub(super) struct Turn {
    /// To be written in one transaction.
    pub(super) group: Vec<Request>,
    /// To be done one step afterwards.
    pub(super) chore: Option<Chore>,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            lanes: Mutex::default(),
            wake: Condvar::new(),
            control: Room::new(bounds.items, bounds.bytes),
            bulk: Room::new(bounds.items, bounds.bytes),
            bounds,
        }
    }

    /// Puts work in a lane. A commit waits for room without a deadline.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when there was no room up to the deadline; [`StoreError::Failed`] when the store is
    /// closed or has failed. Nothing is written in either case.
    pub(super) async fn push(&self, lane: LaneName, bytes: usize, work: Work) -> Result<(), StoreError> {
        let room = match lane {
            LaneName::Control => &self.control,
            LaneName::Bulk => &self.bulk,
        };
        // A commit waits as long as it must: to its owner "unknown" would be the end of the slot, and there are no more
        // of them than slots.
        let acquired = match &work {
            Work::Commit { .. } | Work::Release { .. } => Ok(room.acquire(bytes).await),
            _ => tokio::time::timeout(self.bounds.wait, room.acquire(bytes)).await,
        };
        let Ok(acquired) = acquired else {
            return Err(StoreError::Overloaded(format!(
                "no room in the queue of the writer within {} ms",
                self.bounds.wait.as_millis()
            )));
        };
        let mut lanes = self.lanes.lock();
        let (Some(room), None) = (acquired, lanes.closed) else {
            return Err(StoreError::Failed(lanes.closed.unwrap_or(CLOSED).to_owned()));
        };
        let request = Request { work, bytes, room };
        match lane {
            LaneName::Control => lanes.control.push_back(request),
            LaneName::Bulk => lanes.bulk.push_back(request),
        }
        drop(lanes);
        self.wake.notify_one();
        Ok(())
    }

    /// Puts a chore behind the others.
    ///
    /// # Errors
    /// As [`Queue::push`], at once.
    pub(super) fn push_chore(&self, chore: Chore) -> Result<(), StoreError> {
        let mut lanes = self.lanes.lock();
        if let Some(why) = lanes.closed {
            return Err(StoreError::Failed(why.to_owned()));
        }
        if lanes.idle.len() >= CHORES_MAX {
            return Err(StoreError::Overloaded(format!("{CHORES_MAX} devices wait to be forgotten")));
        }
        lanes.idle.push_back(chore);
        drop(lanes);
        self.wake.notify_one();
        Ok(())
    }

    /// Puts a chore that is not finished behind the others; while closing it is given up, its caller told by that.
    pub(super) fn put_back(&self, chore: Chore) {
        let mut lanes = self.lanes.lock();
        if lanes.closed.is_none() {
            lanes.idle.push_back(chore);
        }
    }

    /// Waits for work and takes a group of it; none when the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Turn> {
        let mut lanes = self.lanes.lock();
        loop {
            if !lanes.control.is_empty() || !lanes.bulk.is_empty() || !lanes.idle.is_empty() {
                break;
            }
            if lanes.closed.is_some() {
                return None;
            }
            self.wake.wait(&mut lanes);
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        let Lanes { control, bulk, idle, .. } = &mut *lanes;
        for lane in [control, bulk] {
            while group.len() < self.bounds.group_items && bytes < self.bounds.group_bytes {
                let Some(request) = lane.pop_front() else { break };
                bytes += request.bytes;
                group.push(request);
            }
        }
        Some(Turn { group, chore: idle.pop_front() })
    }

    /// Takes no more. What waits is still done; chores are given up.
    pub(super) fn close(&self) {
        let mut lanes = self.lanes.lock();
        lanes.closed.get_or_insert(CLOSED);
        lanes.idle.clear();
        self.end(lanes);
    }

    /// Takes no more and drops what waits: the writer is gone.
    pub(super) fn kill(&self) {
        let mut lanes = self.lanes.lock();
        lanes.closed = Some(FAILED);
        lanes.control.clear();
        lanes.bulk.clear();
        lanes.idle.clear();
        self.end(lanes);
    }

    fn end(&self, lanes: parking_lot::MutexGuard<'_, Lanes>) {
        drop(lanes);
        for room in [&self.control, &self.bulk] {
            room.items.close();
            room.kibibytes.close();
        }
        self.wake.notify_all();
    }

    /// True once it takes no more.
    pub(super) fn is_closed(&self) -> bool {
        self.lanes.lock().closed.is_some()
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> usize {
        let lanes = self.lanes.lock();
        lanes.control.len() + lanes.bulk.len()
    }
}

const CLOSED: &str = "the store is closed";
const FAILED: &str = "the store failed earlier: restart the process";
