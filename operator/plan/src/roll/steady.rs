//! CoreShards, Notifiers and Portals: one Deployment, which rolls pod by pod. A core that ends hands its slots on first.

use stoker_crds::SlotRange;

use super::Step;
use crate::facts::Deployment;
use crate::make::{Extra, Made};
use crate::status::{Progress, Standing, stuck};
use crate::wanted::Resource;

/// Whether all of `replicas` pods are of the newest template and ready, and no other is left.
pub(super) fn is_settled(of: &Deployment, replicas: i32) -> bool {
    of.observed
        && !of.deleting
        && [of.wanted, of.there, of.updated, of.ready].into_iter().all(|number| number == replicas)
}

pub(super) fn step(of: &Resource<'_>, made: &Made, range: Option<SlotRange>, seen: &[&Deployment]) -> Step {
    let there = seen.iter().copied().find(|deployment| deployment.name == made.deployment_name());
    let progress = match there {
        None => Progress::Rolling(format!("Deployment {} is being made", made.deployment_name())),
        Some(there) if is_current(there, made) && is_settled(there, of.replicas) => Progress::Settled,
        Some(there) if !is_current(there, made) => {
            Progress::Rolling(format!("Deployment {} gets another revision", there.name))
        }
        Some(there) => stuck(there, (there.ready > 0).then_some("what is ready"))
            .unwrap_or_else(|| on_its_way(there, of.replicas)),
    };
    let standing = Standing {
        replicas: there.map_or(0, |there| there.there),
        ready: there.map_or(0, |there| there.ready),
        serving: seen.iter().map(|deployment| deployment.ready).sum(),
        progress,
        ..Standing::default()
    };
    Step { extra: Extra { slots: range, ..Extra::default() }, standing, ..Step::default() }
}

fn on_its_way(there: &Deployment, replicas: i32) -> Progress {
    if there.observed && there.updated == there.there {
        Progress::Pending(format!("{} of {replicas} pods are ready", there.ready))
    } else {
        Progress::Rolling(format!(
            "{} of {replicas} pods are of the newest revision, {} are ready",
            there.updated.min(replicas),
            there.ready
        ))
    }
}

/// Whether it has the newest template already: a change that is only planned has not begun.
pub(super) fn is_current(there: &Deployment, made: &Made) -> bool {
    there.revision.as_ref() == Some(&made.revision) && there.config.as_ref() == Some(&made.config)
}
