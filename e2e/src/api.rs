//! The HTTP API, as a script uses it.

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use crate::wait::eventually;

/// A client of the HTTP API.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

/// What the API said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null if it was empty.
    pub body: Value,
}

impl Answer {
    /// The body, provided that the status is this one.
    ///
    /// # Errors
    /// It is another.
    pub fn expect(self, status: u16) -> Result<Value> {
        if self.status != status {
            bail!("expected status {status}, not {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }
}

impl Api {
    /// The API of the platform at that URL, for the holder of this token.
    ///
    /// # Errors
    /// The client could not be made.
    pub fn new(base: &str, token: &str) -> Result<Self> {
        // The second test of a process finds it installed.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(90)).build()?;
        Ok(Self { client, base: format!("{base}/api/v1"), token: token.to_owned() })
    }

    /// The same API for the holder of another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Where the API is, with `/api/v1`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// For clients that are given it by us.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.token
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let what = format!("{method} {path}");
        let mut request =
            self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("failed: {what}"))?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.with_context(|| format!("failed to read the answer to {what}"))?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).with_context(|| format!("{what} was not answered by JSON"))?
        };
        Ok(Answer { status, body })
    }

    /// `GET`; the path begins behind `/api/v1`.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.ask(Method::GET, path, None).await
    }

    /// `POST` with a body of JSON.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// `PATCH` with a body of JSON.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.ask(Method::DELETE, path, None).await
    }

    /// All items of a list, page by page.
    ///
    /// # Errors
    /// A page was not answered by 200.
    pub async fn all(&self, path: &str) -> Result<Vec<Value>> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        let sign = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.get(&format!("{path}{sign}limit=1000{cursor}")).await?.expect(200)?;
            items.extend(page["items"].as_array().context("a list without items")?.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// Makes a device and returns its token.
    ///
    /// # Errors
    /// It was not made.
    pub async fn make_device(&self, id: &str) -> Result<String> {
        let made = self.post("/devices", &json!({"id": id})).await?.expect(201)?;
        Ok(made["token"].as_str().context("a device made without a token")?.to_owned())
    }

    /// The values of a key of a device, oldest first.
    ///
    /// # Errors
    /// The list was not given.
    pub async fn values(&self, device: &str, key: &str) -> Result<Vec<Value>> {
        let path = format!("/devices/{device}/telemetry?keys={key}&order=asc");
        Ok(self.all(&path).await?.iter().map(|point| point["value"].clone()).collect())
    }

    /// Sends a command and returns it as answered.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn command(&self, device: &str, method: &str, expires_in_s: u32) -> Result<Value> {
        let body = json!({"method": method, "params": {"to": device}, "expires_in_s": expires_in_s});
        self.post(&format!("/devices/{device}/commands"), &body).await?.expect(202)
    }

    /// A command as it is now.
    ///
    /// # Errors
    /// It is not there.
    pub async fn command_now(&self, command: &Value) -> Result<Value> {
        let id = command["id"].as_str().context("a command without an id")?;
        self.get(&format!("/commands/{id}")).await?.expect(200)
    }

    /// A command once it has come to that state.
    ///
    /// # Errors
    /// It does not, in time; or it ends in another.
    pub async fn command_in(&self, command: &Value, state: &str) -> Result<Value> {
        let what = format!("command {} is {state}", command["number"]);
        eventually(&what, || async {
            let now = self.command_now(command).await?;
            if now["state"] == state {
                return Ok(Some(now));
            }
            if !now["ended_at"].is_null() {
                bail!("a command ended otherwise than by {state}: {now}");
            }
            Ok(None)
        })
        .await
    }

    /// A device whose connection is `online`, `offline` or `never`.
    ///
    /// # Errors
    /// It does not come to that in time.
    pub async fn device_in(&self, device: &str, state: &str) -> Result<Value> {
        eventually(&format!("{device} is {state}"), || async {
            let now = self.get(&format!("/devices/{device}")).await?.expect(200)?;
            Ok((now["connection"]["state"] == state).then_some(now))
        })
        .await
    }

    /// The alarms of a device, of that kind and state.
    ///
    /// # Errors
    /// The list was not given.
    pub async fn alarms(&self, device: &str, kind: &str, state: &str) -> Result<Vec<Value>> {
        let mut alarms = self.all(&format!("/alarms?device={device}&state={state}")).await?;
        alarms.retain(|alarm| alarm["kind"] == kind);
        Ok(alarms)
    }

    /// The events of a device, of that kind.
    ///
    /// # Errors
    /// The list was not given.
    pub async fn events(&self, device: &str, kind: &str) -> Result<Vec<Value>> {
        self.all(&format!("/events?device={device}&kind={kind}")).await
    }
}
