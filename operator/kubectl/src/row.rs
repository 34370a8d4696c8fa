//! What is shown of one resource. Pure: objects in, rows out.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use stoker_crds::{CoreShard, DEGRADED, Gateway, Notifier, Portal, READY, SlotRange, Status};
use stoker_plan::certificates::certificate_secret;
use stoker_plan::{Kind, REVISION, SLOTS_IN_EFFECT};

use crate::certificate::Certificate;

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) namespace: String,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// `Ready`, or why it is not.
    pub(crate) health: String,
    /// What is the matter and what to do; nothing when it is ready.
    pub(crate) message: String,
    /// What its pods do without while it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) degraded: Option<Degraded>,
    pub(crate) ready: i32,
    pub(crate) replicas: i32,
    pub(crate) revisions: Vec<Revision>,
    /// Of a Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sessions: Option<i64>,
    /// Of a CoreShard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slots: Option<Slots>,
    pub(crate) certificates: Vec<Certificate>,
}

/// Something that pods do without, such as a broker that is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Degraded {
    /// In one word.
    pub(crate) reason: String,
    /// For people.
    pub(crate) message: String,
    /// RFC 3339
    pub(crate) since: String,
}

/// A revision of which there are pods, or are to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Revision {
    pub(crate) revision: String,
    pub(crate) ready: i32,
    pub(crate) wanted: i32,
}

/// The slots of a CoreShard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Slots {
    pub(crate) wished: String,
    /// What its pods serve; none before they are made.
    pub(crate) in_effect: Option<String>,
}

/// All resources that were found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) core_shards: Vec<CoreShard>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) notifiers: Vec<Notifier>,
    pub(crate) portals: Vec<Portal>,
    pub(crate) deployments: Vec<Deployment>,
}

/// The Secrets with certificates of a resource, those that it names and that of its services: namespace and name.
pub(crate) fn certificates(found: &Found) -> Vec<(String, String)> {
    let place =
        |meta: &ObjectMeta, secret: &String| (meta.namespace.clone().unwrap_or_default(), secret.clone());
    let gateways = found.gateways.iter().flat_map(|of| {
        let secrets = of.spec.listeners.iter().filter_map(|listener| listener.tls_secret_name.as_ref());
        secrets.map(|secret| place(&of.metadata, secret))
    });
    let portals = found
        .portals
        .iter()
        .filter_map(|of| of.spec.tls_secret_name.as_ref().map(|secret| place(&of.metadata, secret)));
    let own = [
        (Kind::CoreShard, found.core_shards.iter().map(|of| &of.metadata).collect::<Vec<_>>()),
        (Kind::Gateway, found.gateways.iter().map(|of| &of.metadata).collect()),
        (Kind::Notifier, found.notifiers.iter().map(|of| &of.metadata).collect()),
        (Kind::Portal, found.portals.iter().map(|of| &of.metadata).collect()),
    ];
    let own = own.iter().flat_map(|(kind, all)| {
        all.iter().map(move |meta| place(meta, &certificate_secret(*kind).to_owned()))
    });
    let mut all: Vec<_> = gateways.chain(portals).chain(own).collect();
    all.sort();
    all.dedup();
    all
}

