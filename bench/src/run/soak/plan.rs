//! Who is killed when, and when use cases are tried: decided by nothing but the seed.

use std::fmt;
use std::time::Duration;

use crate::random::Random;
use crate::run::several::{Role, Who};

/// How long a killed process is away. Others take over its work meanwhile.
const AWAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// Kills are as far from each other as the time allows, give or take this part of that.
const JITTER: u32 = 8;
/// Use cases are tried that often, whatever else happens.
const ROUND_EVERY: Duration = Duration::from_secs(180);
/// And at each kill, which comes so long after they have begun: at one time in the first cases, at another in the last.
const INTO_ROUND: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(20));
/// Rounds of use cases take less than a minute. None begins closer to one at a kill, or to the end.
const ROUND_APART: Duration = Duration::from_secs(90);

/// One process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kill {
    /// From the beginning on.
    pub(super) at: Duration,
    pub(super) who: Who,
    /// It is started again after that time.
    pub(super) away: Duration,
}

/// All that is done in a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// One after the other.
    pub(super) kills: Vec<Kill>,
    /// When use cases are tried, from the beginning on.
    pub(super) rounds: Vec<Duration>,
}

impl Plan {
    /// So many kills over that time: of a gateway, of a core, of a portal or a notifier, in turn. There are so many cores,
    /// gateways, notifiers and portals.
    pub(super) fn new(random: &mut Random, length: Duration, kills: u32, counts: [usize; 4]) -> Self {
        let part = length / kills.saturating_add(1);
        let jitter = part / JITTER;
        let kills: Vec<Kill> = (1..=kills)
            .map(|number| {
                let at = (part * number).saturating_sub(jitter) + random.between(Duration::ZERO, jitter * 2);
                let role = match number % 3 {
                    1 => Role::Gateway,
                    2 => Role::Core,
                    _ if random.below(2) == 0 => Role::Portal,
                    _ => Role::Notifier,
                };
                let away = random.between(AWAY.0, AWAY.1);
                Kill { at, who: some(random, role, counts), away }
            })
            .collect();
        let at_kills: Vec<Duration> = kills
            .iter()
            .map(|kill| kill.at.saturating_sub(random.between(INTO_ROUND.0, INTO_ROUND.1)))
            .collect();
        let regular = (1..)
            .map(|number: u32| ROUND_EVERY * number)
            .take_while(|at| *at + ROUND_APART <= length)
            .filter(|at| at_kills.iter().all(|other| at.abs_diff(*other) >= ROUND_APART));
        let mut rounds: Vec<Duration> = regular.chain(at_kills.iter().copied()).collect();
        rounds.sort_unstable();
        Self { kills, rounds }
    }
}

fn some(random: &mut Random, role: Role, counts: [usize; 4]) -> Who {
    let [cores, gateways, notifiers, portals] = counts;
    let count = match role {
        Role::Core => cores,
        Role::Gateway => gateways,
        Role::Notifier => notifiers,
        Role::Portal => portals,
    };
    let index = random.below(u64::try_from(count).unwrap_or(u64::MAX));
    Who { role, index: usize::try_from(index).unwrap_or(0) }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is killed, and back after {:.1} s", self.who, self.away.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const COUNTS: [usize; 4] = [3, 2, 2, 2];

    fn plan(seed: u64, length: Duration, kills: u32) -> Plan {
        Plan::new(&mut Random::new(seed), length, kills, COUNTS)
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_one_another() {
        assert_eq!(plan(7, HOUR, 3), plan(7, HOUR, 3));
        assert_ne!(plan(7, HOUR, 3), plan(8, HOUR, 3));
    }

    #[test]
    fn kills_are_spread_over_the_time_and_take_turns() {
        let mut thirds = Vec::new();
        for seed in 0..200 {
            let kills = plan(seed, HOUR, 3).kills;
            let minutes: Vec<f64> = kills.iter().map(|kill| kill.at.as_secs_f64() / 60.0).collect();
            for (minute, middle) in minutes.iter().zip([15.0, 30.0, 45.0]) {
                assert!((minute - middle).abs() <= 15.0 / 8.0 + 1e-9, "{minute} is not near {middle}");
            }
            assert_eq!((kills.len(), kills[0].who.role, kills[1].who.role), (3, Role::Gateway, Role::Core));
            thirds.push(kills[2].who.role);
            for Kill { who, away, .. } in kills {
                assert!(who.index < if who.role == Role::Core { 3 } else { 2 });
                assert!((AWAY.0..=AWAY.1).contains(&away));
            }
        }
        assert!(thirds.contains(&Role::Portal) && thirds.contains(&Role::Notifier));
    }

    #[test]
    fn use_cases_are_being_tried_at_each_kill_and_now_and_then_besides() {
        for seed in 0..200 {
            let Plan { kills, rounds } = plan(seed, HOUR, 3);
            for kill in &kills {
                let at_it = |at: &Duration| (*at + INTO_ROUND.0..=*at + INTO_ROUND.1).contains(&kill.at);
                assert!(rounds.iter().any(at_it), "none at {kill:?}: {rounds:?}");
            }
            for pair in rounds.windows(2) {
                assert!(pair[1] - pair[0] >= ROUND_APART, "{rounds:?}");
                assert!(pair[1] - pair[0] <= ROUND_EVERY * 2, "{rounds:?}");
            }
            assert!(rounds.iter().all(|at| *at < HOUR) && rounds.len() >= 15, "{rounds:?}");
        }
    }

    #[test]
    fn a_short_run_has_a_round_at_its_kill_and_one_without_kills_none_of_them() {
        let two = Duration::from_secs(120);
        let Plan { kills, rounds } = plan(3, two, 1);
        assert_eq!((kills.len(), rounds.len()), (1, 1));
        assert!(rounds[0] < kills[0].at && kills[0].at < two);
        assert_eq!(plan(3, two, 0), Plan { kills: Vec::new(), rounds: Vec::new() });
    }
}
