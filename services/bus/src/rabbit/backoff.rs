//! How long to wait before trying again.

use std::time::Duration;

use stoker_domain::pause;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// What has lasted this long did work: the next failure is another one.
const LASTING: Duration = Duration::from_secs(10);

/// Doubles with every try, up to a bound; each pause is a random part of that, so that processes that lost their
/// broker together do not come back together.
#[derive(Debug)]
pub(super) struct Backoff(pause::Backoff);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(pause::Backoff::new(FIRST, LONGEST))
    }

    /// To be told how long it lasted what has failed just now. What fails again and again as soon as it stands is
    /// tried more and more seldom; what had worked is tried again at once.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time >= LASTING {
            self.0.reset();
        }
    }

    /// Between half of the step and all of it.
    pub(super) fn next_pause(&mut self) -> Duration {
        // Without random bytes all wait for the whole step, which is only less even.
        self.0.next(getrandom::u32().unwrap_or(u32::MAX))
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_bound() {
        let mut backoff = Backoff::new();
        for step in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let pause = backoff.next_pause();
            let step = Duration::from_millis(step);
            assert!(pause >= step / 2 && pause <= step, "{pause:?} of {step:?}");
        }
    }

    #[test]
    fn only_what_has_lasted_a_while_is_tried_again_at_once() {
        let mut backoff = Backoff::new();
        for _ in 0..5 {
            backoff.lasted(Duration::from_secs(1));
            backoff.next_pause();
        }
        assert!(backoff.next_pause() > FIRST, "it came up each time, and fell at once");
        backoff.lasted(LASTING);
        assert!(backoff.next_pause() <= FIRST);
    }
}
