//! A namespace for one test, what stands in it, and an operator that looks at nothing else.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use serde_json::{Value, json};
use stoker_operator::{Sampling, Settings, run};
use stoker_telemetry::{Health, LogFormat};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::nodes::Nodes;

/// Longer than anything takes: it is there to end what hangs.
const WITHIN: Duration = Duration::from_secs(300);
/// Where the real scheduler puts no pod.
const NOWHERE: &str = "example.com/nowhere";

/// The way to the API server, as the administrator or as somebody else.
pub(crate) async fn client(impersonated: Option<&str>) -> Client {
    let path = std::env::var("STOKER_TEST_KUBECONFIG").expect("STOKER_TEST_KUBECONFIG names a kubeconfig");
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = impersonated.map(str::to_owned);
    Client::try_from(config).unwrap()
}

/// Waits until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    until_nothing_is_left(what, || {
        let is = is();
        async move { if is.await { Vec::new() } else { vec!["it is not so".to_owned()] } }
    })
    .await;
}

/// Waits until nothing is in the way any more, and says what is when it takes too long.
pub(crate) async fn until_nothing_is_left<F: Future<Output = Vec<String>>>(
    what: &str,
    mut left: impl FnMut() -> F,
) {
    let mut last = Vec::new();
    let waits = async {
        loop {
            last = left().await;
            if last.is_empty() {
                return;
            }
            // tidy: allow(sleep): between two questions to the API server
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ended = tokio::time::timeout(WITHIN, waits).await;
    assert!(ended.is_ok(), "it never came to this: {what}\n{}", last.join("\n"));
}

/// The kinds, with their plurals.
pub(crate) const KINDS: [(&str, &str); 4] =
    [("CoreShard", "coreshards"), ("Gateway", "gateways"), ("Notifier", "notifiers"), ("Portal", "portals")];

/// A namespace of its own.
pub(crate) struct Space {
    pub(crate) client: Client,
    pub(crate) name: String,
    nodes: Nodes,
}

impl Space {
    /// A new one, with the definitions of this version in the cluster.
    pub(crate) async fn new(test: &str) -> Self {
        stoker_telemetry::init_logs(LogFormat::Human, "off,stoker_operator=info,stoker_telemetry=info");
        let client = client(None).await;
        define(&client).await;
        let random = getrandom::u32().unwrap();
        let name = format!("stoker-{test}-{random:08x}");
        let all: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        all.create(&PostParams::default(), &namespace).await.unwrap();
        let nodes = Nodes::play(client.clone(), &name);
        Self { client, name, nodes }
    }

    /// Takes it away.
    pub(crate) async fn end(self) {
        self.nodes.end().await;
        let all: Api<Namespace> = Api::all(self.client.clone());
        all.delete(&self.name, &DeleteParams::background()).await.unwrap();
    }

    /// Any kind of object.
    pub(crate) fn api(&self, api_version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Api::namespaced_with(self.client.clone(), &self.name, &resource)
    }

    /// Resources of a kind.
    pub(crate) fn resources(&self, kind: &str) -> Api<DynamicObject> {
        let (kind, plural) = KINDS.into_iter().find(|(name, _)| *name == kind).unwrap();
        self.api("stoker.dev/v1alpha1", kind, plural)
    }

    /// Writes a resource down, as people do.
    pub(crate) async fn put(&self, kind: &str, name: &str, spec: &Value) {
        let resource = json!({
            "apiVersion": "stoker.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        });
        let parameters = PatchParams::apply("people").force();
        self.resources(kind).patch(name, &parameters, &Patch::Apply(resource)).await.unwrap();
    }

    /// Changes some of a resource.
    pub(crate) async fn change(&self, kind: &str, name: &str, change: &Value) {
        let all = self.resources(kind);
        all.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// A Secret with these keys.
    pub(crate) async fn secret(&self, name: &str, keys: &[&str]) {
        let data: serde_json::Map<String, Value> =
            keys.iter().map(|key| ((*key).to_owned(), json!(format!("{key} of {name}")))).collect();
        let secret = json!({"metadata": {"name": name}, "stringData": data});
        let all: Api<Secret> = Api::namespaced(self.client.clone(), &self.name);
        all.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    }

    /// All Secrets that [`Space::platform`] names, but that of the operator.
    pub(crate) async fn secrets(&self) {
        self.secret("bus", &["url"]).await;
        self.secret("mail", &["smtp_url", "from"]).await;
        self.secret("devices-tls", &["tls.crt", "tls.key"]).await;
    }

    /// One of each kind.
    pub(crate) async fn platform(&self) {
        self.put("CoreShard", "main", &core_shard(0, 255)).await;
        self.put("Gateway", "edge", &gateway()).await;
        self.put("Notifier", "people", &notifier()).await;
        self.put("Portal", "console", &portal()).await;
    }

    /// All resources, as they are.
    pub(crate) async fn all(&self) -> Vec<(String, DynamicObject)> {
        let mut all = Vec::new();
        for (kind, _) in KINDS {
            for of in self.resources(kind).list(&Default::default()).await.unwrap() {
                all.push((kind.to_owned(), of));
            }
        }
        all
    }

    /// A condition of a resource: its status, reason and message. None while it is of a former change.
    pub(crate) async fn condition(&self, kind: &str, name: &str, of: &str) -> Option<[String; 3]> {
        condition(&self.resources(kind).get(name).await.unwrap(), of)
    }

    /// Waits until the resource says so.
    pub(crate) async fn says(&self, kind: &str, name: &str, of: &str, reason: &str) -> String {
        let said = || async { self.condition(kind, name, of).await.is_some_and(|said| said[1] == reason) };
        until(&format!("{kind} {name} says {of}: {reason}"), said).await;
        let [_, _, message] = self.condition(kind, name, of).await.unwrap();
        message
    }

    /// Waits until all resources are ready, and nothing is left of former revisions.
    pub(crate) async fn at_rest(&self) {
        until("all is ready and settled", || async {
            let all = self.all().await;
            let settled = |object: &DynamicObject| {
                let is = |of: &str, status: &str, reason: &str| {
                    condition(object, of).is_some_and(|said| said[0] == status && said[1] == reason)
                };
                is("Ready", "True", "AsWished") && is("Progressing", "False", "Settled")
            };
            !all.is_empty() && all.iter().all(|(_, object)| settled(object))
        })
        .await;
    }

    /// An operator of this namespace alone.
    pub(crate) fn operator(&self, client: Client) -> Operator {
        let settings = Settings {
            namespace: Some(self.name.clone()),
            image: "registry.example.com/stoker:1".to_owned(),
            instance: "test".to_owned(),
            lease: None,
            service_monitors: false,
            sampling: Sampling::default(),
        };
        Operator::begin(client, settings)
    }
}

/// What it says, if that is of the newest change.
fn condition(object: &DynamicObject, of: &str) -> Option<[String; 3]> {
    let status = &object.data["status"];
    if status["observedGeneration"].as_i64() != object.metadata.generation {
        return None;
    }
    let said = status["conditions"].as_array()?.iter().find(|said| said["type"] == of)?;
    Some(["status", "reason", "message"].map(|key| said[key].as_str().unwrap_or_default().to_owned()))
}

/// An operator, in this process.
pub(crate) struct Operator {
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Operator {
    pub(crate) fn begin(client: Client, settings: Settings) -> Self {
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let task = tokio::spawn(run(client, settings, None, health.clone(), shutdown.clone()));
        Self { health, shutdown, task }
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it as SIGKILL does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "it had ended by itself");
    }

    /// Waits until it has ended by itself, and returns why.
    pub(crate) async fn died(self) -> String {
        self.task.await.unwrap().unwrap_err().to_string()
    }
}

/// The definitions, as they are in this version, known to the API server.
async fn define(client: &Client) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let all: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (_, definition) in stoker_crds::definitions() {
        let name = definition.metadata.name.clone().unwrap();
        let parameters = PatchParams::apply("people").force();
        all.patch(&name, &parameters, &Patch::Apply(&definition)).await.unwrap();
        until("the definition is served", || async {
            let status = all.get(&name).await.unwrap().status.unwrap_or_default();
            status
                .conditions
                .unwrap_or_default()
                .iter()
                .any(|of| of.type_ == "Established" && of.status == "True")
        })
        .await;
    }
}

fn with_pods(mut spec: Value) -> Value {
    spec["bus"] = json!({"secretName": "bus"});
    spec["nodeSelector"] = json!({NOWHERE: "true"});
    spec
}

pub(crate) fn core_shard(first: i32, last: i32) -> Value {
    with_pods(json!({
        "replicas": 2,
        "slots": {"first": first, "last": last},
        "cassandra": {"contactPoints": ["cassandra"], "keyspace": "stoker", "datacenter": "dc1"},
    }))
}

pub(crate) fn gateway() -> Value {
    with_pods(json!({
        "hostname": "devices.example.com",
        "replicas": 2,
        "listeners": [
            {"name": "mqtt", "protocol": "Mqtt", "port": 1883},
            {"name": "mqtts", "protocol": "Mqtts", "port": 8883, "tlsSecretName": "devices-tls"},
        ],
        "service": {"type": "ClusterIP"},
    }))
}

fn notifier() -> Value {
    with_pods(json!({"replicas": 1, "email": {"secretName": "mail"}}))
}

fn portal() -> Value {
    with_pods(json!({"replicas": 1, "hostname": "stoker.example.com"}))
}
