//! When devices do what, so that a fleet is a stream and no flood.

use std::time::Duration;

/// How long the device at that position waits with its first connect.
pub(crate) fn turn(position: u32, per_second: u32) -> Duration {
    Duration::from_secs_f64(f64::from(position) / f64::from(per_second.max(1)))
}

/// The device's next turn to report, both since the beginning: each device has its own place within the interval and
/// keeps it, whatever happens to its connection. Turns that were missed are left out.
pub(crate) fn next(passed: Duration, position: u32, devices: u32, interval: Duration) -> Duration {
    let place = interval.mul_f64(f64::from(position) / f64::from(devices.max(1)));
    let interval_ns = interval.as_nanos().max(1);
    let rounds = match passed.checked_sub(place) {
        Some(since) => since.as_nanos() / interval_ns + 1,
        None => 0,
    };
    let ns = place.as_nanos() + rounds * interval_ns;
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

/// The pause after so many failures in a row (1 is the first): the range doubles up to the longest, and within it
/// `unit` (0 to 1) picks, so that devices that were cut off together don't come back together.
pub(crate) fn backoff((shortest, longest): (Duration, Duration), failures: u32, unit: f64) -> Duration {
    let range = shortest.saturating_mul(1 << failures.min(16)).min(longest);
    shortest + range.saturating_sub(shortest).mul_f64(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_fleet_is_spread_evenly_over_the_interval() {
        let places: Vec<u128> = (0..4).map(|p| next(Duration::ZERO, p, 4, 10 * SECOND).as_millis()).collect();
        assert_eq!(places, [10_000, 2_500, 5_000, 7_500]);
        assert_eq!(turn(1_000, 500), 2 * SECOND);
    }

    #[test]
    fn a_device_keeps_its_place_and_leaves_out_what_it_missed() {
        let after = |passed: f64| next(Duration::from_secs_f64(passed), 1, 4, 10 * SECOND).as_secs_f64();
        assert_eq!((after(2.4), after(2.5), after(2.6), after(42.0)), (2.5, 12.5, 12.5, 42.5));
    }

    #[test]
    fn pauses_grow_to_their_bound_and_differ() {
        let range = (SECOND, 5 * SECOND);
        let pause = |failures, unit| backoff(range, failures, unit).as_secs_f64();
        assert_eq!((pause(0, 0.5), pause(1, 0.0), pause(1, 1.0)), (1.0, 1.0, 2.0));
        assert_eq!((pause(2, 1.0), pause(3, 1.0), pause(60, 1.0), pause(60, 0.5)), (4.0, 5.0, 5.0, 3.0));
    }
}
