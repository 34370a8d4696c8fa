//! Random histories of a slot, crashes included. What they check after every step is in `world/checks.rs`; each of the
//! changes in `mutants/` takes one guard out of the machine, and `mutants/run.sh` expects these tests to fail for it.
//!
//! A failure prints the smallest history that still fails, and its seed is kept in `properties.regressions`.

// These lints are relaxed inside of `#[test]` functions only, and the world stands outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use world::ops::{Op, Weights, history, history_of_one_command};

fn config(times: u32) -> ProptestConfig {
    // Not proptest's own variable: that one would override the factor too.
    let cases = std::env::var("STOKER_HISTORIES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(192);
    ProptestConfig {
        cases: cases * times,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

fn run(ops: &[Op]) {
    let mut world = world::World::new();
    for op in ops {
        world.step(op);
    }
    world.settle();
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn whatever_happens_every_invariant_holds(ops in history(Weights::EVERYTHING)) {
        run(&ops);
    }

    #[test]
    fn sessions_come_and_go_and_silence_is_the_devices_own(ops in history(Weights::SESSIONS)) {
        run(&ops);
    }

    #[test]
    fn commands_end_once_and_honestly_over_crashes(ops in history(Weights::COMMANDS)) {
        run(&ops);
    }

    #[test]
    fn alarms_reach_everybody_once_over_crashes(ops in history(Weights::ALARMS)) {
        run(&ops);
    }
}

proptest! {
    // Short and cheap, and what it looks for takes many steps in the right order.
    #![proptest_config(config(16))]

    #[test]
    fn one_command_stays_honest_whatever_its_sessions_do(ops in history_of_one_command()) {
        run(&ops);
    }
}
