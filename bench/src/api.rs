//! The platform's HTTP API, as far as a run needs it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Devices of one import.
const IMPORTED_AT_ONCE: usize = 5_000;
/// So often what the platform could not answer is asked again, after that pause.
const IMPORT_TRIES: u32 = 5;
const IMPORT_PAUSE: Duration = Duration::from_millis(500);
/// The longest that any request may take: an import of many devices.
const WITHIN: Duration = Duration::from_secs(600);
/// Items of one page: the most that the platform gives.
const PAGE: &str = "1000";

/// A platform's API, with the administrator's token.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    client: Client,
    base: String,
    token: String,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// A point of telemetry.
#[derive(Debug, Deserialize)]
pub(crate) struct Point {
    pub(crate) key: String,
    pub(crate) ts: i64,
}

/// A device.
#[derive(Debug, Deserialize)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) connection: Connection,
}

/// Whether a device is connected, and where.
#[derive(Debug, Deserialize)]
pub(crate) struct Connection {
    pub(crate) state: String,
    pub(crate) gateway: Option<String>,
}

/// An alarm.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Alarm {
    pub(crate) id: String,
    pub(crate) device: String,
    pub(crate) kind: String,
    pub(crate) code: String,
    pub(crate) state: String,
}

/// A command, as it stands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Command {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) device: String,
    pub(crate) state: String,
    pub(crate) outcome: Option<String>,
    pub(crate) reply: Option<Value>,
    pub(crate) ended_at: Option<String>,
}

/// What a command has come to when it has ended.
pub(crate) const FINAL: u8 = 3;

/// How far a command in that state has come; states never go back, and nothing follows a final one.
pub(crate) fn rank(state: &str) -> u8 {
    match state {
        "queued" => 0,
        "sent" => 1,
        "delivered" => 2,
        _ => FINAL,
    }
}

impl Command {
    /// How far it has come.
    pub(crate) fn rank(&self) -> u8 {
        rank(&self.state)
    }

    /// It has ended.
    pub(crate) fn is_final(&self) -> bool {
        self.rank() == FINAL
    }
}

impl Api {
    /// The API at that address.
    pub(crate) fn new(address: SocketAddr, token: &str) -> Result<Self> {
        Self::at(&format!("http://{address}"), token)
    }

    /// The API below that URL.
    pub(crate) fn at(url: &str, token: &str) -> Result<Self> {
        let client = Client::builder().no_proxy().timeout(WITHIN).tcp_nodelay(true).build()?;
        let base = format!("{}/api/v1", url.trim_end_matches('/'));
        Ok(Self { client, base, token: token.to_owned() })
    }

    /// A request to a path below `/api/v1`, for who looks at the answer's head, too.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    async fn send<T: DeserializeOwned>(&self, what: &str, request: RequestBuilder) -> Result<T> {
        let answer = request.bearer_auth(&self.token).send().await;
        let answer = answer.with_context(|| format!("failed to ask for {what}"))?;
        let status = answer.status();
        if !status.is_success() {
            bail!("{what} was answered by {status}: {}", answer.text().await.unwrap_or_default());
        }
        answer.json().await.with_context(|| format!("{what} was answered by another form"))
    }

    /// `GET` of a path below `/api/v1`, with parameters.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(path, self.client.get(format!("{}{path}", self.base))).await
    }

    /// `POST` to a path below `/api/v1`.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        self.send(path, self.client.post(format!("{}{path}", self.base)).json(body)).await
    }

    /// `PATCH` of a path below `/api/v1`.
    pub(crate) async fn patch<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        self.send(path, self.client.patch(format!("{}{path}", self.base)).json(body)).await
    }

    /// All items of a list, page by page.
    pub(crate) async fn each<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &str,
        mut take: impl FnMut(T),
    ) -> Result<()> {
        let first = format!("{path}?limit={PAGE}{parameters}");
        let mut next = first.clone();
        loop {
            // Cursors are made of what needs no encoding.
            let page: Page<T> = self.get(&next).await?;
            page.items.into_iter().for_each(&mut take);
            match page.next_cursor {
                Some(cursor) => next = format!("{first}&cursor={cursor}"),
                None => return Ok(()),
            }
        }
    }

    /// Makes devices, one from each line.
    ///
    /// # Errors
    /// Not all of them were made.
    pub(crate) async fn import(&self, lines: &[String]) -> Result<()> {
        for part in lines.chunks(IMPORTED_AT_ONCE) {
            let mut left = part.to_vec();
            for again in 0..IMPORT_TRIES {
                left = self.import_once(&left, again > 0).await?;
                if left.is_empty() {
                    break;
                }
                tokio::time::sleep(IMPORT_PAUSE).await;
            }
            ensure!(left.is_empty(), "{} devices were not made: the platform could not answer", left.len());
        }
        Ok(())
    }

    /// The lines of which the platform does not know what became of them. Of those that come `again`, some may be there.
    async fn import_once(&self, lines: &[String], again: bool) -> Result<Vec<String>> {
        let request = self
            .client
            .post(format!("{}/devices:import", self.base))
            .header("content-type", "application/x-ndjson")
            .body(lines.join("\n"));
        let answer: Value = self.send("devices:import", request).await?;
        let failed = answer.get("failed").and_then(Value::as_array).context("no list of what failed")?;
        let mut left = Vec::new();
        for one in failed {
            let number = |pointer| one.pointer(pointer).and_then(Value::as_u64);
            match number("/problem/status") {
                Some(503) => {
                    let line = number("/line").and_then(|line| usize::try_from(line).ok()?.checked_sub(1));
                    left.push(line.and_then(|line| lines.get(line)).context("a failure of no line")?.clone());
                }
                Some(409) if again => {}
                _ => bail!("not all devices were made: {one}"),
            }
        }
        let made = answer.get("created").and_then(Value::as_u64);
        ensure!(made == u64::try_from(lines.len() - failed.len()).ok(), "a line is neither made nor failed");
        Ok(left)
    }

    /// Has every alarm told to one channel, given as the API takes it.
    pub(crate) async fn subscribe(&self, channel: Value) -> Result<()> {
        self.subscribe_to(json!({}), channel).await
    }

    /// Has those alarms that match told to one channel, both given as the API takes them.
    pub(crate) async fn subscribe_to(&self, matching: Value, channel: Value) -> Result<()> {
        let subscription = json!({ "name": "bench", "match": matching, "deliver": [channel] });
        let _made: Value = self.post("/subscriptions", &subscription).await?;
        Ok(())
    }

    /// How many points of a device are in the store.
    pub(crate) async fn count_points(&self, device: &str) -> Result<u64> {
        let mut points = 0;
        self.each(&format!("/devices/{device}/telemetry"), "&order=asc", |_: Point| points += 1).await?;
        Ok(points)
    }

    /// Orders something.
    pub(crate) async fn command(&self, device: &str, method: &str, expires_in_s: u32) -> Result<Command> {
        let body = json!({ "method": method, "params": {}, "expires_in_s": expires_in_s });
        self.post(&format!("/devices/{device}/commands"), &body).await
    }
}
