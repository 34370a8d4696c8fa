//! One process: its machine, and a small shell that carries out what the machine asks for, in steps.

use std::collections::BTreeMap;

use stoker_domain::ownership::{AT_ONCE, Action, Input, Ownership, Peer};
use stoker_domain::{Millis, Slot, SlotEpoch};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    Unborn,
    Running,
    /// Stopped: it takes no step while the time goes on.
    Stalled,
    /// It crashed, or ended after it had left.
    Ended,
}

/// What the machine asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// A release, before which the slot has something to finish.
    Finishing(Action),
    /// Under way to the store.
    Sent(Action),
    /// The store did it, and this is what will be heard.
    Applied(Input),
}

impl Request {
    fn is_release(&self) -> bool {
        matches!(
            self,
            Self::Finishing(_) | Self::Sent(Action::Release { .. }) | Self::Applied(Input::Gone(_))
        )
    }
}

/// A read of the members under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Read {
    pub began: Millis,
    /// What it brings; otherwise what the store holds when it ends.
    pub rows: Option<Vec<Peer>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    pub life: Life,
    /// Nothing of it reaches the store.
    pub cut: bool,
    pub leaving: bool,
    pub machine: Ownership,
    pub serving: BTreeMap<Slot, SlotEpoch>,
    pub requests: BTreeMap<Slot, Request>,
    /// Claims that were given up and may still reach the store.
    pub late: Vec<(Slot, SlotEpoch)>,
    pub read: Option<Read>,
    /// What it does once in a tick was done.
    pub has_refreshed: bool,
    pub has_read: bool,
    /// Since when its row has never stood still for long.
    pub fresh_since: Millis,
}

impl Process {
    pub fn new(machine: Ownership) -> Self {
        Self {
            life: Life::Unborn,
            cut: false,
            leaving: false,
            machine,
            serving: BTreeMap::new(),
            requests: BTreeMap::new(),
            late: Vec::new(),
            read: None,
            has_refreshed: false,
            has_read: false,
            fresh_since: 0,
        }
    }

    /// True while it is there, stalled or not.
    pub fn is_alive(&self) -> bool {
        matches!(self.life, Life::Running | Life::Stalled)
    }

    /// Tells the machine and takes up what it asks for; an error is a broken promise.
    pub fn tell(&mut self, input: Input, clock: Millis) -> Result<Vec<Action>, &'static str> {
        let actions = self.machine.apply(input, clock);
        for action in &actions {
            let slot = slot_of(action);
            let holds_something =
                matches!(action, Action::Release { .. }) && self.serving.contains_key(&slot);
            let request = if holds_something { Request::Finishing } else { Request::Sent };
            if self.requests.insert(slot, request(action.clone())).is_some() {
                return Err("two requests at a time for one slot");
            }
        }
        if self.count(false) > AT_ONCE || self.count(true) > AT_ONCE {
            return Err("too many requests at a time");
        }
        let owned: Vec<Slot> = self.machine.owned().collect();
        if self.serving.keys().any(|slot| !owned.contains(slot)) {
            return Err("a slot is served that the machine does not own");
        }
        if owned.iter().any(|slot| !self.serving.contains_key(slot) && !self.is_releasing(*slot)) {
            return Err("a slot that was lost is not dropped");
        }
        Ok(actions)
    }

    /// True when a release of this slot is under way.
    pub fn is_releasing(&self, slot: Slot) -> bool {
        self.requests.get(&slot).is_some_and(Request::is_release)
    }

    /// Requests under way: releases, or all others.
    fn count(&self, releases: bool) -> usize {
        self.requests.values().filter(|request| request.is_release() == releases).count()
    }

    /// Ends at once. What it sent may still reach the store.
    pub fn crash(&mut self) {
        for request in std::mem::take(&mut self.requests).into_values() {
            if let Request::Sent(Action::TakeOver { slot, seen, .. }) = request {
                self.late.push((slot, seen));
            }
        }
        self.serving.clear();
        self.read = None;
        self.life = Life::Ended;
    }
}

pub fn slot_of(action: &Action) -> Slot {
    match action {
        Action::Read(slot) | Action::TakeOver { slot, .. } | Action::Release { slot, .. } => *slot,
    }
}
