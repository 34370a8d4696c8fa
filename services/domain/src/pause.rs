//! Waiting before something is tried again: longer after each failure, and not all at once. The randomness is the
//! caller's.

use std::time::Duration;

/// Between half of `pause` and all of it, as `random` falls: those who failed together do not come back together.
#[must_use]
pub fn jittered(pause: Duration, random: u32) -> Duration {
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

/// Pauses that double up to a bound.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// From `first` to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, next: first, longest }
    }

    /// How long to wait now, [jittered].
    pub fn next(&mut self, random: u32) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        jittered(pause, random)
    }

    /// It worked: the next failure is another one.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_pause_is_between_its_half_and_itself() {
        assert_eq!(jittered(8 * MS, 0), 4 * MS);
        assert_eq!(jittered(8 * MS, u32::MAX), 8 * MS);
        assert!((5 * MS..7 * MS).contains(&jittered(8 * MS, u32::MAX / 2)));
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_begin_anew() {
        let mut backoff = Backoff::new(100 * MS, 500 * MS);
        let pauses: Vec<_> = (0..4).map(|_| backoff.next(u32::MAX)).collect();
        assert_eq!(pauses, [100 * MS, 200 * MS, 400 * MS, 500 * MS]);
        backoff.reset();
        assert_eq!(backoff.next(0), 50 * MS);
    }
}
