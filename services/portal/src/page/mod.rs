//! Pages for people: rendered here, whole without scripts, and with nothing fetched from elsewhere.

mod fleet;
mod form;
mod frame;
mod names;
mod session;
mod sign_in;
mod welcome;

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::{HeaderValue, header};

use crate::App;

pub(crate) use form::is_ours;
pub(crate) use session::is_signed_in;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(|| async { Redirect::to(FLEET) }))
        .route(FLEET, get(fleet::show))
        .route("/fleet/alarms/{id}/acknowledge", post(fleet::acknowledge))
        .route(SIGN_IN, get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route(STYLE, get(|| async { asset("text/css; charset=utf-8", include_str!("style.css")) }))
        .route(ICON, get(|| async { asset("image/svg+xml", include_str!("icon.svg")) }))
}

const FLEET: &str = "/fleet";
const SIGN_IN: &str = "/sign-in";
/// The version stands in the address, so that a browser may keep what it has fetched.
const STYLE: &str = concat!("/assets/", env!("CARGO_PKG_VERSION"), "/style.css");
const ICON: &str = "/assets/icon.svg";

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        // An hour: short enough for a build that changes it without a new version.
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
    ];
    (headers, text).into_response()
}
