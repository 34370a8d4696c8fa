//! Which namespaces are to be looked at, and when. One platform per namespace, so a namespace is what is worked on: by
//! one at a time, soon after something has happened there, and later and later while that fails.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Events come in bursts: what comes within this time is looked at once.
const GATHER: Duration = Duration::from_millis(50);
/// The first wait after a failure …
const FIRST: Duration = Duration::from_millis(500);
/// … and the longest, when nobody answers …
const UNAVAILABLE_MOST: Duration = Duration::from_secs(15);
/// … and when what is asked for is refused: only a change of it helps, and that is looked at at once.
const REFUSED_MOST: Duration = Duration::from_secs(300);

/// How a look at a namespace has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All was done; look again after this time, if at all.
    Done(Option<Duration>),
    /// There is nothing of ours.
    Empty,
    /// Something has changed meanwhile, or is not seen yet.
    Again,
    /// Something was refused.
    Refused,
    /// Nobody answers.
    Unavailable,
}

/// What is known of one namespace.
#[derive(Debug, Default)]
struct Space {
    /// When it is to be looked at.
    due: Option<Instant>,
    /// Somebody looks at it now.
    running: bool,
    /// Looks that have failed, one after another.
    failures: u32,
    /// After a failure: not before, unless somebody has changed something that may help.
    not_before: Option<Instant>,
    /// That has happened during the look.
    mended: bool,
}

/// The order in which namespaces are looked at. Times are passed in.
#[derive(Debug, Default)]
struct Order(HashMap<String, Space>);

impl Order {
    /// Something has happened. `mends`: it may help where something has failed.
    fn touch(&mut self, namespace: &str, mends: bool, now: Instant) {
        let space = self.0.entry(namespace.to_owned()).or_default();
        if mends {
            space.not_before = None;
            space.mended |= space.running;
        }
        let soon = now + GATHER;
        let due = space.not_before.map_or(soon, |time| time.max(soon));
        space.due = Some(space.due.map_or(due, |before| before.min(due)));
    }

    /// The next namespace whose time has come.
    fn take(&mut self, now: Instant) -> Option<String> {
        let (name, space) = self
            .0
            .iter_mut()
            .filter(|(_, space)| !space.running && space.due.is_some_and(|due| due <= now))
            .min_by_key(|(_, space)| space.due)?;
        space.running = true;
        space.due = None;
        Some(name.clone())
    }

    /// When the next one's time comes.
    fn next(&self) -> Option<Instant> {
        self.0.values().filter(|space| !space.running).filter_map(|space| space.due).min()
    }

    fn waiting(&self) -> usize {
        self.0.values().filter(|space| space.due.is_some()).count()
    }

    /// A look has ended. `chance` is from 0 to 1.
    fn ended(&mut self, namespace: &str, ended: Ended, chance: f64, now: Instant) {
        let Some(space) = self.0.get_mut(namespace) else { return };
        space.running = false;
        let mended = std::mem::take(&mut space.mended);
        let most = match ended {
            Ended::Done(again) => {
                space.failures = 0;
                space.not_before = None;
                if let Some(again) = again {
                    let due = now + again;
                    space.due = Some(space.due.map_or(due, |before| before.min(due)));
                }
                return;
            }
            Ended::Empty => {
                if space.due.is_none() {
                    self.0.remove(namespace);
                }
                return;
            }
            Ended::Again | Ended::Unavailable => UNAVAILABLE_MOST,
            Ended::Refused => REFUSED_MOST,
        };
        space.failures = space.failures.saturating_add(1);
        let due = now + wait(space.failures, most, chance);
        if mended {
            // What was touched meanwhile is due already.
            return;
        }
        space.not_before = Some(due);
        space.due = Some(due);
    }
}

/// Twice as long after each failure, and between half of that and all of it, so that not all come at once.
fn wait(failures: u32, most: Duration, chance: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = FIRST.saturating_mul(1 << doublings).min(most);
    full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

/// The order, shared by those who see what happens and who works it off. It has a place for each namespace that has
/// something of ours, and no more.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    order: Mutex<Order>,
    changed: Notify,
}

impl Queue {
    /// Something has happened in `namespace`. `mends`: it may help where something has failed.
    pub(crate) fn touch(&self, namespace: &str, mends: bool) {
        self.order.lock().touch(namespace, mends, Instant::now());
        self.changed.notify_one();
    }

    /// Something has happened that concerns all namespaces in which there is something of ours.
    pub(crate) fn touch_all(&self, mends: bool) {
        let mut order = self.order.lock();
        let all: Vec<String> = order.0.keys().cloned().collect();
        for namespace in all {
            order.touch(&namespace, mends, Instant::now());
        }
        drop(order);
        self.changed.notify_one();
    }

