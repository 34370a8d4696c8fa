//! The Secret with the administrator's token: made once, when there is a Portal, and gone with the last of them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use stoker_crds::Portal;
use stoker_plan::{ADMIN_SECRET, FIELD_MANAGER, Kind, MANAGED_BY, Plan};

use super::{Actor, Course};
use crate::facts::Snapshot;
use crate::failure::Failure;
use crate::stats::Verb;

const KEY: &str = "token";
/// 192 bits, as `stoker up` has it.
const RANDOM: usize = 24;

/// A token nobody guesses.
fn token() -> Result<String, getrandom::Error> {
    let mut random = [0; RANDOM];
    getrandom::fill(&mut random)?;
    Ok(format!("stk_{}", URL_SAFE_NO_PAD.encode(random)))
}

/// The Portals that are there to stay.
fn portals(snapshot: &Snapshot) -> impl Iterator<Item = &Portal> {
    let all = snapshot.portals.iter().filter_map(|portal| portal.0.as_ref().ok());
    all.filter(|portal| portal.metadata.deletion_timestamp.is_none())
}

/// All Portals own it, and none controls it.
fn owners(snapshot: &Snapshot) -> Vec<OwnerReference> {
    let mut owners: Vec<OwnerReference> = portals(snapshot)
        .filter_map(|portal| portal.controller_owner_ref(&()))
        .map(|owner| OwnerReference { controller: None, block_owner_deletion: None, ..owner })
        .collect();
    owners.sort_by(|a, b| a.uid.cmp(&b.uid));
    owners
}

fn is_ours(secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == FIELD_MANAGER)
}

/// The owners that it lacks, or has too many; none when it is as it is to be, or another's.
fn owners_differ(secret: &Secret, owners: &[OwnerReference]) -> bool {
    let uids = |of: &[OwnerReference]| {
        let mut uids: Vec<String> = of.iter().map(|owner| owner.uid.clone()).collect();
        uids.sort();
        uids
    };
    let there = secret.metadata.owner_references.as_deref().unwrap_or_default();
    is_ours(secret) && !owners.is_empty() && uids(there) != uids(owners)
}

impl Actor {
    /// Makes the Secret where the plan says that it is needed, and keeps its owners right.
    pub(super) async fn admin_secret(
        &self,
        plan: &Plan,
        snapshot: &Snapshot,
        course: &mut Course,
    ) -> Result<(), Failure> {
        let there =
            snapshot.secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some(ADMIN_SECRET));
        let owners = owners(snapshot);
        let what = format!("keep Secret {ADMIN_SECRET}");
        let write = async {
            match there {
                Some(there) if plan.admin_token => self.add_token(snapshot, there).await,
                Some(there) if owners_differ(there, &owners) => {
                    let change = json!({"metadata": {"ownerReferences": owners}});
                    self.change(snapshot, there, change).await
                }
                None if plan.admin_token => self.make_secret(snapshot, owners).await,
                Some(_) | None => Ok(()),
            }
        };
        let done = self.tried(&snapshot.namespace, &what, "", write).await;
        let of = plan.status.iter().map(|standing| &standing.of);
        course.settle(done, of.filter(|of| of.kind == Kind::Portal))
    }

    async fn make_secret(&self, snapshot: &Snapshot, owners: Vec<OwnerReference>) -> Result<(), Failure> {
        let what = format!("make Secret {ADMIN_SECRET}");
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {
                "name": ADMIN_SECRET,
                "namespace": snapshot.namespace,
                "labels": {
                    "app.kubernetes.io/name": "stoker",
                    "app.kubernetes.io/part-of": "stoker",
                    MANAGED_BY: FIELD_MANAGER,
                },
                "ownerReferences": owners,
            },
            "data": {KEY: STANDARD.encode(new_token(&what)?)},
            "type": "Opaque",
        }))
        .map_err(|error| Failure::Unavailable { what: what.clone(), why: error.to_string() })?;
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..Default::default() };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &snapshot.namespace);
        let made = self.write(Verb::Secret, &what, api.create(&parameters, &secret)).await?;
        self.expect(&snapshot.namespace, "Secret", made.metadata.resource_version.as_deref());
        tracing::info!(
            namespace = snapshot.namespace,
            "the administrator's token is in the Secret {ADMIN_SECRET}"
        );
        Ok(())
    }

    async fn add_token(&self, snapshot: &Snapshot, there: &Secret) -> Result<(), Failure> {
        let token = new_token(&format!("change Secret {ADMIN_SECRET}"))?;
        self.change(snapshot, there, json!({"data": {KEY: STANDARD.encode(token)}})).await
    }

    /// Changes the Secret, if it is still as it was seen.
    async fn change(
        &self,
        snapshot: &Snapshot,
        there: &Secret,
        mut change: serde_json::Value,
    ) -> Result<(), Failure> {
        let what = format!("change Secret {ADMIN_SECRET}");
        change["metadata"]["resourceVersion"] = json!(there.metadata.resource_version);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..Default::default() };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &snapshot.namespace);
        let patch = Patch::Merge(change);
        let call = api.patch_metadata(ADMIN_SECRET, &parameters, &patch);
        let now = self.write(Verb::Secret, &what, call).await.map_err(Failure::gone_is_changed)?;
        self.expect(&snapshot.namespace, "Secret", now.metadata.resource_version.as_deref());
        Ok(())
    }
}

fn new_token(what: &str) -> Result<String, Failure> {
    token().map_err(|error| Failure::Unavailable {
        what: what.to_owned(),
        why: format!("no randomness for a token: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_that_portals_take_and_no_two_are_alike() {
        let one = token().unwrap();
        assert!(one.starts_with("stk_") && one.len() == 36, "{one}");
        assert_ne!(one, token().unwrap());
    }

    #[test]
    fn its_owners_are_all_portals_unless_somebody_else_made_it() {
        let owner = |uid: &str| OwnerReference { uid: uid.to_owned(), ..OwnerReference::default() };
        let secret = |ours: bool, owners: &[OwnerReference]| {
            let mut secret = Secret::default();
            let by = if ours { FIELD_MANAGER } else { "Helm" };
            secret.metadata.labels = Some([(MANAGED_BY.to_owned(), by.to_owned())].into());
            secret.metadata.owner_references = Some(owners.to_vec());
            secret
        };
        assert!(owners_differ(&secret(true, &[owner("1")]), &[owner("1"), owner("2")]));
        assert!(!owners_differ(&secret(true, &[owner("2"), owner("1")]), &[owner("1"), owner("2")]));
        assert!(!owners_differ(&secret(false, &[]), &[owner("1")]));
        assert!(!owners_differ(&secret(true, &[owner("1")]), &[]), "then it goes with the last of them");
    }
}
