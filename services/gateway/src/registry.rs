//! Which connection holds which device's session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use stoker_domain::model::{DeviceKey, EndReason, Millis, SessionEpoch};
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
    closed: bool,
}

/// The sessions of this gateway.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Inner>);

impl Registry {
    /// Enters a session. An older one of the same device is closed; should a newer one be there, or the gateway be
    /// ending, this one is.
    pub(crate) fn enter(&self, device: &DeviceKey, epoch: SessionEpoch, handle: &Arc<Handle>) {
        let mut inner = self.0.lock();
        if inner.closed {
            handle.mailbox.shut(ServerReason::ShuttingDown, EndReason::ByPlatform);
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

    /// The session is over.
    pub(crate) fn leave(&self, device: &DeviceKey, epoch: SessionEpoch) {
        let mut inner = self.0.lock();
        if inner.sessions.get(device).is_some_and(|(held, _)| *held == epoch) {
            inner.sessions.remove(device);
        }
    }

    /// The connection that holds this very session.
    pub(crate) fn find(&self, device: &DeviceKey, epoch: SessionEpoch) -> Option<Arc<Handle>> {
        let inner = self.0.lock();
        inner.sessions.get(device).filter(|(held, _)| *held == epoch).map(|(_, handle)| handle.clone())
    }

    /// Closes every session, and those that come late.
    pub(crate) fn shut_all(&self) {
        let mut inner = self.0.lock();
        inner.closed = true;
        for (_, handle) in inner.sessions.values() {
            handle.mailbox.shut(ServerReason::ShuttingDown, EndReason::ByPlatform);
        }
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
            registry.leave(&device(), epoch(1));
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
}
