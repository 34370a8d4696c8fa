//! Requests to the portal.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Body, Client, Method, Url};
use serde_json::Value;

use super::Globals;
use super::failure::Failure;
use crate::data_dir;

/// Longer than the portal waits for core.
const PATIENCE: Duration = Duration::from_secs(30);
/// An answer is a page of a list at most.
const LARGEST_ANSWER: usize = 256 * 1024 * 1024;

/// A portal, and as whom to ask it.
#[derive(Debug)]
pub(crate) struct Api {
    base: Url,
    token: String,
    client: Client,
}

/// Where the token comes from, in the documented order: argument or environment, then file.
fn token(globals: &Globals) -> Result<String, Failure> {
    if let Some(token) = &globals.token {
        return Ok(token.trim().to_owned());
    }
    let hint = "give it in STOKER_TOKEN, or run this as whoever runs `stoker up`";
    let directory = match &globals.data_dir {
        Some(directory) => directory.clone(),
        None => data_dir::default().map_err(|_| Failure::with_hint("there is no token", hint))?,
    };
    let file = directory.join(data_dir::TOKEN_FILE);
    match fs::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => Err(Failure::with_hint(format!("the token file {} is empty", file.display()), hint)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::with_hint(format!("there is no token: {} does not exist", file.display()), hint))
        }
        Err(error) => Err(Failure::with_hint(
            format!("failed to read the token file {}: {error}", file.display()),
            hint,
        )),
    }
}

impl Api {
    pub(crate) fn new(globals: &Globals) -> Result<Self, Failure> {
        let wrong = || Failure::Use(format!("--server is an http or https URL, not {:?}", globals.server));
        let base = Url::parse(&globals.server).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(wrong());
        }
        let mut client = Client::builder()
            .user_agent(concat!("stoker/", env!("CARGO_PKG_VERSION")))
            // The portal sends none, and the token is not for whoever else might.
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(10));
        if matches!(base.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
            // No proxy reaches this machine's own loopback.
            client = client.no_proxy();
        }
        let client = client
            .build()
            .map_err(|error| Failure::failed(format!("failed to prepare for requests: {}", chain(&error))))?;
        Ok(Self { base, token: token(globals)?, client })
    }

    /// The address of a resource; every segment is escaped.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        // Only URLs that have no host can't be extended, and those were refused.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        url
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<(&str, Body)>,
        patience: Duration,
    ) -> Result<String, Failure> {
        let mut request = self.client.request(method, url).bearer_auth(&self.token).timeout(patience);
        if let Some((content_type, body)) = body {
            request = request.header("content-type", content_type).body(body);
        }
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if answer.len() + chunk.len() > LARGEST_ANSWER {
                return Err(Failure::with_hint("the answer is too large", "ask for less with --limit"));
            }
            answer.extend_from_slice(&chunk);
        }
        let answer = String::from_utf8(answer).map_err(|_| not_json())?;
        if status.is_success() { Ok(answer) } else { Err(Failure::refused(status.as_u16(), &answer)) }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let server = self.base.origin().ascii_serialization();
        if error.is_connect() {
            return Failure::with_hint(
                format!("failed to reach {server}: {}", chain(error)),
                "is `stoker up` running there? --server or STOKER_SERVER says where to look",
            );
        }
        if error.is_timeout() {
            let hint = "what was asked may or may not have happened; look before asking again";
            return Failure::with_hint(format!("{server} did not answer in time"), hint);
        }
        Failure::failed(format!("failed to talk to {server}: {}", chain(error)))
    }

    pub(crate) async fn get(&self, url: Url) -> Result<String, Failure> {
        self.send(Method::GET, url, None, PATIENCE).await
    }

    /// The same for an answer that may take `longer` to come.
    pub(crate) async fn wait(&self, url: Url, longer: Duration) -> Result<String, Failure> {
        self.send(Method::GET, url, None, PATIENCE + longer).await
    }

    pub(crate) async fn post(&self, url: Url, body: &Value) -> Result<String, Failure> {
        let body = Body::from(body.to_string());
        self.send(Method::POST, url, Some(("application/json", body)), PATIENCE).await
    }

    /// The same with JSON text that is passed on letter by letter.
    pub(crate) async fn post_text(&self, url: Url, body: String) -> Result<String, Failure> {
        self.send(Method::POST, url, Some(("application/json", Body::from(body))), PATIENCE).await
    }

    /// Sends many devices, which takes as long as it takes.
    pub(crate) async fn import(&self, url: Url, lines: Body) -> Result<String, Failure> {
        let patience = Duration::from_secs(660);
        self.send(Method::POST, url, Some(("application/x-ndjson", lines)), patience).await
    }

    pub(crate) async fn delete(&self, url: Url) -> Result<(), Failure> {
        self.send(Method::DELETE, url, None, PATIENCE).await.map(drop)
    }
}

/// An answer that cannot be read.
pub(crate) fn not_json() -> Failure {
    Failure::with_hint(
        "the server did not answer as a Stoker portal does",
        "does --server name the portal, and is it of this version?",
    )
}

/// An error with its causes, without the URL that stands in reqwest's own.
fn chain(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
