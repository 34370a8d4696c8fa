//! The Secrets with certificates: each write is based on what was seen, so that of two operators one is refused.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use stoker_plan::certificates::{
    AUTHORITY_SECRET, AuthorityChange, Renewal, ServiceChange, certificate_secret,
};
use stoker_plan::{FIELD_MANAGER, Facts, Id, Kind, MANAGED_BY, Plan};

use super::{Actor, Course, answered};
use crate::certificates::{self, Change, Data};
use crate::facts::Snapshot;
use crate::failure::Failure;
use crate::ours::{is_ours, lacks_owners, with_owners};
use crate::stats::Verb;

/// A Secret that is to be written, and whose it is.
struct Place<'a> {
    name: &'static str,
    /// As it is seen.
    there: Option<&'a Secret>,
    owners: Vec<&'a Id>,
}

impl<'a> Place<'a> {
    /// That of a kind of service, or of the authority, which is everybody's.
    fn of(kind: Option<Kind>, plan: &'a Plan, snapshot: &'a Snapshot) -> Self {
        let name = kind.map_or(AUTHORITY_SECRET, certificate_secret);
        let all = plan.status.iter().map(|standing| &standing.of);
        let there = snapshot.secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some(name));
        Self {
            name,
            there: there.map(|there| &**there),
            owners: all.filter(|of| kind.is_none_or(|kind| of.kind == kind)).collect(),
        }
    }

    fn data(&self) -> Data {
        self.there.and_then(|secret| secret.data.clone()).unwrap_or_default()
    }

    fn version(&self) -> Option<&str> {
        self.there?.metadata.resource_version.as_deref()
    }

    /// All own it, and none controls it: it goes with the last of them.
    fn references(&self) -> Vec<OwnerReference> {
        let all: Vec<_> = self.owners.iter().map(|of| of.reference()).collect();
        self.there.map_or_else(|| all.clone(), |there| with_owners(&there.metadata, &all))
    }

    fn lacks_owners(&self) -> bool {
        self.there.is_some_and(|there| lacks_owners(&there.metadata, &self.references()))
    }
}

impl Actor {
    /// Writes what is due. Only who has no certificate at all waits for it: that of others is good for some days.
    pub(super) async fn certificates(
        &self,
        plan: &Plan,
        snapshot: &Snapshot,
        facts: &Facts,
        course: &mut Course,
    ) -> Result<(), Failure> {
        let Renewal { authority, services, .. } = &plan.certificates;
        let namespace = snapshot.namespace.as_str();
        for kind in std::iter::once(None).chain(certificates::KINDS.map(Some)) {
            let place = Place::of(kind, plan, snapshot);
            let service = services.iter().find(|(of, _)| Some(*of) == kind).map(|(_, change)| *change);
            let authority = authority.as_ref().filter(|_| kind.is_none());
            let what = format!("keep Secret {}", place.name);
            let digest = format!("{authority:?} {service:?}");
            let write = async {
                let change = match (authority, kind.zip(service)) {
                    (Some(change), _) => self.authority_change(change, snapshot, &place, facts.now).await?,
                    (None, Some((kind, ServiceChange::Issue))) => {
                        let whole = self.whole_authority(namespace).await?;
                        let made = certificates::certificate(
                            kind,
                            namespace,
                            &whole.data.unwrap_or_default(),
                            facts.now,
                        );
                        made.map_err(|why| failed(&what, &why))?
                    }
                    (None, Some((_, ServiceChange::Trust))) => {
                        certificates::trust(&Place::of(None, plan, snapshot).data())
                    }
                    (None, None) if place.lacks_owners() => Change::new(),
                    (None, None) => return Ok(()),
                };
                self.put(namespace, &place, change).await
            };
            let done = self.tried(namespace, &what, &digest, write).await;
            let owners = place.owners.iter().copied();
            if place.there.is_none() {
                course.settle(done, owners)?;
            } else {
                course.settle_aside(done, owners)?;
            }
        }
        Ok(())
    }

