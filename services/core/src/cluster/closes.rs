//! Sessions that gateways are to close. The order goes by the bus; until that has confirmed it, the answer to each beat of
//! the gateway says it, too. Without this, an older session would stay where it is for as long as the broker is away, and
//! its device would be called silent once the newer session ends, though it goes on reporting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use stoker_domain::model::{DeviceKey, EndReason, MemberId, Millis, SessionEpoch};

/// Orders that wait for one gateway; of more than these only the bus knows.
const MOST: usize = 4_096;
/// Orders in one answer.
const AT_ONCE: usize = 1_000;
/// A gateway without a row may have come just now: what is for it is kept for so long.
const UNSEEN_MS: Millis = 5_000;

/// A session that its gateway is to close.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Close {
    /// Grows with every order of this core.
    pub(crate) number: u64,
    pub(crate) device: DeviceKey,
    pub(crate) session: SessionEpoch,
    pub(crate) reason: EndReason,
}

#[derive(Debug, Default)]
struct Waiting {
    orders: HashMap<(DeviceKey, SessionEpoch), (u64, EndReason)>,
    noted: Millis,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    gateways: BTreeMap<MemberId, Waiting>,
}

/// The orders to close that may not have come to their gateways.
#[derive(Debug, Clone, Default)]
pub(crate) struct Closes(Arc<Mutex<Inner>>);

impl Closes {
    /// A gateway is to close a session.
    pub(crate) fn note(
        &self,
        gateway: &MemberId,
        device: &DeviceKey,
        session: SessionEpoch,
        reason: EndReason,
        now: Millis,
    ) {
        let inner = &mut *self.0.lock();
        let waiting = inner.gateways.entry(gateway.clone()).or_default();
        if waiting.orders.len() < MOST {
            inner.last += 1;
            waiting.noted = now;
            waiting.orders.insert((device.clone(), session), (inner.last, reason));
        }
    }

    /// The bus has it.
    pub(crate) fn confirmed(&self, gateway: &MemberId, device: &DeviceKey, session: SessionEpoch) {
        let mut inner = self.0.lock();
        if let Some(waiting) = inner.gateways.get_mut(gateway) {
            waiting.orders.remove(&(device.clone(), session));
            if waiting.orders.is_empty() {
                inner.gateways.remove(gateway);
            }
        }
    }

    /// What this gateway is to be told, the oldest first. It has heard what has a number up to this one.
    pub(crate) fn waiting(&self, gateway: &MemberId, heard: u64) -> Vec<Close> {
        let mut inner = self.0.lock();
        let Some(waiting) = inner.gateways.get_mut(gateway) else { return Vec::new() };
        waiting.orders.retain(|_, (number, _)| *number > heard);
        let mut orders: Vec<Close> = waiting
            .orders
            .iter()
            .map(|((device, session), (number, reason))| Close {
                number: *number,
                device: device.clone(),
                session: *session,
                reason: *reason,
            })
            .collect();
        if orders.is_empty() {
            inner.gateways.remove(gateway);
        }
        orders.sort_unstable_by_key(|order| order.number);
        orders.truncate(AT_ONCE);
        orders
    }

    /// What is for gateways that are no more is moot.
    pub(crate) fn retain(&self, lives: impl Fn(&MemberId) -> bool, now: Millis) {
        let mut inner = self.0.lock();
        inner.gateways.retain(|gateway, waiting| lives(gateway) || now - waiting.noted < UNSEEN_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoker_domain::model::{DeviceId, OrganizationId, SlotEpoch};

    fn gateway(id: &str) -> MemberId {
        MemberId::new(id).unwrap()
    }

    fn device(n: usize) -> DeviceKey {
        DeviceKey::new(OrganizationId::default_organization(), DeviceId::new(&format!("d{n}")).unwrap())
    }

    fn epoch(counter: u64) -> SessionEpoch {
        SessionEpoch { slot: SlotEpoch(1), counter }
    }

    fn note(closes: &Closes, id: &str, n: usize) {
        closes.note(&gateway(id), &device(n), epoch(1), EndReason::TakenOver, 0);
    }

    fn numbers(closes: &Closes, id: &str, heard: u64) -> Vec<u64> {
        closes.waiting(&gateway(id), heard).iter().map(|close| close.number).collect()
    }

    #[test]
    fn what_the_bus_has_not_confirmed_is_said_until_it_was_heard() {
        let closes = Closes::default();
        (1..=3).for_each(|n| note(&closes, "g1", n));
        note(&closes, "g2", 1);
        closes.confirmed(&gateway("g1"), &device(2), epoch(1));
        closes.confirmed(&gateway("g1"), &device(3), epoch(2));
        assert_eq!(numbers(&closes, "g1", 0), [1, 3]);
        assert_eq!(numbers(&closes, "g1", 0), [1, 3], "the answer may be lost");
        assert_eq!(numbers(&closes, "g1", 1), [3]);
        assert_eq!(numbers(&closes, "g1", 3), [0; 0]);
        assert_eq!(numbers(&closes, "g2", 0), [4], "another one has heard nothing");
        assert_eq!(closes.0.lock().gateways.len(), 1, "nothing is kept of whom nothing is wanted");
    }

    #[test]
    fn there_is_a_bound_and_a_gateway_that_is_gone_is_forgotten() {
        let closes = Closes::default();
        (0..MOST + 5).for_each(|n| note(&closes, "g1", n));
        assert_eq!(closes.0.lock().gateways[&gateway("g1")].orders.len(), MOST);
        assert_eq!(numbers(&closes, "g1", 0).len(), AT_ONCE);
        assert_eq!(numbers(&closes, "g1", 10)[0], 11);
        closes.retain(|_| true, UNSEEN_MS);
        closes.retain(|_| false, UNSEEN_MS - 1);
        assert_eq!(closes.0.lock().gateways.len(), 1);
        closes.retain(|_| false, UNSEEN_MS);
        assert_eq!(closes.0.lock().gateways.len(), 0);
    }
}
