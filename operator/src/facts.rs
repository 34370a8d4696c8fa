//! From what is seen to what a plan is made of. Pure: objects in, facts out.

mod deployments;
mod pods;
mod services;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::PartialObjectMeta;
use stoker_crds::{CoreShard, GROUP, Gateway, Notifier, Portal};
use stoker_plan::{self as plan, Facts, Id, Kind, Operator, Wanted};

use crate::certificates;
use crate::sample::Samples;
use crate::watch::{Guarded, Stores};

pub(crate) use pods::{gateways, ready};

/// All that is seen of a namespace, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) namespace: String,
    pub(crate) gateways: Vec<Arc<Guarded<Gateway>>>,
    pub(crate) core_shards: Vec<Arc<Guarded<CoreShard>>>,
    pub(crate) notifiers: Vec<Arc<Guarded<Notifier>>>,
    pub(crate) portals: Vec<Arc<Guarded<Portal>>>,
    pub(crate) deployments: Vec<Arc<Deployment>>,
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) secrets: Vec<Arc<Secret>>,
    pub(crate) config_maps: Vec<Arc<PartialObjectMeta<ConfigMap>>>,
    pub(crate) service_monitors: bool,
    /// Something may have happened that is not seen.
    pub(crate) behind: bool,
}

/// A resource that this version does not understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) of: Id,
    pub(crate) generation: Option<i64>,
    pub(crate) why: String,
}

impl Snapshot {
    /// What the stores have seen of `namespace`.
    pub(crate) fn of(namespace: &str, stores: &Stores) -> Self {
        Self {
            namespace: namespace.to_owned(),
            gateways: stores.gateways.of(namespace),
            core_shards: stores.core_shards.of(namespace),
            notifiers: stores.notifiers.of(namespace),
            portals: stores.portals.of(namespace),
            deployments: stores.deployments.of(namespace),
            pods: stores.pods.of(namespace),
            services: stores.services.of(namespace),
            secrets: stores.secrets.of(namespace),
            config_maps: stores.config_maps.of(namespace),
            service_monitors: stores.service_monitors(),
            behind: stores.are_behind(),
        }
    }

    /// Whether there is no resource.
    pub(crate) fn is_empty(&self) -> bool {
        self.gateways.is_empty()
            && self.core_shards.is_empty()
            && self.notifiers.is_empty()
            && self.portals.is_empty()
    }

    /// What people have written down.
    ///
    /// # Errors
    /// Some of it is not understood: without it the rest would be planned wrongly.
    pub(crate) fn wanted(&self) -> Result<Wanted, Vec<Unreadable>> {
        let mut unreadable = Vec::new();
        let wanted = Wanted {
            namespace: self.namespace.clone(),
            gateways: readable(Kind::Gateway, &self.gateways, &mut unreadable),
            core_shards: readable(Kind::CoreShard, &self.core_shards, &mut unreadable),
            notifiers: readable(Kind::Notifier, &self.notifiers, &mut unreadable),
            portals: readable(Kind::Portal, &self.portals, &mut unreadable),
        };
        if unreadable.is_empty() { Ok(wanted) } else { Err(unreadable) }
    }

    /// What there is at `now`. `samples` are what pods have said.
    pub(crate) fn facts(&self, operator: &Operator, samples: &Samples, now: Timestamp) -> Facts {
        Facts {
            operator: operator.clone(),
            certificates: certificates::seen(self.secrets.iter().map(|secret| &**secret)),
            now: now.as_second(),
            secrets: self.secrets.iter().filter_map(|secret| digests(secret)).collect(),
            deployments: deployments::facts(&self.deployments, &self.pods),
            config_maps: self.config_maps.iter().map(|map| config_map(&map.metadata)).collect(),
            addresses: self.services.iter().filter_map(|service| services::address(service)).collect(),
            connections: samples.connections.of(&self.namespace),
            degraded: samples.degraded.of(&self.namespace),
            service_monitors: self.service_monitors,
            behind: self.behind,
        }
    }
}

