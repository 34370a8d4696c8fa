//! The custom resources on a real API server: what it makes of their definitions, what it takes and what it refuses.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{Cluster, Namespace};

const KINDS: [&str; 4] = ["gateways", "coreshards", "notifiers", "portals"];

/// One of each kind, with what must be said and no more.
const EACH: &str = r#"
apiVersion: stoker.dev/v1alpha1
kind: Gateway
metadata: {name: edge}
spec:
  hostname: devices.example.com
  listeners: [{name: mqtt, protocol: Mqtt, port: 1883}, {name: mqtts, protocol: Mqtts, port: 8883, tlsSecretName: tls}]
  bus: {secretName: bus}
---
apiVersion: stoker.dev/v1alpha1
kind: CoreShard
metadata: {name: core}
spec:
  cassandra: {contactPoints: ["cassandra:9042"], keyspace: stoker, datacenter: dc1}
  bus: {secretName: bus}
---
apiVersion: stoker.dev/v1alpha1
kind: Notifier
metadata: {name: notifier}
spec: {bus: {secretName: bus}}
---
apiVersion: stoker.dev/v1alpha1
kind: Portal
metadata: {name: portal}
spec: {hostname: portal.example.com, bus: {secretName: bus}}
"#;

/// Sees to it that the API server knows the kinds, and returns what was said meanwhile.
async fn define(cluster: &Cluster) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/generated");
    let file = format!("--filename={}", folder.display());
    let applied = cluster.kubectl(&["apply", "--server-side", "--force-conflicts", &file], "").await?;
    let said = applied.said.clone();
    applied.done()?;
    let names = KINDS.map(|kind| format!("crd/{kind}.stoker.dev"));
    let mut words = vec!["wait", "--for=condition=Established", "--timeout=20s"];
    words.extend(names.iter().map(String::as_str));
    cluster.kubectl(&words, "").await?.done()?;
    Ok(said)
}

/// A namespace of a cluster that knows the kinds.
async fn begin(test: &str) -> Result<Namespace> {
    let cluster = Cluster::of_variables()?;
    define(&cluster).await?;
    cluster.namespace(test).await
}

async fn read(at: &Namespace, what: &str) -> Result<Value> {
    at.kubectl(&["get", what, "--output=json"], "").await?.json()
}

