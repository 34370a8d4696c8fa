//! What ready pods do without, such as a broker that is away. They stay ready, and say it themselves when they are asked.
//!
//! Pure: answers and their time in, a verdict out. What a pod says counts when it says it twice in a row, so that neither a
//! connection that is lost for a moment nor an answer that is lost changes anything; a pod that is not heard of any more is
//! not known to do without anything.

mod condition;

use std::collections::BTreeMap;

pub(crate) use condition::{change, said};

use crate::text::shortened;

/// From what time on a pod that does not answer is not known any more, in seconds: several questions.
pub const SILENT_AFTER_S: u64 = 45;
/// A line of an answer that names what a pod does without.
const LINE: &str = "degraded: ";
/// There are two or three things that a pod may do without …
const THINGS_MOST: usize = 8;
/// … which have short names …
const THING_MOST: usize = 32;
/// … and what is told of the reason, in bytes: it stands in a status.
const WHY_MOST: usize = 200;

/// What a pod does without, and why. Nothing when it has all that it needs.
pub type Words = BTreeMap<String, String>;

/// What a pod has answered to `GET /readyz`. Whatever it is, it becomes a few short lines.
#[must_use]
pub fn words(answer: &str) -> Words {
    let lines = answer.lines().filter_map(|line| line.strip_prefix(LINE)?.split_once(": "));
    let named = |thing: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        !thing.is_empty() && thing.len() <= THING_MOST && thing.chars().all(fits)
    };
    let plain = |why: &str| why.replace(char::is_control, " ");
    lines
        .filter(|(thing, _)| named(thing))
        .take(THINGS_MOST)
        .map(|(thing, why)| (thing.to_owned(), shortened(plain(why).trim(), WHY_MOST)))
        .collect()
}

/// How the ready pods of a resource are, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// All that were asked.
    pub pods: usize,
    /// Those of them that do not answer.
    pub silent: usize,
    /// What some of them do without.
    pub without: BTreeMap<String, Without>,
}

/// Something that pods do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Without {
    /// How many of them.
    pub pods: usize,
    /// In the words of one of them.
    pub why: String,
}

/// What is known of the ready pods of a resource, from one round of questions to the next.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pods: BTreeMap<String, Pod>,
    verdict: Option<Verdict>,
}

/// What is known of one.
#[derive(Debug, Clone)]
struct Pod {
    /// When it has answered last; before that, when it was asked first.
    last: u64,
    newest: Option<Words>,
    /// What it has said twice in a row, and not taken back twice in a row since.
    settled: Option<Words>,
}

impl Pod {
    fn hear(&mut self, words: &Words, now: u64) {
        self.last = now;
        let before = self.newest.replace(words.clone());
        let Some(before) = before else { return };
        let settled = self.settled.take().unwrap_or_default();
        let mut all: Words = settled
            .into_iter()
            .filter(|(thing, _)| before.contains_key(thing) || words.contains_key(thing))
            .collect();
        let twice = words.iter().filter(|(thing, _)| before.contains_key(*thing));
        all.extend(twice.map(|(thing, why)| (thing.clone(), why.clone())));
        self.settled = Some(all);
    }

    fn is_silent(&self, now: u64) -> bool {
        now.saturating_sub(self.last) >= SILENT_AFTER_S
    }
}

impl Heard {
    /// Takes a round of answers in, of all ready pods by an id of theirs; none of one that has not answered. `now` is in
    /// seconds, by a clock that never goes back. Returns whether the verdict is another one.
    pub fn take(&mut self, round: &BTreeMap<String, Option<Words>>, now: u64) -> bool {
        self.pods.retain(|pod, _| round.contains_key(pod));
        for (id, answer) in round {
            let pod = self.pods.entry(id.clone()).or_insert(Pod { last: now, newest: None, settled: None });
            if let Some(words) = answer {
                pod.hear(words, now);
            } else if pod.is_silent(now) {
                (pod.newest, pod.settled) = (None, None);
            }
        }
        let before = self.verdict.take();
        self.verdict = self.judge(now).or_else(|| before.clone());
        self.verdict != before
    }

