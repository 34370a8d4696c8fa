//! What every request passes: its id, its trace, its time, its line in the log, the headers of every answer, the bound on how many there
//! are, and the net under panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, header};
use stoker_telemetry::trace::{self, Remote};
use tokio::sync::Semaphore;
use tracing::Instrument;
use tracing::field::Empty;

use crate::PortalStats;
use crate::problem::Problem;

/// The header that carries a request's id, in and out.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    /// The id of the request under way, which goes with every call to core.
    pub(crate) static REQUEST_ID: String;
}

/// Gives the request an id, logs it and puts the id into the answer. The query stays out of the log: it may hold what
/// people search for.
pub(crate) async fn identify(State(stats): State<PortalStats>, request: Request, next: Next) -> Response {
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
        parent.is_parent_of(&span);
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

/// Turns the newest away when too many are under way.
pub(crate) async fn admit(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
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
