//! What happens: the newest events, and with the script everything else too, as it happens.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use stoker_domain::DeviceId;

use super::ACTIVITY;
use super::frame::{Head, page, refusal};
use super::parts::{badge, device_link, link, moment, pages, short};
use super::session::Session;
use crate::App;
use crate::events::{self, Event, EventsQuery};
use crate::extract::{Parsed, Query};
use crate::list::{Limit, List};

const PAGE: u32 = 50;

#[derive(Debug, Default, Deserialize)]
struct View {
    #[serde(default)]
    device: String,
    #[serde(default)]
    kind: String,
    cursor: Option<String>,
}

impl View {
    fn link(&self, cursor: Option<&str>) -> String {
        let cursor = cursor.unwrap_or_default();
        link(ACTIVITY, &[("device", self.device.trim()), ("kind", self.kind.trim()), ("cursor", cursor)])
    }

    fn is_filtered(&self) -> bool {
        !self.device.trim().is_empty() || !self.kind.trim().is_empty()
    }
}

pub(crate) async fn show(State(app): State<App>, session: Session, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let view: View = serde_urlencoded::from_str(query).unwrap_or_default();
    let device = view.device.trim();
    let id = device.parse::<DeviceId>().ok();
    let query = EventsQuery {
        device: id.clone().map(Parsed),
        kind: view.kind.trim().parse().ok().map(Parsed),
        limit: Some(Parsed(Limit(PAGE))),
        cursor: view.cursor.clone(),
        ..EventsQuery::default()
    };
    let listed = if id.is_none() && !device.is_empty() {
        Ok(List { items: Vec::new(), next_cursor: None })
    } else {
        events::list(State(app.clone()), Query(query)).await.map(|axum::Json(list)| list)
    };
    match listed {
        Ok(list) => {
            let head = Head::new("Activity").at(ACTIVITY);
            let of = id.as_ref().map(DeviceId::as_str);
            let head = head.follows(of, "event,alarm,command,connection");
            page(&app, Some(&session), StatusCode::OK, &head, &happened(&view, &list))
        }
        Err(problem) => refusal(&app, Some(&session), &problem),
    }
}

fn happened(view: &View, list: &List<Event>) -> Markup {
    html! {
        h1 { "Activity" }
        form.filter method="get" action=(ACTIVITY) role="search" {
            div { label for="device" { "Device" }
                input #device type="search" name="device" value=(view.device.trim()) maxlength="128"; }
            div { label for="kind" { "Kind of event" }
                input #kind type="search" name="kind" value=(view.kind.trim()) maxlength="128" placeholder="fault"; }
            div.go {
                button type="submit" { "Show" }
                @if view.is_filtered() { a href=(ACTIVITY) { "Show all" } }
            }
        }
        // Filled in by the script, which needs the feed for it; without it the events below are the newest.
        section #now aria-labelledby="live-now" hidden {
            div.title { h2 #live-now { "Now" } button #pause.small type="button" aria-pressed="false" { "Pause" } }
            p.small { "Events, alarms, commands and connections, as they happen. The newest is on top." }
            ol #feed.story.feed {}
        }
        section #events aria-labelledby="before" {
            h2 #before { "Events" }
            @if list.items.is_empty() {
                p.calm { @if view.is_filtered() { "No event is like that." } @else { "Nothing has happened yet." } }
            } @else {
                table.list {
                    caption.unseen { "Events, newest first" }
                    thead { tr {
                        th scope="col" { "Time" } th scope="col" { "Device" } th scope="col" { "Event" }
                        th scope="col" { "Severity" }
                    } }
                    tbody { @for event in &list.items {
                        tr {
                            td data-label="Time" { (moment(event.ts)) }
                            td data-label="Device" { (device_link(&event.device)) }
                            td data-label="Event" { (event.kind) " " span.code { (event.code) } ": " (short(&event.text)) }
                            td data-label="Severity" {
                                @if event.cleared { span.badge { "cleared" } }
                                @else { (badge(event.severity, event.severity.as_str())) }
                            }
                        }
                    } }
                }
            }
            (pages(
                view.cursor.is_some().then(|| view.link(None)),
                list.next_cursor.as_deref().map(|next| view.link(Some(next))),
            ))
        }
    }
}
