//! Long histories, each step drawn at random: what is too far away to get everywhere.

use proptest::prelude::*;
use proptest::test_runner::Config;

use stateright::Model;

use super::exhaustive::Bounds;
use super::step::{Setup, Step, UNHEARD_TICKS};
use super::world::World;

/// Of so many faults at most a history consists.
const FAULTS: u8 = 40;
/// Of 256 steps so many are something rare, if anything rare can happen.
const RARELY: u8 = 24;

fn is_rare(step: &Step) -> bool {
    step.is_fault() || matches!(step, Step::Start(_) | Step::Leave(_))
}

/// How many histories; `STOKER_HISTORIES` says otherwise.
fn histories() -> u32 {
    std::env::var("STOKER_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(192)
}

fn setups() -> impl Strategy<Value = Setup> {
    let ranks = prop_oneof![Just([0, 1, 2]), Just([1, 2, 0]), Just([2, 0, 1]), Just([2, 1, 0])];
    let quarters = prop_oneof![3 => Just([4, 4, 4]), 1 => Just([4, 8, 4]), 1 => Just([4, 2, 4])];
    (ranks, quarters, 1..=3_u8, prop_oneof![Just(30_000), Just(7_500)]).prop_map(
        |(ranks, quarters, slots, ttl_ms)| {
            let mut setup = Setup { ttl_ms, unserved_ticks: UNHEARD_TICKS, ..Setup::new(&ranks, slots) };
            setup.members.iter_mut().zip(quarters).for_each(|(member, quarters)| member.quarters = quarters);
            setup
        },
    )
}

/// Takes the steps that were drawn, then lets everything settle. What was not kept, and how it came to that.
fn walk(bounds: &Bounds, choices: &[(u8, u8)]) -> Result<(), String> {
    let mut state = bounds.init_states().remove(0);
    let mut history = Vec::new();
    for (kind, which) in choices {
        let mut steps = Vec::new();
        bounds.actions(&state, &mut steps);
        let may_be_rare = *kind < RARELY;
        let of_kind = |step: &&Step| is_rare(step) == may_be_rare;
        let all: Vec<&Step> = match steps.iter().filter(of_kind).collect::<Vec<_>>() {
            some if !some.is_empty() => some,
            _ => steps.iter().collect(),
        };
        let Some(step) = all.get(usize::from(*which) % all.len().max(1)) else { break };
        history.push(format!("\n    {step:?}"));
        state = bounds.next_state(&state, (*step).clone()).unwrap();
        if let Some(broken) = state.world.broken {
            return Err(format!("{broken}{}", history.concat()));
        }
    }
    bounds.after(&state.world).map_err(|why| format!("{why}{}", history.concat()))
}

proptest! {
    #![proptest_config(Config { cases: histories(), failure_persistence: None, ..Config::default() })]

    #[test]
    fn three_processes_keep_all_promises_for_long(
        setup in setups(),
        choices in prop::collection::vec(any::<(u8, u8)>(), 400),
    ) {
        let bounds = Bounds { faults: FAULTS, may_leave: &[2], ..Bounds::new(&setup, World::new(&setup), 100) };
        let history = walk(&bounds, &choices);
        prop_assert!(history.is_ok(), "{}", history.unwrap_err());
    }
}
