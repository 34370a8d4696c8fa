//! Turns to ask for something that slows down when it is asked for much. A database does each thing later then, and no more of
//! them; whoever waits here costs it nothing, and may have more to ask for at once when its turn comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use stoker_domain::gate::{Gate, GateBounds};
use tokio::sync::oneshot;

/// Turns, first come, first served: as many at once as are over in time.
#[derive(Debug, Clone)]
pub struct Turns {
    state: Arc<Mutex<State>>,
    began: Instant,
}

#[derive(Debug)]
struct State {
    gate: Gate,
    /// As long as somebody waits, somebody is inside who hands on.
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    turns: Turns,
    since: Instant,
    end: End,
}

/// How a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    /// How long it takes to fail, or to go away, says nothing about how long it takes to be done.
    Undone,
    /// Nobody had it: it was given back already.
    Unheard,
}

impl State {
    /// Takes in of those that wait as many as there is room for.
    fn next(&mut self) -> VecDeque<oneshot::Sender<Turn>> {
        let mut next = VecDeque::new();
        loop {
            while self.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                self.waiting.pop_front();
            }
            if self.waiting.is_empty() || !self.gate.enter() {
                return next;
            }
            next.extend(self.waiting.pop_front());
        }
    }
}

impl Turns {
    /// So many at once as these allow.
    #[must_use]
    pub fn new(bounds: GateBounds) -> Self {
        let state = State { gate: Gate::new(bounds), waiting: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)), began: Instant::now() }
    }

    /// Waits for a turn.
    pub async fn wait(&self) -> Turn {
        loop {
            let turn = {
                let mut state = self.state.lock();
                if state.waiting.is_empty() && state.gate.enter() {
                    return self.begin();
                }
                let (sender, turn) = oneshot::channel();
                state.waiting.push_back(sender);
                turn
            };
            // A sender sends before it goes.
            if let Ok(turn) = turn.await {
                return turn;
            }
        }
    }

    /// How many wait for a turn now, and how many may have one at once.
    #[must_use]
    pub fn now(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.waiting.iter().filter(|waiting| !waiting.is_closed()).count(), state.gate.limit())
    }

    fn begin(&self) -> Turn {
        Turn { turns: self.clone(), since: Instant::now(), end: End::Undone }
    }

    fn hand_on(&self, mut next: VecDeque<oneshot::Sender<Turn>>) {
        while let Some(waiting) = next.pop_front() {
            // Whoever goes when it has its turn drops it. Who has gone before is passed over here: were its turn dropped, that
            // would come here again, and with many that went ever deeper.
            if let Err(mut turn) = waiting.send(self.begin()) {
                turn.end = End::Unheard;
                let mut state = self.state.lock();
                state.gate.give_up(1);
                next.extend(state.next());
            }
        }
    }
}

impl Turn {
    /// What it was for is done.
    pub fn done(mut self) {
        self.end = End::Done;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let now = Instant::now();
        let next = {
            let mut state = self.turns.state.lock();
            match self.end {
                End::Done => state.gate.done(now - self.turns.began, 1, now - self.since),
                End::Undone => state.gate.give_up(1),
                End::Unheard => return,
            }
            state.next()
        };
        self.turns.hand_on(next);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    fn turns(most: usize) -> Turns {
        Turns::new(GateBounds { target: Duration::from_secs(3_600), least: 1, most })
    }

    #[test]
    fn so_many_have_a_turn_and_the_others_in_the_order_in_which_they_came() {
        let turns = turns(2);
        let first = turns.wait().now_or_never().expect("there is room");
        let second = turns.wait().now_or_never().expect("there is room");
        let mut third = Box::pin(turns.wait());
        let mut fourth = Box::pin(turns.wait());
        assert!((&mut third).now_or_never().is_none() && (&mut fourth).now_or_never().is_none());
        assert_eq!(turns.now(), (2, 2));
        first.done();
        assert!((&mut fourth).now_or_never().is_none(), "its turn has not come");
        assert!(turns.wait().now_or_never().is_none(), "nobody is overtaken");
        let third = (&mut third).now_or_never().expect("a turn was handed on");
        drop(second);
        assert!(fourth.now_or_never().is_some(), "also by one that failed");
        drop(third);
        assert!(turns.wait().now_or_never().is_some());
    }

    #[test]
    fn those_that_go_away_hold_up_nobody_however_many() {
        let turns = turns(1);
        let first = turns.wait().now_or_never().expect("there is room");
        let mut gone: Vec<_> = (0..100_000).map(|_| Box::pin(turns.wait())).collect();
        assert!(gone.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
        let mut last = Box::pin(turns.wait());
        assert!((&mut last).now_or_never().is_none());
        // The first of them goes with its turn in its hand, the others before.
        let with_turn = gone.remove(0);
        drop(gone);
        assert_eq!(turns.now(), (2, 1));
        first.done();
        assert!((&mut last).now_or_never().is_none());
        drop(with_turn);
        assert!(last.now_or_never().is_some());
        assert_eq!(turns.now(), (0, 1));
        assert!(turns.wait().now_or_never().is_some(), "and the room is free again");
    }
}