/// A row for each resource, by namespace; in each cores first.
pub(crate) fn rows(found: &Found, certificates: &BTreeMap<(String, String), Certificate>) -> Vec<Row> {
    let certificate = |meta: &ObjectMeta, secret: &str| {
        certificates.get(&(meta.namespace.clone().unwrap_or_default(), secret.to_owned())).cloned()
    };
    let row = |kind: Kind, meta: &ObjectMeta, replicas: i32, status: Option<&Status>| {
        let (health, message) = health(meta, status);
        Row {
            namespace: meta.namespace.clone().unwrap_or_default(),
            kind: kind.name(),
            name: meta.name.clone().unwrap_or_default(),
            health,
            message,
            degraded: degraded(meta, status),
            ready: status.map_or(0, |status| status.ready_replicas),
            replicas,
            revisions: revisions(meta, &found.deployments),
            sessions: None,
            slots: None,
            certificates: certificate(meta, certificate_secret(kind)).into_iter().collect(),
        }
    };
    let mut all = Vec::new();
    for of in &found.core_shards {
        let slots =
            Slots { wished: text(of.spec.slots), in_effect: in_effect(&of.metadata, &found.deployments) };
        let row = row(Kind::CoreShard, &of.metadata, of.spec.replicas, of.status.as_ref());
        all.push(Row { slots: Some(slots), ..row });
    }
    for of in &found.gateways {
        let status = of.status.as_ref();
        let mut secrets: Vec<&String> =
            of.spec.listeners.iter().filter_map(|listener| listener.tls_secret_name.as_ref()).collect();
        secrets.sort();
        secrets.dedup();
        let mut row = row(Kind::Gateway, &of.metadata, of.spec.replicas, status.map(|status| &status.common));
        row.sessions = status.and_then(|status| status.connections);
        row.certificates.extend(secrets.into_iter().filter_map(|secret| certificate(&of.metadata, secret)));
        all.push(row);
    }
    for of in &found.notifiers {
        all.push(row(Kind::Notifier, &of.metadata, of.spec.replicas, of.status.as_ref()));
    }
    for of in &found.portals {
        let secret = of.spec.tls_secret_name.iter();
        let mut row = row(Kind::Portal, &of.metadata, of.spec.replicas, of.status.as_ref());
        row.certificates.extend(secret.filter_map(|secret| certificate(&of.metadata, secret)));
        all.push(row);
    }
    all.sort_by(|a, b| a.namespace.cmp(&b.namespace));
    all
}

/// `Ready`, or why not; and what the operator says of it.
fn health(meta: &ObjectMeta, status: Option<&Status>) -> (String, String) {
    if meta.deletion_timestamp.is_some() {
        return ("Deleting".to_owned(), "it goes when all that it owns has gone".to_owned());
    }
    let ready = status.and_then(|status| status.conditions.iter().find(|said| said.type_ == READY));
    let Some(ready) = ready else {
        return (
            "Unseen".to_owned(),
            "no operator has seen it yet: is one running, and looking here?".to_owned(),
        );
    };
    if ready.observed_generation != meta.generation {
        let message = "no operator has seen the last change yet: is one running?".to_owned();
        return ("Unseen".to_owned(), message);
    }
    if ready.status == "True" {
        ("Ready".to_owned(), String::new())
    } else {
        (ready.reason.clone(), ready.message.clone())
    }
}

/// What its pods do without, if that is so and somebody goes on looking.
fn degraded(meta: &ObjectMeta, status: Option<&Status>) -> Option<Degraded> {
    let said = status?.conditions.iter().find(|said| said.type_ == DEGRADED && said.status == "True")?;
    let current = meta.deletion_timestamp.is_none() && said.observed_generation == meta.generation;
    current.then(|| Degraded {
        reason: said.reason.clone(),
        message: said.message.clone(),
        since: said.last_transition_time.0.to_string(),
    })
}

fn owned<'a>(meta: &'a ObjectMeta, all: &'a [Deployment]) -> impl Iterator<Item = &'a Deployment> {
    all.iter().filter(move |of| {
        let owners = of.metadata.owner_references.iter().flatten();
        owners.into_iter().any(|owner| meta.uid.as_ref() == Some(&owner.uid))
    })
}

/// The newest first.
fn revisions(meta: &ObjectMeta, all: &[Deployment]) -> Vec<Revision> {
    let mut of: Vec<&Deployment> = owned(meta, all).collect();
    of.sort_by_key(|of| std::cmp::Reverse(of.metadata.creation_timestamp.as_ref().map(|time| time.0)));
    let revision = |of: &Deployment| Revision {
        revision: of
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(REVISION))
            .cloned()
            .unwrap_or_default(),
        ready: of.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0),
        wanted: of.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0),
    };
    of.into_iter().map(revision).collect()
}

fn in_effect(meta: &ObjectMeta, all: &[Deployment]) -> Option<String> {
    let notes = owned(meta, all).find_map(|of| of.metadata.annotations.as_ref())?;
    notes.get(SLOTS_IN_EFFECT).cloned()
}

