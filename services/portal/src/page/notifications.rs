//! Who was told, and how that went.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use stoker_domain::Millis;

use super::NOTIFICATIONS;
use super::frame::{Head, page, refusal};
use super::parts::{device_link, link, moment, pages, short};
use super::session::Session;
use crate::App;
use crate::extract::{Parsed, Query};
use crate::list::{Limit, List};
use crate::notifications::{self, Notification, NotificationState, NotificationsQuery};
use crate::time::now;

const PAGE: u32 = 50;
/// What is to be tried later is looked at when everything is.
const SOON_MS: Millis = 60_000;
/// An attempt that has been waited for is looked for again after such a share of that time.
const WAITED_SHARE: Millis = 4;
/// An attempt takes about as long.
const ATTEMPT_MS: Millis = 1_500;

#[derive(Debug, Default, Deserialize)]
struct View {
    #[serde(default)]
    state: String,
    cursor: Option<String>,
}

const STATES: [NotificationState; 4] = [
    NotificationState::Pending,
    NotificationState::Sent,
    NotificationState::Delivered,
    NotificationState::Failed,
];

impl View {
    fn state(&self) -> Option<NotificationState> {
        STATES.into_iter().find(|state| state.as_str() == self.state)
    }

    fn link(&self, cursor: Option<&str>) -> String {
        link(NOTIFICATIONS, &[("state", &self.state), ("cursor", cursor.unwrap_or_default())])
    }
}

pub(crate) async fn list(State(app): State<App>, session: Session, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let view: View = serde_urlencoded::from_str(query).unwrap_or_default();
    let query = NotificationsQuery {
        alarm: None,
        state: view.state(),
        limit: Some(Parsed(Limit(PAGE))),
        cursor: view.cursor.clone(),
    };
    match notifications::list(State(app.clone()), Query(query)).await {
        Ok(axum::Json(list)) => {
            let head = Head::new("Notifications").at(NOTIFICATIONS).follows(None, "alarm");
            page(&app, Some(&session), StatusCode::OK, &head, &listed(&view, &list))
        }
        Err(problem) => refusal(&app, Some(&session), &problem),
    }
}

/// In how many milliseconds something of these is to be seen that the feed does not tell. Nobody knows how long an attempt takes:
/// the longer it has been waited for, the seldomer it is looked for.
fn soon(items: &[Notification], now: Millis) -> Option<Millis> {
    let pending = items.iter().filter(|one| one.state == NotificationState::Pending);
    let left = pending.map(|one| match one.next_attempt_at {
        Some(at) => at.0.saturating_sub(now).max(0),
        None => (now.saturating_sub(one.created_at.0).max(0) / WAITED_SHARE).min(SOON_MS),
    });
    left.min().filter(|left| *left <= SOON_MS).map(|left| left + ATTEMPT_MS)
}

fn listed(view: &View, list: &List<Notification>) -> Markup {
    html! {
        h1 { "Notifications" }
        form.filter method="get" action=(NOTIFICATIONS) role="search" {
            div { label for="state" { "State" }
                select #state name="state" {
                    option value="" { "any" }
                    @for state in STATES {
                        option value=(state.as_str()) selected[view.state == state.as_str()] { (state.as_str()) }
                    }
                } }
            div.go {
                button type="submit" { "Show" }
                @if view.state().is_some() { a href=(NOTIFICATIONS) { "Show all" } }
            }
        }
        // An attempt follows on an alarm: a while later it is looked at once more. A test follows on nothing that the feed tells.
        section #told aria-label="Notifications, newest first" data-live="alarm" data-again="3000" {
            @if let Some(soon) = soon(&list.items, now()) { span data-soon=(soon) hidden {} }
            @if list.items.is_empty() {
                p.calm { @if view.state().is_some() { "No notification is like that." } @else {
                    "Nobody was told anything yet. " a href=(super::SUBSCRIPTIONS) { "Subscriptions" } " say who is to be." } }
            } @else {
                table.list {
                    caption.unseen { "Notifications, newest first" }
                    thead { tr {
                        th scope="col" { "Made" } th scope="col" { "Alarm" } th scope="col" { "To" }
                        th scope="col" { "State" } th scope="col" { "Attempts" }
                    } }
                    tbody { @for one in &list.items { (row(one)) } }
                }
            }
            (pages(
                view.cursor.is_some().then(|| view.link(None)),
                list.next_cursor.as_deref().map(|next| view.link(Some(next))),
            ))
        }
    }
}

fn row(one: &Notification) -> Markup {
    html! {
        tr {
            td data-label="Made" { (moment(one.created_at)) }
            td data-label="Alarm" {
                @match (&one.device, &one.alarm) {
                    (Some(device), Some(alarm)) => {
                        (device_link(device)) ": " a href={ "/alarms/" (alarm) } { (one.step.as_str()) }
                    },
                    _ => a href=(super::SUBSCRIPTIONS) { "test message" },
                }
            }
            td data-label="To" { (one.channel) " " (short(&one.to)) }
            td data-label="State" {
                span class={ "ledger " (one.state.as_str()) } { (one.state.as_str()) }
                @if let Some(at) = one.next_attempt_at { span.small { "next at " (moment(at)) } }
            }
            td data-label="Attempts" {
                @if one.attempts.is_empty() { span.none { "–" } } @else {
                    details #{ "attempts-" (one.id) } {
                        summary { (one.attempts.len()) @if one.attempts.len() == 1 { " attempt" } @else { " attempts" } }
                        ol.story { @for attempt in &one.attempts {
                            li { span.small { (moment(attempt.at)) } " " b { (attempt.result.as_str()) } " "
                                span.small { (short(&attempt.detail)) } }
                        } }
                    }
                }
            }
        }
    }
}
