//! What a core measures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use stoker_domain::model::{Command, CommandState};
use stoker_link::Turns;
use stoker_telemetry::{Histogram, HistogramSnapshot, LATENCY, SIZES, STAGES};

use crate::slots::Slots;

/// All states, in the order in which they are counted.
const STATES: [CommandState; 7] = [
    CommandState::Queued,
    CommandState::Sent,
    CommandState::Delivered,
    CommandState::Succeeded,
    CommandState::Failed,
    CommandState::Expired,
    CommandState::Cancelled,
];

/// Who answered a request that only the owner of its slot answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answered {
    /// This core, for whoever asked it.
    Here,
    /// Another core: the request was passed on.
    There,
    /// This core, for another one that passed the request on.
    ForAnother,
}

impl Answered {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Here, "here"), (Self::There, "passed_on"), (Self::ForAnother, "for_another")];
}

/// What a core measures, to be kept by whoever serves metrics.
#[derive(Debug)]
pub struct CoreStats {
    pub(crate) append: Histogram,
    pub(crate) commit: Histogram,
    pub(crate) commit_changes: Histogram,
    pub(crate) work_confirmed: Histogram,
    pub(crate) order_confirmed: Histogram,
    pub(crate) handed_on: Histogram,
    commands: [(AtomicU64, Histogram); STATES.len()],
    answered: [AtomicU64; Answered::ALL.len()],
    abandoned: AtomicU64,
    slots: OnceLock<(Slots, Turns)>,
}

impl Default for CoreStats {
    fn default() -> Self {
        Self {
            append: Histogram::new(LATENCY),
            commit: Histogram::new(LATENCY),
            commit_changes: Histogram::new(SIZES),
            work_confirmed: Histogram::new(LATENCY),
            order_confirmed: Histogram::new(LATENCY),
            handed_on: Histogram::new(STAGES),
            commands: STATES.map(|_| (AtomicU64::new(0), Histogram::new(STAGES))),
            answered: Answered::ALL.map(|_| AtomicU64::new(0)),
            abandoned: AtomicU64::new(0),
            slots: OnceLock::new(),
        }
    }
}

/// All of it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreSnapshot {
    /// How long appends to history took.
    pub append: HistogramSnapshot,
    /// How long commits of slots took.
    pub commit: HistogramSnapshot,
    /// How many rows changed in one.
    pub commit_changes: HistogramSnapshot,
    /// How long the bus took to confirm notification work.
    pub work_confirmed: HistogramSnapshot,
    /// How long it took to confirm an order to a gateway.
    pub order_confirmed: HistogramSnapshot,
    /// From the making of a notification until the bus had it, at its first attempt.
    pub handed_on: HistogramSnapshot,
    /// Commands that came into this state, and after which time since they were made.
    pub commands: Vec<(CommandState, u64, HistogramSnapshot)>,
    /// Requests that only the owner of their slot answers, among several cores: `here`, `passed_on` to another core, or
    /// answered `for_another`, and how many.
    pub answered: [(&'static str, u64); 3],
    /// Requests that nobody wanted any more when their turn came at their slot.
    pub abandoned: u64,
    /// Slots that this process owns now.
    pub slots: usize,
    /// Requests that wait for them now.
    pub waiting: usize,
    /// Slots that wait for their turn to commit now, and how many may commit at once.
    pub turns: (usize, usize),
}

impl CoreStats {
    /// All of it now.
    #[must_use]
    pub fn snapshot(&self) -> CoreSnapshot {
        let commands = STATES.into_iter().zip(&self.commands);
        CoreSnapshot {
            append: self.append.snapshot(),
            commit: self.commit.snapshot(),
            commit_changes: self.commit_changes.snapshot(),
            work_confirmed: self.work_confirmed.snapshot(),
            order_confirmed: self.order_confirmed.snapshot(),
            handed_on: self.handed_on.snapshot(),
            commands: commands
                .map(|(state, (count, after))| (state, count.load(Ordering::Relaxed), after.snapshot()))
                .collect(),
            answered: Answered::ALL.map(|(by, name)| (name, self.count_of(by).load(Ordering::Relaxed))),
            abandoned: self.abandoned.load(Ordering::Relaxed),
            slots: self.slots.get().map_or(0, |(slots, _)| slots.owned().len()),
            waiting: self.slots.get().map_or(0, |(slots, _)| slots.waiting()),
            turns: self.slots.get().map(|(_, turns)| turns.now()).unwrap_or_default(),
        }
    }

    pub(crate) fn watches(self: &Arc<Self>, slots: &Slots, turns: &Turns) {
        // A second core in one process, as tests have it, is not counted.
        drop(self.slots.set((slots.clone(), turns.clone())));
    }

    fn count_of(&self, by: Answered) -> &AtomicU64 {
        let [here, there, for_another] = &self.answered;
        match by {
            Answered::Here => here,
            Answered::There => there,
            Answered::ForAnother => for_another,
        }
    }

    /// A request that only the owner of its slot answers was answered.
    pub(crate) fn answered(&self, by: Answered) {
        self.count_of(by).fetch_add(1, Ordering::Relaxed);
    }

    /// A request was not looked at: nobody wanted it any more.
    pub(crate) fn abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// A command has come into its state.
    pub(crate) fn command(&self, command: &Command) {
        let at = match command.state {
            CommandState::Queued => Some(command.created_at),
            CommandState::Sent => command.sent_at,
            CommandState::Delivered => command.delivered_at,
            _ => command.ended_at,
        };
        let of_state = STATES.iter().zip(&self.commands).find(|(state, _)| **state == command.state);
        if let (Some(at), Some((_, (count, after)))) = (at, of_state) {
            count.fetch_add(1, Ordering::Relaxed);
            after.count(micros(at.saturating_sub(command.created_at)));
        }
    }
}

/// Milliseconds as microseconds; what would be negative is nothing.
pub(crate) fn micros(millis: i64) -> u64 {
    u64::try_from(millis).unwrap_or(0).saturating_mul(1_000)
}
