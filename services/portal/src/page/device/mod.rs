//! A device: how it stands, what it reports, what it is told to do.

mod show;

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use stoker_domain::{CommandId, DeviceId, Millis};

use super::FLEET;
use super::form::{Form, SessionForm};
use super::frame::{Head, page, refusal};
use super::parts::{device_path, link};
use super::session::Session;
use crate::App;
use crate::alarms::{self, Alarm, AlarmState, AlarmsQuery};
use crate::attributes::{self, Attributes};
use crate::commands::{self, Command, CommandsQuery};
use crate::devices::{self, Device};
use crate::events::{self, Event, EventsQuery};
use crate::extract::{Id, Parsed, Query, parse_json};
use crate::json::Value;
use crate::list::{Limit, List};
use crate::problem::Problem;
use crate::telemetry::{self, Key, Latest, LatestQuery, Summary, SummaryQuery};
use crate::time::{Moment, now};

/// So many of each are on the page; the rest is a page further.
const ALARMS_MOST: u32 = 20;
const COMMANDS_MOST: u32 = 10;
const EVENTS_MOST: u32 = 15;
/// So many keys of telemetry and of each scope of attributes: a device may have hundreds.
const KEYS_MOST: usize = 100;

/// Which regions of the page the script asks for.
const REGIONS: &str = "x-regions";

/// How far back the chart goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Range {
    #[default]
    Hour,
    Day,
    Week,
    Month,
}

impl Range {
    const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// As it stands in the address, and in words.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Hour => ("1h", "1 hour"),
            Self::Day => ("1d", "1 day"),
            Self::Week => ("1w", "1 week"),
            Self::Month => ("1m", "1 month"),
        }
    }

    fn millis(self) -> Millis {
        const HOUR: Millis = 3_600_000;
        match self {
            Self::Hour => HOUR,
            Self::Day => 24 * HOUR,
            Self::Week => 7 * 24 * HOUR,
            Self::Month => 30 * 24 * HOUR,
        }
    }

    /// How often a chart that somebody looks at is drawn anew, in milliseconds: as a part of it passes, and no more
    /// often than a month of points may be read.
    fn anew_ms(self) -> u32 {
        match self {
            Self::Hour => 5_000,
            Self::Day => 15_000,
            Self::Week | Self::Month => 60_000,
        }
    }
}

/// What is charted, and what a form was filled in with that was refused.
#[derive(Debug, Default, Deserialize)]
struct View {
    #[serde(default)]
    key: String,
    #[serde(default)]
    range: String,
    /// The script asks for other parts of the page: a chart may be read from very many points.
    #[serde(skip)]
    chartless: bool,
}

impl View {
    fn range(&self) -> Range {
        Range::ALL.into_iter().find(|range| range.names().0 == self.range).unwrap_or_default()
    }
}

/// What a form was filled in with, and why it was refused.
#[derive(Debug)]
struct Refused {
    form: &'static str,
    fields: BTreeMap<&'static str, String>,
    problem: Problem,
}

impl Refused {
    fn new(form: &'static str, names: &[&'static str], filled: &Form, problem: Problem) -> Self {
        let fields = names.iter().map(|name| (*name, filled.field(name).to_owned())).collect();
        Self { form, fields, problem }
    }
}

/// What was typed into a form that was refused; empty for another, or a fresh one.
fn typed<'a>(refused: Option<&'a Refused>, form: &str, field: &str) -> &'a str {
    refused
        .filter(|refused| refused.form == form)
        .and_then(|refused| refused.fields.get(field))
        .map_or("", String::as_str)
}

/// All that the page shows.
struct Shown {
    device: Device,
    alarms: List<Alarm>,
    latest: BTreeMap<String, Latest>,
    attributes: Attributes,
    commands: List<Command>,
    events: List<Event>,
    key: Option<String>,
    range: Range,
    now: Millis,
    /// Why there is no chart is said in its place: all else is of use without it.
    chart: Option<Result<Summary, Problem>>,
}