    async fn authority_change(
        &self,
        change: &AuthorityChange,
        snapshot: &Snapshot,
        place: &Place<'_>,
        now: i64,
    ) -> Result<Change, Failure> {
        let namespace = snapshot.namespace.as_str();
        let what = format!("keep Secret {}", place.name);
        let before = if matches!(change, AuthorityChange::Promote) {
            let whole = self.whole_authority(namespace).await?;
            if whole.metadata.resource_version.as_deref() != place.version() {
                return Err(Failure::Conflict { what });
            }
            whole.data.unwrap_or_default()
        } else {
            place.data()
        };
        let others = snapshot.secrets.iter().map(|secret| &**secret).filter(|secret| {
            secret.metadata.name.as_deref().is_some_and(certificates::is_one) && is_ours(&secret.metadata)
        });
        let made = certificates::authority(change, namespace, &before, others, now);
        if made.is_ok() {
            tracing::info!(namespace, change = word(change), "the authority among the services");
        }
        made.map_err(|why| failed(&what, &why))
    }

    /// The Secret of the authority with its keys, which nobody keeps.
    async fn whole_authority(&self, namespace: &str) -> Result<Secret, Failure> {
        if !self.leading.holds() {
            return Err(Failure::NotLeading);
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("read Secret {AUTHORITY_SECRET}");
        answered(&what, api.get(AUTHORITY_SECRET)).await.map_err(Failure::gone_is_changed)
    }

    /// Writes values and owners, if the Secret is still as it was seen.
    async fn put(&self, namespace: &str, place: &Place<'_>, change: Change) -> Result<(), Failure> {
        if place.there.is_some_and(|there| there.metadata.deletion_timestamp.is_some()) {
            return Err(Failure::Conflict { what: format!("change Secret {}", place.name) });
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let encoded = |value: Option<String>| value.map(|value| ByteString(value.into_bytes()));
        let version = match place.version() {
            None => {
                let what = format!("make Secret {}", place.name);
                let all =
                    change.into_iter().filter_map(|(key, value)| Some((key.to_owned(), encoded(value)?)));
                let labels = [
                    ("app.kubernetes.io/name", "stoker"),
                    ("app.kubernetes.io/part-of", "stoker"),
                    (MANAGED_BY, FIELD_MANAGER),
                ];
                let is_authority = place.name == AUTHORITY_SECRET;
                let secret = Secret {
                    metadata: ObjectMeta {
                        name: Some(place.name.to_owned()),
                        namespace: Some(namespace.to_owned()),
                        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                        owner_references: Some(place.references()),
                        ..ObjectMeta::default()
                    },
                    data: Some(all.collect()),
                    type_: Some(if is_authority { "Opaque" } else { "kubernetes.io/tls" }.to_owned()),
                    ..Secret::default()
                };
                let parameters =
                    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..Default::default() };
                let made = self.write(Verb::Secret, &what, api.create(&parameters, &secret)).await?;
                made.metadata.resource_version
            }
            Some(version) => {
                let what = format!("change Secret {}", place.name);
                let mut patch = json!({
                    "metadata": {"resourceVersion": version, "ownerReferences": place.references()},
                });
                if !change.is_empty() {
                    let data: std::collections::BTreeMap<_, _> =
                        change.into_iter().map(|(key, value)| (key, encoded(value))).collect();
                    patch["data"] = json!(data);
                }
                let parameters =
                    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..Default::default() };
                let patch = Patch::Merge(patch);
                let call = api.patch_metadata(place.name, &parameters, &patch);
                let now = self.write(Verb::Secret, &what, call).await.map_err(Failure::gone_is_changed)?;
                now.metadata.resource_version
            }
        };
        self.expect(namespace, "Secret", version.as_deref());
        tracing::info!(namespace, name = place.name, "written");
        Ok(())
    }
}

/// What is there is not what was seen, or cannot be used: another look says which.
fn failed(what: &str, why: &str) -> Failure {
    Failure::Failing { what: what.to_owned(), why: why.to_owned() }
}

fn word(change: &AuthorityChange) -> &'static str {
    match change {
        AuthorityChange::Make { .. } => "made",
        AuthorityChange::Succeed => "a successor is made",
        AuthorityChange::Trusted => "its successor is trusted by all",
        AuthorityChange::Promote => "its successor signs",
        AuthorityChange::Drop(_) => "a former one is over",
    }
}
