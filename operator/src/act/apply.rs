//! Objects that are to be as the plan has them. Those that are known to be so are not written again.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use stoker_plan::{FIELD_MANAGER, Id, Object, Plan};

use super::{Actor, Course, answered};
use crate::facts::Snapshot;
use crate::failure::Failure;
use crate::ours::{is_ours, with_owners};
use crate::stats::Verb;

/// What was applied, by namespace, kind and name.
#[derive(Debug, Default)]
pub(super) struct Applied(BTreeMap<String, BTreeMap<(&'static str, String), Mark>>);

/// How an object was when it had been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    /// Of what was applied.
    digest: String,
    uid: Option<String>,
    /// Counts changes of the spec, where there is such a count; else the version counts all changes.
    generation: Option<i64>,
    version: Option<String>,
}

impl Mark {
    fn new(digest: String, meta: &ObjectMeta) -> Self {
        let generation = meta.generation;
        let version = if generation.is_none() { meta.resource_version.clone() } else { None };
        Self { digest, uid: meta.uid.clone(), generation, version }
    }

    /// Whether the object that is `seen` is still as it was made: nobody has changed what is ours of it.
    fn stands(&self, digest: &str, wanted: &ObjectMeta, seen: &ObjectMeta) -> bool {
        self == &Self::new(digest.to_owned(), seen)
            && has(seen.labels.as_ref(), wanted.labels.as_ref())
            && has(seen.annotations.as_ref(), wanted.annotations.as_ref())
            && owned_by_all(wanted, seen)
            && seen.deletion_timestamp.is_none()
    }
}

/// Whether all owners that are wanted are there, in whichever order.
fn owned_by_all(wanted: &ObjectMeta, seen: &ObjectMeta) -> bool {
    let there = seen.owner_references.as_deref().unwrap_or_default();
    wanted.owner_references.iter().flatten().all(|owner| there.contains(owner))
}

type Texts = BTreeMap<String, String>;

fn has(all: Option<&Texts>, some: Option<&Texts>) -> bool {
    let there = |(key, value)| all.is_some_and(|all| all.get(key) == Some(value));
    some.into_iter().flatten().all(there)
}

impl Applied {
    pub(super) fn forget(&mut self, namespace: &str) {
        self.0.remove(namespace);
    }

    /// Forgets what is not in the plan any more.
    fn keep(&mut self, namespace: &str, planned: &BTreeSet<(&'static str, String)>) {
        if let Some(of) = self.0.get_mut(namespace) {
            of.retain(|key, _| planned.contains(key));
        }
    }

    fn stands(&self, namespace: &str, object: &Object, digest: &str, seen: Option<&ObjectMeta>) -> bool {
        let mark = self.0.get(namespace).and_then(|of| of.get(&key(object)));
        match (mark, seen) {
            (Some(mark), Some(seen)) => mark.stands(digest, object.meta(), seen),
            // Of a kind that is not watched nobody sees what others do.
            (Some(mark), None) => !is_watched(object) && mark.digest == digest,
            (None, _) => false,
        }
    }

    fn note(&mut self, namespace: &str, object: &Object, digest: String, now: &ObjectMeta) {
        let of = self.0.entry(namespace.to_owned()).or_default();
        of.insert(key(object), Mark::new(digest, now));
    }
}

fn key(object: &Object) -> (&'static str, String) {
    (object.kind(), object.name().to_owned())
}

fn is_watched(object: &Object) -> bool {
    !matches!(object, Object::ServiceMonitor(_))
}

/// Whether an object that is there may become what is `wanted`.
///
/// # Errors
/// Whose it is, and the way out.
fn may_be_taken(wanted: &ObjectMeta, there: &ObjectMeta) -> Result<(), String> {
    let owners = there.owner_references.as_deref().unwrap_or_default();
    let ours = wanted.owner_references.as_deref().unwrap_or_default();
    if owners.iter().any(|owner| ours.iter().any(|our| our.uid == owner.uid)) {
        return Ok(());
    }
    if let Some(owner) = owners.first() {
        return Err(format!(
            "it is there, and belongs to {} {} of uid {}: it goes when that is gone; otherwise delete it, or choose \
             another name for the resource",
            owner.kind, owner.name, owner.uid
        ));
    }
    // What was deleted without what it owns leaves its objects to nobody.
    if is_ours(there) {
        return Ok(());
    }
    Err("it is there, and was made by somebody else: delete it, or choose another name for the resource"
        .to_owned())
}

/// What is applied: the object, with the owners that it has already.
fn merged(object: &Object, there: Option<&ObjectMeta>) -> serde_json::Result<serde_json::Value> {
    let mut applied = serde_json::to_value(object)?;
    if let Some(there) = there {
        let wanted = object.meta().owner_references.as_deref().unwrap_or_default();
        applied["metadata"]["ownerReferences"] = serde_json::to_value(with_owners(there, wanted))?;
    }
    Ok(applied)
}

impl Actor {
    /// Applies what is not as it is to be, in order. Pods wait until all else of their resource is there.
    pub(super) async fn apply_all(
        &self,
        plan: &Plan,
        snapshot: &Snapshot,
        course: &mut Course,
    ) -> Result<(), Failure> {
        let namespace = snapshot.namespace.as_str();
        let planned = plan.apply.iter().map(key).collect();
        self.memory.lock().applied.keep(namespace, &planned);
        for object in &plan.apply {
            let owners: Vec<&Id> = owners(object, plan).collect();
            let waits = matches!(object, Object::Deployment(_));
            if waits && owners.iter().any(|owner| course.failed(owner).is_some()) {
                continue;
            }
            let done = self.apply(namespace, object).await;
            if object.is_for_metrics() {
                course.settle_aside(done, owners)?;
            } else {
                course.settle(done, owners)?;
            }
        }
        Ok(())
    }

    async fn apply(&self, namespace: &str, object: &Object) -> Result<(), Failure> {
        let digest = object.digest();
        let seen = self.stores.meta(object.kind(), namespace, object.name());
        if self.memory.lock().applied.stands(namespace, object, &digest, seen.as_ref()) {
            return Ok(());
        }
        let what = format!("apply {} {}", object.kind(), object.name());
        let write = self.write_applied(namespace, object, &what, &digest, seen);
        self.tried(namespace, &what, &digest, write).await
    }

    async fn write_applied(
        &self,
        namespace: &str,
        object: &Object,
        what: &str,
        digest: &str,
        seen: Option<ObjectMeta>,
    ) -> Result<(), Failure> {
        let api = api(self, namespace, object);
        let there = match seen {
            Some(seen) => Some(seen),
            None => self.asked(&api, what, object.name()).await?,
        };
        if let Some(there) = &there
            && let Err(why) = may_be_taken(object.meta(), there)
        {
            return Err(Failure::Refused { what: what.to_owned(), why, missing: false });
        }
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied = merged(object, there.as_ref())
            .map_err(|error| Failure::Failing { what: what.to_owned(), why: error.to_string() })?;
        let patch = Patch::Apply(applied);
        let call = api.patch_metadata(object.name(), &parameters, &patch);
        let now = self.write(Verb::Apply, what, call).await?.metadata;
        if there.is_none_or(|there| there.resource_version != now.resource_version) {
            tracing::info!(namespace, kind = object.kind(), name = object.name(), "applied");
        }
        self.expect(namespace, object.kind(), now.resource_version.as_deref());
        self.memory.lock().applied.note(namespace, object, digest.to_owned(), &now);
        Ok(())
    }

    /// An object that is not seen may be there nevertheless, without our label.
    async fn asked(
        &self,
        api: &Api<DynamicObject>,
        what: &str,
        name: &str,
    ) -> Result<Option<ObjectMeta>, Failure> {
        let found = answered(what, api.get_metadata_opt(name)).await?;
        Ok(found.map(|found| found.metadata))
    }
}

/// The resources that an object belongs to.
fn owners<'a>(object: &'a Object, plan: &'a Plan) -> impl Iterator<Item = &'a Id> {
    let uids: BTreeSet<&str> =
        object.meta().owner_references.iter().flatten().map(|owner| owner.uid.as_str()).collect();
    plan.status.iter().map(|standing| &standing.of).filter(move |of| uids.contains(of.uid.as_str()))
}

fn api(actor: &Actor, namespace: &str, object: &Object) -> Api<DynamicObject> {
    let (group, version) = object.api_version().split_once('/').unwrap_or(("", object.api_version()));
    let kind = GroupVersionKind::gvk(group, version, object.kind());
    let plural = match object {
        Object::ServiceAccount(_) => "serviceaccounts",
        Object::ConfigMap(_) => "configmaps",
        Object::NetworkPolicy(_) => "networkpolicies",
        Object::PodDisruptionBudget(_) => "poddisruptionbudgets",
        Object::Service(_) => "services",
        Object::Deployment(_) => "deployments",
        Object::ServiceMonitor(_) => "servicemonitors",
    };
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    Api::namespaced_with(actor.client.clone(), namespace, &resource)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn meta(value: &Value) -> ObjectMeta {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn owned_by(uid: &str) -> Value {
        json!([{"apiVersion": "stoker.dev/v1alpha1", "kind": "Gateway", "name": "edge", "uid": uid}])
    }

    #[test]
    fn an_object_stands_until_somebody_changes_what_is_ours_of_it() {
        let wanted = meta(&json!({"labels": {"a": "1"}, "ownerReferences": owned_by("u")}));
        let made = json!({"uid": "1", "generation": 3, "resourceVersion": "7", "labels": {"a": "1"},
            "ownerReferences": owned_by("u")});
        let mark = Mark::new("d".to_owned(), &meta(&made));
        let stands = |change: &dyn Fn(&mut Value), digest: &str| {
            let mut seen = made.clone();
            change(&mut seen);
            mark.stands(digest, &wanted, &meta(&seen))
        };
        assert!(stands(&|_| {}, "d"));
        assert!(stands(&|seen| seen["resourceVersion"] = json!("8"), "d"), "its status has changed");
        assert!(stands(&|seen| seen["labels"]["b"] = json!("2"), "d"), "that is theirs");
        assert!(stands(&|seen| seen["annotations"] = json!({"deployment.kubernetes.io/revision": "1"}), "d"));
        assert!(!stands(&|_| {}, "other"), "another one is wanted");
        assert!(!stands(&|seen| seen["generation"] = json!(4), "d"), "its spec has changed");
        assert!(!stands(&|seen| seen["labels"]["a"] = json!("2"), "d"));
        assert!(!stands(&|seen| seen["uid"] = json!("2"), "d"), "another one of the name");
        assert!(!stands(&|seen| seen["ownerReferences"] = json!([]), "d"));
    }

    #[test]
    fn where_changes_are_not_counted_each_version_is_looked_at() {
        let wanted = ObjectMeta::default();
        let mark = Mark::new("d".to_owned(), &meta(&json!({"uid": "1", "resourceVersion": "7"})));
        assert!(mark.stands("d", &wanted, &meta(&json!({"uid": "1", "resourceVersion": "7"}))));
        assert!(!mark.stands("d", &wanted, &meta(&json!({"uid": "1", "resourceVersion": "8"}))));
    }

    #[test]
    fn objects_of_others_are_not_taken() {
        let wanted = meta(&json!({"ownerReferences": owned_by("u")}));
        let ours = json!({"app.kubernetes.io/managed-by": "stoker-operator"});
        let taken = |there: &Value| may_be_taken(&wanted, &meta(there));
        assert_eq!(taken(&json!({"ownerReferences": owned_by("u")})), Ok(()));
        assert_eq!(taken(&json!({"labels": ours})), Ok(()), "left behind");
        let former = taken(&json!({"labels": ours, "ownerReferences": owned_by("former")})).unwrap_err();
        assert!(former.contains("belongs to Gateway edge of uid former"), "{former}");
        let foreign = taken(&json!({})).unwrap_err();
        assert!(foreign.contains("made by somebody else: delete it"), "{foreign}");
    }
}
