//! The Secret with the administrator's token: made once, when there is a Portal, and gone with the last of them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use stoker_plan::{ADMIN_SECRET, FIELD_MANAGER, Id, Kind, MANAGED_BY, Plan};

use super::{Actor, Course};
use crate::facts::Snapshot;
use crate::failure::Failure;
use crate::ours::{lacks_owners, with_owners};
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

/// All Portals own it, and none controls it.
fn owners(plan: &Plan) -> Vec<OwnerReference> {
    let portals = plan.status.iter().map(|standing| &standing.of).filter(|of| of.kind == Kind::Portal);
    portals.map(Id::reference).collect()
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
        let owners = owners(plan);
        let what = format!("keep Secret {ADMIN_SECRET}");
        let write = async {
            match there {
                Some(there) if plan.admin_token => self.add_token(snapshot, there).await,
                Some(there) if lacks_owners(&there.metadata, &owners) => {
                    let owners = with_owners(&there.metadata, &owners);
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
}
