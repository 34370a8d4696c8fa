//! Signing in and out.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderValue, StatusCode, header};
use maud::html;

use super::form::{SessionForm, SignInForm};
use super::frame::{Head, page, refusal};
use super::session::{Session, forget};
use super::{FLEET, SIGN_IN};
use crate::App;
use crate::auth::ADMIN;
use crate::problem::Problem;
use crate::time::now;

fn form(app: &App, status: StatusCode, wrong: bool) -> Response {
    let main = html! {
        section.card.sign-in {
            h1 { "Sign in" }
            p { "With the administrator's token. The first " code { "stoker up" } " wrote it to "
                code { "admin.token" } " in its data directory and said where that is." }
            form method="post" action=(SIGN_IN) {
                // For password managers, which keep a secret with a name.
                input type="text" name="username" value=(ADMIN) autocomplete="username" readonly hidden;
                label for="secret" { "Token" }
                input #secret type="password" name="secret" required autocomplete="current-password" autofocus
                    aria-describedby=[wrong.then_some("wrong")];
                @if wrong { p #wrong.wrong role="alert" { "This is not the token." } }
                button type="submit" { "Sign in" }
            }
        }
    };
    page(app, None, status, &Head::new("Sign in"), &main)
}

pub(crate) async fn show(State(app): State<App>) -> Response {
    form(&app, StatusCode::OK, false)
}

pub(crate) async fn sign_in(State(app): State<App>, SignInForm(fields): SignInForm) -> Response {
    if !app.auth.is_admin(fields.field("secret").trim()) {
        tracing::warn!("somebody tried to sign in with a wrong token");
        let mut response = form(&app, StatusCode::UNAUTHORIZED, true);
        let challenge = HeaderValue::from_static("Bearer realm=\"stoker\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    let cookie = Session::new(now()).and_then(|session| session.cookie(&app));
    match cookie {
        Some(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to(FLEET)).into_response(),
        None => refusal(&app, None, &Problem::internal()),
    }
}

pub(crate) async fn sign_out(State(app): State<App>, _: SessionForm) -> Response {
    let mut response = Redirect::to(SIGN_IN).into_response();
    if let Some(cookie) = forget(&app) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
