//! A real Kubernetes, as `cargo xtask lab up --kubernetes` brings it up, by `kubectl`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cli::Ran;
use crate::lab::variable;
use crate::wait::WITHIN;

/// The cluster of a lab, where everything is allowed.
#[derive(Debug, Clone)]
pub struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
}

impl Cluster {
    /// That of the variables.
    ///
    /// # Errors
    /// One is not set.
    pub fn of_variables() -> Result<Self> {
        let bin = PathBuf::from(variable("STOKER_TEST_KUBE_BIN")?);
        Ok(Self { kubeconfig: variable("STOKER_TEST_KUBECONFIG")?.into(), kubectl: bin.join("kubectl") })
    }

    /// Runs `kubectl` with these words and this on standard input.
    ///
    /// # Errors
    /// It could not be started, or did not end in time.
    pub async fn kubectl(&self, words: &[&str], input: &str) -> Result<Ran> {
        let mut child = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to run {}", self.kubectl.display()))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let run = async {
            stdin.write_all(input.as_bytes()).await?;
            drop(stdin);
            child.wait_with_output().await
        };
        let output =
            timeout(WITHIN, run).await.with_context(|| format!("kubectl {words:?} does not end"))??;
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Makes a namespace of the test's own.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn namespace(&self, test: &str) -> Result<Namespace> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let name = format!("{test}-{}", now % 1_000_000_000_000);
        self.kubectl(&["create", "namespace", &name], "").await?.done()?;
        Ok(Namespace { cluster: self.clone(), name })
    }
}

/// A namespace of one test.
#[derive(Debug)]
pub struct Namespace {
    /// Where it is.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Runs `kubectl` in it.
    ///
    /// # Errors
    /// It could not be started, or did not end in time.
    pub async fn kubectl(&self, words: &[&str], input: &str) -> Result<Ran> {
        let mut all = vec!["--namespace", self.name.as_str()];
        all.extend(words);
        self.cluster.kubectl(&all, input).await
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// `kubectl` could not be run.
    pub async fn apply(&self, manifests: &str) -> Result<Ran> {
        self.kubectl(&["apply", "--filename=-"], manifests).await
    }

    /// Deletes it after a test that came to this. When the test failed, the error says how everything in it stood.
    ///
    /// # Errors
    /// The test's, or that the namespace can't be deleted.
    pub async fn end(self, outcome: Result<()>) -> Result<()> {
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.state().await)),
        };
        let delete = ["delete", "namespace", &self.name, "--wait=false"];
        let deleted = self.cluster.kubectl(&delete, "").await.and_then(Ran::done);
        outcome.and(deleted.map(drop))
    }

    async fn state(&self) -> String {
        let mut text = format!("the namespace {} was so:\n", self.name);
        for words in
            [&["get", "stoker,all", "--output=wide"][..], &["get", "events", "--sort-by=.lastTimestamp"]]
        {
            match self.kubectl(words, "").await {
                Ok(ran) => text.push_str(&format!("{}{}\n", ran.out, ran.said)),
                Err(error) => text.push_str(&format!("{error:#}\n")),
            }
        }
        text
    }
}
