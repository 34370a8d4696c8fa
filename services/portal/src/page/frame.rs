//! What all pages share.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};

use super::session::Session;
use super::{FLEET, ICON, STYLE};
use crate::App;
use crate::problem::Problem;

/// Nothing runs, nothing comes from elsewhere, nothing frames us, and forms lead only here.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// A whole page around `main`.
pub(crate) fn page(
    app: &App,
    session: Option<&Session>,
    status: StatusCode,
    title: &str,
    main: &Markup,
) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Stoker" }
                link rel="icon" href=(ICON) type="image/svg+xml";
                link rel="stylesheet" href=(STYLE);
            }
            body {
                header.top {
                    a.brand href=(FLEET) {
                        img src=(ICON) alt="" width="28" height="28";
                        "Stoker"
                    }
                    nav {
                        @if session.is_some() { a href=(FLEET) { "Fleet" } }
                        a href="/docs/" { "API" }
                        @if let Some(session) = session {
                            form method="post" action="/sign-out" {
                                (token(app, session))
                                button.plain type="submit" { "Sign out" }
                            }
                        }
                    }
                }
                main { (main) }
            }
        }
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // It shows what only whoever is signed in may see.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, Html(markup.into_string())).into_response()
}

/// The hidden field without which no form of a session is taken.
pub(crate) fn token(app: &App, session: &Session) -> Markup {
    html! { input type="hidden" name="token" value=(session.form_token(app)); }
}

/// A refusal as a page.
pub(crate) fn refusal(app: &App, session: Option<&Session>, problem: &Problem) -> Response {
    let main = html! {
        section.notice role="alert" {
            h1 { (problem.title()) }
            p { (problem.detail()) }
            p { a.button href=(FLEET) { "Back to the fleet" } }
        }
    };
    page(app, session, problem.status(), problem.title(), &main)
}
