//! Which gateways are alive. When one is not, the sessions that it held are presumed lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stoker_domain::model::{MemberId, MemberRole, MemberRow, Millis};

/// A gateway whose row has not changed for so long is taken for dead. Its devices have their grace from then on.
const DEAD_AFTER_MS: Millis = 5_000;
/// Of a gateway that has no row any more this is forgotten after so long.
const FORGET_AFTER_MS: Millis = 600_000;

#[derive(Debug, Clone, Copy)]
struct Seen {
    beat: u64,
    changed: Millis,
    dead: bool,
    /// It has said that it is about to end.
    leaving: bool,
    /// How often it was taken for dead and all slots were told so.
    deaths: u64,
}

/// A gateway that is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) gateway: MemberId,
    /// It had said that it would end.
    pub(crate) in_order: bool,
}

/// The gateways, as one core sees them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gateways(Arc<Mutex<BTreeMap<MemberId, Seen>>>);

impl Gateways {
    /// Takes in all rows of a read that began then, and says who is dead by now and was not before.
    pub(crate) fn observe(&self, rows: &[MemberRow], began: Millis, now: Millis) -> Vec<Gone> {
        let mut seen = self.0.lock();
        for row in rows.iter().filter(|row| row.role == MemberRole::Gateway) {
            let leaving = row.leaving;
            let first = Seen { beat: row.beat, changed: now, dead: false, leaving, deaths: 0 };
            let known = seen.entry(row.id.clone()).or_insert(first);
            if known.beat != row.beat {
                *known = Seen { deaths: known.deaths, ..first };
            }
        }
        let mut died = Vec::new();
        for (id, known) in seen.iter_mut().filter(|(_, known)| !known.dead) {
            if began - known.changed >= DEAD_AFTER_MS {
                known.dead = true;
                died.push(Gone { gateway: id.clone(), in_order: known.leaving });
            }
        }
        seen.retain(|_, known| !known.dead || now - known.changed < FORGET_AFTER_MS);
        died
    }

    /// All slots have been told that this gateway is dead. Only now may it announce its sessions anew: before, the word of
    /// its death would overtake it.
    pub(crate) fn mourned(&self, gateway: &MemberId) {
        if let Some(known) = self.0.lock().get_mut(gateway) {
            known.deaths += 1;
        }
    }

    /// How often this gateway was taken for dead, and all slots were told.
    pub(crate) fn deaths(&self, gateway: &MemberId) -> u64 {
        self.0.lock().get(gateway).map_or(0, |known| known.deaths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(beat: u64) -> MemberRow {
        MemberRow {
            id: MemberId::new("g1").unwrap(),
            role: MemberRole::Gateway,
            address: String::new(),
            host: String::new(),
            version: String::new(),
            slots: None,
            sessions: 0,
            leaving: false,
            started_at: 0,
            beat,
        }
    }

    #[test]
    fn a_gateway_dies_once_and_may_come_back() {
        let (gateways, id) = (Gateways::default(), MemberId::new("g1").unwrap());
        let gone = Gone { gateway: id.clone(), in_order: false };
        assert!(gateways.observe(&[row(1)], 0, 1).is_empty());
        assert!(gateways.observe(&[row(2)], 4_000, 4_001).is_empty());
        assert!(
            gateways.observe(&[row(2)], 9_000, 9_001).is_empty(),
            "its row changed 4,999 ms before the read"
        );
        assert_eq!(gateways.observe(&[row(2)], 9_001, 9_002), std::slice::from_ref(&gone));
        assert!(gateways.observe(&[], 20_000, 20_001).is_empty(), "it is dead already");
        assert_eq!(gateways.deaths(&id), 0, "not all slots know");
        gateways.mourned(&id);
        assert_eq!(gateways.deaths(&id), 1);
        assert!(gateways.observe(&[row(3)], 21_000, 21_001).is_empty());
        assert_eq!(
            gateways.observe(&[], 30_000, 30_001),
            std::slice::from_ref(&gone),
            "a row that is gone does not change"
        );
        gateways.mourned(&id);
        assert_eq!(gateways.deaths(&id), 2);
        gateways.observe(&[], 700_000, 700_001);
        assert_eq!(gateways.deaths(&id), 0, "forgotten");
    }

    #[test]
    fn one_that_has_said_so_ends_in_order() {
        let gateways = Gateways::default();
        gateways.observe(&[row(1)], 0, 1);
        gateways.observe(&[MemberRow { leaving: true, ..row(2) }], 1_000, 1_001);
        let gone = gateways.observe(&[], 6_001, 6_002);
        assert_eq!(gone, [Gone { gateway: MemberId::new("g1").unwrap(), in_order: true }]);
    }
}
