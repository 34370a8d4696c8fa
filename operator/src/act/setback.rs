//! Writes that were not taken: each is tried again after pauses of its own, and keeps no other from being made.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::backoff::pause;
use crate::failure::Failure;

/// The first pause of a write …
const FIRST: Duration = Duration::from_millis(500);
/// … the longest of one that may be taken without anybody doing anything …
const FAILING_MOST: Duration = Duration::from_secs(15);
/// … and of one that is refused: only a change helps, and most of these are seen, and end the pause.
const REFUSED_MOST: Duration = Duration::from_secs(300);
/// Each try of one that is not answered takes as long as an answer may: the others come first meanwhile.
const SILENT_FIRST: Duration = Duration::from_secs(60);
/// An object that has changed meanwhile is looked at again. After so many times it is no accident, and is told.
const CONFLICTS: u32 = 4;

/// One write that was not taken.
#[derive(Debug)]
struct Setback {
    /// Of what was to be written: another content is another write.
    digest: String,
    failure: Failure,
    /// One after another.
    failures: u32,
    /// Not before.
    due: Instant,
    /// In the look that goes on it was to be made.
    met: bool,
}

/// By namespace and by what was to be done. Times and chance are passed in.
#[derive(Debug, Default)]
pub(super) struct Setbacks(BTreeMap<String, BTreeMap<String, Setback>>);

impl Setbacks {
    /// A look begins. `helps`: somebody has changed something that may help, so all are tried.
    pub(super) fn begin(&mut self, namespace: &str, helps: bool, now: Instant) {
        for setback in self.0.get_mut(namespace).into_iter().flat_map(BTreeMap::values_mut) {
            setback.met = false;
            if helps {
                setback.due = now;
            }
        }
    }

    /// Why this write was not taken the last time, while it is too early for the next.
    pub(super) fn held(
        &mut self,
        namespace: &str,
        what: &str,
        digest: &str,
        now: Instant,
    ) -> Option<Failure> {
        let setback = self.0.get_mut(namespace)?.get_mut(what)?;
        setback.met = true;
        (setback.digest == digest && now < setback.due).then(|| setback.failure.clone())
    }

    /// This write was tried. Returns what is to be told of it, and when it is tried again.
    pub(super) fn note(
        &mut self,
        namespace: &str,
        what: &str,
        digest: &str,
        failure: Option<&Failure>,
        chance: f64,
        now: Instant,
    ) -> Option<(Failure, Duration)> {
        let of = self.0.entry(namespace.to_owned()).or_default();
        let before = of.remove(what).filter(|before| before.digest == digest);
        let failure = failure.filter(|failure| failure.is_of_one())?;
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let (failure, first, most) = match failure.clone() {
            Failure::Conflict { what } if failures >= CONFLICTS => {
                let why = format!("each of {failures} times it had changed meanwhile");
                (Failure::Failing { what, why }, FIRST, FAILING_MOST)
            }
            refused @ Failure::Refused { .. } => (refused, FIRST, REFUSED_MOST),
            // As long as it is not tried again it keeps nobody waiting.
            Failure::Silent { what, why } => (Failure::Failing { what, why }, SILENT_FIRST, REFUSED_MOST),
            other => (other, FIRST, FAILING_MOST),
        };
        let after = pause(failures, first, most, chance);
        let setback = Setback {
            digest: digest.to_owned(),
            failure: failure.clone(),
            failures,
            due: now + after,
            met: true,
        };
        of.insert(what.to_owned(), setback);
        Some((failure, after))
    }

    /// A look has come to its end: what was not to be made any more is forgotten. Returns when to look again.
    pub(super) fn end(&mut self, namespace: &str, now: Instant) -> Option<Duration> {
        let of = self.0.get_mut(namespace)?;
        of.retain(|_, setback| setback.met);
        let next = of.values().map(|setback| setback.due.saturating_duration_since(now)).min();
        if of.is_empty() {
            self.0.remove(namespace);
        }
        next
    }

