//! Conditions, and the events that follow from their changes.

use stoker_crds::{DEGRADED, READY, ServiceType};

use super::{Progress, Standing};
use crate::check::slots::{self, Ranges};
use crate::facts::Facts;
use crate::names::selector_text;
use crate::plan::{self, Event, Said};
use crate::wanted::{Resource, Spec};
use crate::{certificates, degraded};

/// Whether the spec can be planned.
const ACCEPTED: &str = "Accepted";
/// Whether any pod is ready, of whichever revision.
const SERVING: &str = "Serving";
/// Whether pods are being replaced, made or ended.
const PROGRESSING: &str = "Progressing";
/// Whether the slots that are wished are those that are served.
const SLOTS_IN_EFFECT: &str = "SlotsInEffect";
/// Whether nothing is done.
const PAUSED: &str = "Paused";

/// The number in the status may be off by this part of it: each write of it wakes whoever watches.
const CONNECTIONS_OFF: i64 = 20;

fn said(kind: &'static str, is: bool, reason: &'static str, message: impl Into<String>) -> Said {
    Said { kind, is: is.into(), reason, message: message.into() }
}

/// How `of` stands, in full. `ranges` are those of the CoreShards, for one of them.
pub(crate) fn say(
    of: &Resource<'_>,
    standing: &Standing,
    ranges: Option<&Ranges<'_>>,
    facts: &Facts,
) -> plan::Standing {
    let address = facts.addresses.get(&of.base()).filter(|_| matches!(of.spec, Spec::Gateway(_)));
    let in_effect = ranges.map(|ranges| in_effect(of, ranges));
    let trouble = certificates::trouble(of.id.kind, facts);
    let mut conditions = vec![ready(of, standing, address, in_effect.as_ref(), trouble)];
    conditions.push(match &standing.refusal {
        Some(refusal) => said(ACCEPTED, false, refusal.reason, refusal.message.clone()),
        None => said(ACCEPTED, true, "Planned", "the spec can be carried out"),
    });
    conditions.push(match standing.serving {
        0 => said(SERVING, false, "NoPodReady", "no pod is ready"),
        1 => said(SERVING, true, "PodsReady", "1 pod is ready"),
        pods => said(SERVING, true, "PodsReady", format!("{pods} pods are ready")),
    });
    conditions.push(match &standing.progress {
        _ if standing.refusal.is_some() => {
            said(PROGRESSING, false, "NotAccepted", "what runs stays as it is; see the condition Accepted")
        }
        Progress::Settled => said(PROGRESSING, false, "Settled", "all pods are of the newest revision"),
        Progress::Rolling(_) | Progress::Pending(_) | Progress::Draining(_) if of.paused => {
            said(PROGRESSING, false, "Paused", paused())
        }
        Progress::Rolling(message) => said(PROGRESSING, true, "RollingOut", message.clone()),
        Progress::Pending(message) => said(PROGRESSING, true, "PodsPending", message.clone()),
        Progress::Draining(message) => said(PROGRESSING, true, "Draining", message.clone()),
        Progress::Stuck { reason, message } => said(PROGRESSING, false, reason, message.clone()),
    });
    conditions.extend(in_effect);
    let verdict = facts.degraded.get(&(of.id.kind, of.id.name.clone()));
    conditions.push(degraded::said(of, standing.serving, verdict));
    if of.paused {
        conditions.push(said(PAUSED, true, "Annotated", paused()));
    }
    plan::Standing {
        of: of.id.clone(),
        observed_generation: of.generation,
        conditions,
        replicas: standing.replicas,
        ready_replicas: standing.ready,
        selector: selector_text(of),
        address: address.cloned(),
        connections: facts
            .connections
            .get(&of.id.name)
            .filter(|_| matches!(of.spec, Spec::Gateway(_)))
            .map(|seen| connections(*seen, of.connections_before))
            .or(of.connections_before),
    }
}

fn paused() -> String {
    format!("nothing is done until the annotation {} is taken away", crate::PAUSED)
}