fn text(range: SlotRange) -> String {
    format!("{}-{}", range.first, range.last)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object<T: serde::de::DeserializeOwned>(name: &str, spec: &Value, status: &Value) -> T {
        let meta =
            json!({"name": name, "namespace": "heating", "uid": format!("uid of {name}"), "generation": 2});
        let kind = json!({"apiVersion": "stoker.dev/v1alpha1", "kind": "", "metadata": meta, "spec": spec});
        let mut object = kind;
        if !status.is_null() {
            object["status"] = status.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn said(status: &str, reason: &str, generation: i64) -> Value {
        json!({"conditions": [{"type": "Ready", "status": status, "reason": reason, "message": "words",
            "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "readyReplicas": 1, "connections": 40})
    }

    fn deployment(name: &str, of: &str, created: &str, ready: i32) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "heating", "creationTimestamp": created,
                "labels": {REVISION: name}, "annotations": {SLOTS_IN_EFFECT: "0-255"},
                "ownerReferences": [{"apiVersion": "", "kind": "", "name": of, "uid": format!("uid of {of}")}]},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": {"readyReplicas": ready},
        }))
        .unwrap()
    }

    pub(crate) fn found() -> Found {
        let gateway = json!({"hostname": "d.example.com", "bus": {"secretName": "bus"}, "listeners": [
            {"name": "a", "protocol": "Mqtts", "port": 8883, "tlsSecretName": "tls"},
            {"name": "b", "protocol": "Wss", "port": 8084, "tlsSecretName": "tls"}]});
        let core = json!({"slots": {"first": 0, "last": 127}, "bus": {"secretName": "bus"},
            "cassandra": {"contactPoints": ["c"], "keyspace": "k", "datacenter": "d"}});
        let notifier = json!({"bus": {"secretName": "bus"}});
        let mut gateway_status = said("True", "AsWished", 2);
        gateway_status["conditions"].as_array_mut().unwrap().push(
            json!({"type": "Degraded", "status": "True",
            "reason": "BusAway", "message": "2 of 2 pods do without RabbitMQ", "observedGeneration": 2,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}),
        );
        Found {
            core_shards: vec![object("main", &core, &said("False", "SlotsMissing", 2))],
            gateways: vec![object("edge", &gateway, &gateway_status)],
            notifiers: vec![
                object("people", &notifier, &said("True", "AsWished", 1)),
                object("new", &notifier, &Value::Null),
            ],
            portals: Vec::new(),
            deployments: vec![
                deployment("old", "edge", "2026-01-01T00:00:00Z", 1),
                deployment("new", "edge", "2026-01-02T00:00:00Z", 2),
                deployment("core", "main", "2026-01-01T00:00:00Z", 2),
            ],
        }
    }

    #[test]
    fn each_resource_is_a_row_with_all_that_is_known() {
        let found = found();
        let places = ["stoker-core-tls", "stoker-gateway-tls", "stoker-notifier-tls", "tls"];
        assert_eq!(certificates(&found), places.map(|secret| ("heating".to_owned(), secret.to_owned())));
        let certificate = Certificate { secret: "tls".to_owned(), days_left: Some(7), problem: None };
        let own = Certificate { secret: "stoker-gateway-tls".to_owned(), ..certificate.clone() };
        let all = [certificate.clone(), own.clone()];
        let known = all.map(|of| (("heating".to_owned(), of.secret.clone()), of)).into();
        let [main, edge, people, new] = &rows(&found, &known)[..] else { panic!("four") };
        assert_eq!((main.health.as_str(), main.message.as_str()), ("SlotsMissing", "words"));
        let slots = Slots { wished: "0-127".to_owned(), in_effect: Some("0-255".to_owned()) };
        assert_eq!(main.slots.as_ref(), Some(&slots));
        assert_eq!((edge.health.as_str(), edge.message.as_str(), edge.sessions), ("Ready", "", Some(40)));
        assert_eq!((&edge.certificates[..], main.certificates.len()), (&[own, certificate][..], 0));
        let degraded = edge.degraded.as_ref().unwrap();
        assert_eq!((degraded.reason.as_str(), degraded.since.as_str()), ("BusAway", "2026-01-01T00:00:00Z"));
        assert_eq!(main.degraded, None);
        let revisions: Vec<_> = edge.revisions.iter().map(|of| (of.revision.as_str(), of.ready)).collect();
        assert_eq!(revisions, [("new", 2), ("old", 1)]);
        assert_eq!((people.health.as_str(), new.health.as_str()), ("Unseen", "Unseen"));
        assert!(people.message.contains("the last change"), "{}", people.message);
    }
}
