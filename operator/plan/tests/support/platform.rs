//! Resources as people write them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stoker_crds::{CoreShard, Gateway, Notifier, Portal};
use stoker_plan::certificates::{
    AUTHORITY_LIFE, Authorities, Authority, CERTIFICATE_LIFE, Certificates, Held, Kept, Leaf,
};
use stoker_plan::degraded::Verdict;
use stoker_plan::{Kind, Secret, Wanted};

/// Where all of it is.
pub(crate) const NAMESPACE: &str = "heating";

fn resource(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": format!("{}-{name}", kind.to_lowercase()),
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": spec,
    })
}

pub(crate) fn gateway(name: &str, hostname: &str) -> Gateway {
    let spec = json!({
        "hostname": hostname,
        "replicas": 2,
        "listeners": [
            {"name": "mqtt", "protocol": "Mqtt", "port": 1883},
            {"name": "mqtts", "protocol": "Mqtts", "port": 8883, "tlsSecretName": "devices-tls"},
        ],
        "service": {"annotations": {"example.com/pool": "devices"}},
        "drain": {"handoverGrace": "1m30s", "maxRate": 200},
        "bus": {"secretName": "bus"},
    });
    serde_json::from_value(resource("Gateway", name, &spec)).unwrap()
}

pub(crate) fn core_shard(name: &str, first: i32, last: i32) -> CoreShard {
    let spec = json!({
        "replicas": 3,
        "slots": {"first": first, "last": last},
        "cassandra": {
            "contactPoints": ["cassandra-0", "cassandra-1"],
            "keyspace": "stoker",
            "datacenter": "dc1",
            "secretName": "cassandra",
        },
        "bus": {"secretName": "bus"},
        "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}},
    });
    serde_json::from_value(resource("CoreShard", name, &spec)).unwrap()
}

pub(crate) fn notifier(name: &str) -> Notifier {
    let spec = json!({
        "email": {"secretName": "mail"},
        "webhook": {"allow": ["10.1.2.0/24"]},
        "bus": {"secretName": "bus"},
    });
    serde_json::from_value(resource("Notifier", name, &spec)).unwrap()
}

pub(crate) fn portal(name: &str) -> Portal {
    let spec = json!({"hostname": "stoker.example.com", "bus": {"secretName": "bus"}});
    serde_json::from_value(resource("Portal", name, &spec)).unwrap()
}

/// One of each kind.
pub(crate) fn whole() -> Wanted {
    Wanted {
        namespace: NAMESPACE.to_owned(),
        gateways: vec![gateway("edge", "devices.example.com")],
        core_shards: vec![core_shard("main", 0, 255)],
        notifiers: vec![notifier("people")],
        portals: vec![portal("console")],
    }
}

/// The pods of all resources have said that they have all that they need.
pub(crate) fn well(wanted: &Wanted) -> BTreeMap<(Kind, String), Verdict> {
    let named = |kind: Kind, name: Option<&String>| ((kind, name.cloned().unwrap()), pods(2, 0));
    let gateways = wanted.gateways.iter().map(|of| named(Kind::Gateway, of.metadata.name.as_ref()));
    let shards = wanted.core_shards.iter().map(|of| named(Kind::CoreShard, of.metadata.name.as_ref()));
    let notifiers = wanted.notifiers.iter().map(|of| named(Kind::Notifier, of.metadata.name.as_ref()));
    let portals = wanted.portals.iter().map(|of| named(Kind::Portal, of.metadata.name.as_ref()));
    gateways.chain(shards).chain(notifiers).chain(portals).collect()
}

/// So many ready pods have been asked, of which some do not answer.
pub(crate) fn pods(pods: usize, silent: usize) -> Verdict {
    Verdict { pods, silent, without: BTreeMap::new() }
}

/// All Secrets that [`whole`] names.
pub(crate) fn secrets() -> BTreeMap<String, Secret> {
    [
        ("bus", &["url"][..]),
        ("cassandra", &["username", "password"]),
        ("mail", &["smtp_url", "from"]),
        ("devices-tls", &["tls.crt", "tls.key"]),
        ("stoker-admin", &["token"]),
    ]
    .into_iter()
    .map(|(name, keys)| (name.to_owned(), secret(keys)))
    .collect()
}

pub(crate) fn secret(keys: &[&str]) -> Secret {
    Secret { digests: keys.iter().map(|key| ((*key).to_owned(), format!("{key}-1"))).collect() }
}

/// The first of January 2026.
pub(crate) const NOW: i64 = 1_767_225_600;

/// An authority that has been made a while ago.
pub(crate) fn authority(id: &str) -> Authority {
    let from = NOW - 24 * 3600;
    Authority { id: id.to_owned(), from, until: from + AUTHORITY_LIFE }
}

/// What a kind of service has of it.
pub(crate) fn held(authority: &Authority) -> Held {
    let from = NOW - 24 * 3600;
    let leaf = Leaf { signed_by: Some(authority.id.clone()), from, until: from + CERTIFICATE_LIFE };
    Held { certificate: Ok(leaf), trusts: vec![authority.clone()] }
}

/// All that services need to know each other, and nothing that is due.
pub(crate) fn certificates() -> Certificates {
    let current = authority("first");
    let kinds = [Kind::CoreShard, Kind::Gateway, Kind::Notifier, Kind::Portal];
    let services = kinds.into_iter().map(|kind| (kind, Kept::There(held(&current)))).collect();
    let authority = Kept::There(Authorities { current: Some(current), ..Authorities::default() });
    Certificates { authority, services }
}
