//! What is to be written, and when it is looked again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    AGAIN_MOST, Authorities, Authority, AuthorityChange, Certificates, Held, Kept, LEFT_LEAST, Leaf, Renewal,
    SPREAD, ServiceChange, Signer, TRUSTED_MOST, due,
};
use crate::wanted::Kind;

/// What to do about the certificates of services of `kinds`, of what is `seen` at `now`. `behind`: something may have
/// happened that is not seen, so nothing that is trusted is taken away.
#[must_use]
pub fn decide(kinds: &BTreeSet<Kind>, seen: &Certificates, now: i64, behind: bool) -> Renewal {
    if kinds.is_empty() {
        return Renewal::default();
    }
    let again = Some(Duration::from_secs(AGAIN_MOST.unsigned_abs()));
    match &seen.authority {
        Kept::Absent => Renewal { authority: Some(make(seen, now)), services: Vec::new(), again },
        // Nothing is made in place of what is not understood: who made it may need it.
        Kept::Foreign | Kept::Broken(_) => Renewal { again, ..Renewal::default() },
        Kept::There(authorities) => {
            let authority = change(kinds, seen, authorities, now, behind);
            let mut services = Vec::new();
            let mut next = dues(authorities, now);
            for kind in kinds {
                let (change, due) = service(*kind, seen, authorities, now);
                next.extend(due);
                // Which authorities are to be trusted is known after the next look.
                let stale = authority.is_some() && change == Some(ServiceChange::Trust);
                services.extend(change.filter(|_| !stale).map(|change| (*kind, change)));
            }
            let soonest = next.into_iter().map(|at| at - now).filter(|wait| *wait > 0).min();
            let wait = soonest.map_or(AGAIN_MOST, |wait| wait.min(AGAIN_MOST));
            Renewal { authority, services, again: Some(Duration::from_secs(wait.unsigned_abs())) }
        }
    }
}

/// There is no authority. If it was lost, its certificate is still where it is trusted.
fn make(seen: &Certificates, now: i64) -> AuthorityChange {
    let mut former: BTreeMap<&str, &Authority> = BTreeMap::new();
    let held: Vec<&Held> = seen.services.keys().filter_map(|kind| seen.held(*kind)).collect();
    for authority in held.iter().flat_map(|held| &held.trusts).filter(|of| of.until > now) {
        former.insert(&authority.id, authority);
    }
    let mut former: Vec<Authority> = former.into_values().cloned().collect();
    let signed = |of: &Authority| {
        let mut leaves = held.iter().filter_map(|held| held.certificate.as_ref().ok());
        leaves.any(|leaf| leaf.signed_by.as_ref() == Some(&of.id))
    };
    // Those that have signed what is in use, then the newest. There is to be room for the new one and its successor.
    former.sort_by_key(|of| (!signed(of), std::cmp::Reverse(of.from), of.id.clone()));
    former.truncate(TRUSTED_MOST - 2);
    let valid = |held: &&Held| held.certificate.as_ref().is_ok_and(|leaf| lasts(leaf, &former, now));
    AuthorityChange::Make { trusted_first: held.iter().any(valid), former }
}

/// Whether others that trust `trusted` take it.
fn lasts<'a>(leaf: &Leaf, trusted: impl IntoIterator<Item = &'a Authority>, now: i64) -> bool {
    let signer = leaf.signed_by.as_ref();
    leaf.until > now && signer.is_some_and(|id| trusted.into_iter().any(|of| of.id == *id))
}

/// Whether all services trust the next authority. Those that have what somebody else has made are not ours to wait for.
fn all_trust(kinds: &BTreeSet<Kind>, seen: &Certificates, next: &Authority) -> bool {
    let trusts = |held: &Held| held.trusts.iter().any(|of| of.id == next.id);
    let foreign = |kind: &Kind| seen.services.get(kind) == Some(&Kept::Foreign);
    kinds.iter().all(|kind| foreign(kind) || seen.held(*kind).is_some_and(trusts))
}

fn change(
    kinds: &BTreeSet<Kind>,
    seen: &Certificates,
    authorities: &Authorities,
    now: i64,
    behind: bool,
) -> Option<AuthorityChange> {
    let Authorities { current, next, since, former } = authorities;
    match (current, next) {
        (Some(current), None) if due(current.from, current.until) <= now => {
            return Some(AuthorityChange::Succeed);
        }
        // It was left for so long that it is of no use any more.
        (_, Some(next)) if next.until <= now + LEFT_LEAST => return Some(AuthorityChange::Succeed),
        (_, Some(next)) if all_trust(kinds, seen, next) => match *since {
            Some(since) if since <= now && since + SPREAD <= now => return Some(AuthorityChange::Promote),
            Some(since) if since <= now => {}
            // A clock was set back, or this is the first time.
            _ => return Some(AuthorityChange::Trusted),
        },
        _ => {}
    }
    let in_use = |id: &str| {
        let mut held = seen.services.keys().filter_map(|kind| seen.held(*kind));
        held.any(|held| held.certificate.as_ref().is_ok_and(|leaf| leaf.signed_by.as_deref() == Some(id)))
    };
    let over = former.iter().filter(|of| of.until <= now && !in_use(&of.id)).map(|of| of.id.clone());
    let over: BTreeSet<String> = over.collect();
    (!over.is_empty() && !behind).then_some(AuthorityChange::Drop(over))
}

/// When something about the authorities is due.
fn dues(of: &Authorities, now: i64) -> Vec<i64> {
    let mut all: Vec<i64> = of.former.iter().map(|of| of.until).collect();
    match &of.next {
        Some(_) => all.extend(of.since.map(|since| since + SPREAD)),
        None => all.extend(of.current.as_ref().map(|of| due(of.from, of.until))),
    }
    all.retain(|at| *at > now);
    all
}

/// What is to be written for services of a kind, or else when something is due.
fn service(
    kind: Kind,
    seen: &Certificates,
    authorities: &Authorities,
    now: i64,
) -> (Option<ServiceChange>, Option<i64>) {
    let held = match seen.services.get(&kind) {
        Some(Kept::There(held)) => held,
        Some(Kept::Foreign) => return (None, None),
        Some(Kept::Broken(_) | Kept::Absent) | None => {
            return (authorities.signer(now).map(|_| ServiceChange::Issue), None);
        }
    };
    let good = held.certificate.as_ref().ok().filter(|leaf| lasts(leaf, authorities.trusted(), now));
    let due = good.map(|leaf| due(leaf.from, leaf.until));
    // From the future: a clock was set back since, and others would not take it.
    let early = good.is_some_and(|leaf| leaf.from > now);
    if early || due.is_none_or(|due| due <= now) {
        let signer = authorities.signer(now);
        // One that not all trust yet signs only where the other way is no certificate at all.
        let waits =
            signer == Some(Signer::Next) && !early && good.is_some_and(|leaf| leaf.until > now + LEFT_LEAST);
        if !waits && signer.is_some() {
            return (Some(ServiceChange::Issue), None);
        }
    }
    let differ = ids(&held.trusts) != ids(authorities.trusted());
    (differ.then_some(ServiceChange::Trust), due)
}

fn ids<'a>(all: impl IntoIterator<Item = &'a Authority>) -> BTreeSet<&'a str> {
    all.into_iter().map(|of| of.id.as_str()).collect()
}
