//! The fleet and its open alarms.

use std::collections::HashMap;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use stoker_domain::Millis;
use stoker_proto::core::v1 as wire;

use super::connect::{form, host};
use super::frame::{Head, page, refusal};
use super::parts::{alarm_row, badge, clock, connection, device_link, link, pages};
use super::session::Session;
use super::welcome::welcome;
use super::{ALARMS, CONNECT, FLEET};
use crate::App;
use crate::alarms::{self, Alarm, AlarmState, AlarmsQuery, Severity};
use crate::devices::{self, ConnectionState, Device, DevicesQuery};
use crate::extract::{Parsed, Query};
use crate::list::{Limit, List};
use crate::problem::Problem;
use crate::time::{Time, now};

/// As many devices as a person scrolls through.
const PAGE: u32 = 50;
/// Of so many open alarms the counts beside the devices are exact.
const COUNTED: u32 = 1_000;
/// So many open alarms are listed here, the worst; the page of alarms has all.
const LISTED: usize = 20;

/// What to show. A form sends empty fields too, and a link that somebody changed by hand should still show something.
#[derive(Debug, Default, Deserialize)]
struct View {
    #[serde(default)]
    q: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    site: String,
    #[serde(default)]
    tag: String,
    cursor: Option<String>,
}

impl View {
    fn of(request: &Request) -> Self {
        request.uri().query().and_then(|query| serde_urlencoded::from_str(query).ok()).unwrap_or_default()
    }

    fn state(&self) -> Option<ConnectionState> {
        match self.state.as_str() {
            "online" => Some(ConnectionState::Online),
            "offline" => Some(ConnectionState::Offline),
            "never" => Some(ConnectionState::Never),
            _ => None,
        }
    }

    fn query(&self) -> DevicesQuery {
        DevicesQuery {
            state: self.state(),
            site: self.site.trim().parse().ok().map(Parsed),
            tag: self.tag.trim().parse().ok().map(Parsed),
            q: self.q.trim().parse().ok().map(Parsed),
            limit: Some(Parsed(Limit(PAGE))),
            cursor: self.cursor.clone(),
        }
    }

    fn is_filtered(&self) -> bool {
        let query = self.query();
        query.state.is_some() || query.site.is_some() || query.tag.is_some() || query.q.is_some()
    }

    fn link(&self, cursor: Option<&str>) -> String {
        let (q, site, tag) = (self.q.trim(), self.site.trim(), self.tag.trim());
        let cursor = cursor.unwrap_or_default();
        link(FLEET, &[("q", q), ("state", &self.state), ("site", site), ("tag", tag), ("cursor", cursor)])
    }
}

/// All that the page shows.
struct Fleet {
    status: wire::GetStatusReply,
    devices: List<Device>,
    alarms: List<Alarm>,
}

impl Fleet {
    async fn fetch(app: &App, view: &View) -> Result<Self, Problem> {
        let active = AlarmsQuery {
            state: Some(AlarmState::Active),
            limit: Some(Parsed(Limit(COUNTED))),
            ..AlarmsQuery::default()
        };
        let (status, devices, alarms) = tokio::try_join!(
            app.core.get_status(wire::GetStatusRequest::default()),
            devices::list(State(app.clone()), Query(view.query())),
            alarms::list(State(app.clone()), Query(active)),
        )?;
        let (axum::Json(devices), axum::Json(mut alarms)) = (devices, alarms);
        // What nobody has taken note of and is worst comes first; core's order, newest first, stays within.
        alarms
            .items
            .sort_by_key(|alarm| (alarm.acknowledged.is_some(), std::cmp::Reverse(alarm.severity as u8)));
        Ok(Self { status, devices, alarms })
    }
}

pub(crate) async fn show(State(app): State<App>, session: Session, request: Request) -> Response {
    let view = View::of(&request);
    let fleet = match Fleet::fetch(&app, &view).await {
        Ok(fleet) => fleet,
        Err(problem) => return refusal(&app, Some(&session), &problem),
    };
    let first = fleet.devices.items.is_empty() && !view.is_filtered() && view.cursor.is_none();
    let main = if first {
        let host = host(&app, request.headers());
        welcome(&app, &host, &form(&app, &session, None))
    } else {
        let now = now();
        html! {
            h1.unseen { "Fleet" }
            (summary(&fleet, now))
            (open_alarms(&app, &session, &view, &fleet, now))
            (listed(&view, &fleet, now))
        }
    };
    let head = Head::new("Fleet").at(FLEET).follows(None, "alarm,connection,device");
    page(&app, Some(&session), StatusCode::OK, &head, &main)
}

