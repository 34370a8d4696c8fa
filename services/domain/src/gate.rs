//! How much is taken in at once, so that what is taken is done in time.
//!
//! A bound on how much waits says nothing about how long it waits: with a store that does a tenth of what it did, it is ten times
//! as long. So what is inside is bounded by what was done lately, once it takes too long; the newest is refused. A burst that is
//! over soon is taken in whole. What takes long by itself, because the store is far away, is no faster for being asked less:
//! that is learnt, and borne. Time is passed in.

use std::time::Duration;

/// So often what was done is judged.
const JUDGE_EVERY: Duration = Duration::from_millis(200);
/// Judgements one after the other that it takes too long, before anything is refused: a burst, or a pause of the store's, is
/// over by then.
const PATIENCE: u32 = 2;
/// How much more is taken in after each judgement that it is fast again, as a part of what was: while something was refused,
/// and after nothing was.
const STEP: usize = 8;
const STRIDE: usize = 1;

/// It takes too long only when it takes so many times what it takes at best.
const OF_BEST: f64 = 2.0;
/// Taking in less does not make it faster: by such a part of the difference what it takes at best is thought to be more, at each
/// judgement.
const LEARN: f64 = 1.0 / 256.0;

/// What bounds a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateBounds {
    /// It takes too long when it takes longer than this on average, and longer than what it takes at best explains.
    pub target: Duration,
    /// So much is taken in at least, however long it takes.
    pub least: usize,
    /// And so much at most.
    pub most: usize,
}

/// Counts what is inside, and says whether one more may come in.
#[derive(Debug)]
pub struct Gate {
    bounds: GateBounds,
    limit: usize,
    inside: usize,
    /// Since the last judgement: when that was, whether anything was refused, what was done and how long all of it took.
    judged: Duration,
    refused: bool,
    done: usize,
    took: Duration,
    /// Judgements one after the other that it takes too long.
    late: u32,
    /// What it takes on average when it is fastest, in seconds.
    best: f64,
}

impl Gate {
    /// One that takes in as much as it ever does.
    #[must_use]
    pub fn new(bounds: GateBounds) -> Self {
        Self {
            bounds,
            limit: bounds.most,
            inside: 0,
            judged: Duration::ZERO,
            refused: false,
            done: 0,
            took: Duration::ZERO,
            late: 0,
            best: f64::INFINITY,
        }
    }

    /// Takes one in, or refuses it.
    pub fn enter(&mut self) -> bool {
        let room = self.inside < self.limit;
        self.refused |= !room;
        self.inside += usize::from(room);
        room
    }

    /// So many have left undone: of how long that took nothing is learnt.
    pub fn give_up(&mut self, count: usize) {
        self.inside = self.inside.saturating_sub(count);
    }

    /// So many were done, at `now` since any fixed time; from when they came in it took so long, all together.
    pub fn done(&mut self, now: Duration, count: usize, took: Duration) {
        self.inside = self.inside.saturating_sub(count);
        self.done += count;
        self.took += took;
        let passed = now.saturating_sub(self.judged);
        if passed >= JUDGE_EVERY && self.done > 0 {
            self.judge(passed);
            (self.judged, self.refused, self.done, self.took) = (now, false, 0, Duration::ZERO);
        }
        if self.inside == 0 {
            // It was a burst, and is over.
            self.late = 0;
        }
    }

    fn judge(&mut self, passed: Duration) {
        let GateBounds { target, least, most } = self.bounds;
        let mean = self.took.as_secs_f64() / self.done as f64;
        self.best = self.best.min(mean);
        let target = target.as_secs_f64().max(self.best * OF_BEST);
        if mean > target {
            self.late += 1;
            if self.late >= PATIENCE {
                if self.limit == least {
                    self.best += (mean - self.best) * LEARN;
                }
                // What is inside takes as long as it takes to do as much: so much is done within the target.
                let fits = self.done as f64 * target / passed.as_secs_f64();
                self.limit = self.limit.min(fits as usize).clamp(least, most);
            }
            return;
        }
        self.late = 0;
        let part = if self.refused { STEP } else { STRIDE };
        self.limit = self.limit.saturating_add(self.limit / part + 1).min(most);
    }

    /// How much may be inside.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const BOUNDS: GateBounds = GateBounds { target: Duration::from_millis(100), least: 64, most: 65_536 };

    /// A store that does so many in a millisecond, whatever is asked of it.
    struct Store {
        gate: Gate,
        now: u64,
        waiting: VecDeque<u64>,
        /// Of the accepted, how long each took, in milliseconds; and how many were refused.
        times: Vec<u64>,
        refused: u64,
    }

