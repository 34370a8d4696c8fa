//! The console: pages for people, rendered here, whole without scripts, and with nothing fetched from elsewhere.
//!
//! Pages read and write by the very functions of the API, so that they show nothing and do nothing that it cannot. The
//! script `console.js` follows the live feed and fetches the parts of a page anew that something has happened to.

mod activity;
mod alarms;
mod assets;
mod chart;
mod connect;
mod device;
mod fleet;
mod form;
mod frame;
mod names;
mod notifications;
mod parts;
mod session;
mod sign_in;
mod subscriptions;
mod welcome;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};

use crate::App;

use assets::ICON;
pub(crate) use form::is_ours;
pub(crate) use session::is_signed_in;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(|| async { Redirect::to(FLEET) }))
        .route(FLEET, get(fleet::show))
        .route("/devices/{id}", get(device::show))
        .route("/devices/{id}/commands", post(device::order))
        .route("/devices/{id}/attributes", post(device::set_attribute))
        .route("/commands/{id}/cancel", post(device::cancel))
        .route(ALARMS, get(alarms::list))
        .route("/alarms/{id}", get(alarms::story))
        .route("/alarms/{id}/acknowledge", post(alarms::acknowledge))
        .route("/alarms/{id}/clear", post(alarms::clear))
        .route(ACTIVITY, get(activity::show))
        .route(SUBSCRIPTIONS, get(subscriptions::list).post(subscriptions::create))
        .route("/subscriptions/{id}/test", post(subscriptions::test))
        .route("/subscriptions/{id}/remove", post(subscriptions::remove))
        .route(NOTIFICATIONS, get(notifications::list))
        .route(CONNECT, get(connect::show).post(connect::make))
        .route("/connect/{id}", get(connect::waiting))
        .route(SIGN_IN, get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .merge(assets::routes())
}

const FLEET: &str = "/fleet";
const ALARMS: &str = "/alarms";
const ACTIVITY: &str = "/activity";
const SUBSCRIPTIONS: &str = "/subscriptions";
const NOTIFICATIONS: &str = "/notifications";
const CONNECT: &str = "/connect";
const SIGN_IN: &str = "/sign-in";
