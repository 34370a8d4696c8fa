//! What the devices and those who gave them orders saw of an act: told from their own records alone.

use std::time::{Duration, Instant};

use stoker_sim::SessionSpan;

use crate::histogram::Histogram;

/// From when to when an act lasted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Instant,
    pub(super) to: Instant,
}

/// The sessions of one device, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    pub(super) device: u32,
    pub(super) spans: Vec<SessionSpan>,
}

/// An order that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) device: u32,
    /// When it was given.
    pub(super) asked: Instant,
    /// When its end was known.
    pub(super) ended: Option<Instant>,
    pub(super) succeeded: bool,
}

/// Who had to connect anew.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    pub(super) once: u64,
    /// More than once.
    pub(super) more: Vec<u32>,
    /// All that moved at all.
    pub(super) moved: Vec<u32>,
    /// The longest time that a device was without a session.
    pub(super) gap: Duration,
}

/// What became of the orders given while an act lasted.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) asked: u64,
    pub(super) answered: u64,
    /// Of those whose device stayed connected from the order to its end.
    pub(super) stayed: Histogram,
    pub(super) stayed_count: u64,
}

impl Window {
    pub(super) fn has(&self, at: Instant) -> bool {
        self.from <= at && at < self.to
    }
}

impl Sessions {
    /// Whether one session lasted from the one to the other.
    fn lasted(&self, from: Instant, to: Instant) -> bool {
        self.spans.iter().any(|span| span.begun <= from && span.ended.is_none_or(|ended| ended >= to))
    }
}

/// Who moved while it lasted. Each connects for the first time before the first act: that is no move.
pub(super) fn moves(fleet: &[Sessions], window: Window) -> Moves {
    let mut all = Moves::default();
    for Sessions { device, spans } in fleet {
        let mut times = 0_u64;
        for pair in spans.windows(2) {
            let [before, after] = pair else { continue };
            if window.has(after.begun) {
                times += 1;
                let gap = before.ended.map(|ended| after.begun.saturating_duration_since(ended));
                all.gap = all.gap.max(gap.unwrap_or_default());
            }
        }
        match times {
            0 => continue,
            1 => all.once += 1,
            _ => all.more.push(*device),
        }
        all.moved.push(*device);
    }
    all
}

/// What became of the orders given while it lasted.
pub(super) fn answers(orders: &[Order], fleet: &[Sessions], window: Window) -> Answers {
    let mut all = Answers::default();
    for order in orders.iter().filter(|order| window.has(order.asked)) {
        all.asked += 1;
        all.answered += u64::from(order.succeeded);
        let sessions = fleet.iter().find(|of| of.device == order.device);
        let Some(ended) = order.ended.filter(|_| order.succeeded) else { continue };
        if sessions.is_some_and(|of| of.lasted(order.asked, ended)) {
            all.stayed.record(ended.saturating_duration_since(order.asked));
            all.stayed_count += 1;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clock(Instant);

    impl Clock {
        fn at(&self, seconds: u64) -> Instant {
            self.0 + Duration::from_secs(seconds)
        }

        /// Sessions from the one to the other second; the last one lasts.
        fn sessions(&self, device: u32, spans: &[(u64, u64)], last: u64) -> Sessions {
            let ended = spans.iter().map(|(begun, ended)| (*begun, Some(*ended))).chain([(last, None)]);
            let spans = ended.map(|(begun, ended)| SessionSpan {
                begun: self.at(begun),
                ended: ended.map(|at| self.at(at)),
            });
            Sessions { device, spans: spans.collect() }
        }

        fn order(&self, device: u32, asked: u64, ended: u64) -> Order {
            Order { device, asked: self.at(asked), ended: Some(self.at(ended)), succeeded: true }
        }
    }

    #[test]
    fn who_connects_anew_while_it_lasts_has_moved() {
        let clock = Clock(Instant::now());
        let fleet = [
            clock.sessions(1, &[], 0),
            clock.sessions(2, &[(0, 12)], 15),
            clock.sessions(3, &[(0, 11), (12, 13)], 19),
            // Before and after it.
            clock.sessions(4, &[(0, 5), (6, 25)], 30),
            // The first session of a device is no move.
            clock.sessions(5, &[], 14),
        ];
        let window = Window { from: clock.at(10), to: clock.at(20) };
        let found = moves(&fleet, window);
        assert_eq!((found.once, &found.more[..], &found.moved[..]), (1, &[3][..], &[2, 3][..]));
        assert_eq!(found.gap, Duration::from_secs(6));
        let later = moves(&fleet, Window { from: clock.at(20), to: clock.at(40) });
        assert_eq!((later.once, &later.moved[..], later.gap), (1, &[4][..], Duration::from_secs(5)));
    }

    #[test]
    fn only_who_stayed_connected_counts_for_how_long_an_answer_takes() {
        let clock = Clock(Instant::now());
        let fleet = [clock.sessions(1, &[], 0), clock.sessions(2, &[(0, 12)], 15)];
        let window = Window { from: clock.at(10), to: clock.at(20) };
        let mut failed = clock.order(1, 13, 19);
        failed.succeeded = false;
        let orders = [
            clock.order(1, 10, 11),
            clock.order(2, 11, 16),
            clock.order(2, 13, 17),
            clock.order(2, 16, 19),
            clock.order(1, 20, 29),
            failed,
        ];
        let found = answers(&orders, &fleet, window);
        assert_eq!((found.asked, found.answered, found.stayed_count), (5, 4, 2));
        assert_eq!(found.stayed.max(), Duration::from_secs(3));
    }
}
