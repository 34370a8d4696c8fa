//! Which step comes next, for each resource: told by what there is, never by what was done before.

mod devices;
mod gateway;
mod leftover;
mod reach;
mod steady;

pub(crate) use reach::Reach;

use std::time::Duration;

use crate::certificates;
use crate::check::slots::{self, Problem, Ranges, Shard};
use crate::check::{self, Refusal};
use crate::facts::{Deployment, Facts};
use crate::make::{self, Extra, Made};
use crate::plan::{Delete, Event, Plan, Scale};
use crate::status::{self, Progress, Standing};
use crate::wanted::{Id, Kind, Resource, Spec, Wanted};

/// What is to be done about the Deployments of one resource, and how they stand.
#[derive(Debug, Default)]
struct Step {
    extra: Extra,
    /// Of a Gateway.
    reach: Option<Reach>,
    scale: Vec<Scale>,
    delete: Vec<Delete>,
    events: Vec<Event>,
    standing: Standing,
}

/// Said of a Gateway whose former revision could go.
const HELD: &str = "the newest revision serves; nothing of former revisions is taken away while the operator does not \
                    see all that happens: see its /readyz";

impl Step {
    /// What is seen may be out of date: all that is there stays.
    fn hold(&mut self, current: Option<&Deployment>) {
        self.extra.least = current.map(|current| current.wanted);
        if let Progress::Draining(message) = &mut self.standing.progress
            && !(self.scale.is_empty() && self.delete.is_empty())
        {
            HELD.clone_into(message);
        }
        self.scale.clear();
        self.delete.clear();
        self.events.clear();
    }
}

pub(crate) fn plan(wanted: &Wanted, facts: &Facts) -> Plan {
    let resources = wanted.resources();
    let refusals: Vec<Option<Refusal>> =
        resources.iter().map(|of| check::refusal(of, &resources, facts)).collect();
    let ranges = ranges(&resources, &refusals, facts);
    let mqtt_url = devices::mqtt_url(&resources, &refusals, facts);
    let kinds = certificates::kinds(&resources);
    let mut plan = Plan {
        admin_token: admin_token(&resources, facts),
        certificates: certificates::decide(&kinds, &facts.certificates, facts.now, facts.behind),
        ..Plan::default()
    };
    let (mut shards_applied, mut scrape) = (false, Vec::new());
    for (of, refusal) in resources.iter().zip(&refusals) {
        let slots = (of.id.kind == Kind::CoreShard).then_some(&ranges);
        let range = ranges.given.get(of.id.name.as_str()).copied();
        let refusal = refusal.clone().or_else(|| without_range(slots, range.is_some()));
        let seen: Vec<&Deployment> = owned(&of.id, facts).collect();
        let step = match &refusal {
            Some(refusal) => {
                let standing = status::Standing::refused(refusal, &seen);
                if refusal.awaited {
                    plan.again = sooner(plan.again, status::AGAIN_AWAITED);
                }
                Step { standing, ..Step::default() }
            }
            None => {
                let made = Made::of(of, range, mqtt_url.as_deref(), facts);
                let mut step = match of.id.kind {
                    Kind::Gateway => gateway::step(of, &made, &seen),
                    _ => steady::step(of, &made, range, &seen),
                };
                step.delete.extend(leftover::configs(of, &made, &seen, facts));
                if facts.behind {
                    step.hold(seen.iter().copied().find(|there| there.name == made.deployment_name()));
                }
                if !of.paused {
                    shards_applied |= of.id.kind == Kind::CoreShard;
                    let deployment = made.deployment(&step.extra);
                    plan.apply.extend(made.around(of, step.reach.as_ref(), facts));
                    plan.apply.push(deployment);
                    scrape.extend(made.scrape);
                }
                step
            }
        };
        if !of.paused {
            plan.scale.extend(step.scale);
            plan.delete.extend(step.delete);
            plan.events.extend(step.events);
            if step.standing.is_draining() {
                plan.again = sooner(plan.again, status::AGAIN_DRAINING);
            }
        }
        let said = status::say(of, &step.standing, slots, facts);
        plan.events.extend(status::changes(of, &said));
        plan.status.push(said);
    }
    if shards_applied {
        let shards: Vec<&Resource<'_>> =
            resources.iter().filter(|of| of.id.kind == Kind::CoreShard).collect();
        // Before the first Deployment that needs it, or its pods would look in vain.
        plan.apply.insert(0, make::cores(&shards, &wanted.namespace, facts));
    }
    // Last: whatever becomes of it, all else is there.
    plan.apply.extend(scrape);
    plan
}

fn sooner(a: Option<Duration>, b: Duration) -> Option<Duration> {
    Some(a.map_or(b, |a| a.min(b)))
}

/// Of one resource, and of no other: not of a former one with the same name either.
fn owned<'a>(id: &'a Id, facts: &'a Facts) -> impl Iterator<Item = &'a Deployment> {
    facts.deployments.iter().filter(move |deployment| deployment.owner.as_ref() == Some(id))
}

/// The ranges of all CoreShards whose data is in the one place.
fn ranges<'a>(resources: &'a [Resource<'a>], refusals: &[Option<Refusal>], facts: &Facts) -> Ranges<'a> {
    let elsewhere = |refusal: &Option<Refusal>| {
        refusal.as_ref().is_some_and(|refusal| refusal.reason == check::CASSANDRA_DIFFERS)
    };
    let shards: Vec<Shard<'_>> = resources
        .iter()
        .zip(refusals)
        .filter(|(_, refusal)| !elsewhere(refusal))
        .filter_map(|(of, _)| {
            let Spec::CoreShard(spec) = of.spec else { return None };
            let there = owned(&of.id, facts).find(|deployment| deployment.name == of.base());
            Some(Shard {
                name: &of.id.name,
                wanted: spec.slots,
                now: there.and_then(|deployment| deployment.slots),
                // Without a pod it has gained nothing that anybody else may let go.
                settled: !facts.behind
                    && there.is_some_and(|deployment| {
                        deployment.wanted > 0 && steady::is_settled(deployment, deployment.wanted)
                    }),
            })
        })
        .collect();
    slots::decide(&shards)
}

/// A CoreShard that has no slots yet, because the ranges are wrong, has nothing to do.
fn without_range(ranges: Option<&Ranges<'_>>, given: bool) -> Option<Refusal> {
    let Problem { reason, message } = ranges.filter(|_| !given)?.problem.clone()?;
    Some(Refusal { reason, message, awaited: false })
}

/// Whether the Secret with the administrator's token is to be made.
fn admin_token(resources: &[Resource<'_>], facts: &Facts) -> bool {
    let there = facts.secrets.get(crate::ADMIN_SECRET);
    resources.iter().any(|of| of.id.kind == Kind::Portal)
        && !there.is_some_and(|secret| secret.digests.contains_key("token"))
}
