//! What becomes of a world in which nothing fails any more: everybody does what it should, once in a tick.

use stoker_domain::Slot;

use super::process::{Life, Request};
use super::step::{Setup, Step};
use super::world::World;

/// Ticks within which everything has to be settled: an owner looks at its rows every 30 s, and a request that may be
/// late is waited for a minute, by a clock that may be half as fast.
const TICKS: usize = 72;
/// After so many ticks without a request nothing is under way; the longest pause is shorter.
const QUIET_TICKS: usize = 4;
/// So often a slot may change hands until all is settled: somebody takes it from the dead and hands it to whom it falls,
/// and one more for what was decided before the calm.
const TAKEOVERS_MAX: usize = 3;

/// More steps than this between two ticks go on for ever.
const STEPS: usize = 1_000;

/// The steps that processes take in good order at this moment, one by one until there is none.
fn next(world: &World, backwards: bool) -> Option<Step> {
    let mut order: Vec<usize> = (0..world.processes.len()).collect();
    if backwards {
        order.reverse();
    }
    let step = |p: usize| {
        let process = &world.processes[p];
        if process.life != Life::Running {
            return None;
        }
        if let Some((slot, request)) = process.requests.iter().next() {
            return Some(match request {
                Request::Finishing(_) => Step::Finish(p, *slot),
                Request::Sent(_) => Step::Apply(p, *slot),
                Request::Applied(_) => Step::Answer(p, *slot),
            });
        }
        match () {
            () if process.read.is_some() => Some(Step::EndRead(p)),
            () if !process.has_refreshed => Some(Step::Refresh(p)),
            () if !process.has_read => Some(Step::ReadMembers(p)),
            () if process.leaving && process.machine.is_clear() => Some(Step::End(p)),
            () => None,
        }
    };
    order.into_iter().find_map(step)
}

/// How a world settled.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settled {
    /// Ticks until all was as it should be and stayed so.
    pub ticks: usize,
    /// Take-overs of the slot that changed hands most.
    pub takeovers: usize,
    /// Ticks in which some slot was served by nobody, one after the other.
    pub unserved: usize,
}

/// Lets the time pass without faults until all is settled, or says why it never was.
pub fn settle(world: &mut World, setup: &Setup, backwards: bool) -> Result<Settled, String> {
    for process in &mut world.processes {
        process.cut = false;
        if process.life == Life::Stalled {
            process.life = Life::Running;
        }
    }
    world.counts = Default::default();
    let (mut quiet, mut unserved, mut longest_unserved) = (0, 0, 0);
    for tick in 0..TICKS {
        let before = world.counts.requests;
        for steps in 0.. {
            let Some(step) = next(world, backwards) else { break };
            if steps > STEPS {
                return Err("steps without end".to_owned());
            }
            world.take(setup, &step);
            if let Some(broken) = world.broken {
                return Err(broken.to_owned());
            }
        }
        let takeovers = world.counts.takeovers.values().copied().max().unwrap_or(0);
        if takeovers > TAKEOVERS_MAX {
            return Err(format!("a slot changes hands again and again: {:?}", world.counts.takeovers));
        }
        let is_served = |slot: &Slot| {
            let epoch = world.store.head(*slot).epoch;
            world.rightful(setup, *slot).is_none()
                || world.processes.iter().any(|process| process.serving.get(slot) == Some(&epoch))
        };
        unserved = if setup.slots.iter().all(is_served) { 0 } else { unserved + 1 };
        longest_unserved = unserved.max(longest_unserved);
        if unserved > setup.unserved_ticks {
            return Err("a slot is served by nobody for too long".to_owned());
        }
        quiet = if world.counts.requests == before { quiet + 1 } else { 0 };
        if quiet > QUIET_TICKS && amiss(world, setup).is_none() {
            return Ok(Settled { ticks: tick - QUIET_TICKS, takeovers, unserved: longest_unserved });
        }
        world.take(setup, &Step::Tick);
    }
    Err(amiss(world, setup).unwrap_or_else(|| "requests without end".to_owned()))
}

/// What is not as it should be.
fn amiss(world: &World, setup: &Setup) -> Option<String> {
    for slot in setup.slots.iter().copied() {
        let (head, rightful) = (world.store.head(slot), world.rightful(setup, slot));
        for (p, process) in world.processes.iter().enumerate() {
            let is_recorded = head.owner.as_ref() == Some(&setup.members[p].id);
            let is_served = process.serving.get(&slot) == Some(&head.epoch);
            if rightful == Some(p) && !(is_recorded && is_served) {
                return Some(format!("slot {slot} is not served by process {p}: {head:?}"));
            }
            if rightful != Some(p) && process.serving.contains_key(&slot) {
                return Some(format!("slot {slot} is served by process {p} also"));
            }
            if rightful != Some(p) && process.is_alive() && is_recorded {
                return Some(format!("slot {slot} is recorded as of process {p} still"));
            }
        }
    }
    let is_left = |process: &super::process::Process| process.leaving && process.is_alive();
    world.processes.iter().any(is_left).then(|| "a process cannot leave".to_owned())
}
