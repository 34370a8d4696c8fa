//! Slots change hands, in whichever order things happen: none is ever without a core that serves it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use proptest::prelude::*;
use stoker_crds::SlotRange;
use support::cluster::{Cluster, Write, writes};
use support::platform;

#[derive(Debug, Clone)]
enum Happens {
    /// The cluster does something by itself.
    Tick(usize),
    /// The operator looks and plans, unless it is busy with a former plan.
    Plan,
    /// It carries out the next write.
    Write,
    /// It is killed, and starts anew.
    Restart,
    /// Somebody wants another range for one of the CoreShards.
    Range(usize, i32, i32),
    /// Somebody wants ranges that fit together.
    Ranges(i32, i32, usize),
    /// Somebody wants another image of one of them.
    Image(usize, u8),
}

fn happens() -> impl Strategy<Value = Happens> {
    let slot = || (0_i32..8).prop_map(|eighth| eighth * 32);
    prop_oneof![
        24 => any::<usize>().prop_map(Happens::Tick),
        5 => Just(Happens::Plan),
        12 => Just(Happens::Write),
        1 => Just(Happens::Restart),
        1 => (0_usize..3, slot(), slot()).prop_map(|(shard, a, b)| Happens::Range(shard, a.min(b), a.max(b))),
        2 => (slot(), slot(), 0_usize..6).prop_map(|(a, b, order)| Happens::Ranges(a.min(b), a.max(b), order)),
        1 => (0_usize..3, 0_u8..3).prop_map(|(shard, number)| Happens::Image(shard, number)),
    ]
}

/// Three ranges that cover all, given to the three in one of six orders.
fn together(cluster: &mut Cluster, a: i32, b: i32, order: usize) {
    let (a, b) = (a.max(1), b.max(a.max(1) + 1));
    let ranges = [(0, a - 1), (a, b - 1), (b, 255)];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (shard, place) in orders[order].into_iter().enumerate() {
        let (first, last) = ranges[place];
        cluster.wanted.core_shards[shard].spec.slots = SlotRange { first, last };
    }
}

fn write_all(cluster: &mut Cluster, writes: impl Iterator<Item = Write>) {
    for write in writes {
        cluster.write(&write);
        assert_eq!(cluster.unserved(), [0; 0]);
    }
}

fn let_happen(cluster: &mut Cluster, pending: &mut std::vec::IntoIter<Write>, what: &Happens) {
    match what {
        Happens::Tick(choice) => drop(cluster.tick(*choice)),
        Happens::Plan if pending.len() == 0 => {
            let mut writes = writes(&cluster.plan());
            writes.retain(|write| cluster.changes(write));
            *pending = writes.into_iter();
        }
        Happens::Plan => {}
        Happens::Write => write_all(cluster, pending.next().into_iter()),
        Happens::Restart => *pending = Vec::new().into_iter(),
        Happens::Range(shard, first, last) => {
            cluster.wanted.core_shards[*shard].spec.slots = SlotRange { first: *first, last: *last };
        }
        Happens::Ranges(a, b, order) => together(cluster, *a, *b, *order),
        Happens::Image(shard, number) => {
            cluster.wanted.core_shards[*shard].spec.pods.image = Some(format!("stoker:{number}"));
        }
    }
    assert_eq!(cluster.unserved(), [0; 0], "after {what:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn every_slot_is_served_while_slots_change_hands(all in prop::collection::vec(happens(), 0..400)) {
        let mut wanted = platform::whole();
        wanted.core_shards = vec![
            platform::core_shard("a", 0, 99),
            platform::core_shard("b", 100, 199),
            platform::core_shard("c", 200, 255),
        ];
        for shard in &mut wanted.core_shards {
            shard.spec.replicas = 2;
        }
        wanted.gateways.clear();
        wanted.notifiers.clear();
        wanted.portals.clear();
        let mut cluster = Cluster::new(wanted);
        cluster.reconcile();
        cluster.settle();
        let mut pending = Vec::new().into_iter();
        for what in &all {
            let_happen(&mut cluster, &mut pending, what);
        }
        together(&mut cluster, 64, 128, 3);
        for _ in 0..20 {
            let writes = writes(&cluster.plan());
            write_all(&mut cluster, writes.into_iter());
            cluster.settle();
        }
        let plan = cluster.reconcile();
        for standing in &plan.status {
            let in_effect = standing.conditions.iter().find(|said| said.kind == "SlotsInEffect").unwrap();
            prop_assert!(in_effect.is.holds(), "{}: {in_effect:?}", standing.of);
        }
        let given = plan.apply.iter().filter_map(|object| object.meta().annotations.as_ref()?.get("stoker.dev/slots"));
        prop_assert_eq!(given.collect::<Vec<_>>(), ["64-127", "128-255", "0-63"]);
    }
}
