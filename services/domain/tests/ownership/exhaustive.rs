//! All interleavings of the steps of a few processes, with a bounded number of ticks and faults.

use std::sync::atomic::{AtomicUsize, Ordering};

use stateright::{Checker, HasDiscoveries, Model, Property};
use stoker_domain::Slot;
use stoker_domain::ownership::{Action, Input};

use super::calm::{self, Settled};
use super::process::{Life, Process, Request};
use super::step::{Setup, Step};
use super::world::World;

/// What is explored.
#[derive(Debug)]
pub struct Bounds {
    pub setup: Setup,
    pub begin: World,
    pub ticks: i64,
    pub faults: u8,
    /// Every answer may be slow; otherwise that is a fault.
    pub is_slow: bool,
    /// Faults that may happen.
    pub may: fn(&Step) -> bool,
    pub may_leave: &'static [usize],
    pub longest: AtomicUsize,
    pub most: AtomicUsize,
    pub unserved: AtomicUsize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub world: World,
    faults: u8,
}

impl Bounds {
    /// No faults, and so many ticks from this world on.
    pub fn new(setup: &Setup, begin: World, ticks: i64) -> Self {
        Self {
            setup: setup.clone(),
            begin,
            ticks,
            faults: 0,
            is_slow: false,
            may: |_| true,
            may_leave: &[],
            longest: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            unserved: AtomicUsize::new(0),
        }
    }

    fn steps_of(&self, world: &World, p: usize, steps: &mut Vec<Step>) {
        let process = &world.processes[p];
        match process.life {
            Life::Unborn => steps.push(Step::Start(p)),
            Life::Running => self.steps_of_running(process, p, steps),
            Life::Stalled => steps.push(Step::Wake(p)),
            Life::Ended => {}
        }
        if !process.late.is_empty() {
            steps.push(Step::ApplyLate(p));
        }
        for (slot, request) in &process.requests {
            self.steps_of_request(process, p, *slot, request, steps);
        }
    }

    fn steps_of_request(
        &self,
        process: &Process,
        p: usize,
        slot: Slot,
        request: &Request,
        steps: &mut Vec<Step>,
    ) {
        let is_running = process.life == Life::Running;
        match request {
            Request::Finishing(_) if is_running && !process.cut => steps.push(Step::Finish(p, slot)),
            Request::Finishing(_) => {}
            Request::Sent(action) => {
                if !process.cut {
                    steps.push(Step::Apply(p, slot));
                    if is_running && !self.is_slow {
                        steps.push(Step::Carry(p, slot));
                    }
                }
                if is_running && !matches!(action, Action::Release { .. }) {
                    steps.push(Step::Lose { member: p, slot, late: false });
                }
                if is_running && matches!(action, Action::TakeOver { .. }) {
                    steps.push(Step::Lose { member: p, slot, late: true });
                }
            }
            Request::Applied(input) if is_running => {
                steps.push(Step::Answer(p, slot));
                if matches!(input, Input::TakenOver(..)) {
                    steps.push(Step::Lose { member: p, slot, late: false });
                }
            }
            Request::Applied(_) => {}
        }
    }

    fn steps_of_running(&self, process: &Process, p: usize, steps: &mut Vec<Step>) {
        if process.cut {
            steps.push(Step::Heal(p));
        } else if !process.has_refreshed {
            steps.push(Step::Refresh(p));
        } else if !process.has_read && process.read.is_none() {
            steps.push(Step::ReadMembers(p));
            steps.push(Step::BeginRead { member: p, early: true });
            steps.push(Step::BeginRead { member: p, early: false });
        }
        if process.read.is_some() && !process.cut {
            steps.push(Step::EndRead(p));
        }
        // What happens to it between its own steps might as well happen before the first of them.
        let is_idle = process.has_refreshed && process.has_read && process.read.is_none();
        let may_fail = !is_idle || !process.requests.is_empty();
        for slot in process.serving.keys() {
            if !process.cut {
                steps.push(Step::Commit(p, *slot));
            }
            if may_fail {
                steps.push(Step::CommitUnknown(p, *slot));
            }
        }
        if self.may_leave.contains(&p) && !process.leaving {
            steps.push(Step::Leave(p));
        }
        if process.leaving && process.machine.is_clear() && process.requests.is_empty() {
            steps.push(Step::End(p));
        }
        if may_fail {
            steps.extend([Step::Crash(p), Step::Stall(p)]);
        }
        if may_fail && !process.cut {
            steps.push(Step::Cut(p));
        }
    }

