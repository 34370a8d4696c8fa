//! Which connection holds which device's session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use stoker_domain::model::{DeviceKey, EndReason, Millis, SessionEpoch, Slot};
use stoker_protocol::session::ServerReason;

use crate::mailbox::Mailbox;

/// What others may do to a connection.
#[derive(Debug, Default)]
pub(crate) struct Handle {
    pub(crate) mailbox: Mailbox,
    /// The last time given to a point that came without.
    stamp: AtomicI64,
}

impl Handle {
    /// A time for a point that came without: now, or just after the last one.
    pub(crate) fn stamp(&self, now: Millis) -> Millis {
        let last = self.stamp.load(Ordering::Relaxed);
        let stamp = now.max(last.saturating_add(1));
        // The connection's own task is the only one to stamp.
        self.stamp.store(stamp, Ordering::Relaxed);
        stamp
    }

    pub(crate) fn last_stamp(&self) -> Millis {
        self.stamp.load(Ordering::Relaxed)
    }

    pub(crate) fn stamp_after(&self, floor: Millis) {
        self.stamp.fetch_max(floor, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<DeviceKey, (SessionEpoch, Arc<Handle>)>,
    /// Connections whose device is not known yet, so that they can be told to go as well.
    unknown: HashMap<usize, Arc<Handle>>,
    /// Sessions that were to be closed before they were entered: up to which epoch, why, and since when this is known.
    closed_early: HashMap<DeviceKey, (SessionEpoch, EndReason, Millis)>,
    /// Last stamps of sessions that are over, where they are ahead of the clock.
    stamps: HashMap<DeviceKey, Millis>,
    closed: bool,
}

/// A session that was granted is entered within this time, or its connection has given up.
const ON_ITS_WAY_MS: Millis = 60_000;
/// Early closes and stamps that are remembered before the old ones are looked for.
const REMEMBERED: usize = 1_024;

/// What a device is told for this reason.
pub(crate) fn word(reason: EndReason) -> ServerReason {
    match reason {
        EndReason::TakenOver => ServerReason::TakenOver,
        EndReason::ByPlatform | EndReason::PlatformCrash => ServerReason::ShuttingDown,
        _ => ServerReason::Administrative,
    }
}

fn place(handle: &Arc<Handle>) -> usize {
    Arc::as_ptr(handle).addr()
}

/// The sessions of this gateway.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Inner>);

impl Registry {
    /// Takes note of a connection whose device is not known yet.
    pub(crate) fn arrive(&self, handle: &Arc<Handle>) {
        let mut inner = self.0.lock();
        if inner.closed {
            handle.mailbox.shut(ServerReason::ShuttingDown, EndReason::ByPlatform);
            return;
        }
        inner.unknown.insert(place(handle), handle.clone());
    }

    /// The connection is gone, or its device is known by now.
    pub(crate) fn settle(&self, handle: &Arc<Handle>) {
        self.0.lock().unknown.remove(&place(handle));
    }

    /// Closes a session that is on its way in.
    pub(crate) fn close_early(
        &self,
        device: &DeviceKey,
        epoch: SessionEpoch,
        reason: EndReason,
        now: Millis,
    ) {
        let mut inner = self.0.lock();
        if inner.closed_early.len() >= REMEMBERED {
            inner.closed_early.retain(|_, (_, _, since)| now - *since < ON_ITS_WAY_MS);
        }
        let entry = inner.closed_early.entry(device.clone()).or_insert((epoch, reason, now));
        if entry.0 <= epoch {
            *entry = (epoch, reason, now);
        }
    }

    /// Enters a session. An older one of the same device is closed; should a newer one be there, or the gateway be
    /// ending, this one is.
    pub(crate) fn enter(&self, device: &DeviceKey, epoch: SessionEpoch, handle: &Arc<Handle>) {
        let mut inner = self.0.lock();
        inner.unknown.remove(&place(handle));
        if inner.closed {
            handle.mailbox.shut(ServerReason::ShuttingDown, EndReason::ByPlatform);
            return;
        }
        if let Some(stamp) = inner.stamps.remove(device) {
            handle.stamp_after(stamp);
        }
        if let Some((closed, reason, _)) = inner.closed_early.get(device)
            && epoch <= *closed
        {
            handle.mailbox.shut(word(*reason), *reason);
            return;
        }
        if let Some((other, held)) = inner.sessions.get(device) {
            if *other > epoch {
                handle.mailbox.shut(ServerReason::TakenOver, EndReason::TakenOver);
                return;
            }
            handle.stamp_after(held.last_stamp());
            held.mailbox.shut(ServerReason::TakenOver, EndReason::TakenOver);
        }
        inner.sessions.insert(device.clone(), (epoch, handle.clone()));
    }

    /// The session is over. Its last stamp is remembered while it is ahead of the clock.
    pub(crate) fn leave(&self, device: &DeviceKey, epoch: SessionEpoch, handle: &Handle, now: Millis) {
        let mut inner = self.0.lock();
        let stamp = handle.last_stamp();
        if stamp >= now {
            if inner.stamps.len() >= REMEMBERED {
                inner.stamps.retain(|_, stamp| *stamp >= now);
            }
            let entry = inner.stamps.entry(device.clone()).or_insert(stamp);
            *entry = stamp.max(*entry);
        }
        if inner.sessions.get(device).is_some_and(|(held, _)| *held == epoch) {
            inner.sessions.remove(device);
        }
    }

    /// The connection that holds this very session.
    pub(crate) fn find(&self, device: &DeviceKey, epoch: SessionEpoch) -> Option<Arc<Handle>> {
        let inner = self.0.lock();
        inner.sessions.get(device).filter(|(held, _)| *held == epoch).map(|(_, handle)| handle.clone())
    }

    /// The connections that hold sessions in this slot.
    pub(crate) fn of_slot(&self, slot: Slot) -> Vec<Arc<Handle>> {
        let inner = self.0.lock();
        let sessions = inner.sessions.iter().filter(|(device, _)| device.slot() == slot);
        sessions.map(|(_, (_, handle))| handle.clone()).collect()
    }

    /// True once nobody is let in any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Lets nobody in any more: who is on the way in is closed. The sessions that are held, in no order.
    pub(crate) fn close(&self) -> Vec<Arc<Handle>> {
        let mut inner = self.0.lock();
        inner.closed = true;
        for handle in std::mem::take(&mut inner.unknown).into_values() {
            handle.mailbox.shut(ServerReason::ShuttingDown, EndReason::ByPlatform);
        }
        inner.sessions.values().map(|(_, handle)| handle.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoker_domain::model::{DeviceId, OrganizationId, SlotEpoch};

    fn device() -> DeviceKey {
        DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("boiler-7").unwrap())
    }

    fn epoch(counter: u64) -> SessionEpoch {
        SessionEpoch { slot: SlotEpoch(1), counter }
    }

    #[test]
    fn of_two_sessions_the_newer_stays_whichever_is_entered_first() {
        for order in [[1, 2], [2, 1]] {
            let registry = Registry::default();
            let handles = [Arc::new(Handle::default()), Arc::new(Handle::default())];
            for counter in order {
                registry.enter(&device(), epoch(counter), &handles[usize::try_from(counter - 1).unwrap()]);
            }
            assert!(registry.find(&device(), epoch(2)).is_some(), "{order:?}");
            assert!(registry.find(&device(), epoch(1)).is_none(), "{order:?}");
            let ended = handles[0].mailbox.close();
            assert_eq!(ended.shut.map(|(_, reason)| reason), Some(EndReason::TakenOver), "{order:?}");
            registry.leave(&device(), epoch(1), &handles[0], 0);
            assert!(
                registry.find(&device(), epoch(2)).is_some(),
                "a late end of the older one changes nothing"
            );
        }
    }

    #[test]
    fn stamps_grow_strictly_also_over_a_take_over() {
        let registry = Registry::default();
        let (old, new) = (Arc::new(Handle::default()), Arc::new(Handle::default()));
        registry.enter(&device(), epoch(1), &old);
        assert_eq!([old.stamp(100), old.stamp(100), old.stamp(90)], [100, 101, 102]);
        registry.enter(&device(), epoch(2), &new);
        assert_eq!(new.stamp(100), 103);
    }

    #[test]
    fn stamps_go_on_where_a_session_that_is_over_had_come_to() {
        let registry = Registry::default();
        let (old, new) = (Arc::new(Handle::default()), Arc::new(Handle::default()));
        registry.enter(&device(), epoch(1), &old);
        assert_eq!([old.stamp(100), old.stamp(100)], [100, 101]);
        registry.leave(&device(), epoch(1), &old, 100);
        registry.enter(&device(), epoch(2), &new);
        assert_eq!(new.stamp(100), 102);
    }

    #[test]
    fn a_session_that_was_to_be_closed_before_it_was_entered_is_closed_when_it_is() {
        let registry = Registry::default();
        registry.close_early(&device(), epoch(1), EndReason::Revoked, 0);
        let handles = [Arc::new(Handle::default()), Arc::new(Handle::default())];
        registry.enter(&device(), epoch(1), &handles[0]);
        registry.enter(&device(), epoch(2), &handles[1]);
        assert_eq!(handles[0].mailbox.close().shut.map(|(_, reason)| reason), Some(EndReason::Revoked));
        assert!(handles[1].mailbox.close().shut.is_none(), "a newer one is not meant");
        assert!(registry.find(&device(), epoch(2)).is_some());
    }

    #[test]
    fn at_the_end_connections_without_a_known_device_are_closed_and_sessions_are_not() {
        let registry = Registry::default();
        let handles = [0, 1, 2].map(|_| Arc::new(Handle::default()));
        registry.arrive(&handles[0]);
        registry.arrive(&handles[1]);
        registry.settle(&handles[1]);
        registry.enter(&device(), epoch(1), &handles[1]);
        assert_eq!(registry.close().len(), 1);
        registry.arrive(&handles[2]);
        let shut = handles.map(|handle| handle.mailbox.close().shut.is_some());
        assert_eq!(shut, [true, false, true]);
    }
}