fn summary(fleet: &Fleet, now: Millis) -> Markup {
    let alarms = &fleet.alarms;
    let unread = alarms.items.iter().filter(|alarm| alarm.acknowledged.is_none()).count();
    html! {
        section #summary.summary aria-label="Summary" data-live="alarm connection device" data-every="1000" {
            div.figure { b { (fleet.status.devices) } span { "devices" } }
            div.figure { b { (fleet.status.devices_online) } span { "online" } }
            div.figure.urgent[unread > 0] {
                b { (alarms.items.len()) @if alarms.next_cursor.is_some() { "+" } }
                span { "open alarms" @if unread > 0 { ", " (unread) " unacknowledged" } }
            }
            p.as-of { "As of " time datetime=(Time(now)) { (clock(now)) } }
        }
    }
}

fn open_alarms(app: &App, session: &Session, view: &View, fleet: &Fleet, now: Millis) -> Markup {
    let alarms = &fleet.alarms;
    let back = view.link(view.cursor.as_deref());
    html! {
        section #open-alarms aria-labelledby="alarms" data-live="alarm" {
            h2 #alarms { "Open alarms" }
            @if alarms.items.is_empty() {
                p.calm { "None. All is well." }
            } @else {
                ul.alarms {
                    @for alarm in alarms.items.iter().take(LISTED) { (alarm_row(app, session, alarm, &back, now)) }
                }
                @if alarms.items.len() > LISTED {
                    p.calm { "The worst " (LISTED) " are shown here. " a href=(ALARMS) { "All open alarms" } }
                }
            }
        }
    }
}

fn listed(view: &View, fleet: &Fleet, now: Millis) -> Markup {
    let mut worst: HashMap<&str, (u64, Severity)> = HashMap::new();
    for alarm in &fleet.alarms.items {
        let entry = worst.entry(&alarm.device).or_insert((0, alarm.severity));
        entry.0 += 1;
        if alarm.severity as u8 > entry.1 as u8 {
            entry.1 = alarm.severity;
        }
    }
    html! {
        section aria-labelledby="devices" {
            div.title {
                h2 #devices { "Devices" }
                a.button.small href=(CONNECT) { "Connect a device" }
            }
            (filter(view))
            div #rows data-live="alarm connection device" data-every="1000" {
                @if fleet.devices.items.is_empty() {
                    p.calm { "No device is like that." }
                } @else {
                    table.list {
                        caption.unseen { "Devices, by their ids" }
                        thead { tr {
                            th scope="col" { "Device" } th scope="col" { "Site" } th scope="col" { "Tags" }
                            th scope="col" { "Connection" } th scope="col" { "Alarms" }
                        } }
                        tbody { @for device in &fleet.devices.items {
                            (device_row(device, worst.get(device.id.as_str()), now))
                        } }
                    }
                }
                (pages(
                    view.cursor.is_some().then(|| view.link(None)),
                    fleet.devices.next_cursor.as_deref().map(|next| view.link(Some(next))),
                ))
            }
        }
    }
}

fn filter(view: &View) -> Markup {
    html! {
        form.filter method="get" action=(FLEET) role="search" {
            div { label for="q" { "Id or model" }
                input #q type="search" name="q" value=(view.q.trim()) maxlength="128"; }
            div { label for="state" { "Connection" }
                select #state name="state" {
                    option value="" { "any" }
                    @for state in ["online", "offline", "never"] {
                        option value=(state) selected[view.state == state] { (state) }
                    }
                } }
            div { label for="site" { "Site" }
                input #site type="search" name="site" value=(view.site.trim()) maxlength="128"; }
            div { label for="tag" { "Tag" }
                input #tag type="search" name="tag" value=(view.tag.trim()) maxlength="128"; }
            div.go {
                button type="submit" { "Show" }
                @if view.is_filtered() { a href=(FLEET) { "Show all" } }
            }
        }
    }
}

fn device_row(device: &Device, alarms: Option<&(u64, Severity)>, now: Millis) -> Markup {
    html! {
        tr {
            th scope="row" {
                b { (device_link(&device.id)) }
                @if let Some(model) = &device.model { span.small { (model) } }
            }
            td data-label="Site" {
                @match &device.site {
                    Some(site) => a.plain href=(link(FLEET, &[("site", site)])) { (site) },
                    None => span.none { "–" },
                }
            }
            td data-label="Tags" {
                @if device.tags.is_empty() { span.none { "–" } }
                @for tag in &device.tags { a.tag href=(link(FLEET, &[("tag", tag)])) { (tag) } " " }
            }
            td data-label="Connection" { (connection(&device.connection, now)) }
            td data-label="Alarms" {
                @match alarms {
                    Some((count, severity)) => {
                        (badge(*severity, &count.to_string())) span.unseen { " " (severity.as_str()) }
                    },
                    None => span.none { "–" },
                }
            }
        }
    }
}
