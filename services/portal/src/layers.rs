//! What every request passes: its id, its trace, its time, its line in the log, the headers of every answer, the bound on how many there
//! are, and the net under panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, header};
use stoker_telemetry::trace::{self, Remote};
use tokio::sync::Semaphore;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::PortalStats;
use crate::problem::Problem;

/// The header that carries a request's id, in and out.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whoever calls with a trace of their own. It decides whether ours is kept, so that nobody's is taken over before their
/// token was accepted.
#[derive(Clone)]
struct Caller {
    parent: Remote,
    span: Span,
}

/// The caller is known: their trace goes on in ours.
pub(crate) fn trust_trace(request: &Request) {
    if let Some(Caller { parent, span }) = request.extensions().get() {
        parent.is_parent_of(span);
    }
}

tokio::task_local! {
    /// The id of the request under way, which goes with every call to core.
    pub(crate) static REQUEST_ID: String;
}

/// Gives the request an id, logs it and puts the id into the answer. The query stays out of the log: it may hold what
/// people search for.
pub(crate) async fn identify(State(stats): State<PortalStats>, mut request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(&X_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| fits(id))
        .map_or_else(fresh_id, ToOwned::to_owned);
    let method = request.method().clone();
    // The pattern, not the path: ids are in the span of whoever handles them, and a pattern can be counted by.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!(
        "request", otel.name = %format_args!("{method} {route}"), otel.kind = "server", request_id = %id,
        http.request.method = %method, http.route = %route, http.response.status_code = Empty
    );
    let parent = request.headers().get(trace::HEADER).and_then(|value| value.to_str().ok());
    if let Some(parent) = parent.and_then(Remote::parse) {
        request.extensions_mut().insert(Caller { parent, span: span.clone() });
    }
    let header = HeaderValue::from_str(&id);
    let started = Instant::now();
    let mut response = REQUEST_ID.scope(id, next.run(request)).instrument(span.clone()).await;
    let (elapsed, status) = (started.elapsed(), response.status());
    stats.answered(&method, &route, status, elapsed.as_secs_f64());
    span.record("http.response.status_code", status.as_u16());
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::debug!(status = status.as_u16(), elapsed_ms, "answered"));
    if let Ok(header) = header {
        response.headers_mut().insert(X_REQUEST_ID, header);
    }
    response
}

fn fits(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}

fn fresh_id() -> String {
    let mut bytes = [0; 12];
    // Without randomness the id is useless but the request is not.
    getrandom::fill(&mut bytes).unwrap_or_default();
    bytes.iter().fold(String::with_capacity(24), |id, byte| id + &format!("{byte:02x}"))
}

/// Headers that every answer has. Pages and the API's documentation bring a policy of their own.
pub(crate) async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: browsers then send forms with `Origin: null`, and ours are checked by it.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Asks what became of an order that was taken.
const ASKING: &str = "/api/v1/commands/{id}";

/// How many requests may be under way.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    all: Arc<Semaphore>,
    /// Those that ask what became of an order: what was taken is not to suffer from what was not.
    asking: Arc<Semaphore>,
}

impl Room {
    /// So many, and as many that ask what became of an order.
    pub(crate) fn new(requests: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(requests)), asking: Arc::new(Semaphore::new(requests)) }
    }
}

/// Turns the newest away when too many are under way.
pub(crate) async fn admit(State(room): State<Room>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let asks = request.method() == Method::GET && route == Some(ASKING);
    let room = if asks { room.asking } else { room.all };
    match room.try_acquire() {
        Ok(_permit) => next.run(request).await,
        Err(_) => Problem::overloaded("too many requests are under way; try again").into_response(),
    }
}

/// Answers for a handler that panicked; the connection and everybody else's requests go on.
pub(crate) async fn catch(request: Request, next: Next) -> Response {
    // Nothing of the request is used after a panic, and what handlers share is only ever replaced whole.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&'static str>().copied())
                .unwrap_or("no text");
            tracing::error!(panic = text, "a request handler panicked");
            Problem::internal().into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use axum::{Router, middleware};
    use stoker_telemetry::{LogFormat, OtlpConfig, init_logs_and_traces};
    use tower::ServiceExt;

    use super::*;

    const KEPT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    async fn is_kept(trusted: bool) -> String {
        let handler = || async { Remote::current().is_some_and(|own| own.is_sampled()).to_string() };
        let trust = move |request: Request, next: Next| async move {
            if trusted {
                trust_trace(&request);
            }
            next.run(request).await
        };
        let router = Router::new()
            .route("/", get(handler))
            .layer(middleware::from_fn(trust))
            .layer(middleware::from_fn_with_state(PortalStats::default(), identify));
        let request = Request::get("/").header(trace::HEADER, KEPT).body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        String::from_utf8(to_bytes(answer.into_body(), 100).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn only_who_is_known_decides_which_traces_are_kept() {
        let otlp = OtlpConfig {
            endpoint: "http://127.0.0.1:9".to_owned(),
            named: "test",
            sample_ratio: 0.0,
            service: "stoker-portal".to_owned(),
            instance: "m1".to_owned(),
        };
        let _export = init_logs_and_traces(LogFormat::Human, "off", &otlp, "0.0.0-test").unwrap();
        assert_eq!(is_kept(true).await, "true");
        assert_eq!(is_kept(false).await, "false");
    }
}
