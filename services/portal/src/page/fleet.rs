//! The fleet and its open alarms.

use std::collections::HashMap;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, header};
use maud::{Markup, html};
use serde::Deserialize;
use stoker_domain::{AlarmId, Millis};
use stoker_proto::core::v1 as wire;

use super::FLEET;
use super::form::Form;
use super::frame::{page, refusal, token};
use super::names::is_known;
use super::session::Session;
use super::welcome::welcome;
use crate::App;
use crate::alarms::{Alarm, Severity, acknowledge_as};
use crate::devices::{ConnectionState, Device};
use crate::extract::{Id, Label};
use crate::list::{List, position};
use crate::problem::Problem;
use crate::time::{Time, ago, now};

/// As many devices as a person scrolls through.
const PAGE: u32 = 50;
/// Of so many open alarms the counts beside the devices are exact.
const COUNTED: u32 = 1_000;
/// So many open alarms are listed: with more of them, something greater than one of them is wrong.
const LISTED: usize = 100;
const KIND: &str = "fleet";

/// What to show. A form sends empty fields too, and a link that somebody changed by hand should still show something.
#[derive(Debug, Default, Deserialize)]
struct View {
    #[serde(default)]
    q: String,
    #[serde(default)]
    state: String,
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

    fn search(&self) -> Option<String> {
        self.q.trim().parse().ok().map(|Label(text)| text)
    }

    fn is_filtered(&self) -> bool {
        self.state().is_some() || self.search().is_some()
    }

    fn link(&self, cursor: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in
            [("q", self.q.trim()), ("state", &self.state), ("cursor", cursor.unwrap_or_default())]
        {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        match query.finish() {
            query if query.is_empty() => FLEET.to_owned(),
            query => format!("{FLEET}?{query}"),
        }
    }
}

/// All that the page shows.
struct Fleet {
    status: wire::GetStatusReply,
    devices: List<Device>,
    alarms: Vec<Alarm>,
    more_alarms: bool,
}

impl Fleet {
    async fn fetch(app: &App, view: &View) -> Result<Self, Problem> {
        let organization = app.organization.to_string();
        let devices = wire::ListDevicesRequest {
            organization: organization.clone(),
            after: position(view.cursor.as_deref(), KIND)?,
            limit: PAGE,
            state: view.state().map(|state| state.to_wire().into()),
            search: view.search(),
            ..wire::ListDevicesRequest::default()
        };
        let alarms = wire::ListAlarmsRequest {
            organization,
            state: Some(wire::AlarmState::Active.into()),
            limit: COUNTED,
            ..wire::ListAlarmsRequest::default()
        };
        let (status, devices, alarms) = tokio::try_join!(
            app.core.get_status(wire::GetStatusRequest::default()),
            app.core.list_devices(devices),
            app.core.list_alarms(alarms),
        )?;
        let more = devices.more;
        let devices: Vec<_> = devices.devices.into_iter().map(Device::from_wire).collect::<Result<_, _>>()?;
        let last = devices.last().map(|device| device.id.clone());
        let mut open: Vec<_> = alarms.alarms.into_iter().map(Alarm::from_wire).collect::<Result<_, _>>()?;
        // What nobody has taken note of and is worst comes first; core's order, newest first, stays within.
        open.sort_by_key(|alarm| (alarm.acknowledged.is_some(), std::cmp::Reverse(alarm.severity as u8)));
        Ok(Self {
            status,
            devices: List::new(devices, more, KIND, last),
            alarms: open,
            more_alarms: alarms.more,
        })
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
        welcome(app.https, &host(&app, request.headers()))
    } else {
        let now = now();
        html! {
            (summary(&fleet, now))
            (alarms(&app, &session, &fleet, now))
            (devices(&view, &fleet, now))
        }
    };
    page(&app, Some(&session), StatusCode::OK, "Fleet", &main)
}

/// How the browser reached us. What stands in front may have asked for us by another name.
fn host(app: &App, headers: &HeaderMap) -> String {
    let sent = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let hostname = app.hostname.as_deref();
    let known = sent.filter(|sent| hostname.is_none_or(|hostname| is_known(sent, hostname)));
    known.or(hostname).unwrap_or("127.0.0.1:8080").to_owned()
}

fn summary(fleet: &Fleet, now: Millis) -> Markup {
    let unread = fleet.alarms.iter().filter(|alarm| alarm.acknowledged.is_none()).count();
    html! {
        section.summary aria-label="Summary" {
            div.figure { b { (fleet.status.devices) } span { "devices" } }
            div.figure { b { (fleet.status.devices_online) } span { "online" } }
            div.figure.urgent[unread > 0] {
                b { (fleet.alarms.len()) @if fleet.more_alarms { "+" } }
                span { "open alarms" @if unread > 0 { ", " (unread) " unacknowledged" } }
            }
            p.as-of { "As of " time datetime=(Time(now)) { (clock(now)) } }
        }
    }
}

/// Hours, minutes and seconds of a day in UTC.
fn clock(at: Millis) -> String {
    Time(at).to_string().get(11..19).map_or_else(String::new, |time| format!("{time} UTC"))
}

fn since(at: Time, now: Millis) -> Markup {
    html! { time datetime=(at) title=(at) { (ago(at.0, now)) } }
}

fn badge(severity: Severity, text: &str) -> Markup {
    html! { span class={ "badge " (severity.as_str()) } { (text) } }
}

fn alarms(app: &App, session: &Session, fleet: &Fleet, now: Millis) -> Markup {
    html! {
        section aria-labelledby="alarms" {
            h1 #alarms { "Open alarms" }
            @if fleet.alarms.is_empty() {
                p.calm { "None. All is well." }
            } @else {
                ul.alarms {
                    @for alarm in fleet.alarms.iter().take(LISTED) { (alarm_row(app, session, alarm, now)) }
                }
                @if fleet.alarms.len() > LISTED || fleet.more_alarms {
                    p.calm { "And more: the worst " (LISTED) " are shown here, all of them by "
                        code { "stoker alarm list --state active" } "." }
                }
            }
        }
    }
}

fn alarm_row(app: &App, session: &Session, alarm: &Alarm, now: Millis) -> Markup {
    html! {
        li.card.alarm.noted[alarm.acknowledged.is_some()] {
            (badge(alarm.severity, alarm.severity.as_str()))
            div.what {
                b { (alarm.device) } ": " (alarm.text)
                @if alarm.text != alarm.code { span.code { " (" (alarm.code) ")" } }
                p.small { "for " (since(alarm.raised_at, now))
                    @if alarm.count > 1 { ", said " (alarm.count) " times" } }
            }
            @match &alarm.acknowledged {
                Some(noted) => p.small.by {
                    "noted by " (noted.by)
                    @if let Some(note) = &noted.note { ": “" (note) "”" }
                },
                None => form method="post" action={ "/fleet/alarms/" (alarm.id) "/acknowledge" } {
                    (token(app, session))
                    button.small type="submit" { "Acknowledge" }
                },
            }
        }
    }
}

fn devices(view: &View, fleet: &Fleet, now: Millis) -> Markup {
    let mut worst: HashMap<&str, (u64, Severity)> = HashMap::new();
    for alarm in &fleet.alarms {
        let entry = worst.entry(&alarm.device).or_insert((0, alarm.severity));
        entry.0 += 1;
        if alarm.severity as u8 > entry.1 as u8 {
            entry.1 = alarm.severity;
        }
    }
    html! {
        section aria-labelledby="fleet" {
            h1 #fleet { "Fleet" }
            form.filter method="get" action=(FLEET) role="search" {
                label for="q" { "Id or model" }
                input #q type="search" name="q" value=(view.q.trim()) maxlength="128" placeholder="boiler";
                label for="state" { "Connection" }
                select #state name="state" {
                    option value="" { "any" }
                    @for state in ["online", "offline", "never"] {
                        option value=(state) selected[view.state == state] { (state) }
                    }
                }
                button type="submit" { "Show" }
                @if view.is_filtered() { a href=(FLEET) { "Show all" } }
            }
            @if fleet.devices.items.is_empty() {
                p.calm { "No device is like that." }
            } @else {
                table.fleet {
                    thead { tr {
                        th scope="col" { "Device" } th scope="col" { "Site" } th scope="col" { "Tags" }
                        th scope="col" { "Connection" } th scope="col" { "Alarms" }
                    } }
                    tbody { @for device in &fleet.devices.items {
                        (device_row(device, worst.get(device.id.as_str()), now))
                    } }
                }
            }
            nav.pages aria-label="Pages" {
                @if view.cursor.is_some() { a.button href=(view.link(None)) { "First" } }
                @if let Some(next) = &fleet.devices.next_cursor {
                    a.button rel="next" href=(view.link(Some(next))) { "Next" }
                }
            }
        }
    }
}

