//! The cores that one service knows of.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A core that was not reached is tried last for so long.
const SHUNNED: Duration = Duration::from_secs(2);

impl Known {
    fn is_shunned(&self, now: Instant) -> bool {
        self.shunned_until.is_some_and(|until| until > now)
    }
}

/// One that is of no use is tried last for so long.
const LEFT: Duration = Duration::from_secs(10);

/// The addresses of the cores that one service knows of, `host:port`.
#[derive(Clone)]
pub struct Cores(Arc<Inner>);

struct Inner {
    /// Those of the configuration: known for ever, whoever else comes and goes.
    configured: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Vec<Known>,
    /// Whose turn it is to be tried first.
    turn: usize,
}

struct Known {
    address: String,
    shunned_until: Option<Instant>,
    /// Ends the connections of channels to any core that came to this one.
    left: CancellationToken,
}

impl Cores {
    /// Those of the configuration.
    #[must_use]
    pub fn new(configured: Vec<String>) -> Self {
        let cores = Self(Arc::new(Inner { configured, state: Mutex::default() }));
        cores.learn(&[]);
        cores
    }

    /// From now on these are the cores, beside those of the configuration.
    pub fn learn(&self, addresses: &[String]) {
        let wanted = || self.0.configured.iter().chain(addresses);
        let mut state = self.0.state.lock();
        state.known.retain(|known| wanted().any(|address| *address == known.address));
        for address in wanted() {
            if !state.known.iter().any(|known| known.address == *address) {
                let left = CancellationToken::new();
                state.known.push(Known { address: address.clone(), shunned_until: None, left });
            }
        }
    }

    /// All of them, the one first whose turn it is, those last that were not reached lately.
    #[must_use]
    pub fn in_order(&self) -> Vec<String> {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        state.turn = state.turn.wrapping_add(1);
        let turn = state.turn % state.known.len().max(1);
        let (before, from) = state.known.split_at(turn);
        let (shunned, free): (Vec<_>, Vec<_>) =
            from.iter().chain(before).partition(|known| known.is_shunned(now));
        free.into_iter().chain(shunned).map(|known| known.address.clone()).collect()
    }

    /// The core at this address is there and of no use, for example because it is cut from its store: connections to any
    /// core that came to it end, and are made anew elsewhere. False: there is no elsewhere, and they stay.
    pub fn leave(&self, address: &str) -> bool {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        let better = |known: &Known| known.address != address && !known.is_shunned(now);
        if !state.known.iter().any(better) {
            return false;
        }
        for known in state.known.iter_mut().filter(|known| known.address == address) {
            known.shunned_until = Some(now + LEFT);
            std::mem::take(&mut known.left).cancel();
        }
        true
    }

    /// Ends a connection to this core, when it is to be left.
    pub(crate) fn left(&self, address: &str) -> CancellationToken {
        let state = self.0.state.lock();
        state
            .known
            .iter()
            .find(|known| known.address == address)
            .map(|known| known.left.clone())
            .unwrap_or_default()
    }

    /// The core at this address was not reached.
    pub fn shun(&self, address: &str) {
        let until = Instant::now() + SHUNNED;
        let mut state = self.0.state.lock();
        for known in state.known.iter_mut().filter(|known| known.address == address) {
            known.shunned_until = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(addresses: &[&str]) -> Cores {
        Cores::new(addresses.iter().map(|address| (*address).to_owned()).collect())
    }

    fn sorted(mut addresses: Vec<String>) -> Vec<String> {
        addresses.sort();
        addresses
    }

    #[test]
    fn they_take_turns_and_who_was_not_reached_is_tried_last() {
        let cores = cores(&["a:1", "b:1", "c:1"]);
        let first = || cores.in_order()[0].clone();
        assert_eq!(sorted((0..3).map(|_| first()).collect()), ["a:1", "b:1", "c:1"]);
        cores.shun("b:1");
        for _ in 0..3 {
            assert_eq!(cores.in_order()[2], "b:1");
        }
    }

    #[test]
    fn who_leaves_a_core_ends_what_came_to_it_and_nothing_else() {
        let cores = cores(&["a:1", "b:1"]);
        let (to_a, to_b) = (cores.left("a:1"), cores.left("b:1"));
        assert!(cores.leave("a:1"));
        assert!(to_a.is_cancelled() && !to_b.is_cancelled());
        assert_eq!(cores.in_order()[1], "a:1");
        assert!(!cores.left("a:1").is_cancelled(), "it may be of use again");
        assert!(!cores.leave("b:1"), "there is no better one");
        assert!(!to_b.is_cancelled());
    }

    #[test]
    fn the_configured_ones_stay_and_others_come_and_go() {
        let cores = cores(&["a:1"]);
        cores.learn(&["b:1".to_owned(), "a:1".to_owned()]);
        assert_eq!(sorted(cores.in_order()), ["a:1", "b:1"]);
        cores.learn(&["c:1".to_owned()]);
        assert_eq!(sorted(cores.in_order()), ["a:1", "c:1"]);
        assert_eq!(Cores::new(Vec::new()).in_order(), [""; 0]);
    }
}
