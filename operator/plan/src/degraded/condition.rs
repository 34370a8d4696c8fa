//! The condition that says it, and the events that follow.

use stoker_crds::DEGRADED;

use super::Verdict;
use crate::plan::{Event, Is, Said};
use crate::wanted::Resource;

/// All pods have what they need.
const AS_WISHED: &str = "AsWished";
const STORE_AWAY: &str = "StoreAway";
const BUS_AWAY: &str = "BusAway";
/// Something that this version has no name for.
const WITHOUT_SOMETHING: &str = "PodsDegraded";
const NO_POD_READY: &str = "NoPodReady";
const NOT_ASKED_YET: &str = "NotAskedYet";
const PODS_SILENT: &str = "PodsSilent";
/// The reason of the event that all is there again.
const RECOVERED: &str = "Recovered";

/// Those that may stand in a status.
const REASONS: [&str; 7] =
    [AS_WISHED, STORE_AWAY, BUS_AWAY, WITHOUT_SOMETHING, NO_POD_READY, NOT_ASKED_YET, PODS_SILENT];

fn of_it(is: impl Into<Is>, reason: &'static str, message: impl Into<String>) -> Said {
    Said { kind: DEGRADED, is: is.into(), reason, message: message.into() }
}

/// What is said in the status of a resource of which so many pods are ready, of whichever revision.
pub(crate) fn said(of: &Resource<'_>, serving: i32, verdict: Option<&Verdict>) -> Said {
    if serving <= 0 {
        return of_it(Is::Unknown, NO_POD_READY, "no pod is ready that could be asked");
    }
    let Some(verdict) = verdict else {
        // An operator that has just begun knows nothing yet, and what the one before has seen stays said.
        return before(of).filter(|before| before.reason != NO_POD_READY).unwrap_or_else(|| {
            of_it(
                Is::Unknown,
                NOT_ASKED_YET,
                "it is not known yet what its pods do without: they are being asked",
            )
        });
    };
    let Verdict { pods, silent, without } = verdict;
    if silent == pods {
        let message = format!(
            "none of {pods} pods answers the operator at its private port: let it reach that, or run it where it does"
        );
        return of_it(Is::Unknown, PODS_SILENT, message);
    }
    let quiet = match silent {
        0 => String::new(),
        silent => format!("; {silent} of {pods} do not answer"),
    };
    let mut things: Vec<_> =
        without.iter().map(|(thing, without)| (meaning(thing), thing.as_str(), without)).collect();
    things.sort_by_key(|(meaning, thing, _)| (meaning.rank, *thing));
    let Some((Meaning { reason, .. }, ..)) = things.first() else {
        return of_it(false, AS_WISHED, format!("its pods have all that they need{quiet}"));
    };
    let reason = *reason;
    let counts = things.iter().map(|(meaning, thing, without)| {
        format!("{} of {pods} pods do without {}", without.pods, meaning.name.unwrap_or(thing))
    });
    let counts = counts.collect::<Vec<_>>().join(", ") + &quiet + ": ";
    // Words about the same trouble may differ from one time to the next: the first ones stand.
    let same =
        before(of).filter(|old| old.is.holds() && old.reason == reason && old.message.starts_with(&counts));
    if let Some(same) = same {
        return same;
    }
    let whys = things.iter().map(|(meaning, _, without)| format!("{}. {}", without.why, meaning.way_out));
    of_it(true, reason, counts + &whys.collect::<Vec<_>>().join("; "))
}

/// What it means that pods do without something.
struct Meaning {
    /// The order in which they are told.
    rank: u8,
    reason: &'static str,
    /// As people know it; else it is called as pods call it.
    name: Option<&'static str>,
    way_out: &'static str,
}

fn meaning(thing: &str) -> Meaning {
    match thing {
        "store" => Meaning {
            rank: 0,
            reason: STORE_AWAY,
            name: Some("Cassandra"),
            way_out: "See that it answers where spec.cassandra leads",
        },
        "bus" => Meaning {
            rank: 1,
            reason: BUS_AWAY,
            name: Some("RabbitMQ"),
            way_out: "What goes without it goes on: see that it answers where spec.bus leads",
        },
        _ => Meaning {
            rank: 2,
            reason: WITHOUT_SOMETHING,
            name: None,
            way_out: "See /readyz at the private port of the pods, and their logs",
        },
    }
}

/// What was said last; nothing when another version has said it.
fn before(of: &Resource<'_>) -> Option<Said> {
    let old = of.before?.conditions.iter().find(|old| old.type_ == DEGRADED)?;
    let reason = REASONS.into_iter().find(|reason| *reason == old.reason)?;
    let is = Is::ALL.into_iter().find(|is| is.as_str() == old.status)?;
    Some(of_it(is, reason, old.message.clone()))
}

/// An event when pods begin to do without something else, or to have all again.
pub(crate) fn change(of: &Resource<'_>, now: &Said) -> Option<Event> {
    let before = before(of).filter(|before| before.is.holds());
    match (before, now.is) {
        (Some(before), Is::Yes) if before.reason == now.reason => None,
        (_, Is::Yes) => Some(Event::new(&of.id, true, now.reason, &now.message)),
        (Some(_), Is::No) => Some(Event::new(&of.id, false, RECOVERED, &now.message)),
        (_, Is::No | Is::Unknown) => None,
    }
}