    /// None as long as nothing is known for certain.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// None when it is as before, as far as it is known.
    fn judge(&self, now: u64) -> Option<Verdict> {
        let mut verdict = Verdict { pods: self.pods.len(), ..Verdict::default() };
        let mut undecided = 0;
        for pod in self.pods.values() {
            let Some(settled) = &pod.settled else {
                if pod.is_silent(now) {
                    verdict.silent += 1;
                } else {
                    undecided += 1;
                }
                continue;
            };
            for (thing, why) in settled {
                let new = || Without { pods: 0, why: why.clone() };
                let without = verdict.without.entry(thing.clone()).or_insert_with(new);
                without.pods += 1;
                // The same each time, whichever pod is asked first.
                if *why < without.why {
                    without.why.clone_from(why);
                }
            }
        }
        // One that is not decided about may do without what others are about to have again.
        (!verdict.without.is_empty() || undecided == 0).then_some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: &str = "ok\ndegraded: bus: there is no connection to the broker\n";

    /// A round: what each pod answers, or that it does not.
    fn round(answers: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<Words>> {
        answers.iter().map(|(pod, answer)| ((*pod).to_owned(), answer.map(words))).collect()
    }

    /// What is said after each of these rounds, ten seconds after one another: pods, those that are silent, and those
    /// without a broker.
    fn after(rounds: &[&[(&str, Option<&str>)]]) -> Vec<Option<(usize, usize, usize)>> {
        let mut heard = Heard::default();
        let mut now = 100;
        let each = rounds.iter().map(|answers| {
            now += 10;
            heard.take(&round(answers), now);
            let bus = |verdict: &Verdict| verdict.without.get("bus").map_or(0, |without| without.pods);
            heard.verdict().map(|verdict| (verdict.pods, verdict.silent, bus(verdict)))
        });
        each.collect()
    }

    #[test]
    fn lines_of_an_answer_are_read_and_nothing_else_is_kept() {
        let both = words("ok\ndegraded: bus: no: way\ndegraded: store: rows cannot be read\n");
        assert_eq!(
            both.into_iter().collect::<Vec<_>>(),
            [
                ("bus".to_owned(), "no: way".to_owned()),
                ("store".to_owned(), "rows cannot be read".to_owned()),
            ]
        );
        for none in
            ["", "ok\n", "degraded: \n", "degraded: bus\n", "degraded: A B: c", "\u{0}degraded: bus: x"]
        {
            assert_eq!(words(none), Words::new(), "{none:?}");
        }
        assert_eq!(words("degraded: bus: a\u{7}b\n")["bus"], "a b");
        let long = "x".repeat(10_000);
        assert!(words(&format!("degraded: bus: {long}"))["bus"].len() <= WHY_MOST);
        assert_eq!(words(&format!("degraded: {long}: no")), Words::new());
        let many: String = (0..100).map(|n| format!("degraded: t{n}: no\n")).collect();
        assert_eq!(words(&many).len(), THINGS_MOST);
    }

    #[test]
    fn what_is_said_twice_in_a_row_counts_and_so_does_that_it_is_over() {
        let (away, well) =
            ([("a", Some(AWAY)), ("b", Some(AWAY))], [("a", Some("ok\n")), ("b", Some("ok\n"))]);
        let seen = after(&[&well, &well, &away, &away, &well, &well]);
        let (all, none) = (Some((2, 0, 2)), Some((2, 0, 0)));
        assert_eq!(seen, [None, none, none, all, all, none]);
    }

    #[test]
    fn a_moment_without_it_is_none() {
        let (away, well) = ([("a", Some(AWAY))], [("a", Some("ok\n"))]);
        let seen = after(&[&well, &well, &away, &well, &away, &well]);
        assert!(seen[1..].iter().all(|verdict| *verdict == Some((1, 0, 0))), "{seen:?}");
        let seen = after(&[&away, &away, &well, &away, &well, &away]);
        assert!(seen[1..].iter().all(|verdict| *verdict == Some((1, 0, 1))), "{seen:?}");
    }

    #[test]
    fn an_answer_that_is_lost_changes_nothing() {
        let (away, lost) = ([("a", Some(AWAY))], [("a", None)]);
        assert_eq!(after(&[&away, &away, &lost, &away])[1..], [Some((1, 0, 1)); 3]);
        let well = [("a", Some("ok\n"))];
        assert_eq!(after(&[&well, &well, &lost, &well])[1..], [Some((1, 0, 0)); 3]);
    }

    #[test]
    fn a_pod_that_is_not_heard_of_is_unknown_and_not_without_anything() {
        let both = [("a", Some(AWAY)), ("b", Some("ok\n"))];
        let one = [("a", None), ("b", Some("ok\n"))];
        // It was heard of ten seconds before the third round.
        let seen = after(&[&both, &both, &one, &one, &one, &one, &one]);
        assert_eq!(seen[1..6], [Some((2, 0, 1)); 5]);
        assert_eq!(seen[6], Some((2, 1, 0)));
        let nobody = [("a", None), ("b", None)];
        let seen = after(&[&nobody, &nobody, &nobody, &nobody, &nobody, &nobody]);
        assert_eq!(seen, [None, None, None, None, None, Some((2, 2, 0))], "each has its time to answer");
        let seen = after(&[&nobody, &nobody, &nobody, &nobody, &nobody, &nobody, &both, &both]);
        assert_eq!(
            seen[6..],
            [Some((2, 2, 0)), Some((2, 0, 1))],
            "what it said before it fell silent is forgotten"
        );
    }

    #[test]
    fn a_new_pod_ends_nothing_before_it_is_known_and_takes_part_then() {
        let old = [("a", Some(AWAY))];
        let new = [("b", Some(AWAY))];
        assert_eq!(after(&[&old, &old, &new, &new])[1..], [Some((1, 0, 1)); 3]);
        let well = [("b", Some("ok\n"))];
        assert_eq!(after(&[&old, &old, &well, &well])[2..], [Some((1, 0, 1)), Some((1, 0, 0))]);
    }

    #[test]
    fn a_verdict_is_told_once_and_does_not_depend_on_who_answers_first() {
        let mut heard = Heard::default();
        let said = |why: &str| Some(words(&format!("degraded: bus: {why}")));
        let round = |a: &str, b: &str| BTreeMap::from([("a".to_owned(), said(a)), ("b".to_owned(), said(b))]);
        assert!(!heard.take(&round("x", "y"), 0));
        assert!(heard.take(&round("x", "y"), 10));
        assert!(!heard.take(&round("y", "x"), 20), "{:?}", heard.verdict());
        assert_eq!(heard.verdict().unwrap().without["bus"], Without { pods: 2, why: "x".to_owned() });
    }
}