    /// True when everybody has done what it does once in a tick.
    fn is_round_over(world: &World) -> bool {
        let has_read = |process: &Process| process.has_read || process.read.is_some();
        let is_done = |process: &Process| process.has_refreshed && has_read(process) || process.cut;
        world.processes.iter().all(|process| process.life != Life::Running || is_done(process))
    }

    /// True when all is settled soon after the faults have stopped. Other states lead to one where a round is over.
    fn settles(&self, state: &State) -> bool {
        if !Self::is_round_over(&state.world) {
            return true;
        }
        self.after(&state.world).is_ok()
    }

    /// Whether all is settled once the faults stop here.
    pub fn after(&self, world: &World) -> Result<(), String> {
        let mut calm = world.clone();
        // Requests that are late never arrive, or all of them now.
        calm.processes.iter_mut().for_each(|process| process.late.clear());
        self.note(calm::settle(&mut calm, &self.setup, false)?);
        if world.processes.iter().any(|process| !process.late.is_empty()) {
            let mut calm = world.clone();
            for p in 0..calm.processes.len() {
                while !calm.processes[p].late.is_empty() {
                    calm.take(&self.setup, &Step::ApplyLate(p));
                }
            }
            self.note(calm::settle(&mut calm, &self.setup, true)?);
        }
        Ok(())
    }

    fn note(&self, settled: Settled) {
        self.longest.fetch_max(settled.ticks, Ordering::Relaxed);
        self.most.fetch_max(settled.takeovers, Ordering::Relaxed);
        self.unserved.fetch_max(settled.unserved, Ordering::Relaxed);
    }

    /// What it costs of the faults.
    fn cost(&self, world: &World, step: &Step) -> u8 {
        match step {
            // Of a process that does not run, the store still does what was sent.
            Step::Apply(p, _) => u8::from(!self.is_slow && world.processes[*p].life == Life::Running),
            // Of a process that is cut every request is lost.
            Step::Lose { member, .. } if world.processes[*member].cut => 0,
            step => u8::from(step.is_fault()),
        }
    }
}

impl Model for Bounds {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State { world: self.begin.clone(), faults: self.faults }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let world = &state.world;
        if world.broken.is_some() {
            return;
        }
        for p in 0..world.processes.len() {
            self.steps_of(world, p, steps);
        }
        if Self::is_round_over(world) && world.now < self.begin.now + self.ticks * self.setup.tick_ms {
            steps.push(Step::Tick);
        }
        steps.retain(|step| {
            let cost = self.cost(world, step);
            cost == 0 || cost <= state.faults && (self.may)(step)
        });
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let faults = state.faults - self.cost(&state.world, &step);
        let mut world = state.world.clone();
        world.take(&self.setup, &step);
        Some(State { world, faults })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no promise is broken on the way", |_: &Self, state: &State| {
                state.world.broken.is_none()
            }),
            Property::always("all is settled once the faults have stopped", Self::settles),
        ]
    }
}

/// What the environment asks for in addition.
fn more(name: &str) -> u8 {
    std::env::var(name).map_or(0, |more| more.parse().expect(name))
}

/// Explores all of it.
pub fn explore(name: &str, mut bounds: Bounds) {
    bounds.ticks += i64::from(more("STOKER_OWNERSHIP_TICKS"));
    if bounds.faults > 0 {
        bounds.faults += more("STOKER_OWNERSHIP_FAULTS");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = bounds.checker().threads(threads).finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let Bounds { longest, most, unserved, .. } = checker.model();
    println!("{name}: {states} states, {depth} steps deep");
    println!("    settled in {longest:?} ticks, {unserved:?} of them unserved, {most:?} take-overs");
    if let Some((promise, path)) = checker.discoveries().into_iter().next() {
        let last = path.last_state().world.clone();
        let why = last.broken.map_or_else(|| checker.model().after(&last).err(), |why| Some(why.to_owned()));
        let steps: Vec<String> = path.into_actions().iter().map(|step| format!("\n    {step:?}")).collect();
        panic!("{name}: {promise}: {}{}\n{last:#?}", why.unwrap_or_default(), steps.concat());
    }
}