fn ready(
    of: &Resource<'_>,
    standing: &Standing,
    address: Option<&String>,
    in_effect: Option<&Said>,
    trouble: Option<String>,
) -> Said {
    if let Some(refusal) = &standing.refusal {
        return said(READY, false, refusal.reason, refusal.message.clone());
    }
    match &standing.progress {
        Progress::Rolling(_) | Progress::Pending(_) if of.paused => {
            return said(READY, false, "Paused", format!("a change waits: {}", paused()));
        }
        Progress::Rolling(message) => return said(READY, false, "RollingOut", message.clone()),
        Progress::Pending(message) => return said(READY, false, "PodsPending", message.clone()),
        Progress::Stuck { reason, message } => return said(READY, false, reason, message.clone()),
        Progress::Settled | Progress::Draining(_) => {}
    }
    if of.replicas == 0 {
        return said(READY, false, "ScaledToZero", "no pods are wished: raise spec.replicas");
    }
    if let Some(slots) = in_effect.filter(|said| !said.is.holds()) {
        return said(READY, false, slots.reason, slots.message.clone());
    }
    if let Spec::Gateway(spec) = of.spec
        && spec.service.kind == ServiceType::LoadBalancer
        && address.is_none()
    {
        let message = format!(
            "Service {} has no address yet: where nothing gives addresses to Services of type LoadBalancer, choose \
             another spec.service.type",
            of.base()
        );
        return said(READY, false, "AddressPending", message);
    }
    if let Some(trouble) = trouble {
        return said(READY, false, certificates::STUCK, trouble);
    }
    said(READY, true, "AsWished", format!("{} of {} pods are ready", standing.ready, of.replicas))
}

fn in_effect(of: &Resource<'_>, ranges: &Ranges<'_>) -> Said {
    let given = ranges.given.get(of.id.name.as_str()).map(|range| slots::text(*range));
    let serves = given.map_or_else(|| "no slots are served".to_owned(), |text| format!("serves {text}"));
    match &ranges.problem {
        Some(problem) => {
            said(SLOTS_IN_EFFECT, false, problem.reason, format!("{serves}; {}", problem.message))
        }
        None if !ranges.given.contains_key(of.id.name.as_str()) => {
            said(SLOTS_IN_EFFECT, false, "NotAccepted", serves)
        }
        None if ranges.moving => {
            said(SLOTS_IN_EFFECT, false, "SlotsMoving", format!("{serves} while slots change hands"))
        }
        None => said(SLOTS_IN_EFFECT, true, "Covered", serves),
    }
}

/// The number to be written: the old one as long as it is near enough.
fn connections(now: i64, before: Option<i64>) -> i64 {
    let near = |before: &i64| (now - before).saturating_abs().saturating_mul(CONNECTIONS_OFF) <= *before;
    before.filter(near).unwrap_or(now)
}

/// What people are told of that is not as in the last status.
pub(crate) fn changes(of: &Resource<'_>, now: &plan::Standing) -> impl Iterator<Item = Event> {
    let degraded = now.conditions.iter().find(|said| said.kind == DEGRADED);
    [readiness(of, now), degraded.and_then(|said| degraded::change(of, said))].into_iter().flatten()
}

/// An event when `Ready` is said with another reason than in the last status.
fn readiness(of: &Resource<'_>, now: &plan::Standing) -> Option<Event> {
    let now = now.conditions.iter().find(|said| said.kind == READY)?;
    let before = of.before.and_then(|before| before.conditions.iter().find(|old| old.type_ == READY));
    let is_new = before.is_none_or(|before| before.reason != now.reason);
    let on_its_way = matches!(
        now.reason,
        "RollingOut" | "PodsPending" | "Paused" | "AddressPending" | "ScaledToZero" | "SlotsMoving"
    ) || now.reason == certificates::PENDING;
    is_new.then(|| Event::new(&of.id, !now.is.holds() && !on_its_way, now.reason, &now.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_written_when_far_off() {
        assert_eq!(connections(7, None), 7);
        assert_eq!(connections(1050, Some(1000)), 1000);
        assert_eq!(connections(1051, Some(1000)), 1051);
        assert_eq!(connections(949, Some(1000)), 949);
        assert_eq!(connections(950, Some(1000)), 1000);
        assert_eq!(connections(1, Some(0)), 1);
        assert_eq!(connections(0, Some(0)), 0);
    }
}
