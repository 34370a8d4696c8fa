//! Some processes, a store and the time, and every step that any of them may take.

use std::collections::BTreeMap;

use stoker_domain::ownership::{Action, Input, Ownership, Peer, falls_to};
use stoker_domain::{Millis, Slot, SlotEpoch};

use super::process::{Life, Process, Read, Request};
use super::step::{Member, Setup, Step};
use super::store::{Commit, Store};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub now: Millis,
    pub store: Store,
    pub processes: Vec<Process>,
    /// A promise that was broken.
    pub broken: Option<&'static str>,
    pub counts: Counts,
}

/// How often something happened. Not a part of the state: all counts are the same.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Requests of the machines, but those by which an owner looks at what it has.
    pub requests: usize,
    /// Take-overs of each slot.
    pub takeovers: BTreeMap<Slot, usize>,
}

impl PartialEq for Counts {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Counts {}

impl std::hash::Hash for Counts {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl World {
    pub fn new(setup: &Setup) -> Self {
        let machine = |member: &Member| Ownership::new(member.id.clone(), member.range, false);
        Self {
            // No clock says zero.
            now: 1_000_000,
            store: Store::new(setup.slots.iter().copied()),
            processes: setup.members.iter().map(|member| Process::new(machine(member))).collect(),
            broken: None,
            counts: Counts::default(),
        }
    }

    pub fn take(&mut self, setup: &Setup, step: &Step) {
        let before = self.store.heads.clone();
        self.happen(setup, step);
        self.broken = self.broken.or_else(|| self.owners_amiss(setup)).or_else(|| self.epochs_amiss(&before));
    }

    fn happen(&mut self, setup: &Setup, step: &Step) {
        match *step {
            Step::Tick => self.tick(setup),
            Step::Start(p) => self.start(p),
            Step::Leave(p) => {
                self.processes[p].leaving = true;
                self.tell(setup, p, Input::Leave);
            }
            Step::End(p) => {
                if self.may_own_something(setup, p) {
                    self.broken = Some("a process ends while a slot's row names it");
                }
                self.processes[p].crash();
            }
            Step::Refresh(p) => self.refresh(setup, p),
            Step::ReadMembers(p) => {
                let (rows, began) = (self.store.members(), setup.clock(p, self.now));
                self.processes[p].has_read = true;
                self.tell(setup, p, Input::Members { rows, began });
            }
            Step::BeginRead { member, early } => {
                let rows = early.then(|| self.store.members());
                self.processes[member].read = Some(Read { began: setup.clock(member, self.now), rows });
                self.processes[member].has_read = true;
            }
            Step::EndRead(p) => {
                let read = self.processes[p].read.take().unwrap();
                let rows = read.rows.unwrap_or_else(|| self.store.members());
                self.tell(setup, p, Input::Members { rows, began: read.began });
            }
            Step::Apply(p, slot) => self.apply(setup, p, slot),
            Step::Answer(p, slot) => self.answer(setup, p, slot),
            Step::Carry(p, slot) => {
                self.apply(setup, p, slot);
                self.answer(setup, p, slot);
            }
            Step::Lose { member, slot, late } => self.lose(setup, member, slot, late),
            Step::ApplyLate(p) => {
                let (slot, seen) = self.processes[p].late.pop().unwrap();
                self.claim(setup, p, slot, seen);
            }
            Step::Finish(p, slot) => self.finish(setup, p, slot),
            Step::Commit(p, slot) => self.commit(setup, p, slot),
            Step::CommitUnknown(p, slot) => self.stop_serving(setup, p, slot),
            Step::Crash(p) => self.processes[p].crash(),
            Step::Stall(p) => self.processes[p].life = Life::Stalled,
            Step::Wake(p) => self.processes[p].life = Life::Running,
            Step::Cut(p) => self.processes[p].cut = true,
            Step::Heal(p) => self.processes[p].cut = false,
        }
    }

    fn tick(&mut self, setup: &Setup) {
        self.now += setup.tick_ms;
        self.store.expire(self.now, setup.ttl_ms);
        // What is older than anything that counts need not be told apart.
        let old = self.now - 4 * setup.patience();
        self.store.forget(old);
        for p in 0..self.processes.len() {
            self.processes[p].fresh_since = self.processes[p].fresh_since.max(old);
            (self.processes[p].has_refreshed, self.processes[p].has_read) = (false, false);
            if self.processes[p].life == Life::Running {
                self.tell(setup, p, Input::Tick);
            }
        }
    }

    fn start(&mut self, p: usize) {
        self.processes[p].life = Life::Running;
        self.processes[p].fresh_since = self.now;
    }

    fn refresh(&mut self, setup: &Setup, p: usize) {
        let (process, member) = (&mut self.processes[p], &setup.members[p]);
        process.has_refreshed = true;
        let last = self.store.rows.get(&member.id).map(|(_, written)| *written);
        if last.is_none_or(|last| self.now - last >= setup.patience()) {
            process.fresh_since = self.now;
        }
        let (beat, leaving) = (self.now.unsigned_abs(), process.leaving);
        let peer = Peer { id: member.id.clone(), slots: member.range, beat, leaving };
        self.store.rows.insert(member.id.clone(), (peer, self.now));
    }

