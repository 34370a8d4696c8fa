//! Which slots each CoreShard serves. New ranges take effect when together they cover all slots exactly once, and then
//! in two steps: who gains slots gets them first, and only when all of these run does anybody lose any. In between two
//! may serve a slot, which the slot's epoch makes safe; at no time does nobody.

use std::collections::BTreeMap;

use stoker_crds::{SLOTS, SlotRange};

/// A CoreShard as far as this goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard<'a> {
    pub(crate) name: &'a str,
    pub(crate) wanted: SlotRange,
    /// What its Deployment says now.
    pub(crate) now: Option<SlotRange>,
    /// Whether it has pods, and all of them are of that Deployment's newest template and ready.
    pub(crate) settled: bool,
}

/// What each CoreShard is to serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges<'a> {
    /// By name; none where nothing can be given to it yet.
    pub(crate) given: BTreeMap<&'a str, SlotRange>,
    /// Why the ranges that are wished are not in effect, and what to do.
    pub(crate) problem: Option<Problem>,
    /// They are on their way.
    pub(crate) moving: bool,
}

/// What is wrong with the ranges together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

pub(crate) fn decide<'a>(shards: &[Shard<'a>]) -> Ranges<'a> {
    if shards.is_empty() {
        return Ranges::default();
    }
    if let Some(problem) = problem(shards) {
        let old = shards.iter().filter_map(|shard| shard.now.map(|now| (shard.name, now)));
        return Ranges { given: old.collect(), problem: Some(problem), moving: false };
    }
    let gained = |shard: &Shard<'_>| shard.settled && shard.now.is_some_and(|now| covers(now, shard.wanted));
    let all_gained = shards.iter().all(gained);
    let given = shards.iter().map(|shard| {
        let range = match shard.now {
            Some(now) if !all_gained => hull(now, shard.wanted),
            _ => shard.wanted,
        };
        (shard.name, range)
    });
    let given: BTreeMap<&str, SlotRange> = given.collect();
    let moving = shards.iter().any(|shard| {
        shard.now.is_some_and(|now| now != shard.wanted) || given.get(shard.name) != Some(&shard.wanted)
    });
    Ranges { given, problem: None, moving }
}

fn covers(outer: SlotRange, inner: SlotRange) -> bool {
    outer.first <= inner.first && inner.last <= outer.last
}

fn hull(a: SlotRange, b: SlotRange) -> SlotRange {
    SlotRange { first: a.first.min(b.first), last: a.last.max(b.last) }
}

/// Such as `0-127`, as `core.slots` has it.
pub(crate) fn text(range: SlotRange) -> String {
    format!("{}-{}", range.first, range.last)
}

fn shown(first: i32, last: i32) -> String {
    if first == last { format!("slot {first}") } else { format!("slots {first}-{last}") }
}

