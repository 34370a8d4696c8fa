//! Requests to the portal.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Body, Client, Method, Url};
use serde_json::Value;

use super::failure::Failure;
use super::import::Imported;
use super::{DEFAULT_SERVER, Platform};
use crate::data_dir;

/// Longer than the portal waits for core.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than an import may take.
const IMPORT_PATIENCE: Duration = Duration::from_secs(660);
/// An answer is a page of a list at most.
const LARGEST_ANSWER: usize = 256 * 1024 * 1024;

/// A portal, and as whom to ask it.
#[derive(Debug)]
pub(crate) struct Api {
    base: Url,
    token: String,
    /// Where the token was found, for a person.
    found: String,
    client: Client,
}

/// The token and where it comes from, in the documented order: argument or environment, then file.
fn token(platform: &Platform) -> Result<(String, String), Failure> {
    let (token, found) = match platform.token.as_deref().map(str::trim).filter(|token| !token.is_empty()) {
        Some(token) => (token.to_owned(), "--token or STOKER_TOKEN".to_owned()),
        None => token_of_file(platform)?,
    };
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok((token, found));
    }
    let hint = "a token is one word of letters, digits and signs";
    Err(Failure::with_hint(format!("the token of {found} cannot be one"), hint))
}

fn token_of_file(platform: &Platform) -> Result<(String, String), Failure> {
    let hint =
        "give it in STOKER_TOKEN, or by --data-dir the directory of `stoker up`, as a user who may read it";
    let directory = match &platform.data_dir {
        Some(directory) => directory.clone(),
        None => data_dir::default().map_err(|_| Failure::with_hint("there is no token", hint))?,
    };
    let file = directory.join(data_dir::TOKEN_FILE);
    let shown = file.display();
    match fs::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() => Ok((text.trim().to_owned(), shown.to_string())),
        Ok(_) => Err(Failure::with_hint(format!("the token file {shown} is empty"), hint)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::with_hint(format!("there is no token: {shown} does not exist"), hint))
        }
        Err(error) => {
            Err(Failure::with_hint(format!("failed to read the token file {shown}: {error}"), hint))
        }
    }
}

/// The portal's address, with nothing but what belongs to it.
fn base(server: &str) -> Result<Url, Failure> {
    // A variable that is set to nothing is not set.
    let server = if server.trim().is_empty() { DEFAULT_SERVER } else { server };
    let wrong =
        || Failure::Use(format!("--server is an http or https URL such as {DEFAULT_SERVER}, not {server:?}"));
    let mut base = Url::parse(server).map_err(|_| wrong())?;
    if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
        return Err(wrong());
    }
    if !base.username().is_empty() || base.password().is_some() {
        // Not shown again: there may be a password in it.
        return Err(Failure::Use("--server is a URL without user name and password".to_owned()));
    }
    base.set_query(None);
    base.set_fragment(None);
    // Whoever copies the address from a script has the API's path with it.
    let path = base.path().trim_end_matches('/').trim_end_matches("/api/v1").to_owned();
    base.set_path(&path);
    Ok(base)
}

/// True for an address that never leaves this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Api {
    pub(crate) fn new(platform: &Platform) -> Result<Self, Failure> {
        let base = base(&platform.server)?;
        let mut client = Client::builder()
            .user_agent(concat!("stoker/", env!("CARGO_PKG_VERSION")))
            // The portal sends none, and the token is not for whoever else might.
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(10));
        if is_loopback(&base) {
            // No proxy reaches this machine's own loopback.
            client = client.no_proxy();
        }
        let client = client
            .build()
            .map_err(|error| Failure::failed(format!("failed to prepare for requests: {}", chain(&error))))?;
        let (token, found) = token(platform)?;
        Ok(Self { base, token, found, client })
    }

    /// The administrator's token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The portal, for a person.
    pub(crate) fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The address of a resource; every segment is escaped.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
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
        if status.is_success() {
            return Ok(answer);
        }
        let hint =
            format!("the token is that of {}; `stoker up` says at its start where its own is", self.found);
        Err(Failure::refused(status.as_u16(), &answer).hint_when("unauthenticated", hint))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let server = self.server();
        if error.is_timeout() && !error.is_connect() {
            let hint = "what was asked may or may not have happened; look before asking again";
            return Failure::with_hint(format!("{server} did not answer in time"), hint);
        }
        let what = format!("failed to reach {server}: {}", chain(error));
        let hint = match self.base.scheme() {
            // The most common reason why a handshake comes to nothing.
            "https" if what.contains("InvalidContentType") => "does it speak http rather than https?",
            _ if error.is_connect() => {
                "is `stoker up` running there? --server or STOKER_SERVER says where to look"
            }
            // A balancer takes connections also when nobody stands behind it.
            _ => {
                "is this the portal's port, and does `stoker up` or a portal run behind it? what was asked may or \
                 may not have happened"
            }
        };
        Failure::with_hint(what, hint)
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

    pub(crate) async fn patch(&self, url: Url, body: &Value) -> Result<String, Failure> {
        self.patch_text(url, body.to_string()).await
    }

    /// The same with JSON text that is passed on letter by letter.
    pub(crate) async fn patch_text(&self, url: Url, body: String) -> Result<String, Failure> {
        self.send(Method::PATCH, url, Some(("application/json", Body::from(body))), PATIENCE).await
    }

    /// Makes many devices, one JSON object a line.
    pub(crate) async fn import(&self, lines: Vec<u8>) -> Result<Imported, Failure> {
        let url = self.url(&["devices:import"]);
        let body = Some(("application/x-ndjson", Body::from(lines)));
        let answer = self.send(Method::POST, url, body, IMPORT_PATIENCE).await?;
        serde_json::from_str(&answer).map_err(|_| not_json())
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
