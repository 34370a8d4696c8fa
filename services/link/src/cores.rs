//! The cores that one service knows of.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stoker_domain::model::Slot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hints::Hints;

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
    hints: Hints,
}

impl State {
    fn known(&self, address: &str) -> Option<&Known> {
        self.known.iter().find(|known| known.address == address)
    }
}

struct Known {
    address: String,
    shunned_until: Option<Instant>,
    /// Whoever comes to it until then stays.
    left_until: Option<Instant>,
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
        let state = &mut *state;
        state.known.retain(|known| wanted().any(|address| *address == known.address));
        for address in wanted() {
            if !state.known.iter().any(|known| known.address == *address) {
                let left = CancellationToken::new();
                let address = address.clone();
                state.known.push(Known { address, shunned_until: None, left_until: None, left });
            }
        }
        state.hints.retain(|address| wanted().any(|wanted| wanted == address));
    }

    /// The core at this address has said, or another of it, that it owns these slots: what is to be asked of their owner
    /// is asked there. Of an address that is not known nothing is remembered.
    pub fn owns(&self, address: &str, slots: impl IntoIterator<Item = Slot>) {
        let mut state = self.0.state.lock();
        if state.known(address).is_some() {
            for slot in slots {
                state.hints.learn(slot, address);
            }
        }
    }

    /// The owner of this slot was not found at this address after all.
    pub(crate) fn owns_not(&self, address: &str, slot: Slot) {
        self.0.state.lock().hints.forget(slot, address);
    }

    /// Where the owner of this slot was last; none when that core was not reached lately, or was left.
    pub(crate) fn owner_of(&self, slot: Slot) -> Option<Arc<str>> {
        let now = Instant::now();
        let state = self.0.state.lock();
        let hint = state.hints.of(slot)?;
        state.known(hint).filter(|known| !known.is_shunned(now))?;
        Some(hint.clone())
    }

    pub(crate) fn is_known(&self, address: &str) -> bool {
        self.0.state.lock().known(address).is_some()
    }

    pub(crate) fn is_shunned(&self, address: &str) -> bool {
        let now = Instant::now();
        self.0.state.lock().known(address).is_some_and(|known| known.is_shunned(now))
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
    /// core that came to it end, and are made anew elsewhere. False: they stay, since there is no elsewhere, or since it was
    /// left just now, and who has come back to it has found no other.
    pub fn leave(&self, address: &str) -> bool {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        let better = |known: &Known| known.address != address && !known.is_shunned(now);
        if !state.known.iter().any(better) {
            return false;
        }
        let mut is_left = false;
        for known in state.known.iter_mut().filter(|known| known.address == address) {
            known.shunned_until = Some(now + LEFT);
            if known.left_until.is_none_or(|until| until <= now) {
                std::mem::take(&mut known.left).cancel();
                known.left_until = Some(now + LEFT);
                is_left = true;
            }
        }
        state.hints.retain(|hint| hint != address);
        is_left
    }

    /// Ends a connection to this core, when it is to be left.
    pub(crate) fn left(&self, address: &str) -> CancellationToken {
        let state = self.0.state.lock();
        state.known(address).map(|known| known.left.clone()).unwrap_or_default()
    }

    /// The core at this address was not reached.
    pub fn shun(&self, address: &str) {
        let until = Instant::now() + SHUNNED;
        let mut state = self.0.state.lock();
        for known in state.known.iter_mut().filter(|known| known.address == address) {
            known.shunned_until = Some(until);
        }
        state.hints.retain(|hint| hint != address);
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
        let again = cores.left("a:1");
        assert!(!again.is_cancelled(), "it may be of use again");
        assert!(!cores.leave("a:1"));
        assert!(!again.is_cancelled(), "who comes back to it so soon has found no other");
        assert!(!cores.leave("b:1"), "there is no better one");
        assert!(!to_b.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_so_all_the_time_is_left_again_in_time() {
        let cores = cores(&["a:1", "b:1"]);
        let mut left = 0;
        for _ in 0..25 {
            left += usize::from(cores.leave("a:1"));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(left, 3, "at once, after 10 s, and after 20");
    }

    #[test]
    fn an_owner_is_asked_only_where_it_is_known_and_reached() {
        let cores = cores(&["a:1", "b:1"]);
        let owner = |slot| cores.owner_of(Slot(slot)).map(|owner| owner.to_string());
        cores.owns("c:1", Slot::all());
        assert!(Slot::all().all(|slot| cores.owner_of(slot).is_none()), "nobody knows it");
        cores.learn(&["c:1".to_owned()]);
        for (slot, address) in [(0, "a:1"), (1, "b:1"), (2, "c:1")] {
            cores.owns(address, [Slot(slot)]);
        }
        assert_eq!([owner(0), owner(1), owner(2)].map(Option::unwrap), ["a:1", "b:1", "c:1"]);
        cores.learn(&[]);
        assert_eq!(owner(2), None, "it has gone");
        cores.shun("a:1");
        assert_eq!((owner(0), owner(1)), (None, Some("b:1".to_owned())));
        cores.owns("a:1", [Slot(0)]);
        assert_eq!(owner(0), None, "another core says so, and yet it is not reached");
        assert!(!cores.leave("b:1"));
        assert_eq!(owner(1).as_deref(), Some("b:1"), "there is no better one");
        cores.learn(&["c:1".to_owned()]);
        assert!(cores.leave("b:1"));
        assert_eq!(owner(1), None, "it was left");
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
