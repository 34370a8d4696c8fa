//! How the four resources and their pods stand, read from what `kubectl get` prints.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// The group of the resources.
const GROUP: &str = "stoker.dev/";
const COMPONENT: &str = "app.kubernetes.io/component";
const INSTANCE: &str = "app.kubernetes.io/instance";

/// The kinds that a platform is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Gateway,
    CoreShard,
    Notifier,
    Portal,
}

/// A resource.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) spec: Value,
    /// Where devices find a Gateway.
    pub(super) address: Option<String>,
    generation: i64,
    observed: Option<i64>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    #[serde(default)]
    message: String,
}

/// A pod that has not ended.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) ready: bool,
    /// It is told to end.
    pub(super) leaving: bool,
    /// How often its containers were started again.
    pub(super) restarts: u64,
    component: String,
    instance: String,
}

/// Everything as it stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    pub(super) resources: Vec<Resource>,
    pub(super) pods: Vec<Pod>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    api_version: String,
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    uid: String,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::CoreShard, Self::Gateway, Self::Notifier, Self::Portal];

    /// As `kubectl` is told it; others may have kinds of the same name.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Gateway => "gateways.stoker.dev",
            Self::CoreShard => "coreshards.stoker.dev",
            Self::Notifier => "notifiers.stoker.dev",
            Self::Portal => "portals.stoker.dev",
        }
    }

    fn component(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::CoreShard => "core",
            Self::Notifier => "notifier",
            Self::Portal => "portal",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "Gateway",
            Self::CoreShard => "CoreShard",
            Self::Notifier => "Notifier",
            Self::Portal => "Portal",
        })
    }
}

impl Object {
    fn resource(self, kind: Kind) -> Result<Resource> {
        let conditions = match &self.status["conditions"] {
            Value::Null => Vec::new(),
            given => Vec::deserialize(given)
                .with_context(|| format!("the conditions of {kind} {} can't be read", self.metadata.name))?,
        };
        Ok(Resource {
            kind,
            name: self.metadata.name,
            address: self.status["address"].as_str().map(ToOwned::to_owned),
            generation: self.metadata.generation,
            observed: self.status["observedGeneration"].as_i64(),
            conditions,
            spec: self.spec,
        })
    }

    /// None when it has ended and is only not swept away yet.
    fn pod(mut self) -> Option<Pod> {
        if matches!(self.status["phase"].as_str(), Some("Failed" | "Succeeded")) {
            return None;
        }
        let list = |of: &str| self.status[of].as_array().cloned().unwrap_or_default();
        let ready = list("conditions").iter().any(|of| of["type"] == "Ready" && of["status"] == "True");
        let restarts = list("containerStatuses").iter().filter_map(|of| of["restartCount"].as_u64()).sum();
        let mut label = |name| self.metadata.labels.remove(name).unwrap_or_default();
        Some(Pod {
            component: label(COMPONENT),
            instance: label(INSTANCE),
            name: self.metadata.name,
            uid: self.metadata.uid,
            ready,
            leaving: self.metadata.deletion_timestamp.is_some(),
            restarts,
        })
    }
}

impl Resource {
    /// How many pods are wished.
    pub(super) fn replicas(&self) -> u64 {
        self.spec["replicas"].as_u64().unwrap_or_default()
    }

    /// What a condition says, if that is of the newest change.
    fn condition(&self, kind: &str) -> Option<&Condition> {
        let is_new = self.observed == Some(self.generation);
        self.conditions.iter().find(|of| is_new && of.kind == kind)
    }

    /// Whether a condition of the newest change has that reason.
    pub(super) fn says(&self, kind: &str, reason: &str) -> bool {
        self.condition(kind).is_some_and(|of| of.reason == reason)
    }

    /// How it stands, in few words.
    pub(super) fn shown(&self) -> String {
        let said = |kind| self.condition(kind).map_or("?", |of| of.reason.as_str());
        format!("Ready: {}, Progressing: {}", said("Ready"), said("Progressing"))
    }

    /// Why it is not at rest, if so.
    fn unsettled(&self, pods: &[&Pod]) -> Option<String> {
        let Self { kind, name, .. } = self;
        if self.observed != Some(self.generation) {
            return Some(format!("{kind} {name} was changed, and the operator has not looked at it yet"));
        }
        for (of, status, reason) in [("Ready", "True", "AsWished"), ("Progressing", "False", "Settled")] {
            let Some(said) = self.condition(of) else {
                return Some(format!("{kind} {name} has no condition {of}: does an operator run?"));
            };
            if (said.status.as_str(), said.reason.as_str()) != (status, reason) {
                return Some(format!("{kind} {name} says {of}: {}: {}", said.reason, said.message));
            }
        }
        let (wished, there) = (self.replicas(), pods.len());
        let serving = pods.iter().filter(|pod| pod.ready && !pod.leaving).count();
        let whole = usize::try_from(wished).is_ok_and(|wished| wished == there && wished == serving);
        (!whole).then(|| format!("{kind} {name} wishes {wished} pods, and of {there} pods {serving} serve"))
    }
}