fn problem(shards: &[Shard<'_>]) -> Option<Problem> {
    let mut sorted: Vec<&Shard<'_>> = shards.iter().collect();
    sorted.sort_by_key(|shard| (shard.wanted.first, shard.wanted.last, shard.name));
    let (mut gaps, mut overlaps) = (Vec::new(), Vec::new());
    let mut next = 0;
    let mut widest: Option<&Shard<'_>> = None;
    for shard in sorted {
        let SlotRange { first, last } = shard.wanted;
        if first > next {
            gaps.push(shown(next, first - 1));
        }
        if let Some(other) = widest.filter(|other| other.wanted.last >= first) {
            let both = shown(first, last.min(other.wanted.last));
            overlaps.push(format!("{} and {} both claim {both}", other.name, shard.name));
        }
        if widest.is_none_or(|other| other.wanted.last < last) {
            widest = Some(shard);
        }
        next = next.max(last + 1);
    }
    if next < SLOTS {
        gaps.push(shown(next, SLOTS - 1));
    }
    const WAY_OUT: &str = "change spec.slots so that the CoreShards cover 0-255 exactly once; until then the ranges \
                           that are in effect stay";
    match (gaps.is_empty(), overlaps.is_empty()) {
        (true, true) => None,
        (false, true) => Some(Problem {
            reason: "SlotsMissing",
            message: format!("no CoreShard claims {}: {WAY_OUT}", gaps.join(", ")),
        }),
        (true, false) => {
            Some(Problem { reason: "SlotsOverlap", message: format!("{}: {WAY_OUT}", overlaps.join(", ")) })
        }
        (false, false) => Some(Problem {
            reason: "SlotsOverlap",
            message: format!(
                "{}, and no CoreShard claims {}: {WAY_OUT}",
                overlaps.join(", "),
                gaps.join(", ")
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i32, last: i32) -> SlotRange {
        SlotRange { first, last }
    }

    fn shard(name: &str, wanted: SlotRange, now: Option<SlotRange>, settled: bool) -> Shard<'_> {
        Shard { name, wanted, now, settled }
    }

    fn given(shards: &[Shard<'_>]) -> Vec<(i32, i32)> {
        decide(shards).given.values().map(|range| (range.first, range.last)).collect()
    }

    #[test]
    fn what_is_missing_and_what_is_claimed_twice_is_said() {
        let said =
            |shards: &[Shard<'_>]| decide(shards).problem.map(|problem| problem.message).unwrap_or_default();
        let text = said(&[shard("a", range(0, 99), None, false), shard("b", range(200, 254), None, false)]);
        assert!(text.starts_with("no CoreShard claims slots 100-199, slot 255: "), "{text}");
        let text = said(&[shard("a", range(0, 200), None, false), shard("b", range(100, 255), None, false)]);
        assert!(text.starts_with("a and b both claim slots 100-200: "), "{text}");
        let nested = [
            shard("a", range(0, 200), None, false),
            shard("b", range(10, 20), None, false),
            shard("c", range(30, 40), None, false),
        ];
        let text = said(&nested);
        assert!(
            text.contains("a and b both claim slots 10-20, a and c both claim slots 30-40, and no"),
            "{text}"
        );
        assert_eq!(said(&[shard("a", range(0, 255), None, false)]), "");
    }

    #[test]
    fn until_they_cover_all_the_old_stand() {
        let shards =
            [shard("a", range(0, 99), Some(range(0, 255)), true), shard("b", range(101, 255), None, false)];
        let ranges = decide(&shards);
        assert_eq!(ranges.given.get("a"), Some(&range(0, 255)));
        assert_eq!(ranges.given.get("b"), None);
    }

    #[test]
    fn nobody_loses_slots_before_all_who_gain_them_run() {
        // A split: the new one first, beside the old one.
        let mut shards =
            [shard("a", range(0, 127), Some(range(0, 255)), true), shard("b", range(128, 255), None, false)];
        assert_eq!(given(&shards), [(0, 255), (128, 255)]);
        shards[1].now = Some(range(128, 255));
        assert_eq!(given(&shards), [(0, 255), (128, 255)]);
        shards[1].settled = true;
        assert_eq!(given(&shards), [(0, 127), (128, 255)]);
        // On its way: nothing goes back.
        shards[0].now = Some(range(0, 127));
        shards[0].settled = false;
        assert_eq!(given(&shards), [(0, 127), (128, 255)]);
    }

    #[test]
    fn shards_that_change_places_serve_both_in_between() {
        let mut shards = [
            shard("a", range(128, 255), Some(range(0, 127)), true),
            shard("b", range(0, 127), Some(range(128, 255)), true),
        ];
        assert_eq!(given(&shards), [(0, 255), (0, 255)]);
        shards[0].now = Some(range(0, 255));
        shards[1].now = Some(range(0, 255));
        shards[1].settled = false;
        assert_eq!(given(&shards), [(0, 255), (0, 255)]);
        shards[1].settled = true;
        assert!(decide(&shards).moving);
        assert_eq!(given(&shards), [(128, 255), (0, 127)]);
    }
}
