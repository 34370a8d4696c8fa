//! Connecting a device: it is made, what it needs to know is ready to be copied, and its first reading turns the page green.

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use maud::{Markup, html};
use serde_json::{Map, Value as Json};
use stoker_domain::DeviceId;

use super::form::{Form, SessionForm};
use super::frame::{Head, page, refusal, token};
use super::names::is_known;
use super::parts::{connection, device_link, device_path, moment, refused, short};
use super::session::Session;
use super::welcome::{Broker, snippets};
use super::{CONNECT, FLEET};
use crate::App;
use crate::devices::{self, Device, NewDevice};
use crate::extract::{Id, Query, parse_json};
use crate::problem::Problem;
use crate::telemetry::{self, Latest, LatestQuery};
use crate::time::{Time, now};

/// How the browser reached us. What stands in front may have asked for us by another name.
pub(super) fn host(app: &App, headers: &HeaderMap) -> String {
    let sent = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let hostname = app.hostname.as_deref();
    let known = sent.filter(|sent| hostname.is_none_or(|hostname| is_known(sent, hostname)));
    known.or(hostname).unwrap_or("127.0.0.1:8080").to_owned()
}

const FIELDS: [(&str, &str); 3] = [("/id", "Id"), ("/model", "Model"), ("/site", "Site")];

/// The form that makes a device.
pub(super) fn form(app: &App, session: &Session, failed: Option<(&Form, &Problem)>) -> Markup {
    let filled = |name: &str| failed.map_or("", |(form, _)| form.field(name));
    html! {
        form.card.order method="post" action=(CONNECT) {
            (token(app, session))
            (refused(failed.map(|(_, problem)| problem), &FIELDS))
            div { label for="id" { "Id of your choice" }
                input #id name="id" required maxlength="128" value=(filled("id")) autocomplete="off" spellcheck="false" placeholder="boiler-7"; }
            div { label for="model" { "Model, if you like" }
                input #model name="model" maxlength="128" value=(filled("model")) autocomplete="off"; }
            div { label for="site" { "Site, if you like" }
                input #site name="site" maxlength="128" value=(filled("site")) autocomplete="off" spellcheck="false"; }
            div.go { button type="submit" { "Make the device" } }
        }
    }
}

fn asked(app: &App, session: &Session, failed: Option<(&Form, &Problem)>) -> Response {
    let main = html! {
        h1 { "Connect a device" }
        p { "It needs an id and a token; then anything that speaks MQTT can be one." }
        (form(app, session, failed))
    };
    let status = failed.map_or(StatusCode::OK, |(_, problem)| problem.status());
    page(app, Some(session), status, &Head::new("Connect a device").at(FLEET), &main)
}

pub(crate) async fn show(State(app): State<App>, session: Session) -> Response {
    asked(&app, &session, None)
}

fn device_of(form: &Form) -> Result<NewDevice, Problem> {
    let mut body = Map::new();
    body.insert("id".to_owned(), form.field("id").trim().into());
    for field in ["model", "site"] {
        let text = form.field(field).trim();
        if !text.is_empty() {
            body.insert(field.to_owned(), text.into());
        }
    }
    parse_json(Json::Object(body).to_string().as_bytes())
}

/// Makes a device and shows its token, this once.
pub(crate) async fn make(
    State(app): State<App>,
    headers: HeaderMap,
    SessionForm { session, form }: SessionForm,
) -> Response {
    let made = async { devices::create_as(&app, device_of(&form)?).await };
    match made.await {
        Ok(made) => {
            let waiting = Waiting { device: made.device, newest: None };
            let host = host(&app, &headers);
            let main = waiting.main(&Broker::of(&app, &host), made.token.as_deref());
            page(&app, Some(&session), StatusCode::CREATED, &waiting.head(), &main)
        }
        Err(problem) => asked(&app, &session, Some((&form, &problem))),
    }
}

/// A device that may not have reported yet.
struct Waiting {
    device: Device,
    newest: Option<(String, Latest)>,
}

impl Waiting {
    fn head(&self) -> Head<'_> {
        let head = Head::new("Connect a device").at(FLEET);
        let head = head.follows(Some(&self.device.id), "telemetry,connection");
        head.source(format!("{CONNECT}/{}", self.device.id))
    }

    fn main(&self, broker: &Broker<'_>, secret: Option<&str>) -> Markup {
        let id = &self.device.id;
        html! {
            h1 { "Connect " (id) }
            (self.state())
            @if let Some(secret) = secret {
                section.card.token aria-labelledby="token" {
                    h2 #token { "Its token" }
                    p { code.secret { (secret) } }
                    p.small { "It is shown this once. Whoever has it can speak for the device." }
                }
            } @else {
                p.calm { "Put its token where it says $TOKEN." }
            }
            (snippets(broker, secret))
            p { "Then: " a href=(device_path(id)) { "the page of " (id) } ", or "
                a href=(super::SUBSCRIPTIONS) { "who is told when it fails" } "." }
        }
    }

    fn state(&self) -> Markup {
        let again = format!("{CONNECT}/{}", self.device.id);
        html! {
            section #arrived role="status" data-live="telemetry connection" {
                @match &self.newest {
                    Some((key, latest)) => div.card.arrived.good {
                        p { b { "The first reading is here." } " " (key) " = " (short(&latest.value.to_string()))
                            span.small { " at " (moment(Time(latest.ts))) } }
                        p { "All that it reports is on the page of " (device_link(&self.device.id)) "." }
                    },
                    None => div.card.arrived {
                        p { b { "Waiting for the first reading." } " " (connection(&self.device.connection, now())) }
                        p.again { a href=(again) { "Look again" } }
                    },
                }
            }
        }
    }
}

pub(crate) async fn waiting(
    State(app): State<App>,
    session: Session,
    id: Result<Id<DeviceId>, Problem>,
    request: Request,
) -> Response {
    let host = host(&app, request.headers());
    let fetched = async {
        let Id(id) = id?;
        let state = || State(app.clone());
        let query = Query(LatestQuery::default());
        let (device, latest) = tokio::try_join!(
            devices::show(state(), Id(id.clone())),
            telemetry::latest(state(), Id(id), query)
        )?;
        Ok(Waiting { device: device.0, newest: latest.0.into_iter().max_by_key(|(_, latest)| latest.ts) })
    };
    match fetched.await {
        Ok(waiting) => page(
            &app,
            Some(&session),
            StatusCode::OK,
            &waiting.head(),
            &waiting.main(&Broker::of(&app, &host), None),
        ),
        Err(problem) => refusal(&app, Some(&session), &problem),
    }
}
