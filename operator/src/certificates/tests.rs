#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod taken;
mod wrong;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use stoker_plan::certificates::{AuthorityChange, Certificates, Kept, Renewal, ServiceChange, decide};

use super::*;

const DAY: i64 = 24 * 3600;

/// The Secrets of a namespace, whole, and what the operator does with them.
#[derive(Debug, Clone, Default)]
struct Secrets(BTreeMap<&'static str, Data>);

impl Secrets {
    /// As the operator has made them by `now`.
    fn at_rest(now: i64) -> Self {
        let mut secrets = Self::default();
        secrets.settle(now);
        secrets
    }

    fn data(&self, name: &str) -> Data {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// What the operator keeps of them.
    fn kept(&self) -> Vec<Secret> {
        let kept = self.0.iter().map(|(name, data)| {
            let mut secret = secret(name, data);
            secret.data = slimmed(&secret);
            secret
        });
        kept.collect()
    }

    fn seen(&self) -> Certificates {
        seen(self.kept().iter())
    }

    fn plan(&self, now: i64) -> Renewal {
        decide(&KINDS.into_iter().collect(), &self.seen(), now, false)
    }

    /// Until there is nothing to write.
    fn settle(&mut self, now: i64) {
        for _ in 0..20 {
            let Renewal { authority, services, .. } = self.plan(now);
            if authority.is_none() && services.is_empty() {
                return;
            }
            if let Some(change) = authority {
                self.change(&change, now);
            }
            for (kind, change) in services {
                let whole = self.data(AUTHORITY_SECRET);
                let made = match change {
                    ServiceChange::Issue => certificate(kind, "a", &whole, now).unwrap(),
                    ServiceChange::Trust => trust(&whole),
                };
                self.write(certificate_secret(kind), made);
            }
        }
        panic!("it does not come to rest: {:?}", self.plan(now));
    }

    fn change(&mut self, change: &AuthorityChange, now: i64) {
        let others = self.kept();
        let made = authority(change, "a", &self.data(AUTHORITY_SECRET), others.iter(), now).unwrap();
        self.write(AUTHORITY_SECRET, made);
    }

    fn write(&mut self, name: &'static str, change: Change) {
        let data = self.0.entry(name).or_default();
        for (key, value) in change {
            match value {
                Some(value) => drop(data.insert(key.to_owned(), ByteString(value.into_bytes()))),
                None => drop(data.remove(key)),
            }
        }
    }
}

fn secret(name: &str, data: &Data) -> Secret {
    let labels = json!({"app.kubernetes.io/managed-by": "stoker-operator"});
    let mut secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
    secret.data = Some(data.clone());
    secret
}

#[test]
fn what_is_kept_has_no_key_in_it() {
    let secrets = Secrets::at_rest(1_800_000_000);
    let private = |data: &Data| {
        data.values().filter(|value| String::from_utf8_lossy(&value.0).contains("PRIVATE KEY")).count()
    };
    assert_eq!(secrets.0.values().map(private).sum::<usize>(), 5);
    let kept: Vec<Data> = secrets.kept().into_iter().filter_map(|secret| secret.data).collect();
    assert_eq!((kept.len(), kept.iter().map(private).sum::<usize>()), (5, 0));
}

#[test]
fn over_two_years_what_is_written_is_what_was_planned() {
    let begin = 1_800_000_000;
    let mut secrets = Secrets::at_rest(begin);
    let mut authorities = BTreeSet::new();
    for hours in (0..2 * 365 * 24).step_by(6) {
        let now = begin + hours * 3600;
        secrets.settle(now);
        let seen = secrets.seen();
        let Kept::There(all) = &seen.authority else { panic!("{seen:?}") };
        authorities.extend(all.trusted().map(|of| of.id.clone()));
        for kind in KINDS {
            let Some(Kept::There(held)) = seen.services.get(&kind) else { panic!("{seen:?}") };
            let leaf = held.certificate.as_ref().unwrap();
            assert!(leaf.from <= now && now + 9 * DAY < leaf.until, "{leaf:?} at {now}");
            let signer = all.trusted().find(|of| Some(&of.id) == leaf.signed_by.as_ref()).unwrap();
            assert!(leaf.until <= signer.until);
        }
    }
    assert_eq!(authorities.len(), 3, "one in 243 days");
}

#[test]
fn an_authority_that_was_deleted_is_trusted_further_on() {
    let begin = 1_800_000_000;
    let mut secrets = Secrets::at_rest(begin);
    let Kept::There(before) = secrets.seen().authority else { panic!("it is there") };
    secrets.0.remove(AUTHORITY_SECRET);
    secrets.settle(begin + DAY);
    let Kept::There(after) = secrets.seen().authority else { panic!("it is there") };
    assert_eq!((after.current, after.former), (None, vec![before.current.unwrap()]));
    secrets.settle(begin + 2 * DAY);
    let Kept::There(after) = secrets.seen().authority else { panic!("it is there") };
    assert!(after.current.is_some() && after.next.is_none());
}
