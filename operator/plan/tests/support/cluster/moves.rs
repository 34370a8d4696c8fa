//! What a cluster does by itself: pods start, become ready and end; controllers make and end them, and count.

use super::{Cluster, Deployed, NOWHERE, Pod, STALLED, State};

impl Cluster {
    /// Something that the cluster does by itself; `choice` of what it could. False when there is nothing.
    pub(crate) fn tick(&mut self, choice: usize) -> bool {
        let mut could: Vec<(String, Do)> = Vec::new();
        let full = self.occupied() >= self.room;
        for (name, of) in &self.deployed {
            if !of.observed || of.status != of.counts() {
                could.push((name.clone(), Do::Look));
            }
            if of.controls().is_some() {
                could.push((name.clone(), Do::Control));
            }
            for (at, pod) in of.pods.iter().enumerate() {
                let moves = match pod.state {
                    State::Pending => pod.image != NOWHERE && !full,
                    State::Running => pod.image != STALLED,
                    State::Ending => true,
                    State::Ready => false,
                };
                if moves {
                    could.push((name.clone(), Do::Move(at)));
                }
            }
        }
        if could.is_empty() {
            return false;
        }
        let (name, what) = could[choice % could.len()].clone();
        self.clock += 1;
        let of = self.deployed.get_mut(&name).unwrap();
        of.version = self.clock;
        match what {
            Do::Move(at) => match of.pods[at].state {
                State::Pending => of.pods[at].state = State::Running,
                State::Running => of.pods[at].state = State::Ready,
                State::Ready | State::Ending => drop(of.pods.remove(at)),
            },
            Do::Look => {
                of.observed = true;
                of.status = of.counts();
            }
            Do::Control => match of.controls() {
                Some(Control::Make) => {
                    let (template, image, slots) = (of.template.clone(), of.image.clone(), of.slots());
                    of.pods.push(Pod { template, image, slots, state: State::Pending });
                }
                Some(Control::End(at)) => match of.pods[at].state {
                    State::Pending => drop(of.pods.remove(at)),
                    _ => of.pods[at].state = State::Ending,
                },
                None => {}
            },
        }
        true
    }

    /// Lets the cluster do all that it does by itself.
    pub(crate) fn settle(&mut self) {
        let mut ticks = 0;
        while self.tick(ticks) {
            ticks += 1;
            assert!(ticks < 10_000, "the cluster does not come to rest: {self:#?}");
        }
    }

    /// A node takes a pod with it.
    pub(crate) fn kill(&mut self, choice: usize) {
        let names: Vec<String> = self
            .deployed
            .iter()
            .filter(|(_, of)| !of.pods.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        if let Some(name) = names.get(choice % names.len().max(1)) {
            self.kill_of(name);
        }
    }

    /// A node takes a pod of this Deployment with it.
    pub(crate) fn kill_of(&mut self, name: &str) {
        self.clock += 1;
        let of = self.deployed.get_mut(name).unwrap();
        of.version = self.clock;
        of.pods.remove(0);
    }
}

#[derive(Debug, Clone, Copy)]
enum Do {
    /// The controller writes the status.
    Look,
    /// The controller makes or ends a pod.
    Control,
    /// A pod moves on.
    Move(usize),
}

enum Control {
    Make,
    End(usize),
}

impl Deployed {
    /// What its controller does next: one pod more than wanted while it rolls, and none less.
    fn controls(&self) -> Option<Control> {
        let alive = |pod: &Pod| pod.state != State::Ending;
        let (new, all) = (self.count(|pod| alive(pod) && pod.template == self.template), self.count(alive));
        let old = all - new;
        let find = |is: &dyn Fn(&Pod) -> bool| self.pods.iter().position(|pod| alive(pod) && is(pod));
        if all < self.wanted || (old > 0 && new < self.wanted && all <= self.wanted) {
            return Some(Control::Make);
        }
        let ready = self.count(|pod| pod.state == State::Ready);
        let is_old = |pod: &Pod| pod.template != self.template;
        // Those of the old template that are not ready are missed by nobody.
        if old > 0 {
            let idle = find(&|pod| is_old(pod) && pod.state != State::Ready);
            let spare = (ready > self.wanted).then(|| find(&is_old)).flatten();
            return idle.or(spare).map(Control::End);
        }
        (all > self.wanted)
            .then(|| find(&|pod| pod.state != State::Ready).or_else(|| find(&|_| true)))
            .flatten()
            .map(Control::End)
    }
}
