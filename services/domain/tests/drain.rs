//! How fast devices are let go, over all that time and core may do meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;
use stoker_domain::Millis;
use stoker_domain::drain::{Answers, DrainBounds, Pace};

const T0: Millis = 1_700_000_000_000;

/// What happens between two steps: how much time passes, and how long each answer of core takes; none: there is none.
#[derive(Debug, Clone, Copy)]
struct Between {
    ms: Millis,
    answer_us: Option<u64>,
}

const QUICK: Between = Between { ms: 50, answer_us: Some(4_000) };
const SLOW: Between = Between { ms: 50, answer_us: Some(40_000) };
const HUNG: Between = Between { ms: 50, answer_us: None };

fn answers(gone: usize, between: Between) -> Answers {
    let gone = gone as u64;
    match between.answer_us {
        Some(each) => Answers { answered: gone, took_us: gone * each, ..Answers::default() },
        None => Answers { waiting: gone, ..Answers::default() },
    }
}

/// When each step was, and how many went.
fn drain(
    bounds: DrainBounds,
    sessions: usize,
    between: impl IntoIterator<Item = Between>,
) -> Vec<(Millis, usize)> {
    let mut pace = Pace::new(bounds, T0, sessions);
    let (mut now, mut left, mut told, mut steps) = (T0, sessions, Answers::default(), Vec::new());
    for between in between {
        now += between.ms;
        let gone = pace.step(now, left, told);
        assert!(gone <= left);
        left -= gone;
        told = answers(gone, between);
        steps.push((now - T0, gone));
        if left == 0 {
            break;
        }
    }
    steps
}

fn bounds(within_ms: Millis, max_rate: Option<u32>) -> DrainBounds {
    DrainBounds { within_ms, max_rate }
}

/// After how long the last one went; none when some stayed.
fn over(steps: &[(Millis, usize)], sessions: usize) -> Option<Millis> {
    let gone: usize = steps.iter().map(|(_, gone)| gone).sum();
    (gone == sessions).then(|| steps.last().unwrap().0)
}

fn gone_by(steps: &[(Millis, usize)], at: Millis) -> usize {
    steps.iter().take_while(|(when, _)| *when <= at).map(|(_, gone)| gone).sum()
}

fn whatever() -> impl Strategy<Value = Between> {
    let answer = prop_oneof![Just(None), (100u64..2_000_000).prop_map(Some), Just(Some(3_000))];
    (prop_oneof![9 => 1i64..200, 1 => 200i64..5_000], answer)
        .prop_map(|(ms, answer_us)| Between { ms, answer_us })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn all_are_gone_in_time_and_before_that_never_more_than_was_set(
        sessions in 1usize..20_000,
        within in 1i64..60_000,
        max_rate in prop::option::of(1u32..2_000),
        between in prop::collection::vec(whatever(), 1..2_000),
    ) {
        let bounds = bounds(within, max_rate);
        let steps = drain(bounds, sessions, between.into_iter().chain(std::iter::repeat(HUNG)));
        let end = over(&steps, sessions);
        let first_at_end = steps.iter().map(|(at, _)| *at).find(|at| *at >= within);
        prop_assert!(end.is_some() && end <= first_at_end.or(end));
        if let Some(most) = max_rate {
            // Over every stretch of time, not only on average: a second may hold one more at its edge.
            for (from, _) in steps.iter().enumerate().step_by(7) {
                let mut gone = 0;
                let began = if from == 0 { 0 } else { steps[from - 1].0 };
                for (at, now) in steps[from..].iter().filter(|(at, _)| *at < within) {
                    gone += now;
                    let most = f64::from(most) * (at - began) as f64 / 1_000.0 + 1.0;
                    prop_assert!(gone as f64 <= most, "{gone} gone from {began} to {at}");
                }
            }
        }
    }

    #[test]
    fn a_core_that_slows_down_is_never_given_more_by_then_than_one_that_does_not(
        sessions in 100usize..20_000,
        troubled in prop::collection::vec(prop_oneof![Just(QUICK), Just(SLOW), Just(HUNG)], 1..600),
    ) {
        let bounds = bounds(30_000, None);
        let good = drain(bounds, sessions, std::iter::repeat(QUICK));
        let bad = drain(bounds, sessions, troubled.into_iter().chain(std::iter::repeat(SLOW)));
        for (at, _) in &bad {
            // One more by rounding.
            prop_assert!(gone_by(&bad, *at) <= gone_by(&good, *at) + 1, "after {at} ms");
        }
    }
}

#[test]
fn while_core_is_quick_it_is_over_long_before_its_time() {
    for sessions in [1, 300, 15_000, 100_000] {
        let steps = drain(bounds(30_000, None), sessions, std::iter::repeat(QUICK));
        assert!(
            over(&steps, sessions).unwrap() <= 10_000,
            "{sessions} sessions: {:?}",
            over(&steps, sessions)
        );
    }
    let steps = drain(bounds(30_000, None), 3, std::iter::repeat(QUICK));
    assert!(over(&steps, 3).unwrap() <= 100, "few are no load");
}

#[test]
fn a_core_that_becomes_slow_is_spared_as_far_as_time_permits() {
    let sessions = 15_000;
    let troubles = [
        ("answers take ten times as long", SLOW),
        ("no answer comes", HUNG),
        ("a second each", Between { ms: 50, answer_us: Some(1_500_000) }),
    ];
    for (trouble, between) in troubles {
        let quick = std::iter::repeat_n(QUICK, 40);
        let steps = drain(bounds(30_000, None), sessions, quick.chain(std::iter::repeat(between)));
        let (early, late) = (gone_by(&steps, 2_000), gone_by(&steps, 6_000));
        let even = (sessions - late) * 10 / 24;
        let later = gone_by(&steps, 16_000) - late;
        assert!(early > sessions * 2 / 30, "{trouble}: it had become faster: {early}");
        assert!(later.abs_diff(even) <= even / 10, "{trouble}: {later} in ten seconds, evenly it is {even}");
        assert!(over(&steps, sessions).unwrap() <= 30_050, "{trouble}");
    }
}

#[test]
fn a_core_that_was_slow_for_a_moment_is_given_more_again() {
    let sessions = 60_000;
    let moment = std::iter::repeat_n(QUICK, 20).chain(std::iter::repeat_n(SLOW, 40));
    let spared = drain(bounds(60_000, None), sessions, moment.chain(std::iter::repeat(QUICK)));
    let second = |from| gone_by(&spared, from + 1_000) - gone_by(&spared, from);
    assert!(second(2_500) < second(500), "spared");
    assert!(second(8_000) > second(2_500) * 2, "and given more again");
}

#[test]
fn without_time_all_go_at_once() {
    assert_eq!(Pace::new(bounds(0, Some(1)), T0, 500).step(T0, 500, Answers::default()), 500);
}
