//! Certificates over years: whoever is changed, killed or late, services that call each other trust one another.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use stoker_plan::Kind;
use stoker_plan::certificates::{
    AUTHORITY_LIFE, Authorities, Authority, AuthorityChange, BACKDATED, CERTIFICATE_LIFE, Certificates, Held,
    Kept, Leaf, Renewal, SPREAD, ServiceChange, Signer, TRUSTED_MOST, decide,
};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const KINDS: [Kind; 4] = [Kind::CoreShard, Kind::Gateway, Kind::Notifier, Kind::Portal];
/// The latest that a pod has what stands in its Secret.
const LATE: i64 = 10 * MINUTE;

/// A cluster that is only certificates.
#[derive(Debug, Clone)]
struct World {
    now: i64,
    kinds: BTreeSet<Kind>,
    seen: Certificates,
    /// What pods of a kind may have: what stands in the Secret, and what stood there a short while ago, with its end.
    mounted: BTreeMap<Kind, Vec<(Held, i64)>>,
    made: u32,
    writes: u32,
}

impl World {
    fn new() -> Self {
        let (kinds, seen) = (KINDS.into_iter().collect(), Certificates::default());
        Self { now: 1_767_225_600, kinds, seen, mounted: BTreeMap::new(), made: 0, writes: 0 }
    }

    /// It runs, and has come to rest.
    fn at_rest() -> Self {
        let mut world = Self::new();
        while world.look(usize::MAX) > 0 {}
        world
    }

    fn plan(&self) -> Renewal {
        decide(&self.kinds, &self.seen, self.now, false)
    }

    /// A look, of whose writes the operator makes at most so many. Returns how many it has made.
    fn look(&mut self, most: usize) -> usize {
        let Renewal { authority, services, .. } = self.plan();
        let mut made = 0;
        for change in authority.into_iter().take(most) {
            self.change(change);
            made += 1;
        }
        for (kind, change) in services.into_iter().take(most - made.min(most)) {
            self.write(kind, change);
            made += 1;
        }
        self.writes += u32::try_from(made).unwrap();
        made
    }

