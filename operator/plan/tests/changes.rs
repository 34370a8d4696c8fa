//! Every field, changed to something right and to something wrong, and back; and an operator that is killed after each
//! of its writes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use serde_json::{Value, json};
use stoker_plan::{Deployment, Facts, Wanted};
use support::cluster::{Cluster, writes};
use support::platform;

/// The field of a spec, and another value of it.
type Change = (&'static str, &'static str, Value);

/// What can be carried out.
fn right() -> Vec<Change> {
    let listener =
        |name: &str, protocol: &str, port: i32| json!({"name": name, "protocol": protocol, "port": port});
    let pods = [
        ("image", json!("stoker:2")),
        ("resources", json!({"requests": {"cpu": "1"}})),
        ("nodeSelector", json!({"disk": "fast"})),
        ("tolerations", json!([{"operator": "Exists"}])),
        ("affinity", json!({"nodeAffinity": {}})),
        ("imagePullSecrets", json!([{"name": "registry"}])),
        ("replicas", json!(4)),
        ("bus", json!({"secretName": "other-bus"})),
    ];
    let mut all: Vec<Change> = ["gateways", "coreShards", "notifiers", "portals"]
        .into_iter()
        .flat_map(|kind| pods.iter().map(move |(field, value)| (kind, *field, value.clone())))
        .collect();
    all.extend([
        ("gateways", "listeners", json!([listener("mqtt", "Mqtt", 1884), listener("ws", "Ws", 80)])),
        (
            "gateways",
            "listeners",
            json!([{"name": "a", "protocol": "Mqtt", "port": 1, "proxyProtocol": {"trustedCIDRs": ["10.0.0.0/8"]}}]),
        ),
        ("gateways", "service", json!({"type": "NodePort", "externalTrafficPolicy": "Local"})),
        ("gateways", "drain", json!({"handoverGrace": "2m", "maxRate": 10})),
        ("gateways", "hostname", json!("other.example.com")),
        ("notifiers", "email", json!(null)),
        ("notifiers", "webhook", json!({"allow": []})),
        ("portals", "hostname", json!("other.example.com")),
        ("portals", "tlsSecretName", json!("devices-tls")),
        (
            "coreShards",
            "cassandra",
            json!({"contactPoints": ["c"], "keyspace": "stoker", "datacenter": "dc1", "replicationFactor": 1}),
        ),
    ]);
    all
}

/// What can't.
fn wrong() -> Vec<Change> {
    let missing = json!({"secretName": "nowhere"});
    let tls =
        |secret: &str| json!([{"name": "a", "protocol": "Mqtts", "port": 8883, "tlsSecretName": secret}]);
    vec![
        ("gateways", "bus", missing.clone()),
        ("coreShards", "bus", missing.clone()),
        ("notifiers", "bus", missing.clone()),
        ("portals", "bus", missing.clone()),
        ("gateways", "listeners", tls("nowhere")),
        ("gateways", "listeners", tls("mail")),
        ("gateways", "listeners", json!([{"name": "a", "protocol": "Wss", "port": 8084}])),
        (
            "gateways",
            "listeners",
            json!([
                {"name": "a", "protocol": "Mqtt", "port": 1, "proxyProtocol": {"trustedCIDRs": ["10.0.0.0/8"]}},
                {"name": "b", "protocol": "Mqtt", "port": 2},
            ]),
        ),
        ("gateways", "drain", json!({"handoverGrace": "1s1h"})),
        ("notifiers", "email", missing),
        ("portals", "tlsSecretName", json!("nowhere")),
        ("portals", "tlsSecretName", json!("mail")),
        (
            "coreShards",
            "cassandra",
            json!({"contactPoints": ["c"], "keyspace": "k", "datacenter": "d", "secretName": "nowhere"}),
        ),
    ]
}

fn change(wanted: &mut Wanted, (kind, field, value): &Change) {
    macro_rules! set {
        ($list:ident) => {{
            let mut spec = serde_json::to_value(&wanted.$list[0].spec).unwrap();
            spec[*field] = value.clone();
            wanted.$list[0].spec = serde_json::from_value(spec).unwrap();
        }};
    }
    match *kind {
        "gateways" => set!(gateways),
        "coreShards" => set!(core_shards),
        "notifiers" => set!(notifiers),
        "portals" => set!(portals),
        other => panic!("no kind {other}"),
    }
}