#[tokio::test]
async fn the_api_server_takes_the_definitions_without_a_complaint() -> Result<()> {
    let cluster = Cluster::of_variables()?;
    let said = define(&cluster).await?;
    ensure!(!said.contains("Warning"), "it warns: {said}");
    for kind in KINDS {
        let name = format!("crd/{kind}.stoker.dev");
        let definition = cluster.kubectl(&["get", &name, "--output=json"], "").await?.json()?;
        let conditions = definition["status"]["conditions"].as_array().context("no conditions")?;
        let status = |kind: &str| {
            conditions
                .iter()
                .find(|condition| condition["type"] == kind)
                .map(|condition| &condition["status"])
        };
        for wished in ["Established", "NamesAccepted"] {
            ensure!(status(wished) == Some(&json!("True")), "{kind}: {wished} is not True: {conditions:?}");
        }
        ensure!(
            status("NonStructuralSchema").is_none(),
            "{kind}: the schema is not structural: {conditions:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn one_of_each_kind_is_taken_and_filled_in() -> Result<()> {
    let at = begin("taken").await?;
    let outcome = async {
        let applied = at.apply(EACH).await?;
        ensure!(!applied.said.contains("Warning"), "it warns: {}", applied.said);
        applied.done()?;
        let gateway = read(&at, "sgw/edge").await?;
        ensure!(gateway["spec"]["replicas"] == 2, "{gateway}");
        ensure!(gateway["spec"]["service"]["type"] == "LoadBalancer", "{gateway}");
        ensure!(gateway["spec"]["service"]["externalTrafficPolicy"] == "Cluster", "{gateway}");
        let shard = read(&at, "scs/core").await?;
        ensure!(shard["spec"]["slots"] == json!({"first": 0, "last": 255}), "{shard}");
        ensure!(read(&at, "snt/notifier").await?["spec"]["webhook"] == json!({"allow": []}));
        ensure!(read(&at, "spt/portal").await?["spec"]["replicas"] == 2);
        let all = read(&at, "stoker").await?;
        ensure!(all["items"].as_array().is_some_and(|items| items.len() == 4), "{all}");
        // Applied again it is the same.
        at.apply(EACH).await?.done()?;
        ensure!(read(&at, "sgw/edge").await?["metadata"]["generation"] == 1);
        Ok(())
    };
    let outcome = outcome.await;
    at.end(outcome).await
}

#[tokio::test]
async fn tables_show_what_the_operator_answered() -> Result<()> {
    let at = begin("tables").await?;
    let outcome = async {
        at.apply(EACH).await?.done()?;
        let status = json!({"status": {
            "observedGeneration": 1, "replicas": 2, "readyReplicas": 1, "selector": "app=edge",
            "address": "198.19.255.7", "connections": 4711,
            "conditions": [{"type": "Ready", "status": "True", "reason": "AsWished", "message": "it serves",
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }});
        let patch =
            ["patch", "sgw/edge", "--subresource=status", "--type=merge", "--patch", &status.to_string()];
        at.kubectl(&patch, "").await?.done()?;
        let gateway = read(&at, "sgw/edge").await?;
        ensure!(gateway["metadata"]["generation"] == 1, "an answer is no wish: {gateway}");
        ensure!(gateway["status"] == status["status"], "not all of the answer is kept: {gateway}");
        let table = at.kubectl(&["get", "sgw"], "").await?.done()?;
        let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        let [head, row] = cells.as_slice() else { anyhow::bail!("not a head and a row: {table}") };
        ensure!(head == &["NAME", "REPLICAS", "READY", "ADDRESS", "CONNECTIONS", "AGE"], "{table}");
        ensure!(row[..5] == ["edge", "2", "1", "198.19.255.7", "4711"], "{table}");
        let wide = at.kubectl(&["get", "sgw", "--output=wide"], "").await?.done()?;
        ensure!(wide.contains("STATUS") && wide.contains("AsWished"), "{wide}");
        for (kind, head) in [
            ("scs", "NAME REPLICAS READY FIRST LAST AGE"),
            ("snt", "NAME REPLICAS READY AGE"),
            ("spt", "NAME REPLICAS READY HOSTNAME AGE"),
        ] {
            let table = at.kubectl(&["get", kind], "").await?.done()?;
            let found: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
            ensure!(found.join(" ") == head, "{kind}: {table}");
        }
        let wait = ["wait", "--for=condition=Ready", "gateways.stoker.dev/edge", "--timeout=10s"];
        at.kubectl(&wait, "").await?.done()?;
        Ok(())
    };
    let outcome = outcome.await;
    at.end(outcome).await
}

#[tokio::test]
async fn replicas_are_scaled_like_those_of_a_deployment() -> Result<()> {
    let at = begin("scaled").await?;
    let outcome = async {
        at.apply(EACH).await?.done()?;
        for (kind, name) in KINDS.into_iter().zip(["edge", "core", "notifier", "portal"]) {
            let resource = format!("{kind}.stoker.dev/{name}");
            at.kubectl(&["scale", &resource, "--replicas=5"], "").await?.done()?;
            let status =
                json!({"status": {"replicas": 3, "readyReplicas": 3, "selector": "app=x"}}).to_string();
            let patch = ["patch", &resource, "--subresource=status", "--type=merge", "--patch", &status];
            at.kubectl(&patch, "").await?.done()?;
            let path = format!("/apis/stoker.dev/v1alpha1/namespaces/{}/{kind}/{name}/scale", at.name);
            let scale = at.cluster.kubectl(&["get", "--raw", &path], "").await?.json()?;
            ensure!(scale["spec"]["replicas"] == 5, "{resource}: {scale}");
            ensure!(scale["status"] == json!({"replicas": 3, "selector": "app=x"}), "{resource}: {scale}");
        }
        Ok(())
    };
    let outcome = outcome.await;
    at.end(outcome).await
}

/// A change of one of each, and what the API server says to it.
const REFUSED: [(&str, &str, &str); 14] = [
    (
        "sgw/edge",
        r#"{"listeners": [{"name": "a", "protocol": "Wss", "port": 1}]}"#,
        "needs tlsSecretName, the Secret with its tls.crt and tls.key",
    ),
    (
        "sgw/edge",
        r#"{"listeners": [{"name": "a", "protocol": "Ws", "port": 1, "tlsSecretName": "tls"}]}"#,
        "leave it out or change the protocol",
    ),
    (
        "sgw/edge",
        r#"{"listeners": [{"name": "a", "protocol": "Ws", "port": 1}, {"name": "b", "protocol": "Mqtt", "port": 1}]}"#,
        "two listeners have the same port; each needs one of its own",
    ),
    (
        "sgw/edge",
        r#"{"listeners": [{"name": "a", "protocol": "Ws", "port": 1}, {"name": "a", "protocol": "Ws", "port": 2}]}"#,
        "Duplicate value",
    ),
    (
        "sgw/edge",
        r#"{"listeners": [{"name": "a", "protocol": "Http", "port": 1}]}"#,
        "Unsupported value: \"Http\"",
    ),
    (
        "sgw/edge",
        r#"{"listeners": [{"name": "a", "protocol": "Mqtt", "port": 1, "proxyProtocol": {"trustedCIDRs": ["10.0.0.0"]}}]}"#,
        "each of trustedCIDRs must be a range such as 10.0.0.0/8",
    ),
    ("sgw/edge", r#"{"hostname": "other.example.com"}"#, "hostname can't be changed: devices dial it"),
    ("sgw/edge", r#"{"drain": {"handoverGrace": "soon"}}"#, "spec.drain.handoverGrace"),
    ("sgw/edge", r#"{"service": {"type": "ExternalName"}}"#, "Unsupported value: \"ExternalName\""),
    ("scs/core", r#"{"slots": {"first": 8, "last": 7}}"#, "slots.first is above slots.last"),
    ("scs/core", r#"{"slots": {"first": 0, "last": 256}}"#, "spec.slots.last"),
    ("scs/core", r#"{"cassandra": {"keyspace": "other"}}"#, "cassandra.keyspace can't be changed"),
    (
        "snt/notifier",
        r#"{"webhook": {"allow": ["everywhere"]}}"#,
        "each of webhook.allow must be a range such as 10.1.2.0/24",
    ),
    ("spt/portal", r#"{"replicas": -1}"#, "spec.replicas"),
];

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_the_way_out() -> Result<()> {
    let at = begin("refused").await?;
    let outcome = async {
        at.apply(EACH).await?.done()?;
        for (resource, spec, says) in REFUSED {
            let patch = format!(r#"{{"spec": {spec}}}"#);
            let ran = at.kubectl(&["patch", resource, "--type=merge", "--patch", &patch], "").await?;
            ran.refused(1, &[says]).with_context(|| format!("{resource}: {spec}"))?;
        }
        for (from, to, says) in [
            ("name: edge", "name: 1-edge", "a Service is named after it"),
            ("\n  bus: {secretName: bus}", "", "spec.bus: Required value"),
            (
                "hostname: devices.example.com",
                "hostname: devices.example.com\n  hostnames: []",
                "unknown field \"spec.hostnames\"",
            ),
        ] {
            let ran = at.apply(&EACH.replacen(from, to, 1)).await?;
            ran.refused(1, &[says]).with_context(|| to.to_owned())?;
        }
        Ok(())
    };
    let outcome = outcome.await;
    at.end(outcome).await
}
