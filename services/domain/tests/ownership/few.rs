//! Two and three processes.

use stoker_domain::Slot;

use super::calm;
use super::exhaustive::{Bounds, explore};
use super::step::{Setup, Step, UNHEARD_TICKS};
use super::world::World;

/// Everything in good order, after those of these numbers have started and settled.
fn begin(setup: &Setup, running: &[usize]) -> World {
    let mut world = World::new(setup);
    running.iter().for_each(|p| world.take(setup, &Step::Start(*p)));
    if !running.is_empty() {
        calm::settle(&mut world, setup, false).unwrap();
    }
    world
}

fn goes_away(step: &Step) -> bool {
    matches!(step, Step::Crash(_) | Step::Stall(_) | Step::Cut(_))
}

/// Two processes and one slot, which falls to the one of this number.
fn two(owner: usize) -> Setup {
    Setup::new(if owner == 0 { &[0, 1] } else { &[1, 0] }, 1)
}

#[test]
fn two_processes_and_faults_of_any_kind() {
    let setup = two(0);
    explore("two faults", Bounds { faults: 2, ..Bounds::new(&setup, begin(&setup, &[0, 1]), 2) });
    explore("one fault", Bounds { faults: 1, ..Bounds::new(&setup, begin(&setup, &[0, 1]), 4) });
}

#[test]
fn two_processes_one_of_which_is_gone_for_long() {
    type May = fn(&Step) -> bool;
    let kinds: [(&str, May, i64); 3] = [
        ("cut from the store alone", |step| matches!(step, Step::Cut(_)), 5),
        ("stalled", |step| matches!(step, Step::Stall(_)), 5),
        ("crashed", |step| matches!(step, Step::Crash(_)), 6),
    ];
    let setup = two(0);
    for (name, may, ticks) in kinds {
        explore(name, Bounds { faults: 1, may, ..Bounds::new(&setup, begin(&setup, &[0, 1]), ticks) });
    }
}

#[test]
fn two_processes_of_which_one_joins() {
    for owner in [0, 1] {
        let setup = two(owner);
        explore("joins", Bounds { faults: 1, ..Bounds::new(&setup, begin(&setup, &[0]), 2) });
    }
}

#[test]
fn two_processes_that_begin_together() {
    let setup = two(0);
    explore("without faults", Bounds::new(&setup, begin(&setup, &[]), 2));
    explore("with a fault", Bounds { faults: 1, ..Bounds::new(&setup, begin(&setup, &[]), 1) });
}

#[test]
fn two_processes_that_leave() {
    let setup = two(0);
    let owner_leaves =
        Bounds { faults: 1, may_leave: &[0], ..Bounds::new(&setup, begin(&setup, &[0, 1]), 2) };
    explore("the owner leaves", owner_leaves);
    explore("both leave", Bounds { may_leave: &[0, 1], ..Bounds::new(&setup, begin(&setup, &[0, 1]), 2) });
}

#[test]
fn two_processes_and_two_slots() {
    let setup = Setup::new(&[0, 1], 2);
    explore("two slots", Bounds { faults: 1, ..Bounds::new(&setup, begin(&setup, &[0, 1]), 2) });
}

#[test]
fn two_processes_and_slow_answers() {
    let setup = two(0);
    let slow = Bounds { faults: 1, is_slow: true, ..Bounds::new(&setup, begin(&setup, &[0, 1]), 3) };
    explore("slow answers", slow);
}

#[test]
fn two_processes_with_clocks_of_different_speed() {
    for (quarters, ticks) in [([8, 4], 4), ([4, 8], 3), ([2, 4], 5), ([4, 2], 4)] {
        let mut setup = Setup { unserved_ticks: UNHEARD_TICKS, ..two(0) };
        setup.members.iter_mut().zip(quarters).for_each(|(member, quarters)| member.quarters = quarters);
        let bounds = Bounds::new(&setup, begin(&setup, &[0, 1]), ticks);
        explore(&format!("clocks {quarters:?}"), Bounds { faults: 1, may: goes_away, ..bounds });
    }
}

#[test]
fn nobody_is_refused_a_commit_when_nothing_fails() {
    for (is_slow, slots) in [(true, 1), (false, 2)] {
        let setup = Setup { is_kind: true, ..Setup::new(&[1, 0], slots) };
        let bounds = Bounds::new(&setup, begin(&setup, &[0]), 2);
        explore(
            "a planned hand-over",
            Bounds { is_slow, may_leave: if is_slow { &[0] } else { &[] }, ..bounds },
        );
    }
}

#[test]
fn three_processes_one_of_which_goes_away() {
    let setup = Setup::new(&[0, 1, 2], 1);
    explore("without faults", Bounds::new(&setup, begin(&setup, &[0, 1, 2]), 3));
    let bounds = Bounds::new(&setup, begin(&setup, &[0, 1, 2]), 2);
    explore("with a fault", Bounds { faults: 1, may: goes_away, ..bounds });
}

#[test]
fn three_processes_of_which_one_joins() {
    // First the others have it, then the one that joins.
    for (ranks, ticks) in [([0, 1, 2], 2), ([2, 1, 0], 2)] {
        let setup = Setup::new(&ranks, 1);
        explore("a third joins", Bounds::new(&setup, begin(&setup, &[0, 1]), ticks));
    }
}

/// The row of a dead process stands there for as long as rows last, and so do the slots' rows that name it.
#[test]
fn processes_that_begin_where_another_has_died() {
    for ttl_ms in [30_000, 7_500] {
        // To whoever is dead it falls, or to one that lives.
        for ranks in [[1, 2, 0], [0, 1, 2]] {
            let setup = Setup { ttl_ms, ..Setup::new(&ranks, 1) };
            let mut world = begin(&setup, &[2]);
            assert_eq!(world.store.head(Slot(0)).owner.as_ref(), Some(&setup.members[2].id));
            world.take(&setup, &Step::Crash(2));
            explore("after a death", Bounds::new(&setup, world, 2));
        }
    }
}

/// A process that died with a greater claim to the slot than either leaves its row while the slot moves between them.
#[test]
fn a_leftover_row_moves_nothing() {
    let setup = Setup::new(&[1, 2, 0], 1);
    let mut world = begin(&setup, &[0, 2]);
    world.take(&setup, &Step::Crash(2));
    explore("one joins while another dies", Bounds::new(&setup, world, 4));
}