impl Look {
    /// From a list in JSON.
    pub(super) fn read(list: &str) -> Result<Self> {
        let list: List = serde_json::from_str(list).context("kubectl printed no list that can be read")?;
        let mut look = Self::default();
        for object in list.items {
            if object.kind == "Pod" {
                look.pods.extend(object.pod());
            } else if object.api_version.starts_with(GROUP)
                && let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.to_string() == object.kind)
            {
                look.resources.push(object.resource(kind)?);
            }
        }
        look.resources.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(look)
    }

    /// The pods of a resource.
    pub(super) fn pods_of(&self, of: &Resource) -> Vec<&Pod> {
        let is = |pod: &&Pod| pod.component == of.kind.component() && pod.instance == of.name;
        self.pods.iter().filter(is).collect()
    }

    /// The first of a kind, by name.
    pub(super) fn first(&self, kind: Kind) -> Result<&Resource> {
        let of = self.resources.iter().find(|of| of.kind == kind);
        of.with_context(|| format!("there is no {kind} in the namespace: apply one"))
    }

    /// What keeps it from being at rest: nothing is being done, and all pods that are wished serve.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let missing = Kind::ALL.into_iter().filter_map(|kind| self.first(kind).err());
        let missing = missing.map(|error| error.to_string());
        missing.chain(self.resources.iter().filter_map(|of| of.unsettled(&self.pods_of(of)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(component: &str, instance: &str, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "uid": name, "labels": {COMPONENT: component, INSTANCE: instance}},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"restartCount": 0}],
            },
        })
    }

    fn resource(kind: Kind, replicas: u64) -> Value {
        let said =
            |kind, status, reason| json!({"type": kind, "status": status, "reason": reason, "message": "so"});
        json!({
            "apiVersion": "stoker.dev/v1alpha1", "kind": kind.to_string(),
            "metadata": {"name": "one", "uid": "u", "generation": 3},
            "spec": {"replicas": replicas},
            "status": {
                "observedGeneration": 3,
                "conditions": [said("Ready", "True", "AsWished"), said("Progressing", "False", "Settled")],
            },
        })
    }

    /// One of each kind with one pod each, and two of the Gateway; position 0 is the Gateway, 4 and 5 are its pods.
    fn platform() -> Vec<Value> {
        let mut all = vec![resource(Kind::Gateway, 2)];
        all.extend([Kind::CoreShard, Kind::Notifier, Kind::Portal].map(|kind| resource(kind, 1)));
        all.extend(["edge-1", "edge-2"].map(|name| pod("gateway", "one", name)));
        all.extend(["core", "notifier", "portal"].map(|component| pod(component, "one", component)));
        all
    }

    fn unsettled(items: Vec<Value>) -> Vec<String> {
        Look::read(&json!({ "items": items }).to_string()).unwrap().unsettled()
    }

    #[test]
    fn a_platform_at_rest_is_told_from_one_that_is_not() {
        assert_eq!(unsettled(platform()), [""; 0]);
        let told = |change: fn(&mut Vec<Value>)| {
            let mut items = platform();
            change(&mut items);
            let [told] = &unsettled(items)[..] else { panic!("one thing is wrong") };
            told.clone()
        };
        let says = |told: String, what: &str| assert!(told.contains(what), "{told}");
        says(told(|items| items[0]["metadata"]["generation"] = json!(4)), "has not looked at it yet");
        says(told(|items| items[0]["status"] = Value::Null), "has not looked at it yet");
        says(
            told(|items| items[0]["status"]["conditions"][1]["reason"] = json!("Draining")),
            "Gateway one says Progressing: Draining: so",
        );
        says(told(|items| items[0]["status"]["conditions"] = json!([])), "has no condition Ready");
        says(
            told(|items| items[4]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")),
            "wishes 2 pods, and of 2 pods 1 serve",
        );
        says(told(|items| items[4]["status"]["conditions"] = json!([])), "of 2 pods 1 serve");
        says(told(|items| items[4]["status"]["phase"] = json!("Failed")), "of 1 pods 1 serve");
        says(told(|items| items.push(pod("gateway", "one", "edge-3"))), "of 3 pods 3 serve");
        says(told(|items| drop(items.remove(3))), "there is no Portal in the namespace");
    }

    #[test]
    fn what_others_have_in_the_namespace_is_nothing_of_ours() {
        let mut items = platform();
        let mut other = resource(Kind::Gateway, 7);
        other["apiVersion"] = json!("gateway.networking.k8s.io/v1");
        items.extend([other, pod("gateway", "another", "other"), pod("database", "one", "database")]);
        assert_eq!(unsettled(items), [""; 0]);
    }

    #[test]
    fn conditions_of_a_former_change_say_nothing() {
        let mut items = platform();
        items[0]["metadata"]["generation"] = json!(4);
        let look = Look::read(&json!({ "items": items }).to_string()).unwrap();
        let gateway = look.first(Kind::Gateway).unwrap();
        assert!(!gateway.says("Progressing", "Settled"));
        assert_eq!(gateway.shown(), "Ready: ?, Progressing: ?");
    }
}
