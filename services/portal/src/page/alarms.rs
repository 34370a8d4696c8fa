//! Alarms: all of them, and the story of one.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use stoker_domain::{AlarmId, Millis};

use super::ALARMS;
use super::form::SessionForm;
use super::frame::{Head, page, refusal, token};
use super::parts::{alarm_row, badge, device_link, link, moment, pages, short, since};
use super::session::Session;
use crate::App;
use crate::alarms::{self, Alarm, AlarmState, AlarmsQuery, Note, Severity, acknowledge_as};
use crate::events::{self, Event, EventsQuery};
use crate::extract::{Id, Parsed, Query};
use crate::list::{Limit, List};
use crate::notifications::{self, Notification, NotificationsQuery};
use crate::problem::Problem;
use crate::time::{Moment, now};

/// As many alarms as a person scrolls through.
const PAGE: u32 = 50;
/// Of an alarm's story so many events, and so many notifications.
const STORY_MOST: u32 = 50;
/// What raised an alarm was said before it was raised: by so much at most, unless it came late.
const BEFORE_MS: Millis = 60_000;

#[derive(Debug, Default, Deserialize)]
struct View {
    #[serde(default)]
    state: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    device: String,
    cursor: Option<String>,
}

const SEVERITIES: [Severity; 4] = [Severity::Critical, Severity::Major, Severity::Minor, Severity::Warning];

impl View {
    fn severity(&self) -> Option<Severity> {
        SEVERITIES.into_iter().find(|severity| severity.as_str() == self.severity)
    }

    /// Those that are open, unless told otherwise.
    fn state(&self) -> Option<AlarmState> {
        match self.state.as_str() {
            "all" => None,
            "cleared" => Some(AlarmState::Cleared),
            _ => Some(AlarmState::Active),
        }
    }

    fn link(&self, cursor: Option<&str>) -> String {
        let (device, cursor) = (self.device.trim(), cursor.unwrap_or_default());
        link(
            ALARMS,
            &[("state", &self.state), ("severity", &self.severity), ("device", device), ("cursor", cursor)],
        )
    }

    fn is_filtered(&self) -> bool {
        self.state() != Some(AlarmState::Active)
            || self.severity().is_some()
            || !self.device.trim().is_empty()
    }
}

pub(crate) async fn list(State(app): State<App>, session: Session, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let view: View = serde_urlencoded::from_str(query).unwrap_or_default();
    let device = view.device.trim();
    // What is no id is nobody's: an empty list says so, and the field still holds it.
    let nobody = !device.is_empty() && device.parse::<stoker_domain::DeviceId>().is_err();
    let query = AlarmsQuery {
        state: view.state(),
        severity: view.severity(),
        device: device.parse().ok().map(Parsed),
        limit: Some(Parsed(Limit(PAGE))),
        cursor: view.cursor.clone(),
    };
    let listed = if nobody {
        Ok(List { items: Vec::new(), next_cursor: None })
    } else {
        alarms::list(State(app.clone()), Query(query)).await.map(|axum::Json(list)| list)
    };
    match listed {
        Ok(list) => {
            let head = Head::new("Alarms").at(ALARMS).follows(None, "alarm");
            page(&app, Some(&session), StatusCode::OK, &head, &listed_alarms(&app, &session, &view, &list))
        }
        Err(problem) => refusal(&app, Some(&session), &problem),
    }
}

fn listed_alarms(app: &App, session: &Session, view: &View, list: &List<Alarm>) -> Markup {
    let now = now();
    let back = view.link(view.cursor.as_deref());
    html! {
        h1 { "Alarms" }
        form.filter method="get" action=(ALARMS) role="search" {
            div { label for="state" { "State" }
                select #state name="state" {
                    @for (value, name) in [("active", "open"), ("cleared", "cleared"), ("all", "all")] {
                        option value=(value) selected[view.state == value] { (name) }
                    }
                } }
            div { label for="severity" { "Severity" }
                select #severity name="severity" {
                    option value="" { "any" }
                    @for severity in SEVERITIES {
                        option value=(severity.as_str()) selected[view.severity() == Some(severity)] { (severity.as_str()) }
                    }
                } }
            div { label for="device" { "Device" }
                input #device type="search" name="device" value=(view.device.trim()) maxlength="128"; }
            div.go {
                button type="submit" { "Show" }
                @if view.is_filtered() { a href=(ALARMS) { "Show all open" } }
            }
        }
        section #alarms aria-label="Alarms, newest first" data-live="alarm" {
            @if list.items.is_empty() {
                p.calm { @if view.is_filtered() { "No alarm is like that." } @else { "None is open. All is well." } }
            } @else {
                ul.alarms { @for alarm in &list.items { (alarm_row(app, session, alarm, &back, now)) } }
            }
            (pages(
                view.cursor.is_some().then(|| view.link(None)),
                list.next_cursor.as_deref().map(|next| view.link(Some(next))),
            ))
        }
    }
}

/// What is known of one alarm.
struct Story {
    alarm: Alarm,
    events: Vec<Event>,
    notifications: List<Notification>,
}