fn readable<K: Resource<DynamicType = ()> + Clone>(
    kind: Kind,
    all: &[Arc<Guarded<K>>],
    unreadable: &mut Vec<Unreadable>,
) -> Vec<K> {
    let mut readable = Vec::new();
    for guarded in all {
        match &guarded.0 {
            Ok(of) => readable.push(of.clone()),
            Err(error) => {
                let meta = &error.metadata;
                unreadable.push(Unreadable {
                    of: Id {
                        kind,
                        name: meta.name.clone().unwrap_or_default(),
                        uid: meta.uid.clone().unwrap_or_default(),
                    },
                    generation: meta.generation,
                    why: error.error.clone(),
                });
            }
        }
    }
    readable
}

/// Its controlling owner, when that is one of our resources.
fn owner(meta: &ObjectMeta) -> Option<Id> {
    let owner = meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))?;
    if owner.api_version.split('/').next() != Some(GROUP) {
        return None;
    }
    let kind = [Kind::CoreShard, Kind::Gateway, Kind::Notifier, Kind::Portal]
        .into_iter()
        .find(|kind| kind.name() == owner.kind)?;
    Some(Id { kind, name: owner.name.clone(), uid: owner.uid.clone() })
}

fn config_map(meta: &ObjectMeta) -> plan::ConfigMap {
    plan::ConfigMap {
        name: meta.name.clone().unwrap_or_default(),
        owner: owner(meta),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
    }
}

/// A Secret whose values are digests already. One that is about to go is as good as gone. Those with certificates are
/// another matter.
fn digests(secret: &Secret) -> Option<(String, plan::Secret)> {
    let name = secret.metadata.name.clone()?;
    if secret.metadata.deletion_timestamp.is_some() || certificates::is_one(&name) {
        return None;
    }
    let digests = secret
        .data
        .iter()
        .flatten()
        .map(|(key, digest)| (key.clone(), String::from_utf8_lossy(&digest.0).into_owned()));
    Some((name, plan::Secret { digests: digests.collect() }))
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use serde_json::{Value, json};

    use super::*;

    fn guarded(spec: &Value) -> Arc<Guarded<Gateway>> {
        let gateway = json!({
            "apiVersion": "stoker.dev/v1alpha1",
            "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": "a", "uid": "1", "generation": 3},
            "spec": spec,
        });
        Arc::new(serde_json::from_value::<DeserializeGuard<Gateway>>(gateway).unwrap())
    }

    #[test]
    fn a_resource_of_another_version_is_told_and_not_taken_for_gone() {
        let mut snapshot = Snapshot { namespace: "a".to_owned(), ..Snapshot::default() };
        assert!(snapshot.is_empty());
        snapshot.gateways.push(guarded(&json!({"hostname": 7})));
        assert!(!snapshot.is_empty());
        let unreadable = snapshot.wanted().unwrap_err();
        assert_eq!((unreadable.len(), unreadable[0].generation), (1, Some(3)));
        assert_eq!(unreadable[0].of.to_string(), "Gateway edge");
        assert!(!unreadable[0].why.is_empty());
    }

    #[test]
    fn owners_are_controllers_of_our_kinds() {
        let with = |api: &str, kind: &str, controller: bool| {
            let meta = json!({"ownerReferences": [
                {"apiVersion": api, "kind": kind, "name": "edge", "uid": "1", "controller": controller}
            ]});
            owner(&serde_json::from_value(meta).unwrap())
        };
        let ours = with("stoker.dev/v1alpha1", "Gateway", true).unwrap();
        assert_eq!((ours.kind, ours.name.as_str(), ours.uid.as_str()), (Kind::Gateway, "edge", "1"));
        assert_eq!(with("stoker.dev/v1alpha1", "Gateway", false), None);
        assert_eq!(with("example.com/v1", "Gateway", true), None);
        assert_eq!(with("stoker.dev/v1alpha1", "Other", true), None);
        assert_eq!(owner(&ObjectMeta::default()), None);
    }

    #[test]
    fn secrets_that_go_are_gone() {
        let mut secret: Secret =
            serde_json::from_value(json!({"metadata": {"name": "bus"}, "data": {"url": "YWI="}})).unwrap();
        let (name, facts) = digests(&secret).unwrap();
        assert_eq!((name.as_str(), facts.digests["url"].as_str()), ("bus", "ab"));
        secret.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(digests(&secret), None);
    }
}
