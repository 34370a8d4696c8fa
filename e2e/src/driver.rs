//! Foreign clients: a process that holds any number of MQTT clients and is spoken to by lines of JSON.
//!
//! A request is `{"id", "op", "client", …}`, its answer `{"id", "ok", …}`; what happens by itself is
//! `{"client", "event", …}`. Both programs in `clients/` speak it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use crate::devices::Device;
use crate::wait::WITHIN;

/// Happenings of one client that nobody has looked at yet. At the bound the driver is read no further.
const HAPPENINGS: usize = 20_000;

/// Whose client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// Eclipse Paho, Python.
    Paho,
    /// MQTT.js, Node.
    Js,
}

type Answers = HashMap<u64, oneshot::Sender<Value>>;

#[derive(Debug, Default)]
struct Waiting {
    answers: Answers,
    happenings: HashMap<String, mpsc::Sender<Value>>,
    over: bool,
}

/// A process with foreign clients. Ends when it is dropped.
#[derive(Debug, Clone)]
pub struct Clients(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Foreign,
    /// Killed when dropped.
    _process: Child,
    input: Mutex<ChildStdin>,
    waiting: Arc<std::sync::Mutex<Waiting>>,
    next: AtomicU64,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn installed(variable: &str, fallback: &str) -> Result<PathBuf> {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe().context("failed to find this test's own path")?;
            test.ancestors().nth(3).context("this test stands in no target directory")?.join(fallback)
        }
    };
    if !path.exists() {
        bail!(
            "{} is not there: `cargo xtask test --only e2e` installs it, or set {variable}",
            path.display()
        );
    }
    Ok(path)
}

/// Where the foreign clients for Node are.
pub(crate) fn node_modules() -> Result<PathBuf> {
    installed("STOKER_E2E_NODE_MODULES", "e2e-node/node_modules")
}

fn command(kind: Foreign) -> Result<Command> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    Ok(match kind {
        Foreign::Paho => {
            let mut command = Command::new(installed("STOKER_E2E_PYTHON", "e2e-venv/bin/python")?);
            command.arg("-u").arg(programs.join("paho_devices.py"));
            command
        }
        Foreign::Js => {
            let mut command = Command::new("node");
            command.arg(programs.join("js_devices.mjs"));
            command.arg(node_modules()?);
            command
        }
    })
}

async fn read(mut lines: Lines<BufReader<ChildStdout>>, waiting: Arc<std::sync::Mutex<Waiting>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            println!("a foreign client said: {line}");
            continue;
        };
        if let Some(id) = said["id"].as_u64() {
            let waiter = waiting.lock().ok().and_then(|mut waiting| waiting.answers.remove(&id));
            // Whoever asked may have given up.
            waiter.map(|waiter| waiter.send(said));
            continue;
        }
        let client = said["client"].as_str().unwrap_or_default();
        let to = waiting.lock().ok().and_then(|waiting| waiting.happenings.get(client).cloned());
        if let Some(to) = to {
            // The test may have dropped that device.
            drop(to.send(said).await);
        }
    }
    if let Ok(mut waiting) = waiting.lock() {
        *waiting = Waiting { over: true, ..Waiting::default() };
    }
}

impl Clients {
    /// Starts the process.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub async fn start(kind: Foreign) -> Result<Self> {
        let mut command = command(kind)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().with_context(|| format!("failed to start {kind:?} clients"))?;
        let input = process.stdin.take().context("no standard input")?;
        let output = process.stdout.take().context("no standard output")?;
        let waiting = Arc::<std::sync::Mutex<Waiting>>::default();
        let lines = BufReader::new(output).lines();
        let reader = tokio::spawn(read(lines, waiting.clone()));
        let next = AtomicU64::new(1);
        let inner = Inner { kind, _process: process, input: Mutex::new(input), waiting, next, reader };
        let clients = Self(Arc::new(inner));
        clients.ask(json!({"op": "hello"})).await?;
        Ok(clients)
    }

    /// Both kinds.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn both() -> Result<[Self; 2]> {
        let (paho, js) = tokio::join!(Self::start(Foreign::Paho), Self::start(Foreign::Js));
        Ok([paho?, js?])
    }

    /// Whose these are.
    #[must_use]
    pub fn kind(&self) -> Foreign {
        self.0.kind
    }

    /// A client in this process; not connected yet.
    ///
    /// # Errors
    /// The process is over.
    pub fn device(&self) -> Result<Device> {
        let name = format!("c{}", self.0.next.fetch_add(1, Ordering::Relaxed));
        let (sender, happenings) = mpsc::channel(HAPPENINGS);
        let mut waiting = self.0.waiting.lock().map_err(|_| anyhow::anyhow!("the reader has died"))?;
        waiting.happenings.insert(name.clone(), sender);
        drop(waiting);
        Ok(Device::new(self.clone(), name, happenings))
    }

    /// Asks without waiting for the answer, which is sent all the same.
    pub(crate) async fn begin(&self, mut request: Value) -> Result<oneshot::Receiver<Value>> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        request["id"] = json!(id);
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.lock().map_err(|_| anyhow::anyhow!("the reader has died"))?;
            if waiting.over {
                bail!("the process of the {:?} clients has ended", self.0.kind);
            }
            waiting.answers.insert(id, sender);
        }
        let mut input = self.0.input.lock().await;
        input
            .write_all(format!("{request}\n").as_bytes())
            .await
            .context("a foreign client takes no order")?;
        Ok(answer)
    }

    pub(crate) async fn ask(&self, request: Value) -> Result<Value> {
        let what = format!("{:?} {}", self.0.kind, request["op"]);
        let answer = self.begin(request).await?;
        let answer = timeout(WITHIN, answer).await.with_context(|| format!("no answer: {what}"))?;
        answer.with_context(|| format!("the process ended: {what}"))
    }
}
