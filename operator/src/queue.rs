//! Which namespaces are to be looked at, and when. One platform per namespace, so a namespace is what is worked on: by
//! one at a time, soon after something has happened there, and later and later while that fails.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::backoff::{chance, pause};
use crate::due::due;

/// Events come in bursts: what comes within this time is looked at once.
const GATHER: Duration = Duration::from_millis(50);
/// The first wait after nobody has answered …
const FIRST: Duration = Duration::from_millis(500);
/// … and the longest.
const MOST: Duration = Duration::from_secs(15);

/// How a look at a namespace has ended. Look again after the time that is given, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All was done.
    Done(Option<Duration>),
    /// There is nothing of ours.
    Empty,
    /// Something had changed meanwhile; the rest was done.
    Again(Option<Duration>),
    /// Something was refused, or failed; the rest was done.
    Refused(Option<Duration>),
    /// Nobody answers, or something is not seen yet.
    Unavailable,
}

/// A namespace whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) namespace: String,
    /// Since the last look something has happened that may help where something has failed.
    pub(crate) helps: bool,
}

/// What is known of one namespace.
#[derive(Debug, Default)]
struct Space {
    /// When it is to be looked at.
    due: Option<Instant>,
    /// Somebody looks at it now.
    running: bool,
    /// Looks at which nobody answered, one after another.
    failures: u32,
    /// After such a one: not before, unless somebody has changed something that may help.
    not_before: Option<Instant>,
    /// That has happened since the last look began.
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
            space.mended = true;
        }
        let soon = now + GATHER;
        let due = space.not_before.map_or(soon, |time| time.max(soon));
        space.due = Some(space.due.map_or(due, |before| before.min(due)));
    }

    /// The next namespace whose time has come.
    fn take(&mut self, now: Instant) -> Option<Turn> {
        let (name, space) = self
            .0
            .iter_mut()
            .filter(|(_, space)| !space.running && space.due.is_some_and(|due| due <= now))
            .min_by_key(|(_, space)| space.due)?;
        space.running = true;
        space.due = None;
        let helps = std::mem::take(&mut space.mended);
        Some(Turn { namespace: name.clone(), helps })
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
        match ended {
            Ended::Done(again) | Ended::Again(again) | Ended::Refused(again) => {
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
            Ended::Unavailable => {}
        }
        space.failures = space.failures.saturating_add(1);
        let due = now + pause(space.failures, FIRST, MOST, chance);
        if space.mended {
            // What was touched meanwhile is due already.
            return;
        }
        space.not_before = Some(due);
        space.due = Some(due);
    }
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
    pub(crate) fn take(&self) -> Option<Turn> {
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
        tokio::select! {
            () = due(next) => {}
            () = self.changed.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(order: &mut Order, now: Instant) -> Option<String> {
        order.take(now).map(|turn| turn.namespace)
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_is_looked_at_once_and_by_one_at_a_time() {
        let (mut order, start) = (Order::default(), Instant::now());
        for millis in [0, 10, 20] {
            order.touch("a", false, at(start, millis));
        }
        assert_eq!(take(&mut order, at(start, 49)), None);
        assert_eq!(take(&mut order, at(start, 50)).as_deref(), Some("a"));
        order.touch("a", false, at(start, 60));
        assert_eq!(take(&mut order, at(start, 500)), None, "somebody looks at it");
        assert_eq!(order.next(), None);
        order.ended("a", Ended::Done(None), 0.0, at(start, 600));
        assert_eq!(take(&mut order, at(start, 600)).as_deref(), Some("a"), "it was touched meanwhile");
        order.ended("a", Ended::Done(None), 0.0, at(start, 700));
        assert_eq!((take(&mut order, at(start, 10_000)), order.next()), (None, None));
    }

    #[test]
    fn whose_time_came_first_is_first() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("late", false, at(start, 5));
        order.touch("early", false, start);
        assert_eq!(order.waiting(), 2);
        assert_eq!(take(&mut order, at(start, 100)).as_deref(), Some("early"));
        assert_eq!(take(&mut order, at(start, 100)).as_deref(), Some("late"));
    }

    #[test]
    fn looks_that_nobody_answers_wait_longer_and_longer_up_to_a_bound() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("a", false, start);
        let mut now = at(start, 50);
        let mut waits = Vec::new();
        for _ in 0..20 {
            assert!(take(&mut order, now).is_some());
            order.ended("a", Ended::Unavailable, 1.0, now);
            let next = order.next().unwrap();
            waits.push(next - now);
            now = next;
        }
        assert_eq!((waits[0], waits[19]), (FIRST, MOST));
        assert!(waits.windows(2).all(|pair| pair[1] >= pair[0]), "{waits:?}");
    }

    #[test]
    fn what_is_refused_keeps_nothing_else_of_the_namespace_waiting() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("a", false, start);
        take(&mut order, at(start, 50));
        order.ended("a", Ended::Refused(Some(Duration::from_secs(300))), 1.0, at(start, 50));
        assert_eq!(order.next(), Some(at(start, 300_050)), "the pause of what was refused");
        order.touch("a", false, at(start, 100));
        assert_eq!(order.next(), Some(at(start, 150)), "a pod has moved: that is looked at at once");
        let turn = order.take(at(start, 150)).unwrap();
        assert!(!turn.helps, "a pod that moves helps nobody who was refused");
        order.touch("a", true, at(start, 160));
        order.ended("a", Ended::Refused(None), 1.0, at(start, 200));
        assert!(order.take(at(start, 210)).unwrap().helps);
    }

    #[test]
    fn only_what_may_help_ends_a_wait() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("a", false, start);
        assert!(take(&mut order, at(start, 50)).is_some());
        order.ended("a", Ended::Unavailable, 1.0, at(start, 50));
        order.touch("a", false, at(start, 100));
        assert_eq!(order.next(), Some(at(start, 550)), "a pod has moved: that helps nobody");
        order.touch("a", true, at(start, 200));
        assert_eq!(order.next(), Some(at(start, 250)));
    }

    #[test]
    fn what_helps_during_a_look_that_fails_is_looked_at_at_once() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("a", false, start);
        assert!(take(&mut order, at(start, 50)).is_some());
        order.touch("a", true, at(start, 60));
        order.ended("a", Ended::Unavailable, 1.0, at(start, 200));
        assert_eq!(order.next(), Some(at(start, 110)));
    }

    #[test]
    fn a_success_forgets_failures_and_looks_again_when_asked_to() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("a", false, start);
        take(&mut order, at(start, 50));
        order.ended("a", Ended::Unavailable, 1.0, at(start, 50));
        take(&mut order, at(start, 550));
        order.ended("a", Ended::Done(Some(Duration::from_secs(5))), 1.0, at(start, 600));
        assert_eq!(order.next(), Some(at(start, 5_600)));
        take(&mut order, at(start, 5_600));
        order.ended("a", Ended::Unavailable, 1.0, at(start, 5_600));
        assert_eq!(order.next(), Some(at(start, 6_100)), "the first wait again");
    }

    #[test]
    fn namespaces_without_anything_of_ours_are_forgotten() {
        let (mut order, start) = (Order::default(), Instant::now());
        order.touch("a", false, start);
        take(&mut order, at(start, 50));
        order.ended("a", Ended::Empty, 1.0, at(start, 50));
        assert!(order.0.is_empty());
    }
}
