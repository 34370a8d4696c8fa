//! What one was told, against what it was to be told. Pure.

use std::collections::HashMap;

/// How the one differs from the other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Told too seldom, or not at all.
    pub(super) missing: Vec<u32>,
    /// Told too often, and what was never to be told.
    pub(super) repeated: Vec<u32>,
    /// Told at another place, seen by what both have.
    pub(super) moved: Vec<u32>,
}

fn counts(items: &[u32]) -> HashMap<u32, u64> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(*item).or_default() += 1;
    }
    counts
}

/// Parts `items` into those of which so many are left, each as often, and the others.
fn part(items: &[u32], mut left: HashMap<u32, u64>) -> (Vec<u32>, Vec<u32>) {
    items.iter().copied().partition(|item| match left.get_mut(item) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    })
}

impl Difference {
    /// Between the two.
    pub(super) fn between(expected: &[u32], told: &[u32]) -> Self {
        if expected == told {
            return Self::default();
        }
        let theirs = counts(told);
        let less = |(item, count): (u32, u64)| (item, theirs.get(&item).copied().unwrap_or(0).min(count));
        let both: HashMap<u32, u64> = counts(expected).into_iter().map(less).collect();
        let (expected, missing) = part(expected, both.clone());
        let (told, repeated) = part(told, both);
        let pairs = expected.iter().zip(&told);
        let moved = pairs.filter(|(expected, told)| expected != told).map(|(_, told)| *told).collect();
        Self { missing, repeated, moved }
    }

    /// Adds another one.
    pub(super) fn add(&mut self, other: Self) {
        self.missing.extend(other.missing);
        self.repeated.extend(other.repeated);
        self.moved.extend(other.moved);
    }

    /// Between two by streams, each of which has an order of its own: both are sorted into these first.
    pub(super) fn by_stream(expected: &[u32], told: &[u32], stream: impl Fn(u32) -> u32) -> Self {
        let streams = |items: &[u32]| {
            let mut streams: HashMap<u32, Vec<u32>> = HashMap::new();
            for item in items {
                streams.entry(stream(*item)).or_default().push(*item);
            }
            streams
        };
        let (expected, mut told) = (streams(expected), streams(told));
        let mut all = Self::default();
        for (stream, expected) in &expected {
            all.add(Self::between(expected, &told.remove(stream).unwrap_or_default()));
        }
        for (_, told) in told {
            all.add(Self::between(&[], &told));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(expected: &[u32], told: &[u32]) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let Difference { missing, repeated, moved } = Difference::between(expected, told);
        (missing, repeated, moved)
    }

    #[test]
    fn what_is_missing_repeated_or_elsewhere_is_found() {
        assert_eq!(between(&[1, 2, 3], &[1, 2, 3]), (vec![], vec![], vec![]));
        assert_eq!(between(&[1, 2, 3], &[1, 3]), (vec![2], vec![], vec![]));
        assert_eq!(between(&[1, 2, 3], &[1, 2, 2, 3]), (vec![], vec![2], vec![]));
        assert_eq!(between(&[1, 2, 3], &[1, 2, 3, 1]), (vec![], vec![1], vec![]));
        assert_eq!(between(&[1, 2, 3], &[1, 2, 9, 3]), (vec![], vec![9], vec![]));
        assert_eq!(between(&[1, 2, 3], &[1, 3, 2]), (vec![], vec![], vec![3, 2]));
        assert_eq!(between(&[1, 2, 1, 3], &[2, 1, 3]), (vec![1], vec![], vec![2, 1]));
        assert_eq!(between(&[], &[4]), (vec![], vec![4], vec![]));
        assert_eq!(
            between(&[4, 4, 4], &[4, 4]),
            (vec![4], vec![], vec![]),
            "the same may be told several times"
        );
    }

    #[test]
    fn streams_have_orders_of_their_own() {
        let odd = |item: u32| item % 2;
        assert_eq!(Difference::by_stream(&[1, 2, 3, 4], &[2, 1, 4, 3], odd), Difference::default());
        let moved = Difference { moved: vec![4, 2], ..Difference::default() };
        assert_eq!(Difference::by_stream(&[1, 2, 3, 4], &[4, 1, 2, 3], odd), moved);
        let repeated = Difference { repeated: vec![2], ..Difference::default() };
        assert_eq!(Difference::by_stream(&[1], &[2, 1], odd), repeated);
    }
}
