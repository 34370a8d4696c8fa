//! The cluster, by `kubectl`: what a person would type.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::look::{Kind, Look};

/// An API server that takes longer is none that could be judged.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// What is read of one answer at most: a list of all pods of a platform is a small part of that.
const ANSWER_MOST: u64 = 16 << 20;
/// The label of every node that is put into, or taken out of, the node selector: another revision, and nothing else.
const EVERY_NODE: &str = "kubernetes.io/os";
/// The operator's pods.
const OPERATOR: &str = "app.kubernetes.io/part-of=stoker,app.kubernetes.io/component=operator";

/// A namespace of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Kube {
    pub(super) kubectl: PathBuf,
    pub(super) kubeconfig: PathBuf,
    pub(super) namespace: String,
    pub(super) operator_namespace: String,
}

/// Reads all there is, up to the bound.
async fn text(from: Option<impl AsyncRead + Unpin>) -> Result<String> {
    let mut bytes = Vec::new();
    let from = from.context("kubectl has no output")?;
    from.take(ANSWER_MOST + 1).read_to_end(&mut bytes).await?;
    ensure!(bytes.len() as u64 <= ANSWER_MOST, "kubectl says more than {ANSWER_MOST} bytes");
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Kube {
    /// `kubectl` with these words, in that namespace: what it printed.
    async fn run(&self, namespace: &str, words: &[&str], input: &str) -> Result<String> {
        let shown = format!("`kubectl {}`", words.join(" "));
        let mut child = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--namespace", namespace])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to run {}: name it by --kubectl", self.kubectl.display()))?;
        let (stdin, out, said) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let run = async {
            let give = async {
                let mut stdin = stdin.context("kubectl has no input")?;
                // Who does not read it says why.
                let _ = stdin.write_all(input.as_bytes()).await;
                anyhow::Ok(())
            };
            let ((), out, said) = tokio::try_join!(give, text(out), text(said))?;
            anyhow::Ok((child.wait().await?, out, said))
        };
        let (status, out, said) =
            timeout(ANSWERS_WITHIN, run).await.with_context(|| format!("{shown} does not end"))??;
        ensure!(status.success(), "{shown} failed: {}", said.trim());
        Ok(out)
    }

    /// `kubectl` in the platform's namespace.
    async fn here(&self, words: &[&str]) -> Result<String> {
        self.run(&self.namespace, words, "").await
    }

    /// How everything stands.
    pub(super) async fn look(&self) -> Result<Look> {
        let kinds: Vec<&str> = Kind::ALL.into_iter().map(Kind::plural).chain(["pods"]).collect();
        Look::read(&self.here(&["get", &kinds.join(","), "--output=json"]).await?)
    }

    /// Changes some of a resource's spec.
    async fn change(&self, kind: Kind, name: &str, spec: Value) -> Result<()> {
        let change = json!({ "spec": spec }).to_string();
        self.here(&["patch", kind.plural(), name, "--type=merge", "--patch", &change]).await.map(drop)
    }

    /// Gives a resource another revision, which differs in nothing that its pods do.
    pub(super) async fn revise(&self, kind: Kind, name: &str) -> Result<()> {
        let look = self.look().await?;
        let of = look.resources.iter().find(|of| of.kind == kind && of.name == name);
        let selector = &of.with_context(|| format!("{kind} {name} is gone"))?.spec["nodeSelector"];
        let value = if selector[EVERY_NODE].is_null() { json!("linux") } else { Value::Null };
        self.change(kind, name, json!({ "nodeSelector": { EVERY_NODE: value } })).await
    }

    /// Asks for another number of pods.
    pub(super) async fn scale(&self, kind: Kind, name: &str, replicas: u64) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.here(&["scale", kind.plural(), name, &replicas]).await.map(drop)
    }

    /// Evicts a pod, as who drains a node does; false while the budget does not allow it.
    pub(super) async fn evict(&self, pod: &str) -> Result<bool> {
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": pod, "namespace": self.namespace },
        });
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", self.namespace);
        let words = ["create", "--raw", &path, "--filename=-"];
        match self.run(&self.namespace, &words, &eviction.to_string()).await {
            Ok(_) => Ok(true),
            Err(error) if format!("{error:#}").contains("disruption budget") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where a Service is within the cluster.
    pub(super) async fn cluster_ip(&self, service: &str) -> Result<String> {
        let ip = self.here(&["get", "service", service, "--output=jsonpath={.spec.clusterIP}"]).await?;
        ensure!(ip.parse::<std::net::IpAddr>().is_ok(), "Service {service} has no address: {ip:?}");
        Ok(ip)
    }

    /// One key of a Secret.
    pub(super) async fn secret(&self, name: &str, key: &str) -> Result<String> {
        let template = format!("--output=go-template={{{{index .data {key:?} | base64decode}}}}");
        self.here(&["get", "secret", name, &template]).await
    }

    /// Puts a certificate and its key into a Secret; what else is in it stays.
    pub(super) async fn certify(&self, secret: &str, certificate: &str, key: &str) -> Result<()> {
        let change = json!({ "stringData": { "tls.crt": certificate, "tls.key": key } });
        // A key is no argument: those are for everybody to see.
        let words = ["patch", "secret", secret, "--type=merge", "--patch-file=/dev/stdin"];
        self.run(&self.namespace, &words, &change.to_string()).await.map(drop)
    }

    /// The operator's pods, and whether each is ready and stays.
    pub(super) async fn operators(&self) -> Result<Vec<(String, bool)>> {
        let words = ["get", "pods", "--selector", OPERATOR, "--output=json"];
        let look = Look::read(&self.run(&self.operator_namespace, &words, "").await?)?;
        Ok(look.pods.into_iter().map(|pod| (pod.name, pod.ready && !pod.leaving)).collect())
    }

    /// Ends all pods of the operator; others come in their place.
    pub(super) async fn restart_operator(&self) -> Result<()> {
        let pods = self.operators().await?;
        if pods.is_empty() {
            bail!(
                "no pod of an operator is in the namespace {}: name its own by --operator-namespace",
                self.operator_namespace
            );
        }
        let words = ["delete", "pods", "--selector", OPERATOR, "--wait=false"];
        self.run(&self.operator_namespace, &words, "").await.map(drop)
    }
}
