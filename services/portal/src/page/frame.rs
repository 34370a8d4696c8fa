//! What all pages share.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};

use super::session::Session;
use super::{ACTIVITY, ALARMS, FLEET, ICON, NOTIFICATIONS, SIGN_IN, SUBSCRIPTIONS, assets};
use crate::App;
use crate::problem::Problem;

/// Nothing runs but our own file, nothing comes from elsewhere, nothing frames us, and forms lead only here.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; script-src 'self'; \
     connect-src 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// What a page is called, where it belongs, and what of the live feed it is about.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    title: &'a str,
    at: &'a str,
    feed: Option<String>,
    source: Option<String>,
}

impl<'a> Head<'a> {
    pub(super) fn new(title: &'a str) -> Self {
        Self { title, ..Self::default() }
    }

    /// In the part of the console that begins at this path.
    pub(super) fn at(mut self, path: &'a str) -> Self {
        self.at = path;
        self
    }

    /// It is what this address shows, and an answer to a form that was refused.
    pub(super) fn source(mut self, path: String) -> Self {
        self.source = Some(path);
        self
    }

    /// It follows the live feed: of this device, or of all, these types of items.
    pub(super) fn follows(mut self, device: Option<&str>, types: &str) -> Self {
        let parameters = [("devices", device.unwrap_or_default()), ("types", types)];
        self.feed = Some(super::parts::link("/api/v1/live", &parameters));
        self
    }
}

/// The parts of the console.
const PARTS: [(&str, &str); 5] = [
    (FLEET, "Fleet"),
    (ALARMS, "Alarms"),
    (ACTIVITY, "Activity"),
    (SUBSCRIPTIONS, "Subscriptions"),
    (NOTIFICATIONS, "Notifications"),
];

fn top(app: &App, session: Option<&Session>, head: &Head<'_>) -> Markup {
    html! {
        header.top {
            a.brand href=(if session.is_some() { FLEET } else { SIGN_IN }) {
                img src=(ICON) alt="" width="28" height="28";
                "Stoker"
            }
            nav aria-label="Console" {
                @if session.is_some() {
                    @for (path, name) in PARTS {
                        a href=(path) aria-current=[(head.at == path).then_some("page")] { (name) }
                    }
                }
                a href="/docs/" { "API" }
            }
            @if let Some(session) = session {
                span #live.live role="status" hidden {}
                form method="post" action="/sign-out" {
                    (token(app, session))
                    button.plain type="submit" { "Sign out" }
                }
            }
        }
    }
}

/// A whole page around `main`.
pub(super) fn page(
    app: &App,
    session: Option<&Session>,
    status: StatusCode,
    head: &Head<'_>,
    main: &Markup,
) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (head.title) " · Stoker" }
                link rel="icon" href=(ICON) type="image/svg+xml";
                link rel="stylesheet" href=(assets::STYLE.as_str());
                @if session.is_some() { script src=(assets::SCRIPT.as_str()) defer {} }
            }
            body data-feed=[session.and(head.feed.as_deref())] data-source=[head.source.as_deref()] {
                a.skip href="#main" { "Skip to the content" }
                (top(app, session, head))
                main #main tabindex="-1" { (main) }
                div #said.unseen role="status" aria-live="polite" {}
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
pub(super) fn token(app: &App, session: &Session) -> Markup {
    html! { input type="hidden" name="token" value=(session.form_token(app)); }
}

/// A refusal as a page.
pub(super) fn refusal(app: &App, session: Option<&Session>, problem: &Problem) -> Response {
    let main = html! {
        section.notice role="alert" {
            h1 { (problem.title()) }
            p { (problem.detail()) }
            p { a.button href=(FLEET) { "Back to the fleet" } }
        }
    };
    page(app, session, problem.status(), &Head::new(problem.title()), &main)
}