impl Shown {
    async fn fetch(app: &App, id: &DeviceId, view: &View) -> Result<Self, Problem> {
        let state = || State(app.clone());
        let of = || Id(id.clone());
        let alarms = AlarmsQuery {
            state: Some(AlarmState::Active),
            device: Some(Parsed(id.clone())),
            limit: Some(Parsed(Limit(ALARMS_MOST))),
            ..AlarmsQuery::default()
        };
        let commands =
            CommandsQuery { limit: Some(Parsed(Limit(COMMANDS_MOST))), ..CommandsQuery::default() };
        let events = EventsQuery {
            device: Some(Parsed(id.clone())),
            limit: Some(Parsed(Limit(EVENTS_MOST))),
            ..EventsQuery::default()
        };
        let (device, alarms, latest, attributes, commands, events) = tokio::try_join!(
            devices::show(state(), of()),
            alarms::list(state(), Query(alarms)),
            telemetry::latest(state(), of(), Query(LatestQuery::default())),
            attributes::show(state(), of()),
            commands::list(state(), of(), Query(commands)),
            events::list(state(), Query(events)),
        )?;
        let latest = latest.0;
        let asked = Some(view.key.clone()).filter(|key| !key.is_empty());
        let key = asked.or_else(|| first_number(&latest));
        let (range, now) = (view.range(), now());
        let charted = key.as_deref().filter(|_| !view.chartless);
        let chart = match charted.map(str::parse::<Key>) {
            Some(Ok(key)) => {
                let query = SummaryQuery {
                    key: Parsed(key),
                    from: Some(Parsed(Moment(now - range.millis()))),
                    to: Some(Parsed(Moment(now))),
                    parts: None,
                };
                Some(telemetry::summary(state(), of(), Query(query)).await.map(|axum::Json(summary)| summary))
            }
            Some(Err(detail)) => Some(Err(Problem::invalid(detail))),
            None => None,
        };
        Ok(Self {
            device: device.0,
            alarms: alarms.0,
            latest,
            attributes: attributes.0,
            commands: commands.0,
            events: events.0,
            key,
            range,
            now,
            chart,
        })
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Integer(_) | Value::Number(_))
}

fn first_number(latest: &BTreeMap<String, Latest>) -> Option<String> {
    latest.iter().find(|(_, latest)| is_number(&latest.value)).map(|(key, _)| key.clone())
}

pub(crate) async fn show(
    State(app): State<App>,
    session: Session,
    id: Result<Id<DeviceId>, Problem>,
    request: Request,
) -> Response {
    let view = request.uri().query().and_then(|query| serde_urlencoded::from_str(query).ok());
    let mut view: View = view.unwrap_or_default();
    let regions = request.headers().get(REGIONS).and_then(|value| value.to_str().ok());
    view.chartless = regions.is_some_and(|regions| regions.split(' ').all(|region| region != "chart"));
    match id {
        Ok(Id(id)) => whole(&app, &session, &id, &view, None).await,
        Err(problem) => refusal(&app, Some(&session), &problem),
    }
}

/// The page, and on it why a form was refused.
async fn whole(
    app: &App,
    session: &Session,
    id: &DeviceId,
    view: &View,
    refused: Option<&Refused>,
) -> Response {
    // All parts of the page are asked for at once: together they are too large for a task's own stack.
    match Box::pin(Shown::fetch(app, id, view)).await {
        Ok(shown) => {
            let status = refused.map_or(StatusCode::OK, |refused| refused.problem.status());
            let head = Head::new(id.as_str())
                .at(FLEET)
                .follows(Some(id.as_str()), "alarm,attributes,command,connection,device,event,telemetry");
            let head = if refused.is_some() { head.source(device_path(id.as_str())) } else { head };
            page(app, Some(session), status, &head, &show::main(app, session, &shown, refused))
        }
        Err(problem) => refusal(app, Some(session), &problem),
    }
}

/// A field of a form as JSON; nothing of an empty one.
fn given(body: &mut Map<String, Json>, name: &str, value: Result<Json, Problem>) -> Result<(), Problem> {
    body.insert(name.to_owned(), value?);
    Ok(())
}

