//! A receiver of webhooks: it keeps each request as it came and answers as it was told.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::smtp::python;
use crate::wait::eventually;

/// More than any of these has.
const MOST_HEADERS: usize = 100;
const MOST_BYTES: usize = 1 << 20;

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Method and path, as in `POST /hook`.
    pub what: String,
    /// By their names in small letters.
    pub headers: HashMap<String, String>,
    /// The very bytes.
    pub body: Vec<u8>,
}

impl Hook {
    /// A header.
    ///
    /// # Errors
    /// It is not there.
    pub fn header(&self, name: &str) -> Result<&str> {
        self.headers.get(name).map(String::as_str).with_context(|| format!("no {name} in {:?}", self.headers))
    }

    /// The idempotency key.
    ///
    /// # Errors
    /// There is none.
    pub fn key(&self) -> Result<&str> {
        self.header("webhook-id")
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).context("a webhook whose body is no JSON")
    }

    /// Whether the signature is that of the secret, in the eyes of the receiver that our documentation gives as an
    /// example, which is not made of our code.
    ///
    /// # Errors
    /// It could not be asked.
    pub async fn genuine(&self, secret: &str) -> Result<bool> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/notifications.md");
        let docs = std::fs::read_to_string(docs).context("failed to read docs/notifications.md")?;
        let example = docs.split_once("```python\n").and_then(|(_, rest)| rest.split_once("```"));
        let (example, _) = example.context("docs/notifications.md shows no receiver")?;
        let asked = "import json, sys\nq = json.load(sys.stdin)\n\
            print(genuine(q['headers'], bytes.fromhex(q['body']), q['secret']))\n";
        let mut command = Command::new(python()?);
        command.arg("-c").arg(format!("{example}\n{asked}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("failed to start the example")?;
        let body = self.body.iter().fold(String::new(), |mut hex, byte| {
            let _infallible = write!(hex, "{byte:02x}");
            hex
        });
        let question = json!({"headers": self.headers, "body": body, "secret": secret}).to_string();
        process.stdin.take().context("no standard input")?.write_all(question.as_bytes()).await?;
        let output = process.wait_with_output().await.context("failed to read the example's answer")?;
        match String::from_utf8_lossy(&output.stdout).trim() {
            "True" => Ok(true),
            "False" => Ok(false),
            other => bail!("the example of the documentation said {other:?} and ended by {}", output.status),
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    hooks: Vec<Hook>,
    /// What the next ones are answered; 204 when there is none.
    answers: VecDeque<u16>,
}

/// The receiver, which listens or stands still after a stop. What came stays known over a stop.
#[derive(Debug)]
pub struct WebhookSink {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    /// Ends with the receiver, and its connections with it.
    listener: Option<JoinSet<()>>,
}

async fn read(stream: &mut BufReader<TcpStream>) -> Result<Hook> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let (what, _) = line.rsplit_once(' ').context("no request line")?;
    let what = what.to_owned();
    let mut headers = HashMap::new();
    for _ in 0..MOST_HEADERS {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length: usize = headers.get("content-length").context("no length")?.parse()?;
    ensure!(length <= MOST_BYTES, "a body of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Hook { what, headers, body })
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Seen>>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let hook = read(&mut stream).await?;
    let status = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.hooks.push(hook);
        seen.answers.pop_front().unwrap_or(204)
    };
    // A redirect leads back here, so that one that is followed is seen.
    let location = if status / 100 == 3 { "location: /elsewhere\r\n" } else { "" };
    let answer =
        format!("HTTP/1.1 {status} Told\r\n{location}content-length: 0\r\nconnection: close\r\n\r\n");
    if status == WebhookSink::NO_ANSWER {
        std::future::pending::<()>().await;
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn listen(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            if let Err(error) = serve(stream, seen).await {
                println!("a webhook was not read: {error:#}");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

impl WebhookSink {
    /// In place of a status: the request is read and never answered.
    pub const NO_ANSWER: u16 = 0;

    /// Starts it on a free port.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start() -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts it on a free port of that address of this machine.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start_at(address: IpAddr) -> Result<Self> {
        let nowhere = SocketAddr::new(address, 0);
        let mut sink = Self { address: nowhere, seen: Arc::default(), listener: None };
        sink.restart().await?;
        Ok(sink)
    }

    /// Listens again after a stop, on the same port.
    ///
    /// # Errors
    /// It cannot listen, or does already.
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(self.listener.is_none(), "the receiver still runs");
        let listener = TcpListener::bind(self.address).await.context("failed to listen for webhooks")?;
        self.address = listener.local_addr()?;
        let mut task = JoinSet::new();
        task.spawn(listen(listener, Arc::clone(&self.seen)));
        self.listener = Some(task);
        Ok(())
    }

    /// Stops it between any two steps of what it does. Nothing of it runs when this returns.
    ///
    /// # Errors
    /// It was not running.
    pub async fn stop(&mut self) -> Result<()> {
        self.listener.take().context("the receiver is not running")?.shutdown().await;
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What the next requests are answered.
    pub fn next(&self, statuses: &[u16]) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).answers.extend(statuses);
    }

    /// All requests so far, in their order.
    #[must_use]
    pub fn hooks(&self) -> Vec<Hook> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).hooks.clone()
    }

    /// All requests, once there are that many.
    ///
    /// # Errors
    /// There are not, in time, or there are more.
    pub async fn hooks_once(&self, count: usize) -> Result<Vec<Hook>> {
        eventually(&format!("{count} webhooks"), || async {
            let hooks = self.hooks();
            ensure!(hooks.len() <= count, "{} webhooks in place of {count}: {hooks:#?}", hooks.len());
            Ok((hooks.len() == count).then_some(hooks))
        })
        .await
    }
}
