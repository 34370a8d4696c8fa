//! How fast a process lets its devices go when it ends, so that those who take them in are not overrun.
//!
//! The pace grows step by step while core answers as fast as it did at first, and is halved when it does not. It never
//! falls below what is needed to be done in time, spread evenly, and never exceeds what was set. Time is passed in; the
//! caller tells how core has answered since it asked last.

use crate::model::Millis;

/// Sessions in a second with which it begins at least: fewer are no load for anybody.
const FIRST_RATE: f64 = 50.0;
/// How often core's answers are judged.
const JUDGE_EVERY_MS: Millis = 500;
/// How much slower an answer may be without being called slow, and from when on it is in any case.
const SLACK_US: u64 = 10_000;
const SLOW_US: u64 = 1_000_000;
/// Time that passed without a step counts up to this much: a process that stood still does not make up for it at once.
const STEP_MOST_MS: Millis = 1_000;

/// What bounds a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainBounds {
    /// When it has taken so long, all that is left goes at once.
    pub within_ms: Millis,
    /// Before that, no more sessions in a second than this.
    pub max_rate: Option<u32>,
}

/// How core has answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Calls that were answered.
    pub answered: u64,
    /// How long they took together, in microseconds.
    pub took_us: u64,
    /// Calls without a proper answer, and beats that were answered late.
    pub failed: u64,
    /// Calls that wait for their answer at this moment.
    pub waiting: u64,
}

/// The pace of one drain.
#[derive(Debug, Clone)]
pub struct Pace {
    bounds: DrainBounds,
    began: Millis,
    stepped: Millis,
    judged: Millis,
    /// Answers that are not judged yet.
    heard: Answers,
    /// The least that answers took on average, in microseconds.
    fastest_us: Option<u64>,
    /// Sessions in a second, and by how much it grows.
    rate: f64,
    growth: f64,
    /// What was earned and not spent, below one session.
    credit: f64,
}

impl Pace {
    /// Begins to let so many sessions go.
    #[must_use]
    pub fn new(bounds: DrainBounds, now: Millis, sessions: usize) -> Self {
        let even = per_second(sessions, bounds.within_ms).max(FIRST_RATE);
        Self {
            bounds,
            began: now,
            stepped: now,
            judged: now,
            heard: Answers::default(),
            fastest_us: None,
            rate: even,
            growth: even / 2.0,
            credit: 0.0,
        }
    }

    /// How many of those that are left may go now.
    pub fn step(&mut self, now: Millis, left: usize, answers: Answers) -> usize {
        let remaining = self.bounds.within_ms - (now - self.began);
        if remaining <= 0 {
            return left;
        }
        self.heard.answered += answers.answered;
        self.heard.took_us += answers.took_us;
        self.heard.failed += answers.failed;
        self.heard.waiting = answers.waiting;
        if now - self.judged >= JUDGE_EVERY_MS {
            self.judge();
            self.judged = now;
        }
        let passed = (now - self.stepped).clamp(0, STEP_MOST_MS);
        self.stepped = now;
        let rate = self.rate.max(per_second(left, remaining));
        let rate = self.bounds.max_rate.map_or(rate, |most| rate.min(f64::from(most)));
        self.credit += rate * as_f64(passed) / 1_000.0;
        let whole = whole(self.credit);
        self.credit -= whole as f64;
        whole.min(left)
    }

    fn judge(&mut self) {
        let Answers { answered, took_us, failed, waiting } = std::mem::take(&mut self.heard);
        let mean_us = took_us.checked_div(answered);
        let slow = failed > 0
            || match mean_us {
                None => waiting > 0,
                Some(mean) => {
                    let fastest = self.fastest_us.unwrap_or(mean).min(mean);
                    self.fastest_us = Some(fastest);
                    mean > SLOW_US || mean > fastest.saturating_mul(2).saturating_add(SLACK_US)
                }
            };
        if slow {
            self.rate /= 2.0;
        } else if mean_us.is_some() {
            self.rate += self.growth;
        }
    }
}

fn as_f64(ms: Millis) -> f64 {
    // Exact for any time that a drain can take.
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX))
}

fn per_second(sessions: usize, within_ms: Millis) -> f64 {
    let sessions = f64::from(u32::try_from(sessions).unwrap_or(u32::MAX));
    sessions * 1_000.0 / as_f64(within_ms.max(1))
}

fn whole(credit: f64) -> usize {
    credit.max(0.0).floor() as usize
}