    impl Store {
        fn new() -> Self {
            let (waiting, times) = (VecDeque::new(), Vec::new());
            Self { gate: Gate::new(BOUNDS), now: 0, waiting, times, refused: 0 }
        }

        fn load(&mut self, arrive: usize, can: usize, milliseconds: u64) {
            (self.times, self.refused) = (Vec::new(), 0);
            for _ in 0..milliseconds {
                for _ in 0..arrive {
                    if self.gate.enter() {
                        self.waiting.push_back(self.now);
                    } else {
                        self.refused += 1;
                    }
                }
                self.now += 1;
                let many = can.min(self.waiting.len());
                let done: Vec<u64> = self.waiting.drain(..many).map(|since| self.now - since).collect();
                let took = Duration::from_millis(done.iter().sum());
                self.gate.done(Duration::from_millis(self.now), done.len(), took);
                self.times.extend(done);
            }
        }

        fn p99(&self) -> u64 {
            let mut times = self.times.clone();
            times.sort_unstable();
            times.get(times.len() * 99 / 100).copied().unwrap_or_default()
        }
    }

    #[test]
    fn at_twice_the_load_half_is_refused_and_the_rest_is_in_time() {
        for can in [2, 20, 200] {
            let mut store = Store::new();
            store.load(can * 8 / 10, can, 5_000);
            assert_eq!(store.refused, 0, "{can}");
            store.load(can * 2, can, 2_000);
            store.load(can * 2, can, 10_000);
            assert!(store.p99() <= 200, "{can}: {} ms", store.p99());
            let (taken, refused) = (store.times.len(), store.refused as usize);
            assert!(taken >= can * 9_500, "{can}: nothing of what can be done is left undone: {taken}");
            assert!(refused.abs_diff(can * 10_000) <= can * 1_000, "{can}: {refused} refused");
        }
    }

    #[test]
    fn when_the_load_goes_back_nothing_more_is_refused_soon() {
        let mut store = Store::new();
        store.load(40, 20, 5_000);
        store.load(16, 20, 1_000);
        store.load(16, 20, 5_000);
        assert_eq!((store.refused, store.p99() <= 100), (0, true));
    }

    #[test]
    fn a_store_that_slows_down_is_given_less() {
        let mut store = Store::new();
        store.load(40, 20, 5_000);
        store.load(40, 2, 5_000);
        store.load(40, 2, 5_000);
        assert!(store.p99() <= 200, "{}", store.p99());
        store.load(40, 20, 10_000);
        store.load(40, 20, 5_000);
        assert!(store.times.len() >= 95_000, "and more again when it recovers: {}", store.times.len());
    }

    #[test]
    fn a_burst_is_taken_in_whole_and_so_is_the_next_one() {
        let mut store = Store::new();
        for _ in 0..5 {
            store.load(6_000, 20, 1);
            assert_eq!(store.refused, 0);
            store.load(0, 20, 1_000);
        }
    }

    /// Does whatever is inside, each after so many milliseconds, as if it was far away.
    struct FarAway {
        gate: Gate,
        now: u64,
        inside: VecDeque<u64>,
    }

    impl FarAway {
        fn new() -> Self {
            let bounds = GateBounds { target: Duration::from_millis(100), least: 8, most: 256 };
            Self { gate: Gate::new(bounds), now: 0, inside: VecDeque::new() }
        }

        /// At which limit the gate ends when two arrive in each millisecond.
        fn limit_after(&mut self, milliseconds: u64, takes: u64) -> usize {
            for now in self.now..self.now + milliseconds {
                self.inside.extend((0..2).filter(|_| self.gate.enter()).map(|_| now));
                let done = self.inside.iter().take_while(|&&since| since + takes <= now).count();
                let took = Duration::from_millis(self.inside.drain(..done).map(|since| now - since).sum());
                self.gate.done(Duration::from_millis(now), done, took);
            }
            self.now += milliseconds;
            self.gate.limit()
        }
    }

    #[test]
    fn a_store_that_is_far_away_is_not_asked_less_for_it() {
        let mut store = FarAway::new();
        assert_eq!(store.limit_after(10_000, 10), 256);
        let at_once = store.limit_after(2_000, 300);
        assert!(at_once <= 80, "this may be a store that can do no more: {at_once}");
        assert_eq!(store.limit_after(120_000, 300), 256, "it is not");
        assert_eq!(FarAway::new().limit_after(10_000, 300), 256, "and was not from the beginning");
    }

    #[test]
    fn what_leaves_undone_makes_room() {
        let mut gate = Gate::new(GateBounds { most: 2, least: 1, ..BOUNDS });
        assert!(gate.enter() && gate.enter() && !gate.enter());
        gate.give_up(1);
        assert!(gate.enter() && !gate.enter());
        assert_eq!(gate.limit(), 2);
    }
}