/// How a connection ended, in the words of whoever looks for the cause.
fn ended(reason: &str) -> &str {
    match reason {
        "disconnect" | "disconnect_with_will" => "it said goodbye",
        "cut" => "the connection was cut",
        "keep_alive" => "nothing was heard any more",
        "protocol_error" => "it broke the protocol",
        "slow_reader" => "it did not read what was sent",
        "taken_over" => "another took its place",
        "platform" | "platform_crash" => "by the platform",
        "revoked" => "its credential was withdrawn",
        other => other,
    }
}

fn device_row(device: &Device, alarms: Option<&(u64, Severity)>, now: Millis) -> Markup {
    let connection = &device.connection;
    let state = match connection.state {
        ConnectionState::Online => "online",
        ConnectionState::Offline => "offline",
        ConnectionState::Never => "never",
    };
    html! {
        tr {
            th scope="row" {
                b { (device.id) }
                @if let Some(model) = &device.model { span.small { (model) } }
            }
            td data-label="Site" { @if let Some(site) = &device.site { (site) } @else { span.none { "–" } } }
            td data-label="Tags" {
                @if device.tags.is_empty() { span.none { "–" } }
                @for tag in &device.tags { span.tag { (tag) } " " }
            }
            td data-label="Connection" {
                span class={ "state " (state) } {
                    @if connection.state == ConnectionState::Never { "never connected" } @else { (state) }
                }
                @if connection.state != ConnectionState::Never {
                    span.small { " for " (since(connection.since, now))
                        @if let Some(reason) = &connection.reason { ", " (ended(reason)) } }
                }
            }
            td data-label="Alarms" {
                @match alarms {
                    Some((count, severity)) => (badge(*severity, &count.to_string())),
                    None => span.none { "–" },
                }
            }
        }
    }
}

pub(crate) async fn acknowledge(
    State(app): State<App>,
    session: Session,
    id: Result<Id<AlarmId>, Problem>,
    fields: Result<Form, Problem>,
) -> Response {
    let done = async {
        let (Id(id), fields) = (id?, fields?);
        if !session.owns(&app, fields.field("token")) {
            return Err(Problem::forbidden("this form is not of your session"));
        }
        acknowledge_as(&app, id, None).await
    };
    match done.await {
        Ok(_) => Redirect::to(FLEET).into_response(),
        Err(problem) => refusal(&app, Some(&session), &problem),
    }
}