impl Story {
    async fn fetch(app: &App, id: AlarmId) -> Result<Self, Problem> {
        let state = || State(app.clone());
        let told = NotificationsQuery {
            alarm: Some(Parsed(id)),
            limit: Some(Parsed(Limit(STORY_MOST))),
            ..NotificationsQuery::default()
        };
        let (alarm, told) =
            tokio::try_join!(alarms::show(state(), Id(id)), notifications::list(state(), Query(told)))?;
        let alarm = alarm.0;
        let events = EventsQuery {
            device: alarm.device.parse().ok().map(Parsed),
            kind: alarm.kind.as_str().parse().ok().map(Parsed),
            from: Some(Parsed(Moment(alarm.raised_at.0.saturating_sub(BEFORE_MS)))),
            to: alarm.cleared_at.map(|at| Parsed(Moment(at.0))),
            limit: Some(Parsed(Limit(STORY_MOST))),
            ..EventsQuery::default()
        };
        let axum::Json(events) = events::list(state(), Query(events)).await?;
        let of_it = events.items.into_iter().filter(|event| event.code == alarm.code);
        Ok(Self { events: of_it.collect(), alarm, notifications: told.0 })
    }

    /// What happened and when, oldest first.
    fn steps(&self) -> Vec<(Millis, Markup)> {
        let alarm = &self.alarm;
        let mut steps = vec![(alarm.raised_at.0, html! { b { "Raised" } " (" (alarm.kind.as_str()) ")" })];
        for event in &self.events {
            let said = html! { "The device said " @if event.cleared { "it is over" } @else { "“" (short(&event.text)) "”" } };
            steps.push((event.ts.0, said));
        }
        if let Some(noted) = &alarm.acknowledged {
            let said = html! { b { "Acknowledged" } " by " (noted.by)
            @if let Some(note) = &noted.note { ": “" (note) "”" } };
            steps.push((noted.at.0, said));
        }
        for notification in &self.notifications.items {
            for attempt in &notification.attempts {
                let said = html! {
                    (notification.channel) " to " (short(&notification.to)) " (" (notification.step.as_str()) "): "
                    b { (attempt.result.as_str()) } " " span.small { (short(&attempt.detail)) }
                };
                steps.push((attempt.at.0, said));
            }
        }
        if let Some(at) = alarm.cleared_at {
            steps.push((at.0, html! { b { "Cleared" } }));
        }
        // Of one millisecond, in the order above.
        steps.sort_by_key(|(at, _)| *at);
        steps
    }
}

pub(crate) async fn story(
    State(app): State<App>,
    session: Session,
    id: Result<Id<AlarmId>, Problem>,
) -> Response {
    let story = async {
        let Id(id) = id?;
        Story::fetch(&app, id).await
    };
    match story.await {
        Ok(story) => {
            let head = Head::new("Alarm").at(ALARMS).follows(Some(&story.alarm.device), "alarm,event");
            page(&app, Some(&session), StatusCode::OK, &head, &told(&app, &session, &story))
        }
        Err(problem) => refusal(&app, Some(&session), &problem),
    }
}

fn told(app: &App, session: &Session, story: &Story) -> Markup {
    let alarm = &story.alarm;
    let now = now();
    html! {
        nav.crumbs aria-label="Where this is" { a href=(ALARMS) { "Alarms" } " › " span aria-current="page" { (alarm.code) } }
        section #alarm aria-labelledby="what" data-live="alarm" {
            h1 #what { (device_link(&alarm.device)) ": " (alarm.text) }
            p {
                (badge(alarm.severity, alarm.severity.as_str())) " "
                @if alarm.cleared_at.is_some() { span.badge { "cleared" } }
                @else { span.state.offline { "open" } span.small { " for " (since(alarm.raised_at, now)) } }
                span.small { ", code " (alarm.code) ", said " (alarm.count) @if alarm.count == 1 { " time" } @else { " times" } }
            }
        }
        @if alarm.acknowledged.is_none() && alarm.state == AlarmState::Active {
            form.card.order method="post" action={ "/alarms/" (alarm.id) "/acknowledge" } {
                (token(app, session))
                input type="hidden" name="back" value={ "/alarms/" (alarm.id) };
                div.grow { label for="note" { "Note, if there is something to remember" }
                    input #note name="note" maxlength="1024" autocomplete="off"; }
                div.go { button type="submit" { "Acknowledge" } }
            }
        }
        @if alarm.state == AlarmState::Active {
            form.clear method="post" action={ "/alarms/" (alarm.id) "/clear" } {
                (token(app, session))
                button.small type="submit" { "Clear by hand" }
                span.small { " It is raised anew when its cause shows again." }
            }
        }
        section #story aria-labelledby="so-far" data-live="alarm event" data-every="2000" {
            h2 #so-far { "The story so far" }
            ol.story { @for (at, step) in story.steps() {
                li { span.small { (moment(crate::time::Time(at))) } " " (step) }
            } }
            @if story.notifications.items.is_empty() {
                p.calm { "Nobody was to be told of it." }
            }
        }
    }
}

pub(crate) async fn acknowledge(
    State(app): State<App>,
    id: Result<Id<AlarmId>, Problem>,
    SessionForm { session, form }: SessionForm,
) -> Response {
    let done = async {
        let Id(id) = id?;
        let note = form.field("note").trim();
        let note = (!note.is_empty()).then(|| note.parse::<Note>()).transpose();
        let note = note.map_err(|detail| Problem::invalid(detail).pointing_at("/note"))?;
        acknowledge_as(&app, id, note.map(Note::into_text)).await?;
        Ok(Redirect::to(form.back(ALARMS)).into_response())
    };
    done.await.unwrap_or_else(|problem: Problem| refusal(&app, Some(&session), &problem))
}

pub(crate) async fn clear(
    State(app): State<App>,
    id: Result<Id<AlarmId>, Problem>,
    SessionForm { session, .. }: SessionForm,
) -> Response {
    let done = async {
        let axum::Json(alarm) = alarms::clear(State(app.clone()), id?).await?;
        Ok(Redirect::to(&format!("/alarms/{}", alarm.id)).into_response())
    };
    done.await.unwrap_or_else(|problem: Problem| refusal(&app, Some(&session), &problem))
}
