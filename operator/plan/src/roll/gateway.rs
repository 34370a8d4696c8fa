//! A Gateway rolls as a whole, by a Deployment for each revision: the new one comes up beside the old, and when all of
//! it is ready the old one is scaled to zero at once. Its pods let their devices go, and each device lands on the new
//! revision: it is moved once.

use super::{Step, reach};
use crate::facts::Deployment;
use crate::make::{Extra, Made};
use crate::plan::{Deletable, Delete, Event, Scale};
use crate::status::{Progress, Standing, stuck};
use crate::wanted::{Resource, Spec};

/// Whether all of `replicas` pods are ready.
fn is_whole(of: &Deployment, replicas: i32) -> bool {
    of.observed && !of.deleting && of.wanted == replicas && of.updated >= replicas && of.ready >= replicas
}

/// Whether nothing of it is left.
pub(super) fn is_gone(of: &Deployment) -> bool {
    of.observed && of.wanted == 0 && of.there == 0 && of.running == 0 && of.terminating == 0
}

/// Whether nobody misses it although the new one is not there yet: it has never been whole, and no pod of it has been ready,
/// so that none holds a connection. Such is a revision whose image can't be pulled, or whose processes wait for what
/// never comes; it only takes the room. One whose processes run may be about to come up: it goes only where another
/// one serves, or when it has had its time.
fn is_still_born(of: &Deployment, another_serves: bool) -> bool {
    let comes = of.running > 0 && !another_serves && !of.overdue;
    of.observed && !of.was_whole && of.holding == 0 && of.ready == 0 && !comes
}

pub(super) fn step(of: &Resource<'_>, made: &Made, seen: &[&Deployment]) -> Step {
    let current = seen.iter().copied().find(|there| there.name == made.deployment_name());
    let former: Vec<&Deployment> =
        seen.iter().copied().filter(|there| there.name != made.deployment_name()).collect();
    let whole = current.is_some_and(|current| is_whole(current, of.replicas));
    let was_whole = current.is_some_and(|current| current.was_whole);
    let mut step = Step { extra: Extra { whole: whole || was_whole, ..Extra::default() }, ..Step::default() };
    if let Spec::Gateway(spec) = of.spec {
        step.extra.ports = Some(reach::noted(spec));
        step.reach = Some(reach::of(spec, whole, &former));
    }
    let serving = former
        .iter()
        .copied()
        .filter(|old| old.wanted > 0 && old.ready > 0)
        .max_by_key(|old| (old.ready, &old.name));
    let another_serves = serving.is_some() || current.is_some_and(|current| current.ready > 0);
    for old in &former {
        if old.deleting {
            continue;
        }
        if is_gone(old) {
            step.delete.push(Delete {
                what: Deletable::Deployment,
                name: old.name.clone(),
                resource_version: old.resource_version.clone(),
            });
        } else if old.wanted > 0 && (whole || is_still_born(old, another_serves)) {
            step.scale.push(Scale {
                deployment: old.name.clone(),
                resource_version: old.resource_version.clone(),
                replicas: 0,
            });
            step.events.push(retired(of, made, old, whole));
        }
    }
    let ending: i32 = former.iter().map(|old| old.running + old.terminating).sum();
    let progress = match current {
        Some(_) if whole && former.is_empty() => Progress::Settled,
        Some(_) if whole && ending == 0 => {
            Progress::Draining("what is left of former revisions is taken away".to_owned())
        }
        Some(_) if whole => Progress::Draining(format!(
            "revision {} serves; {ending} pods of former revisions let their devices go",
            made.revision
        )),
        Some(current) => stuck(current, serving.map(|old| old.name.as_str())).unwrap_or_else(|| {
            if former.is_empty() && current.was_whole {
                return Progress::Pending(format!("{} of {} pods are ready", current.ready, of.replicas));
            }
            Progress::Rolling(format!(
                "revision {}: {} of {} pods are ready{}",
                made.revision,
                current.ready.min(of.replicas),
                of.replicas,
                until_then(serving)
            ))
        }),
        None => Progress::Rolling(format!("revision {} is being made{}", made.revision, until_then(serving))),
    };
    step.standing = Standing {
        replicas: current.map_or(0, |current| current.there),
        ready: current.map_or(0, |current| current.ready),
        serving: seen.iter().map(|there| there.ready).sum(),
        progress,
        ..Standing::default()
    };
    step
}

fn until_then(serving: Option<&Deployment>) -> String {
    serving.map(|old| format!("; {} serves until all are", old.name)).unwrap_or_default()
}

fn retired(of: &Resource<'_>, made: &Made, old: &Deployment, whole: bool) -> Event {
    let message = if whole {
        format!(
            "revision {} is ready with {} pods; those of {} let their devices go",
            made.revision, of.replicas, old.name
        )
    } else {
        format!("{} never came up and holds no device: it makes room", old.name)
    };
    Event::new(&of.id, false, "RevisionRetired", &message)
}