    /// The next namespace whose time has come.
    pub(crate) fn take(&self) -> Option<String> {
        self.order.lock().take(Instant::now())
    }

    /// A look at it has ended.
    pub(crate) fn ended(&self, namespace: &str, ended: Ended) {
        self.order.lock().ended(namespace, ended, chance(), Instant::now());
        self.changed.notify_one();
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.order.lock().waiting()
    }

    /// Returns when there may be something to take.
    pub(crate) async fn wait(&self) {
        let next = self.order.lock().next();
        match next {
            Some(time) => {
                tokio::select! {
                    () = tokio::time::sleep_until(time.into()) => {}
                    () = self.changed.notified() => {}
                }
            }
            None => self.changed.notified().await,
        }
    }
}

/// From 0 to 1. Without randomness all wait the longest.
fn chance() -> f64 {
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_is_looked_at_once_and_by_one_at_a_time() {
        let (mut order, start) = (Order::default(), Instant::now());
        for millis in [0, 10, 20] {
            order.touch("a", false, at(start, millis));
        }
        assert_eq!(order.take(at(start, 49)), None);
        assert_eq!(order.take(at(start, 50)).as_deref(), Some("a"));
        order.touch("a", false, at(start, 60));
        assert_eq!(order.take(at(start, 500)), None, "somebody looks at it");
        assert_eq!(order.next(), None);
        order.ended("a", Ended::Done(None), 0.0, at(start, 600));
        assert_eq!(order.take(at(start, 600)).as_deref(), Some("a"), "it was touched meanwhile");
        order.ended("a", Ended::Done(None), 0.0, at(start, 700));
        assert_eq!((order.take(at(start, 10_000)), order.next()), (None, None));
    }

    #[test]
    fn whose_time_came_first_is_first() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("late", false, at(start, 5));
        order.touch("early", false, start);
        assert_eq!(order.waiting(), 2);
        assert_eq!(order.take(at(start, 100)).as_deref(), Some("early"));
        assert_eq!(order.take(at(start, 100)).as_deref(), Some("late"));
    }

    #[test]
    fn failures_wait_longer_and_longer_up_to_a_bound() {
        for (ended, most) in [(Ended::Unavailable, UNAVAILABLE_MOST), (Ended::Refused, REFUSED_MOST)] {
            let (mut order, start) = (Order::default(), Instant::now());
            order.touch("a", false, start);
            let mut now = at(start, 50);
            let mut waits = Vec::new();
            for _ in 0..20 {
                assert!(order.take(now).is_some());
                order.ended("a", ended, 1.0, now);
                let next = order.next().unwrap();
                waits.push(next - now);
                now = next;
            }
            assert_eq!(waits[0], FIRST);
            assert!(waits.windows(2).all(|pair| pair[1] >= pair[0]), "{waits:?}");
            assert_eq!(waits[19], most);
        }
        assert_eq!(wait(1, UNAVAILABLE_MOST, 0.0), FIRST / 2);
        assert_eq!(wait(u32::MAX, REFUSED_MOST, 1.0), REFUSED_MOST);
    }

    #[test]
    fn only_what_may_help_ends_a_wait() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("a", false, start);
        assert!(order.take(at(start, 50)).is_some());
        order.ended("a", Ended::Refused, 1.0, at(start, 50));
        order.touch("a", false, at(start, 100));
        assert_eq!(order.next(), Some(at(start, 550)), "a pod has moved: that helps nobody");
        order.touch("a", true, at(start, 200));
        assert_eq!(order.next(), Some(at(start, 250)));
    }

    #[test]
    fn what_helps_during_a_look_that_fails_is_looked_at_at_once() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("a", false, start);
        assert!(order.take(at(start, 50)).is_some());
        order.touch("a", true, at(start, 60));
        order.ended("a", Ended::Refused, 1.0, at(start, 200));
        assert_eq!(order.next(), Some(at(start, 110)));
    }

    #[test]
    fn a_success_forgets_failures_and_looks_again_when_asked_to() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("a", false, start);
        order.take(at(start, 50));
        order.ended("a", Ended::Unavailable, 1.0, at(start, 50));
        order.take(at(start, 550));
        order.ended("a", Ended::Done(Some(Duration::from_secs(5))), 1.0, at(start, 600));
        assert_eq!(order.next(), Some(at(start, 5_600)));
        order.take(at(start, 5_600));
        order.ended("a", Ended::Unavailable, 1.0, at(start, 5_600));
        assert_eq!(order.next(), Some(at(start, 6_100)), "the first wait again");
    }

    #[test]
    fn namespaces_without_anything_of_ours_are_forgotten() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("a", false, start);
        order.take(at(start, 50));
        order.ended("a", Ended::Empty, 1.0, at(start, 50));
        assert!(order.0.is_empty());
    }
}