fn at_rest() -> Cluster {
    let mut cluster = Cluster::new(platform::whole());
    cluster.secrets.insert("other-bus".to_owned(), platform::secret(&["url"]));
    rest(&mut cluster);
    cluster
}

fn rest(cluster: &mut Cluster) {
    for _ in 0..4 {
        cluster.reconcile();
        cluster.settle();
    }
    let plan = cluster.reconcile();
    assert!(plan.scale.is_empty() && plan.delete.is_empty() && plan.events.is_empty(), "{plan:#?}");
    assert!(!cluster.tick(0));
}

/// All that is seen, without versions: these count how often something was written.
fn seen(cluster: &Cluster) -> (Vec<String>, Facts) {
    let mut facts = cluster.facts();
    for Deployment { resource_version, .. } in &mut facts.deployments {
        resource_version.clear();
    }
    (cluster.objects.values().map(|object| format!("{} {}", object.kind(), object.digest())).collect(), facts)
}

fn accepted(cluster: &Cluster) -> bool {
    let status = cluster.plan().status;
    let mut all = status.iter().flat_map(|standing| &standing.conditions);
    all.all(|said| !matches!(said.kind, "Accepted" | "Ready") || said.is.holds())
}

#[test]
fn each_field_changes_something_and_comes_back() {
    let begun = at_rest();
    for it in right() {
        let mut cluster = begun.clone();
        let before = cluster.wanted.clone();
        change(&mut cluster.wanted, &it);
        assert!(cluster.wanted != before, "{it:?} is as it was");
        rest(&mut cluster);
        assert!(accepted(&cluster), "{it:?}: {:#?}", cluster.plan().status);
        assert!(seen(&cluster) != seen(&begun), "{it:?} changes nothing");
        back(&mut cluster, &before);
        rest(&mut cluster);
        assert!(seen(&cluster) == seen(&begun), "{it:?} leaves something behind");
    }
}

#[test]
fn nothing_is_touched_while_a_field_is_wrong() {
    let begun = at_rest();
    for it in wrong() {
        let mut cluster = begun.clone();
        let before = cluster.wanted.clone();
        change(&mut cluster.wanted, &it);
        rest(&mut cluster);
        assert!(!accepted(&cluster), "{it:?} is accepted");
        assert!(seen(&cluster) == seen(&begun), "{it:?} changes something");
        back(&mut cluster, &before);
        rest(&mut cluster);
        assert!(accepted(&cluster) && seen(&cluster) == seen(&begun), "{it:?}");
    }
}

#[test]
fn the_end_is_the_same_after_which_write_ever_the_operator_was_killed() {
    let begun = at_rest();
    let telling = [
        ("gateways", "image"),
        ("gateways", "replicas"),
        ("gateways", "listeners"),
        ("coreShards", "cassandra"),
        ("notifiers", "email"),
        ("portals", "bus"),
    ];
    for it in right().iter().filter(|(kind, field, _)| telling.contains(&(kind, field))) {
        let mut undisturbed = begun.clone();
        change(&mut undisturbed.wanted, it);
        rest(&mut undisturbed);
        for killed_after in 1..=3 {
            let mut cluster = begun.clone();
            change(&mut cluster.wanted, it);
            for _ in 0..10 {
                let mut writes = writes(&cluster.plan());
                writes.retain(|write| cluster.changes(write));
                for write in writes.iter().take(killed_after) {
                    cluster.write(write);
                }
                cluster.settle();
            }
            rest(&mut cluster);
            assert!(seen(&cluster) == seen(&undisturbed), "{it:?}, killed after each {killed_after} writes");
        }
    }
}

/// Changes all specs back.
fn back(cluster: &mut Cluster, before: &Wanted) {
    let wanted = &mut cluster.wanted;
    wanted.gateways[0].spec = before.gateways[0].spec.clone();
    wanted.core_shards[0].spec = before.core_shards[0].spec.clone();
    wanted.notifiers[0].spec = before.notifiers[0].spec.clone();
    wanted.portals[0].spec = before.portals[0].spec.clone();
}
