//! What a lab tells of itself, to people and to tests.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use super::folder::{Folder, State};
use super::kube::Place;
use super::settings::{Part, Settings};
use super::{fetch, ready};
use crate::install;
use crate::process::Runner;
use crate::workspace::Workspace;

/// The environment variables by which tests find a lab.
pub(crate) type Env = BTreeMap<&'static str, String>;

/// A lab as it is now.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    name: String,
    folder: String,
    /// Whether all parts are ready.
    pub(super) ready: bool,
    cassandra_version: String,
    rabbitmq_version: String,
    /// For the tests.
    env: Env,
    kubernetes: Option<Kubernetes>,
    parts: Vec<PartStatus>,
}

/// How people use the Kubernetes of a lab.
#[derive(Debug, Serialize)]
struct Kubernetes {
    kubeconfig: String,
    /// A folder with kubectl, helm and what the lab runs.
    bin: String,
}

impl Kubernetes {
    fn of(folder: &Folder) -> Self {
        let place = Place::of(folder);
        Self { kubeconfig: place.kubeconfig().display().to_string(), bin: place.bin().display().to_string() }
    }
}

#[derive(Debug, Serialize)]
struct PartStatus {
    part: String,
    state: PartState,
    pid: Option<u32>,
    address: String,
    memory_bytes: Option<u64>,
    log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum PartState {
    /// It answers.
    Ready,
    /// It runs, and does not answer.
    Running,
    /// It was sent SIGSTOP.
    Frozen,
    Stopped,
}

impl Status {
    pub(super) fn of(workspace: &Workspace, runner: &Runner, folder: &Folder, state: &State) -> Result<Self> {
        let settings = &state.settings;
        let parts: Vec<PartStatus> =
            settings.parts().into_iter().map(|part| part_status(runner, folder, state, part)).collect();
        Ok(Self {
            name: settings.name.clone(),
            folder: folder.path().display().to_string(),
            ready: parts.iter().all(|part| part.state == PartState::Ready),
            cassandra_version: fetch::pinned_version(workspace)?,
            rabbitmq_version: install::lab::rabbitmq_version(runner)?,
            env: env(folder, settings),
            kubernetes: settings.kubernetes.then(|| Kubernetes::of(folder)),
            parts,
        })
    }

    pub(super) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("failed to write the status")
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "lab {} in {}: Cassandra {}, RabbitMQ {}\n\n{:23} {:8} {:>7} {:17} {:>9}  log\n",
            self.name,
            self.folder,
            self.cassandra_version,
            self.rabbitmq_version,
            "part",
            "state",
            "pid",
            "address",
            "memory"
        );
        for part in &self.parts {
            let state = match part.state {
                PartState::Ready => "ready",
                PartState::Running => "running",
                PartState::Frozen => "frozen",
                PartState::Stopped => "stopped",
            };
            let pid = part.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let memory =
                part.memory_bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{} MB", bytes >> 20));
            let line = (&part.part, state, pid, &part.address, memory, &part.log);
            let (part, state, pid, address, memory, log) = line;
            text.push_str(&format!("{part:23} {state:8} {pid:>7} {address:17} {memory:>9}  {log}\n"));
        }
        text.push_str("\nfor the tests:\n");
        for (name, value) in &self.env {
            text.push_str(&format!("export {name}={value}\n"));
        }
        if let Some(Kubernetes { kubeconfig, bin }) = &self.kubernetes {
            text.push_str(&format!(
                "\nfor kubectl and helm:\nexport KUBECONFIG={kubeconfig} PATH={bin}:$PATH\n"
            ));
        }
        text
    }
}

fn part_status(runner: &Runner, folder: &Folder, state: &State, part: Part) -> PartStatus {
    let process = state.alive(part);
    let part_state = match process.and_then(|process| process.look()) {
        None => PartState::Stopped,
        Some(stat) if stat.is_frozen() => PartState::Frozen,
        Some(_) if ready::answers(runner, folder, &state.settings, part).is_ok() => PartState::Ready,
        Some(_) => PartState::Running,
    };
    PartStatus {
        part: part.to_string(),
        state: part_state,
        pid: process.map(|process| process.pid),
        address: state.settings.address(part).to_string(),
        memory_bytes: process.and_then(|process| process.memory()),
        log: folder.log(part).display().to_string(),
    }
}

/// How tests find the lab.
pub(super) fn env(folder: &Folder, settings: &Settings) -> Env {
    let mut env = Env::from([
        ("STOKER_TEST_CASSANDRA", settings.cassandra_nodes()),
        ("STOKER_TEST_AMQP", settings.amqp_url()),
        ("STOKER_TEST_LAB", folder.path().display().to_string()),
    ]);
    if settings.kubernetes {
        let place = Place::of(folder);
        env.insert("STOKER_TEST_KUBECONFIG", place.kubeconfig().display().to_string());
        env.insert("STOKER_TEST_KUBE_BIN", place.bin().display().to_string());
    }
    env
}