    pub(super) fn forget(&mut self, namespace: &str) {
        self.0.remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: &str = "apply Deployment edge";

    fn refused() -> Failure {
        Failure::Refused { what: WHAT.to_owned(), why: "exceeded quota".to_owned(), missing: false }
    }

    fn failing() -> Failure {
        Failure::Failing { what: WHAT.to_owned(), why: "a webhook fails".to_owned() }
    }

    /// How long the pauses are, when each try fails alike.
    fn pauses(failure: &Failure) -> Vec<Duration> {
        let (mut setbacks, mut now) = (Setbacks::default(), Instant::now());
        let mut all = Vec::new();
        for _ in 0..20 {
            setbacks.begin("a", false, now);
            assert_eq!(setbacks.held("a", WHAT, "d", now), None, "it is time");
            assert!(setbacks.note("a", WHAT, "d", Some(failure), 1.0, now).is_some());
            let after = setbacks.end("a", now).unwrap();
            assert!(setbacks.held("a", WHAT, "d", now + after / 2).is_some(), "it is too early");
            all.push(after);
            now += after;
        }
        all
    }

    #[test]
    fn a_write_that_fails_waits_longer_and_longer_up_to_a_bound() {
        let silent = Failure::Silent { what: WHAT.to_owned(), why: "no answer".to_owned() };
        let conflict = Failure::Conflict { what: WHAT.to_owned() };
        let all = [
            (refused(), FIRST, REFUSED_MOST),
            (failing(), FIRST, FAILING_MOST),
            (conflict, FIRST, FAILING_MOST),
            (silent, SILENT_FIRST, REFUSED_MOST),
        ];
        for (failure, first, most) in all {
            let pauses = pauses(&failure);
            assert!(pauses.windows(2).all(|pair| pair[1] >= pair[0]), "{pauses:?}");
            assert_eq!((pauses[0], pauses[19]), (first, most), "{failure}");
        }
    }

    #[test]
    fn a_pause_is_of_one_write_and_of_no_other() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        setbacks.note("a", WHAT, "d", Some(&refused()), 1.0, now);
        assert_eq!(setbacks.held("a", WHAT, "d", now), Some(refused()));
        assert_eq!(setbacks.held("a", WHAT, "another content", now), None);
        assert_eq!(setbacks.held("a", "apply Service edge", "d", now), None);
        assert_eq!(setbacks.held("b", WHAT, "d", now), None);
    }

    #[test]
    fn what_may_help_ends_all_pauses_of_a_namespace_and_forgets_no_failure() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        for namespace in ["a", "b"] {
            setbacks.note(namespace, WHAT, "d", Some(&refused()), 1.0, now);
        }
        setbacks.begin("a", true, now);
        assert_eq!(setbacks.held("a", WHAT, "d", now), None);
        assert!(setbacks.held("b", WHAT, "d", now).is_some());
        let (_, after) = setbacks.note("a", WHAT, "d", Some(&refused()), 1.0, now).unwrap();
        assert_eq!(after, FIRST * 2);
    }

    #[test]
    fn what_was_taken_or_is_not_to_be_made_any_more_is_forgotten() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        setbacks.note("a", WHAT, "d", Some(&refused()), 1.0, now);
        setbacks.note("a", "delete ConfigMap edge", "", Some(&refused()), 1.0, now);
        setbacks.begin("a", false, now);
        assert!(setbacks.held("a", WHAT, "d", now).is_some());
        assert_eq!(setbacks.end("a", now), Some(FIRST));
        assert_eq!(setbacks.held("a", "delete ConfigMap edge", "", now), None);
        assert_eq!(setbacks.note("a", WHAT, "d", None, 1.0, now), None);
        assert_eq!(setbacks.end("a", now), None);
        assert!(setbacks.0.is_empty());
    }

    #[test]
    fn nobody_is_told_of_the_first_conflicts_and_everybody_of_one_that_has_no_end() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        let conflict = Failure::Conflict { what: WHAT.to_owned() };
        let mut told = |_| setbacks.note("a", WHAT, "d", Some(&conflict), 1.0, now).unwrap().0;
        let told: Vec<Failure> = (0..CONFLICTS).map(&mut told).collect();
        assert_eq!(told[..3], [conflict.clone(), conflict.clone(), conflict]);
        assert!(told[3].to_string().contains("each of 4 times it had changed meanwhile"), "{}", told[3]);
    }

    #[test]
    fn what_is_of_no_single_write_is_not_kept() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        let lost = Failure::Unavailable { what: WHAT.to_owned(), why: "connection refused".to_owned() };
        for failure in [lost, Failure::NotLeading] {
            assert_eq!(setbacks.note("a", WHAT, "d", Some(&failure), 1.0, now), None);
        }
        assert_eq!(setbacks.end("a", now), None);
    }
}
