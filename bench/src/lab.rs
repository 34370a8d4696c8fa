//! The lab that a run works on: real Cassandra and RabbitMQ, as `cargo xtask lab up` brings them up.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// A part of the lab that takes longer to stop or start is broken; its command may have to be built first.
const TAKES: Duration = Duration::from_secs(300);

/// The lab that a run works on.
#[derive(Debug, Clone, Args)]
pub(crate) struct Lab {
    /// Nodes of Cassandra, as `cargo xtask lab up` prints them
    #[arg(long, env = "STOKER_TEST_CASSANDRA", value_delimiter = ',', required = true)]
    pub(crate) cassandra: Vec<SocketAddr>,
    /// RabbitMQ, as `cargo xtask lab up` prints it
    #[arg(long, env = "STOKER_TEST_AMQP")]
    pub(crate) amqp: String,
    /// The folder of the lab; nobody else may be using it
    #[arg(long = "lab", env = "STOKER_TEST_LAB")]
    folder: String,
}

/// `cargo xtask lab …` with these words, of the lab in that folder: what it printed.
pub(crate) async fn run(folder: &str, words: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["xtask", "lab", "--folder", folder]).args(words).kill_on_drop(true);
    let output = timeout(TAKES, command.output()).await.context("the lab takes too long")??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`cargo xtask lab {}` failed: {said}", words.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Lab {
    async fn run(&self, words: &[&str]) -> Result<String> {
        run(&self.folder, words).await
    }

    /// Stops a part, such as `cassandra-2` or `rabbitmq`.
    pub(crate) async fn stop(&self, part: &str) -> Result<()> {
        self.run(&["stop", part]).await.map(drop)
    }

    /// Starts a part that was stopped, and waits until it is ready.
    pub(crate) async fn start(&self, part: &str) -> Result<()> {
        self.run(&["start", part]).await.map(drop)
    }

    /// The processes of all nodes of Cassandra.
    pub(crate) async fn cassandra_pids(&self) -> Result<Vec<u32>> {
        let said = self.run(&["status", "--json"]).await?;
        let status: Value = serde_json::from_str(&said).context("the lab's status is no JSON")?;
        let parts = status["parts"].as_array().context("the lab's status names no parts")?;
        let nodes = parts
            .iter()
            .filter(|part| part["part"].as_str().is_some_and(|name| name.starts_with("cassandra")));
        let pids: Option<Vec<u32>> =
            nodes.map(|node| node["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())).collect();
        pids.filter(|pids| !pids.is_empty()).context("not all nodes of Cassandra run")
    }

    /// Where RabbitMQ listens.
    pub(crate) fn broker(&self) -> Result<SocketAddr> {
        let host =
            self.amqp.rsplit_once('@').and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
        host.parse().with_context(|| format!("--amqp names {host:?}, which is no address with a port"))
    }

    /// As services are told it.
    pub(crate) fn addresses(&self) -> stoker_e2e::Lab {
        let cassandra = self.cassandra.iter().map(ToString::to_string).collect();
        stoker_e2e::Lab { cassandra, amqp: self.amqp.clone() }
    }

    /// How many replicas there can be, three at most.
    pub(crate) fn replicas(&self) -> usize {
        self.cassandra.len().min(3)
    }
}
