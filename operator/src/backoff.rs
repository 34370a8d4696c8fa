//! How long to wait after failures: longer and longer, and never all at once.

use std::time::Duration;

/// `first` after one failure, twice as long after each further one up to `most`; and between half of that and all of it,
/// so that not all come at once. `chance` is from 0 to 1.
pub(crate) fn pause(failures: u32, first: Duration, most: Duration, chance: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = first.saturating_mul(1 << doublings).min(most);
    full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

/// From 0 to 1. Without randomness all wait the longest.
pub(crate) fn chance() -> f64 {
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_differ_by_chance() {
        let (first, most) = (Duration::from_millis(500), Duration::from_secs(15));
        assert_eq!(pause(1, first, most, 1.0), first);
        assert_eq!(pause(1, first, most, 0.0), first / 2);
        assert_eq!(pause(3, first, most, 1.0), first * 4);
        assert_eq!(pause(u32::MAX, first, most, 1.0), most);
    }
}
