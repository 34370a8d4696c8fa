//! Wrong credentials: the answer comes later with each, per address and per name.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use stoker_domain::model::Millis;

/// The first delay; it doubles with each further failure.
const FIRST: Duration = Duration::from_millis(250);
/// The greatest delay.
const GREATEST: Duration = Duration::from_secs(8);
/// Failures are forgotten after this time without another.
const FORGET_MS: Millis = 600_000;
/// Addresses and names that are remembered. Beyond it the oldest half is forgotten.
const REMEMBERED: usize = 20_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Millis,
}

/// Failures by address and by name.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<u64, Failures>>);

fn key(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

impl Refusals {
    /// Counts a failure; how long to wait with the answer.
    pub(crate) fn failed(&self, address: IpAddr, name: &str, now: Millis) -> Duration {
        let mut failures = self.0.lock();
        if failures.len() >= REMEMBERED {
            let mut times: Vec<Millis> = failures.values().map(|failures| failures.last).collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            failures.retain(|_, failures| failures.last > median);
        }
        let mut most = 0;
        for key in [key(address), key(name)] {
            let entry = failures.entry(key).or_insert(Failures { count: 0, last: now });
            if now.saturating_sub(entry.last) > FORGET_MS {
                entry.count = 0;
            }
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
            most = most.max(entry.count);
        }
        FIRST.saturating_mul(1_u32.checked_shl(most - 1).unwrap_or(u32::MAX)).min(GREATEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_with_failures_of_an_address_or_a_name_and_is_forgotten() {
        let refusals = Refusals::default();
        let [one, two] = [1, 2].map(|n| IpAddr::from([127, 0, 0, n]));
        let delays: Vec<u128> = (0..7).map(|_| refusals.failed(one, "a", 0).as_millis()).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(refusals.failed(two, "b", 0), FIRST);
        assert_eq!(refusals.failed(two, "a", 0), GREATEST, "the name has failed before");
        assert_eq!(refusals.failed(one, "a", FORGET_MS + 1), FIRST);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let refusals = Refusals::default();
        for n in 0..30_000_i64 {
            refusals.failed(IpAddr::from([127, 0, 0, 1]), &n.to_string(), n);
        }
        assert!(refusals.0.lock().len() <= REMEMBERED + 1);
    }
}
