//! How carrying a plan out goes: what was not done, and of which resource.

use std::collections::BTreeMap;

use stoker_plan::Id;

use super::Carried;
use crate::failure::Failure;

/// Calls that are not answered take long: after so many in one look the others wait for the next.
const SILENT_MOST: u32 = 2;

/// What was not done so far. All else was, or is still to be tried.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The first of each resource.
    failed: BTreeMap<Id, Failure>,
    /// The first of each resource that nothing depends on.
    lacking: BTreeMap<Id, Failure>,
    silent: u32,
}

impl Course {
    /// Keeps a failure of one write for the resources that it concerns; any other ends it all.
    pub(super) fn settle<'a>(
        &mut self,
        done: Result<(), Failure>,
        owners: impl IntoIterator<Item = &'a Id>,
    ) -> Result<(), Failure> {
        Self::keep(&mut self.failed, &mut self.silent, done, owners)
    }

    /// The same of a write that nothing depends on.
    pub(super) fn settle_aside<'a>(
        &mut self,
        done: Result<(), Failure>,
        owners: impl IntoIterator<Item = &'a Id>,
    ) -> Result<(), Failure> {
        Self::keep(&mut self.lacking, &mut self.silent, done, owners)
    }

    fn keep<'a>(
        failures: &mut BTreeMap<Id, Failure>,
        silent: &mut u32,
        done: Result<(), Failure>,
        owners: impl IntoIterator<Item = &'a Id>,
    ) -> Result<(), Failure> {
        let Err(failure) = done else { return Ok(()) };
        if !failure.is_of_one() {
            return Err(failure);
        }
        for owner in owners {
            failures.entry(owner.clone()).or_insert_with(|| failure.clone());
        }
        if matches!(failure, Failure::Silent { .. }) {
            *silent += 1;
            if *silent >= SILENT_MOST {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Why something of this resource was not done.
    pub(super) fn failed(&self, of: &Id) -> Option<&Failure> {
        self.failed.get(of)
    }

    /// Why something of this resource was not done that nothing depends on. What had only changed meanwhile is there
    /// after the next look.
    pub(super) fn lacking(&self, of: &Id) -> Option<&Failure> {
        self.lacking.get(of).filter(|failure| !matches!(failure, Failure::Conflict { .. }))
    }

    /// What has come of it.
    pub(super) fn carried(&self) -> Carried {
        let mut all = self.failed.values().chain(self.lacking.values()).peekable();
        if all.peek().is_none() {
            Carried::Out
        } else if all.all(|failure| matches!(failure, Failure::Conflict { .. })) {
            Carried::ButForChanges
        } else {
            Carried::ButForFailures
        }
    }
}

#[cfg(test)]
mod tests {
    use stoker_plan::Kind;

    use super::*;

    fn id(name: &str) -> Id {
        Id { kind: Kind::Gateway, name: name.to_owned(), uid: name.to_owned() }
    }

    #[test]
    fn a_failure_is_of_its_resource_and_the_first_of_it_is_told() {
        let mut course = Course::default();
        let fails =
            |why: &str| Err(Failure::Failing { what: "apply Service a".to_owned(), why: why.to_owned() });
        assert_eq!(course.settle(fails("first"), [&id("a")]), Ok(()));
        assert_eq!(course.settle(fails("second"), [&id("a")]), Ok(()));
        assert_eq!(course.settle(Ok(()), [&id("b")]), Ok(()));
        assert!(course.failed(&id("a")).unwrap().to_string().ends_with("first"));
        assert_eq!(course.failed(&id("b")), None);
        assert_eq!(course.carried(), Carried::ButForFailures);
    }

    #[test]
    fn what_had_changed_meanwhile_is_no_failure() {
        let mut course = Course::default();
        let conflict = Err(Failure::Conflict { what: "scale Deployment a to 0".to_owned() });
        assert_eq!(course.settle(conflict, [&id("a")]), Ok(()));
        assert_eq!(course.carried(), Carried::ButForChanges);
    }

    #[test]
    fn what_nothing_depends_on_is_kept_aside() {
        let mut course = Course::default();
        let fails = Err(Failure::Failing { what: "apply ServiceMonitor a".to_owned(), why: "no".to_owned() });
        assert_eq!(course.settle_aside(fails, [&id("a")]), Ok(()));
        assert_eq!(course.failed(&id("a")), None);
        assert!(course.lacking(&id("a")).is_some());
        assert_eq!(course.carried(), Carried::ButForFailures);
        let conflict = Err(Failure::Conflict { what: "apply ServiceMonitor b".to_owned() });
        assert_eq!(course.settle_aside(conflict, [&id("b")]), Ok(()));
        assert_eq!(course.lacking(&id("b")), None);
    }

    #[test]
    fn what_is_of_no_single_write_ends_it_all() {
        let mut course = Course::default();
        assert_eq!(course.settle(Err(Failure::NotLeading), [&id("a")]), Err(Failure::NotLeading));
        assert_eq!(course.carried(), Carried::Out);
    }

    #[test]
    fn one_call_without_an_answer_is_waited_for_and_not_many() {
        let mut course = Course::default();
        let silent = || Err(Failure::Silent { what: "apply Service a".to_owned(), why: String::new() });
        assert_eq!(course.settle(silent(), [&id("a")]), Ok(()));
        assert!(course.settle(silent(), [&id("b")]).is_err());
        assert!(course.failed(&id("b")).is_some(), "it is told nevertheless");
    }
}
