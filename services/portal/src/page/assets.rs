//! What pages are drawn and kept up to date with: one style sheet, one script, one icon.

use std::sync::LazyLock;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, header};
use sha2::{Digest, Sha256};

use crate::App;

const STYLE_TEXT: &str = include_str!("style.css");
const SCRIPT_TEXT: &str = include_str!("console.js");
pub(super) const ICON: &str = "/assets/icon.svg";

/// What is in a file stands in its address, so that no page meets one of another version.
fn path(name: &str, text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let hash = digest.iter().take(8).fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"));
    format!("/assets/{hash}/{name}")
}

pub(super) static STYLE: LazyLock<String> = LazyLock::new(|| path("style.css", STYLE_TEXT));
pub(super) static SCRIPT: LazyLock<String> = LazyLock::new(|| path("console.js", SCRIPT_TEXT));

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        // An hour: while one portal replaces another, a page of the one may get the file of the other.
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
    ];
    (headers, text).into_response()
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/assets/{hash}/style.css", get(|| async { asset("text/css; charset=utf-8", STYLE_TEXT) }))
        .route(
            "/assets/{hash}/console.js",
            get(|| async { asset("text/javascript; charset=utf-8", SCRIPT_TEXT) }),
        )
        .route(ICON, get(|| async { asset("image/svg+xml", include_str!("icon.svg")) }))
}