    fn authorities(&self) -> Authorities {
        match &self.seen.authority {
            Kept::There(authorities) => authorities.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn fresh(&mut self) -> Authority {
        self.made += 1;
        let id = format!("authority-{}", self.made);
        Authority { id, from: self.now - BACKDATED, until: self.now + AUTHORITY_LIFE }
    }

    fn change(&mut self, change: AuthorityChange) {
        let mut all = match change {
            AuthorityChange::Make { .. } => Authorities::default(),
            _ => self.authorities(),
        };
        match change {
            AuthorityChange::Make { trusted_first, former } => {
                let fresh = Some(self.fresh());
                if trusted_first {
                    all.next = fresh
                } else {
                    all.current = fresh
                }
                all.former = former;
            }
            AuthorityChange::Succeed => (all.next, all.since) = (Some(self.fresh()), None),
            AuthorityChange::Trusted => all.since = Some(self.now),
            AuthorityChange::Promote => {
                all.former.extend(all.current.take());
                (all.current, all.since) = (all.next.take(), None);
            }
            AuthorityChange::Drop(ids) => all.former.retain(|of| !ids.contains(&of.id)),
        }
        assert!(all.trusted().count() <= TRUSTED_MOST);
        self.seen.authority = Kept::There(all);
    }

    fn write(&mut self, kind: Kind, change: ServiceChange) {
        let all = self.authorities();
        let trusts: Vec<Authority> = all.trusted().cloned().collect();
        let held = match (change, self.seen.services.get(&kind)) {
            (ServiceChange::Trust, Some(Kept::There(held))) => Held { trusts, ..held.clone() },
            (ServiceChange::Trust, other) => panic!("{other:?}"),
            (ServiceChange::Issue, _) => {
                let by = match all.signer(self.now).unwrap() {
                    Signer::Current => all.current.unwrap(),
                    Signer::Next => all.next.unwrap(),
                };
                let until = by.until.min(self.now + CERTIFICATE_LIFE);
                let leaf = Leaf { signed_by: Some(by.id), from: self.now - BACKDATED, until };
                Held { certificate: Ok(leaf), trusts }
            }
        };
        let mounted = self.mounted.entry(kind).or_default();
        for (_, until) in mounted.iter_mut() {
            *until = (*until).min(self.now + LATE);
        }
        mounted.push((held.clone(), i64::MAX));
        self.seen.services.insert(kind, Kept::There(held));
    }

    fn pass(&mut self, time: i64) {
        self.now += time;
        let now = self.now;
        for mounted in self.mounted.values_mut() {
            mounted.retain(|(_, until)| *until > now);
        }
    }

    /// Whoever calls and whoever is called take each other's certificate, whichever of their files they have.
    fn check(&self) {
        for caller in &self.kinds {
            for (of_caller, _) in &self.mounted[caller] {
                for (of_core, _) in &self.mounted[&Kind::CoreShard] {
                    self.takes(*caller, of_caller, Kind::CoreShard, of_core);
                    self.takes(Kind::CoreShard, of_core, *caller, of_caller);
                }
            }
        }
    }

    fn takes(&self, one: Kind, has: &Held, other: Kind, shows: &Held) {
        let leaf = shows.certificate.as_ref().unwrap();
        let signer = leaf.signed_by.as_ref().unwrap();
        assert!(leaf.from <= self.now && self.now < leaf.until, "{other}: {leaf:?} at {}", self.now);
        assert!(
            has.trusts.iter().any(|of| of.id == *signer),
            "{one} does not trust {signer} of {other}: {self:#?}"
        );
    }
}

#[test]
fn a_new_platform_has_all_it_needs_after_one_write_of_each_secret() {
    let world = World::at_rest();
    assert_eq!(world.writes, 5);
    world.check();
    assert_eq!(world.authorities().trusted().count(), 1);
}

#[test]
fn over_five_years_it_is_written_when_it_is_due_and_at_no_other_time() {
    let mut world = World::at_rest();
    let (begun, mut looks) = (world.now, 0);
    while world.now < begun + 5 * 365 * DAY {
        let again = world.plan().again.unwrap();
        world.pass(i64::try_from(again.as_secs()).unwrap());
        while world.look(usize::MAX) > 0 {
            looks += 1;
        }
        world.check();
    }
    // Twenty days a certificate, of four kinds; of each of the seven authorities its beginning, its trust, its time and
    // its end.
    let expected = 4 * 5 * 365 / 20 + 7 * (4 + 2 * 4);
    assert!(world.writes <= 5 + expected, "{} writes, not {expected}, in {looks} looks", world.writes);
    assert_eq!(world.made, 8, "one in 243 days");
    assert!(world.authorities().trusted().count() <= 3);
}

#[test]
fn what_is_asked_for_again_is_never_in_the_past_and_never_far_away() {
    let mut world = World::at_rest();
    for _ in 0..20_000 {
        let again = world.plan().again.unwrap().as_secs();
        assert!((1..=3600).contains(&again), "{again}");
        world.pass(HOUR);
        world.look(1);
    }
    assert_eq!(decide(&BTreeSet::new(), &world.seen, world.now, false), Renewal::default());
}

#[test]
fn an_authority_that_one_kind_does_not_trust_yet_does_not_sign() {
    let mut world = World::at_rest();
    world.pass(250 * DAY);
    assert_eq!(world.plan().authority, Some(AuthorityChange::Succeed));
    world.change(AuthorityChange::Succeed);
    for kind in &KINDS[..3] {
        world.write(*kind, ServiceChange::Trust);
    }
    // What is written to the last of them is refused, say.
    for _ in 0..10 {
        assert_eq!(world.plan().authority, None);
        world.pass(HOUR);
    }
    world.write(KINDS[3], ServiceChange::Trust);
    assert_eq!(world.plan().authority, Some(AuthorityChange::Trusted));
}

#[test]
fn an_authority_that_is_lost_cuts_off_nobody() {
    let mut world = World::at_rest();
    world.pass(19 * DAY);
    world.seen.authority = Kept::Absent;
    let begun = world.now;
    while world.now < begun + 40 * DAY {
        while world.look(usize::MAX) > 0 {}
        world.check();
        world.pass(20 * MINUTE);
        world.check();
    }
    let all = world.authorities();
    assert_eq!(all.current.unwrap().id, "authority-2");
    assert_eq!(all.former[0].id, "authority-1", "trusted until it ends");
}

#[test]
fn when_all_is_lost_it_begins_anew_without_waiting() {
    let mut world = World::at_rest();
    world.seen = Certificates::default();
    let before = world.writes;
    while world.look(usize::MAX) > 0 {}
    assert_eq!(world.writes - before, 5);
    let all = world.authorities();
    assert_eq!((all.current.unwrap().id.as_str(), all.former.len()), ("authority-2", 0));
}

#[test]
fn after_any_absence_of_the_operator_it_comes_to_rest_with_certificates_that_are_good() {
    for days in (1..1200).step_by(3) {
        let mut world = World::at_rest();
        for part in [world.now % 7, 0] {
            world.pass(days * DAY + part);
            for _ in 0..100 {
                while world.look(usize::MAX) > 0 {}
                world.pass(5 * MINUTE);
            }
            world.check();
        }
        assert!(world.writes < 100, "{} writes after {days} days", world.writes);
    }
}

#[test]
fn a_clock_that_goes_wrong_and_comes_back_leaves_certificates_that_are_good() {
    for days in [-4000, -400, -20, -1, 1, 15, 100, 300, 500] {
        let mut world = World::at_rest();
        for there in [days, -days] {
            world.now += there * DAY;
            for _ in 0..40 {
                while world.look(usize::MAX) > 0 {}
                world.now += 5 * MINUTE;
            }
            // Files are renewed by another clock.
            for mounted in world.mounted.values_mut() {
                *mounted = mounted.pop().into_iter().collect();
            }
        }
        world.check();
        assert!(world.writes < 80, "{} writes after {days} days", world.writes);
    }
}

#[test]
fn nothing_is_made_in_place_of_what_is_not_understood() {
    let world = World::at_rest();
    for kept in [Kept::Foreign, Kept::Broken("damaged".to_owned())] {
        let mut seen = Certificates { authority: kept, ..world.seen.clone() };
        seen.services.remove(&Kind::Gateway);
        let renewal = decide(&world.kinds, &seen, world.now + 100 * DAY, false);
        assert_eq!((renewal.authority, renewal.services), (None, Vec::new()));
    }
    let mut seen = world.seen.clone();
    seen.services.insert(Kind::Gateway, Kept::Foreign);
    assert_eq!(decide(&world.kinds, &seen, world.now, false).services, Vec::new());
}

#[test]
fn a_secret_that_somebody_else_has_made_does_not_hold_up_the_rotation() {
    let mut world = World::at_rest();
    world.seen.services.insert(Kind::Portal, Kept::Foreign);
    world.pass(300 * DAY);
    for _ in 0..10 {
        while world.look(usize::MAX) > 0 {}
        world.pass(HOUR);
    }
    assert_eq!(world.authorities().current.unwrap().id, "authority-2");
}

#[test]
fn nothing_that_is_trusted_is_taken_away_while_not_all_is_seen() {
    let mut world = World::at_rest();
    let mut all = world.authorities();
    all.former.push(Authority { id: "old".to_owned(), from: 0, until: world.now });
    world.seen.authority = Kept::There(all);
    let dropped = |behind| decide(&world.kinds, &world.seen, world.now, behind).authority;
    assert_eq!(dropped(true), None);
    assert_eq!(dropped(false), Some(AuthorityChange::Drop(["old".to_owned()].into())));
}

#[derive(Debug, Clone)]
enum Happens {
    /// Time passes, at most so long as the operator may be away without harm.
    Pass(i64),
    /// The operator looks, and is killed after so many writes.
    Look(usize),
    /// It works until it has nothing to do.
    Rest,
    /// Somebody deletes the authority.
    LoseAuthority,
    /// Somebody deletes a certificate.
    LoseCertificate(usize),
    /// The last service of a kind goes, or the first one comes.
    Kind(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => (1..9 * DAY).prop_map(Happens::Pass),
        6 => (1..2 * HOUR).prop_map(Happens::Pass),
        6 => (0_usize..4).prop_map(Happens::Look),
        6 => Just(Happens::Rest),
        1 => Just(Happens::LoseAuthority),
        1 => (0_usize..4).prop_map(Happens::LoseCertificate),
        1 => (1_usize..4).prop_map(Happens::Kind),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn at_every_instant_all_trust_one_another(steps in prop::collection::vec(happens(), 1..300)) {
        let mut world = World::at_rest();
        // How long the operator has done less than it had to.
        let mut idle = 0;
        for step in steps {
            match step {
                Happens::Pass(time) => {
                    // Certificates are renewed ten days before they end.
                    if idle + time > 9 * DAY {
                        while world.look(usize::MAX) > 0 {}
                        idle = 0;
                    }
                    idle += time;
                    world.pass(time);
                }
                Happens::Look(most) => drop(world.look(most)),
                Happens::Rest => {
                    while world.look(usize::MAX) > 0 {}
                    idle = 0;
                }
                Happens::LoseAuthority => {
                    // Two in a row, the second before the first is trusted, are more than can be mended.
                    while world.look(usize::MAX) > 0 {}
                    world.pass(SPREAD + LATE);
                    while world.look(usize::MAX) > 0 {}
                    (world.seen.authority, idle) = (Kept::Absent, 0);
                    while world.look(usize::MAX) > 0 {}
                }
                Happens::LoseCertificate(which) => {
                    while world.look(usize::MAX) > 0 {}
                    if matches!(world.seen.authority, Kept::There(Authorities { current: Some(_), .. })) {
                        world.seen.services.remove(&KINDS[which]);
                        // Pods keep what they have until there is another one.
                        while world.look(usize::MAX) > 0 {}
                    }
                    idle = 0;
                }
                Happens::Kind(which) => {
                    while world.look(usize::MAX) > 0 {}
                    idle = 0;
                    let kind = KINDS[which];
                    if world.kinds.remove(&kind) {
                        world.seen.services.remove(&kind);
                        world.mounted.remove(&kind);
                    } else if matches!(world.seen.authority, Kept::There(Authorities { current: Some(_), .. })) {
                        world.kinds.insert(kind);
                        while world.look(usize::MAX) > 0 {}
                    }
                }
            }
            world.check();
        }
    }
}
