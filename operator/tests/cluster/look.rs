//! All that an operator has made of a namespace, without what differs from one time to the other.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::space::Space;

/// What the operator makes.
pub(crate) const OBJECTS: [(&str, &str, &str); 7] = [
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "Service", "services"),
    ("v1", "Secret", "secrets"),
    ("apps/v1", "Deployment", "deployments"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
];

impl Space {
    /// Objects with our label, by kind and name.
    pub(crate) async fn objects(&self) -> BTreeMap<String, DynamicObject> {
        let ours = ListParams::default().labels("app.kubernetes.io/managed-by=stoker-operator");
        let mut all = BTreeMap::new();
        for (api_version, kind, plural) in OBJECTS {
            for object in self.api(api_version, kind, plural).list(&ours).await.unwrap() {
                all.insert(format!("{kind} {}", object.metadata.name.clone().unwrap()), object);
            }
        }
        all
    }

    /// Objects and statuses, to be compared with those of another namespace.
    pub(crate) async fn look(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for (name, object) in self.objects().await {
            all.insert(name, self.shown(&object));
        }
        for (kind, resource) in self.all().await {
            let mut status = resource.data["status"].clone();
            // The cluster gives the one, and the other is looked at now and then.
            for key in ["address", "connections"] {
                if let Some(status) = status.as_object_mut() {
                    status.remove(key);
                }
            }
            for said in status["conditions"].as_array_mut().unwrap() {
                said["lastTransitionTime"] = Value::Null;
            }
            all.insert(format!("{kind} {}", resource.metadata.name.unwrap()), status);
        }
        all
    }

    fn shown(&self, object: &DynamicObject) -> Value {
        let meta = &object.metadata;
        let mut labels = meta.labels.clone().unwrap_or_default();
        let mut notes = meta.annotations.clone().unwrap_or_default();
        notes.remove("deployment.kubernetes.io/revision");
        let owners: BTreeSet<_> =
            meta.owner_references.iter().flatten().map(|of| (&of.kind, &of.name)).collect();
        let (mut spec, mut data) = (object.data["spec"].clone(), object.data["data"].clone());
        for key in ["clusterIP", "clusterIPs", "nodePort"] {
            if let Some(spec) = spec.as_object_mut() {
                spec.remove(key);
            }
        }
        // Its token is random, and the digest of its pods is of the token.
        let of_portal = labels.get("app.kubernetes.io/component").is_some_and(|of| of == "portal");
        if of_portal {
            labels.remove("stoker.dev/revision");
            if let Some(notes) = spec.pointer_mut("/template/metadata/annotations") {
                *notes = Value::Null;
            }
        }
        // Keys are random, too, and so are the certificates of them.
        let is_certificate =
            meta.name.as_ref().is_some_and(|name| name == "stoker-ca" || name.ends_with("-tls"));
        if let Some(data) = data.as_object_mut().filter(|_| is_certificate) {
            for value in data.values_mut() {
                *value = json!("made");
            }
        }
        if let Some(token) = data.pointer_mut("/token") {
            *token = json!(token.as_str().unwrap_or_default().len());
        }
        let shown = json!({"labels": labels, "notes": notes, "owners": owners, "spec": spec, "data": data});
        serde_json::from_str(&shown.to_string().replace(&self.name, "NAMESPACE")).unwrap()
    }
}

/// What differs, in words.
pub(crate) fn differences(of: &BTreeMap<String, Value>, from: &BTreeMap<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = of.keys().chain(from.keys()).collect();
    let differs = names.into_iter().filter(|name| of.get(*name) != from.get(*name));
    differs.map(|name| format!("{name}: {:?}\n    not {:?}", of.get(name), from.get(name))).collect()
}