    fn apply(&mut self, setup: &Setup, p: usize, slot: Slot) {
        let Some(Request::Sent(action)) = self.processes[p].requests.get(&slot).cloned() else { panic!() };
        let answer = match action {
            Action::Read(slot) => Input::Head(slot, Some(self.store.head(slot).clone())),
            Action::TakeOver { slot, seen, .. } => self
                .claim(setup, p, slot, seen)
                .map_or(Input::NotTakenOver(slot), |e| Input::TakenOver(slot, e)),
            Action::Release { slot, epoch } => {
                self.store.release(slot, epoch);
                Input::Gone(slot)
            }
        };
        self.processes[p].requests.insert(slot, Request::Applied(answer));
    }

    fn claim(&mut self, setup: &Setup, p: usize, slot: Slot, seen: SlotEpoch) -> Option<SlotEpoch> {
        let epoch = self.store.claim(slot, &setup.members[p].id, seen, self.now)?;
        *self.counts.takeovers.entry(slot).or_default() += 1;
        Some(epoch)
    }

    /// What the slot holds goes into the store before it is released.
    fn finish(&mut self, setup: &Setup, p: usize, slot: Slot) {
        if self.processes[p].serving.contains_key(&slot) {
            self.commit(setup, p, slot);
        }
        let process = &mut self.processes[p];
        process.serving.remove(&slot);
        let Some(Request::Finishing(action)) = process.requests.remove(&slot) else { panic!() };
        process.requests.insert(slot, Request::Sent(action));
    }

    fn lose(&mut self, setup: &Setup, p: usize, slot: Slot, late: bool) {
        let request = self.processes[p].requests.remove(&slot).unwrap();
        if let (Request::Sent(Action::TakeOver { slot, seen, .. }), true) = (&request, late) {
            self.processes[p].late.push((*slot, *seen));
        }
        let answer = match request {
            Request::Sent(Action::Read(_)) | Request::Applied(Input::Head(..)) => Input::Head(slot, None),
            Request::Sent(Action::TakeOver { .. }) | Request::Applied(_) => Input::NotTakenOver(slot),
            Request::Finishing(_) | Request::Sent(Action::Release { .. }) => {
                panic!("a release is tried until it is done")
            }
        };
        self.tell(setup, p, answer);
    }

    fn commit(&mut self, setup: &Setup, p: usize, slot: Slot) {
        let epoch = self.processes[p].serving[&slot];
        match self.store.commit(slot, &setup.members[p].id, epoch) {
            Commit::Accepted => {}
            Commit::Stolen => self.broken = Some("a commit of another than the owner was accepted"),
            Commit::Fenced => {
                if setup.is_kind {
                    self.broken = Some("a commit is refused though nothing failed");
                }
                self.stop_serving(setup, p, slot);
            }
        }
    }

    fn stop_serving(&mut self, setup: &Setup, p: usize, slot: Slot) {
        self.processes[p].serving.remove(&slot);
        // If it is about to be released, that is answered for itself.
        if !self.processes[p].is_releasing(slot) {
            self.tell(setup, p, Input::Gone(slot));
        }
    }

    fn answer(&mut self, setup: &Setup, p: usize, slot: Slot) {
        let Some(Request::Applied(input)) = self.processes[p].requests.remove(&slot) else { panic!() };
        if let Input::TakenOver(slot, epoch) = &input {
            self.processes[p].serving.insert(*slot, *epoch);
        }
        self.tell(setup, p, input);
    }

    pub fn tell(&mut self, setup: &Setup, p: usize, input: Input) {
        match self.processes[p].tell(input, setup.clock(p, self.now)) {
            Err(broken) => self.broken = Some(broken),
            Ok(actions) => {
                for action in actions {
                    let is_check =
                        matches!(action, Action::Read(slot) if self.processes[p].serving.contains_key(&slot));
                    self.counts.requests += usize::from(!is_check);
                    if let Action::TakeOver { slot, seen, .. } = action
                        && self.deprives_somebody(setup, p, slot, seen)
                    {
                        self.broken = Some("a live process is deprived of a slot");
                    }
                }
            }
        }
    }

    /// To whom a slot falls among those that are alive and stay.
    pub fn rightful(&self, setup: &Setup, slot: Slot) -> Option<usize> {
        let stays = |p: &usize| {
            let process = &self.processes[*p];
            process.is_alive() && !process.leaving && setup.members[*p].range.contains(slot)
        };
        let ids = (0..self.processes.len()).filter(stays).map(|p| &setup.members[p].id);
        let owner = falls_to(slot, ids)?;
        setup.members.iter().position(|member| member.id == *owner)
    }
}
