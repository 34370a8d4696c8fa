//! Faults that come and go by the boiler's seed.

use std::collections::VecDeque;

use stoker_domain::Severity;

use crate::random::Random;

/// What can be wrong with a boiler.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// What the device says.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// For a person.
    pub text: &'static str,
    /// How often it comes, beside the others.
    weight: u32,
}

/// The burner is out: the supply cools down.
pub static FLAME_LOST: Fault =
    Fault { code: "E42", severity: Severity::Critical, text: "flame lost", weight: 3 };
/// Water leaks out: the burner runs at half its power.
pub static LOW_PRESSURE: Fault =
    Fault { code: "E17", severity: Severity::Major, text: "low water pressure", weight: 4 };
/// The sensor in the return shows too much.
pub static SENSOR_DRIFT: Fault =
    Fault { code: "E09", severity: Severity::Minor, text: "return sensor drifts", weight: 2 };
/// Nothing that can be seen in the readings.
pub static FILTER_CLOGGED: Fault =
    Fault { code: "E31", severity: Severity::Warning, text: "filter clogged, service due", weight: 1 };

/// All of them.
pub static FAULTS: [&Fault; 4] = [&FLAME_LOST, &LOW_PRESSURE, &SENSOR_DRIFT, &FILTER_CLOGGED];

/// A fault has come or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultChange {
    /// Which.
    pub fault: &'static Fault,
    /// It has gone.
    pub cleared: bool,
}

/// How often faults come and how long they stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultPlan {
    /// Faults of one boiler in an hour, on average; 0 for none.
    pub per_hour: f64,
    /// How long one stays, on average, in seconds.
    pub mean_s: f64,
}

impl Default for FaultPlan {
    /// Of a thousand boilers, a few are faulty at any time.
    fn default() -> Self {
        Self { per_hour: 0.02, mean_s: 600.0 }
    }
}

/// The faults of one boiler: one at a time.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    plan: FaultPlan,
    random: Random,
    /// When the next one comes, in simulated milliseconds; not while one is there.
    next_at: f64,
    active: Option<Active>,
    changes: VecDeque<FaultChange>,
}

#[derive(Debug, Clone)]
struct Active {
    fault: &'static Fault,
    until: f64,
}

impl Faults {
    pub(crate) fn new(plan: FaultPlan, random: Random) -> Self {
        let mut faults =
            Self { plan, random, next_at: f64::INFINITY, active: None, changes: VecDeque::new() };
        faults.schedule(0.0);
        faults
    }

    fn schedule(&mut self, now: f64) {
        if self.plan.per_hour > 0.0 {
            self.next_at = now + self.random.exponential(3_600_000.0 / self.plan.per_hour);
        }
    }

    /// Brings everything up to `now`.
    pub(crate) fn advance(&mut self, now: f64) {
        loop {
            match &self.active {
                Some(active) if active.until <= now => {
                    let until = active.until;
                    self.clear(until);
                }
                None if self.next_at <= now => {
                    let at = self.next_at;
                    let fault = self.pick();
                    self.raise(fault, at);
                }
                _ => return,
            }
        }
    }

    fn pick(&mut self) -> &'static Fault {
        let total: u32 = FAULTS.iter().map(|fault| fault.weight).sum();
        let mut chosen = self.random.between(0.0, f64::from(total));
        for fault in FAULTS {
            chosen -= f64::from(fault.weight);
            if chosen < 0.0 {
                return fault;
            }
        }
        &FILTER_CLOGGED
    }

    /// Raises a fault, in place of another one that is there.
    pub(crate) fn raise(&mut self, fault: &'static Fault, now: f64) {
        if self.active() == Some(fault) {
            return;
        }
        self.clear(now);
        let stays = self.random.exponential(self.plan.mean_s * 1000.0);
        self.active = Some(Active { fault, until: now + stays });
        self.changes.push_back(FaultChange { fault, cleared: false });
    }

    /// Ends the fault that is there and tells which it was.
    pub(crate) fn clear(&mut self, now: f64) -> Option<&'static Fault> {
        let fault = self.active.take()?.fault;
        self.changes.push_back(FaultChange { fault, cleared: true });
        self.schedule(now);
        Some(fault)
    }

    pub(crate) fn active(&self) -> Option<&'static Fault> {
        self.active.as_ref().map(|active| active.fault)
    }

    pub(crate) fn next_change(&mut self) -> Option<FaultChange> {
        self.changes.pop_front()
    }
}
