//! Requests to the HTTP API.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{STRANGE_TOKEN, Taken, World, fits, is};
use crate::model::{Asks, Caller, Method};
use crate::run::Trouble;

/// An answer: lists come in pages of at most a thousand.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// What one request may take, which may wait for a command for a minute.
const ANSWERED_WITHIN: Duration = Duration::from_secs(75);
/// Between two looks at what is not so yet.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The pauses between looks, each longer than the one before.
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(20))
    }
}

impl Pause {
    /// Waits; false when it would be too late then.
    pub(super) async fn until(&mut self, by: Instant) -> bool {
        let next = Instant::now() + self.0;
        if next > by {
            return false;
        }
        tokio::time::sleep_until(next).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        true
    }
}

/// A body, and of what type it is.
enum Body {
    None,
    Json(Value),
    Lines(String),
}

impl World<'_> {
    /// A request of the case's own, beside its steps.
    pub(super) async fn request(
        &self,
        method: &'static str,
        path: &str,
        caller: Caller,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        self.send(method, path, caller, &body.map_or(Body::None, |body| Body::Json(body.clone()))).await
    }

    async fn send(&self, method: &str, path: &str, caller: Caller, body: &Body) -> Result<(u16, Value)> {
        let what = format!("{method} {path}");
        let api = &self.platform.api;
        let method = reqwest::Method::from_bytes(method.as_bytes())?;
        let mut request = self.http.request(method, format!("{}{path}", api.base())).timeout(ANSWERED_WITHIN);
        request = match caller {
            Caller::Administrator => request.bearer_auth(api.admin_token()),
            Caller::Stranger => request.bearer_auth(STRANGE_TOKEN),
            Caller::Nobody => request,
        };
        request = match body {
            Body::None => request,
            Body::Json(json) => request.json(json),
            Body::Lines(lines) => request.header("content-type", "application/x-ndjson").body(lines.clone()),
        };
        let mut response = request.send().await.with_context(|| format!("failed: {what}"))?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.with_context(|| format!("no whole answer: {what}"))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MOST_BYTES {
                bail!("{what} is answered by more than {MOST_BYTES} bytes");
            }
        }
        if bytes.is_empty() {
            return Ok((status, Value::Null));
        }
        let body =
            serde_json::from_slice(&bytes).with_context(|| format!("{what} was not answered by JSON"))?;
        Ok((status, body))
    }

    pub(super) async fn asks(&mut self, asks: &Asks, by: Instant) -> Taken {
        let path = self.fill(&asks.path)?;
        let more = &asks.more;
        let body = match (&more.body, &more.lines) {
            (Some(body), _) => Body::Json(self.fill_all(body)?),
            (None, Some(lines)) => Body::Lines(self.lines(lines)?),
            (None, None) => Body::None,
        };
        let expected = self.expected(more.gives.as_ref())?;
        let mut pause = Pause::default();
        let observed = loop {
            self.unanswered = (asks.method == Method::Post).then(|| path.clone());
            let answer = timeout_at(by, self.send(asks.method.as_str(), &path, more.caller, &body)).await;
            let (status, observed) = answer.map_err(|_| anyhow!("no answer came in time"))??;
            self.unanswered = None;
            self.remember(asks.method, &path, status, &observed, more.lines.as_deref());
            let judged =
                answered(more.answers, status, &observed).and_then(|()| fits(expected.as_ref(), &observed));
            match judged {
                Ok(()) => break observed,
                Err(trouble) if !more.eventually || !pause.until(by).await => return Err(trouble),
                Err(_) => {}
            }
        };
        self.keep(&more.keep, &observed)
    }

    fn lines(&self, lines: &[Value]) -> Result<String> {
        let mut text = String::new();
        for line in lines {
            match self.fill_all(line)? {
                Value::String(line) => text.push_str(&line),
                json => text.push_str(&json.to_string()),
            }
            text.push('\n');
        }
        Ok(text)
    }

    /// What was made is removed at the end, also if nobody looks at it.
    fn remember(&mut self, method: Method, path: &str, status: u16, body: &Value, lines: Option<&[Value]>) {
        let path = path.split('?').next().unwrap_or_default();
        if method != Method::Post || !(200..300).contains(&status) {
            return;
        }
        if ["/devices", "/subscriptions"].contains(&path)
            && let Some(id) = body["id"].as_str()
        {
            self.made.push(format!("{path}/{id}"));
        }
        let refused = body["failed"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (number, line) in (1_u64..).zip(lines.into_iter().flatten()) {
            // What was refused may be somebody else's.
            if refused.iter().any(|refused| refused["line"] == number) {
                continue;
            }
            if let Some(id) = self.fill_all(line).ok().and_then(|line| Some(line["id"].as_str()?.to_owned()))
            {
                self.made.push(format!("/devices/{id}"));
            }
        }
    }

    /// Removes what the case made, the last first; returns what is left of it, and why.
    pub(in crate::run) async fn clear(mut self) -> Vec<String> {
        self.listeners.clear();
        let unanswered = self.unanswered.iter();
        let mut left: Vec<String> = unanswered
            .map(|path| format!("POST {path} was not answered, and may have made something"))
            .collect();
        for path in self.made.iter().rev() {
            match self.request("DELETE", path, Caller::Administrator, None).await {
                // It may have been removed before.
                Ok((204 | 404, _)) => {}
                Ok((status, body)) => left.push(format!("{path} was not removed: {status} {body}")),
                Err(error) => left.push(format!("{path} was not removed: {error:#}")),
            }
        }
        left
    }
}

/// Whether the status is the expected one, or any of success where none is.
fn answered(expected: Option<u16>, status: u16, body: &Value) -> Result<(), Trouble> {
    let judged = match expected {
        Some(expected) => is(expected, status, "the status"),
        None if (200..300).contains(&status) => Ok(()),
        None => is("success", status, "the status"),
    };
    // What the platform says of it tells more than the number.
    judged.map_err(|trouble| match trouble {
        Trouble::Differs { differences, .. } => Trouble::Differs { differences, observed: body.clone() },
        other => other,
    })
}
