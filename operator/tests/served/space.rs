//! A platform in one namespace, and an operator that looks at it.

use std::sync::Arc;

use serde_json::{Value, json};
use stoker_operator::{Sampling, Settings, run};
use stoker_telemetry::{Health, LogFormat};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::server::Server;

const OURS: &str = "/apis/stoker.dev/v1alpha1/namespaces/a";

/// One of each kind, with the Secrets that they name.
pub(crate) fn platform(server: &Server) {
    for (name, keys) in [("bus", &["url"][..]), ("mail", &["smtp_url", "from"]), ("stoker-admin", &["token"])]
    {
        let data: serde_json::Map<String, Value> =
            keys.iter().map(|key| ((*key).to_owned(), json!("YWI="))).collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "a"}, "data": data});
        server.put("/api/v1/namespaces/a/secrets", secret);
    }
    let bus = json!({"secretName": "bus"});
    let core = json!({
        "replicas": 2,
        "slots": {"first": 0, "last": 255},
        "cassandra": {"contactPoints": ["cassandra"], "keyspace": "stoker", "datacenter": "dc1"},
        "bus": bus,
    });
    let gateway = json!({
        "hostname": "devices.example.com",
        "replicas": 2,
        "listeners": [{"name": "mqtt", "protocol": "Mqtt", "port": 1883}],
        "service": {"type": "ClusterIP"},
        "bus": bus,
    });
    let notifier = json!({"replicas": 1, "email": {"secretName": "mail"}, "bus": bus});
    let portal = json!({"replicas": 1, "hostname": "stoker.example.com", "bus": bus});
    for (plural, kind, name, spec) in [
        ("coreshards", "CoreShard", "main", core),
        ("gateways", "Gateway", "edge", gateway),
        ("notifiers", "Notifier", "people", notifier),
        ("portals", "Portal", "console", portal),
    ] {
        let resource = json!({
            "apiVersion": "stoker.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "a"},
            "spec": spec,
        });
        server.put(&format!("{OURS}/{plural}"), resource);
    }
}

/// The cluster knows what Prometheus' operator brings.
pub(crate) fn monitors(server: &Server) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    });
    server.put("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition);
}

/// The one pod of a Deployment is made, and ready.
pub(crate) fn pod(server: &Server, deployment: &str) {
    pod_at(server, deployment, ["", ""], "");
}

/// The same, at an address; of a resource, by the component and the name.
pub(crate) fn pod_at(server: &Server, deployment: &str, [component, instance]: [&str; 2], address: &str) {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{deployment}-9f-x"),
            "namespace": "a",
            "labels": {"app.kubernetes.io/managed-by": "stoker-operator", "pod-template-hash": "9f",
                "app.kubernetes.io/component": component, "app.kubernetes.io/instance": instance},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{deployment}-9f"),
                "uid": "1", "controller": true}],
        },
        "status": {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    server.put("/api/v1/namespaces/a/pods", pod);
    server.change("deployments", deployment, |of| {
        of["status"] =
            json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1});
    });
}

/// What a resource says of itself: the reason and the message of a condition.
pub(crate) fn said(server: &Server, plural: &str, name: &str, condition: &str) -> Option<(String, String)> {
    let resource = server.find(plural, name)?;
    let all = resource["status"]["conditions"].as_array()?;
    let of = all.iter().find(|of| of["type"] == condition)?;
    Some((of["reason"].as_str()?.to_owned(), of["message"].as_str()?.to_owned()))
}

/// Whether a resource gives this reason for being ready, or not.
pub(crate) fn is(server: &Server, plural: &str, name: &str, reason: &str) -> bool {
    said(server, plural, name, "Ready").is_some_and(|(of, _)| of == reason)
}

/// An operator, in this process.
pub(crate) struct Operator {
    pub(crate) health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Operator {
    pub(crate) fn begin(server: &Arc<Server>, service_monitors: bool) -> Self {
        Self::asking(server, service_monitors, Sampling::default())
    }

    /// One that asks pods so.
    pub(crate) fn asking(server: &Arc<Server>, service_monitors: bool, sampling: Sampling) -> Self {
        stoker_telemetry::init_logs(LogFormat::Human, "off,stoker_operator=info,stoker_telemetry=info");
        // A test before may have done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let settings = Settings {
            namespace: Some("a".to_owned()),
            image: "registry.example.com/stoker:1".to_owned(),
            instance: "test".to_owned(),
            lease: None,
            service_monitors,
            sampling,
        };
        let task = tokio::spawn(run(server.client(), settings, None, health.clone(), shutdown.clone()));
        Self { health, shutdown, task }
    }

    /// Ends it as SIGKILL does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "it had ended by itself");
    }

    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}
