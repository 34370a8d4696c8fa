//! When and how a client of the feed is cut off, and when it comes back: decided by a seed.

use std::time::Duration;

use crate::random::Random;

/// How long a client may listen before it is cut off.
const LISTENS: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(2));
/// And, each second time, how many items it may take in meanwhile: few, so that the cut falls into what it is told of the past.
/// Each other time it catches up, or it would come too late in the end for what portals keep.
const TAKES_BELOW: u64 = 40;
const CATCHES_UP_OF: u64 = 2;
/// How long it is away.
const AWAY: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3));
/// Every fourth comes back at once.
const AT_ONCE_OF: u64 = 4;
/// How long it reads nothing. What comes meanwhile waits with the kernel, and then with the portal.
const STALLS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(12));

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// With a goodbye, which is waited for.
    Close,
    /// The socket is closed without a word.
    Drop,
    /// By a reset.
    Reset,
    /// It stays open and nobody reads it any more, until the next cut.
    Leave,
    /// Nothing is read for a while, then a little of what has come by then, and the rest is thrown away.
    Stall,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Close, Self::Drop, Self::Reset, Self::Leave, Self::Stall];

    /// For tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Close => "with a goodbye",
            Self::Drop => "without a word",
            Self::Reset => "by a reset",
            Self::Leave => "left open and not read",
            Self::Stall => "after it had stopped reading",
        }
    }
}

/// One cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) kind: Kind,
    /// It comes after so many items, or after that time, whichever is first.
    pub(super) items: u64,
    pub(super) within: Duration,
    /// How long nothing is read, where that is its kind.
    pub(super) stall: Duration,
    /// How long the client stays away.
    pub(super) away: Duration,
}

impl Cut {
    /// The next one.
    pub(super) fn draw(random: &mut Random) -> Self {
        let kinds = u64::try_from(Kind::ALL.len()).unwrap_or(1);
        let drawn = usize::try_from(random.below(kinds)).unwrap_or(0);
        let kind = Kind::ALL.get(drawn).copied().unwrap_or(Kind::Drop);
        let (at_once, catches_up) = (random.below(AT_ONCE_OF) == 0, random.below(CATCHES_UP_OF) == 0);
        let items = random.below(TAKES_BELOW);
        let away = random.between(AWAY.0, AWAY.1);
        Self {
            kind,
            items: if catches_up { u64::MAX } else { items },
            within: random.between(LISTENS.0, LISTENS.1),
            stall: random.between(STALLS.0, STALLS.1),
            away: if at_once { Duration::ZERO } else { away },
        }
    }
}

/// How many of so many cuts fall to the client of that number, from 0 on: the same to all, or one more.
pub(super) fn share(cuts: u32, clients: u32, number: u32) -> u32 {
    let (whole, rest) = (cuts.checked_div(clients).unwrap_or(0), cuts.checked_rem(clients).unwrap_or(0));
    whole + u32::from(number < rest)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn cuts(seed: u64) -> Vec<Cut> {
        let mut random = Random::new(seed);
        (0..1_000).map(|_| Cut::draw(&mut random)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_cuts_and_another_one_others() {
        assert_eq!(cuts(7), cuts(7));
        assert_ne!(cuts(7), cuts(8));
    }

    #[test]
    fn all_kinds_come_and_some_before_anything_was_heard_and_some_are_back_at_once() {
        let cuts = cuts(3);
        let kinds: HashSet<Kind> = cuts.iter().map(|cut| cut.kind).collect();
        assert_eq!(kinds.len(), Kind::ALL.len());
        assert!(
            cuts.iter().any(|cut| cut.items == 0 && cut.kind != Kind::Stall)
                && cuts.iter().any(|cut| cut.away.is_zero())
        );
        assert!(cuts.iter().all(|cut| cut.away <= AWAY.1 && cut.stall <= STALLS.1));
    }

    #[test]
    fn all_cuts_fall_to_somebody() {
        for (cuts, clients) in [(1_000, 20), (60, 7), (3, 20), (0, 1)] {
            let shares: Vec<u32> = (0..clients).map(|number| share(cuts, clients, number)).collect();
            assert_eq!(shares.iter().sum::<u32>(), cuts);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