/// The body that a script would send for this command.
fn command_of(form: &Form) -> Result<commands::NewCommand, Problem> {
    let params = form.field("params").trim();
    let raw = (!params.is_empty()).then(|| RawValue::from_string(params.to_owned())).transpose();
    let raw = raw.map_err(|error| {
        Problem::invalid(format!("this is not JSON ({error}); an example: {{\"value\": 55}}"))
            .pointing_at("/params")
    })?;
    let mut body = Map::new();
    body.insert("method".to_owned(), form.field("method").trim().into());
    let expires = form.field("expires_in_s").trim();
    if !expires.is_empty() {
        let whole = expires.parse::<u32>().map(Json::from);
        let told = |_| {
            Problem::invalid("this is a whole number of seconds, such as 60").pointing_at("/expires_in_s")
        };
        given(&mut body, "expires_in_s", whole.map_err(told))?;
    }
    let mut new: commands::NewCommand = parse_json(Json::Object(body).to_string().as_bytes())?;
    // As it was typed: digits and all.
    new.params = raw;
    Ok(new)
}

pub(crate) async fn order(
    State(app): State<App>,
    id: Result<Id<DeviceId>, Problem>,
    SessionForm { session, form }: SessionForm,
) -> Response {
    let id = match id {
        Ok(Id(id)) => id,
        Err(problem) => return refusal(&app, Some(&session), &problem),
    };
    let done = async { commands::create_for(&app, &id, command_of(&form)?).await };
    match done.await {
        Ok(_) => to(&id, "commands"),
        Err(problem) => {
            let refused = Refused::new("command", &["method", "params", "expires_in_s"], &form, problem);
            whole(&app, &session, &id, &View::default(), Some(&refused)).await
        }
    }
}

/// Attributes of one scope, to be set and removed.
fn change_of(form: &Form) -> Result<attributes::AttributesChange, Problem> {
    let (scope, key) = (form.field("scope"), form.field("key").trim());
    let typed = form.field("value").trim();
    let value = match typed {
        "" => "null".to_owned(),
        // What is no JSON is meant as a text.
        _ => RawValue::from_string(typed.to_owned())
            .map_or_else(|_| Json::from(typed).to_string(), |raw| raw.get().to_owned()),
    };
    let scope = Json::from(if scope.is_empty() { "shared" } else { scope });
    parse_json(format!("{{{scope}:{{{}:{value}}}}}", Json::from(key)).as_bytes())
}

pub(crate) async fn set_attribute(
    State(app): State<App>,
    id: Result<Id<DeviceId>, Problem>,
    SessionForm { session, form }: SessionForm,
) -> Response {
    let id = match id {
        Ok(Id(id)) => id,
        Err(problem) => return refusal(&app, Some(&session), &problem),
    };
    let done = async {
        attributes::change(State(app.clone()), Id(id.clone()), crate::extract::Json(change_of(&form)?)).await
    };
    match done.await {
        Ok(_) => to(&id, "attributes"),
        Err(problem) => {
            let refused = Refused::new("attribute", &["scope", "key", "value"], &form, problem);
            whole(&app, &session, &id, &View::default(), Some(&refused)).await
        }
    }
}

pub(crate) async fn cancel(
    State(app): State<App>,
    id: Result<Id<CommandId>, Problem>,
    SessionForm { session, form }: SessionForm,
) -> Response {
    let done = async {
        let axum::Json(command) = commands::cancel(State(app.clone()), id?).await?;
        let back = format!("{}#commands", device_path(&command.device));
        Ok(Redirect::to(form.back(&back)).into_response())
    };
    done.await.unwrap_or_else(|problem: Problem| refusal(&app, Some(&session), &problem))
}

/// Back to the page of a device, at that part of it.
fn to(id: &DeviceId, part: &str) -> Response {
    Redirect::to(&format!("{}#{part}", device_path(id.as_str()))).into_response()
}

/// Where another key or range is charted.
fn chart_link(id: &str, key: &str, range: Range) -> String {
    format!("{}#chart", link(&device_path(id), &[("key", key), ("range", range.names().0)]))
}
