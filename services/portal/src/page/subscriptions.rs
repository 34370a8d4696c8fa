//! Who wants to know what.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};
use serde_json::{Map, Value as Json, json};
use stoker_domain::SubscriptionId;

use super::form::{Form, SessionForm};
use super::frame::{Head, page, refusal, token};
use super::parts::{link, pages, refused, short};
use super::session::Session;
use super::{NOTIFICATIONS, SUBSCRIPTIONS};
use crate::App;
use crate::extract::{Id, Parsed, Query, parse_json};
use crate::list::{Limit, List};
use crate::problem::Problem;
use crate::subscriptions::{self, Channel, NewSubscription, Subscription, SubscriptionsQuery};

const PAGE: u32 = 50;
const SEVERITIES: [&str; 4] = ["warning", "minor", "major", "critical"];

async fn whole(
    app: &App,
    session: &Session,
    cursor: Option<String>,
    failed: Option<(&Form, &Problem)>,
) -> Response {
    let query = SubscriptionsQuery { limit: Some(Parsed(Limit(PAGE))), cursor: cursor.clone() };
    match subscriptions::list(State(app.clone()), Query(query)).await {
        Ok(axum::Json(list)) => {
            let status = failed.map_or(StatusCode::OK, |(_, problem)| problem.status());
            let head = Head::new("Subscriptions").at(SUBSCRIPTIONS);
            let main = html! {
                h1 { "Subscriptions" }
                p { "Whoever is named here is told when an alarm is raised and when it is cleared; "
                    a href=(NOTIFICATIONS) { "how that went" } " is on record." }
                (listed(app, session, &list, cursor.is_some()))
                (form(app, session, failed))
            };
            page(app, Some(session), status, &head, &main)
        }
        Err(problem) => refusal(app, Some(session), &problem),
    }
}

pub(crate) async fn list(State(app): State<App>, session: Session, request: Request) -> Response {
    let query = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let cursor = query.into_owned().find(|(name, _)| name == "cursor").map(|(_, cursor)| cursor);
    whole(&app, &session, cursor, None).await
}

fn listed(app: &App, session: &Session, list: &List<Subscription>, further: bool) -> Markup {
    html! {
        section aria-label="Subscriptions" {
            @if list.items.is_empty() { p.calm { "Nobody is told anything yet." } } @else {
                ul.alarms { @for one in &list.items { (row(app, session, one)) } }
            }
            (pages(
                further.then(|| SUBSCRIPTIONS.to_owned()),
                list.next_cursor.as_deref().map(|next| link(SUBSCRIPTIONS, &[("cursor", next)])),
            ))
        }
    }
}

fn row(app: &App, session: &Session, one: &Subscription) -> Markup {
    let matching = &one.matching;
    let condition = |name: &str, items: &Option<Vec<String>>| {
        items.as_ref().map(|items| html! { (name) " " (short(&items.join(", "))) })
    };
    let severity = matching.min_severity.map(|severity| html! { (severity.as_str()) " or worse" });
    let conditions: Vec<Markup> = [
        severity,
        condition("devices", &matching.devices),
        condition("sites", &matching.sites),
        condition("tags", &matching.tags),
    ]
    .into_iter()
    .flatten()
    .collect();
    html! {
        li.card.subscription {
            div.what {
                b { (one.name) }
                p.small {
                    @if conditions.is_empty() { "Every alarm" }
                    @for (at, condition) in conditions.iter().enumerate() { @if at > 0 { "; " } (condition) }
                }
                @for channel in &one.deliver {
                    p.small { "→ " @match channel {
                        Channel::Email { to } => { "e-mail to " (to) },
                        Channel::Webhook { url } => { "webhook " (short(url)) },
                    } }
                }
            }
            div.go {
                form method="post" action={ "/subscriptions/" (one.id) "/test" } {
                    (token(app, session))
                    button.small type="submit" { "Send a test message" span.unseen { " to " (one.name) } }
                }
                form method="post" action={ "/subscriptions/" (one.id) "/remove" } {
                    (token(app, session))
                    button.small type="submit" { "Remove" span.unseen { " " (one.name) } }
                }
            }
        }
    }
}

/// What the page calls the fields of a body. A channel is refused as a whole: of which it is said here, by what was given.
fn fields(form: Option<&Form>) -> [(&'static str, &'static str); 8] {
    const MAIL: &str = "E-mail address";
    let mail = form.is_none_or(|form| !form.field("email").trim().is_empty());
    [
        ("/name", "Name"),
        ("/match/devices", "Devices"),
        ("/match/sites", "Sites"),
        ("/match/tags", "Tags"),
        ("/match/min_severity", "Severity"),
        ("/deliver/0", if mail { MAIL } else { "Webhook" }),
        ("/deliver/1", "Webhook"),
        ("/deliver", "Who is told"),
    ]
}

fn form(app: &App, session: &Session, failed: Option<(&Form, &Problem)>) -> Markup {
    let filled = |name: &str| failed.map_or("", |(form, _)| form.field(name));
    let severity = failed.map_or("major", |(form, _)| form.field("min_severity"));
    html! {
        section aria-labelledby="new" {
            h2 #new { "A new one" }
            form.card.fields method="post" action=(SUBSCRIPTIONS) {
                (token(app, session))
                (refused(failed.map(|(_, problem)| problem), &fields(failed.map(|(form, _)| form))))
                div { label for="name" { "Name" }
                    input #name name="name" required maxlength="128" value=(filled("name")) autocomplete="off" placeholder="Night shift"; }
                div { label for="min-severity" { "Told of" }
                    select #min-severity name="min_severity" {
                        option value="" { "all severities" }
                        @for one in SEVERITIES {
                            option value=(one) selected[severity == one] { (one) @if one != "critical" { " or worse" } }
                        }
                    } }
                div { label for="devices" { "Devices, between commas; * stands for anything" }
                    input #devices name="devices" value=(filled("devices")) autocomplete="off" spellcheck="false" placeholder="all"; }
                div { label for="sites" { "Sites, likewise" }
                    input #sites name="sites" value=(filled("sites")) autocomplete="off" spellcheck="false" placeholder="all"; }
                div { label for="tags" { "Tags, between commas" }
                    input #tags name="tags" value=(filled("tags")) autocomplete="off" spellcheck="false" placeholder="all"; }
                div { label for="email" { "By e-mail to" }
                    input #email name="email" type="email" value=(filled("email")) autocomplete="off" placeholder="night@example.com"; }
                div { label for="url" { "Or by webhook to" }
                    input #url name="url" type="url" value=(filled("url")) autocomplete="off" placeholder="https://example.com/hook"; }
                div { label for="secret" { "The webhook's secret, 16 characters or more" }
                    // Not kept: it is not to stand in a page.
                    input #secret name="secret" type="password" autocomplete="off"; }
                div.go { button type="submit" { "Subscribe" } }
            }
        }
    }
}

/// The items of a field, between commas; nothing of an empty one.
fn items(form: &Form, name: &str) -> Option<Json> {
    let items: Vec<&str> =
        form.field(name).split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    (!items.is_empty()).then(|| json!(items))
}

/// The body that a script would send.
fn subscription_of(form: &Form) -> Result<NewSubscription, Problem> {
    let mut matching = Map::new();
    for name in ["devices", "sites", "tags"] {
        if let Some(items) = items(form, name) {
            matching.insert(name.to_owned(), items);
        }
    }
    let text = |name: &str| Some(form.field(name).trim()).filter(|text| !text.is_empty());
    if let Some(severity) = text("min_severity") {
        matching.insert("min_severity".to_owned(), severity.into());
    }
    let mut deliver = Vec::new();
    if let Some(to) = text("email") {
        deliver.push(json!({"channel": "email", "to": to}));
    }
    if let Some(url) = text("url") {
        let mut webhook = json!({"channel": "webhook", "url": url});
        if let Some(secret) = text("secret") {
            webhook["secret"] = secret.into();
        }
        deliver.push(webhook);
    }
    if deliver.is_empty() {
        let detail = "give an e-mail address or a webhook: somebody is to be told";
        return Err(Problem::invalid(detail).pointing_at("/deliver"));
    }
    let body = json!({"name": form.field("name").trim(), "match": matching, "deliver": deliver});
    parse_json(body.to_string().as_bytes())
}

pub(crate) async fn create(State(app): State<App>, SessionForm { session, form }: SessionForm) -> Response {
    let done = async { subscriptions::create_as(&app, subscription_of(&form)?).await };
    match done.await {
        Ok(_) => Redirect::to(SUBSCRIPTIONS).into_response(),
        Err(problem) => whole(&app, &session, None, Some((&form, &problem))).await,
    }
}

/// Leads to where its attempts are seen.
pub(crate) async fn test(
    State(app): State<App>,
    id: Result<Id<SubscriptionId>, Problem>,
    SessionForm { session, .. }: SessionForm,
) -> Response {
    let done = async {
        drop(subscriptions::test(State(app.clone()), id?).await?);
        Ok(Redirect::to(NOTIFICATIONS).into_response())
    };
    done.await.unwrap_or_else(|problem: Problem| refusal(&app, Some(&session), &problem))
}

pub(crate) async fn remove(
    State(app): State<App>,
    id: Result<Id<SubscriptionId>, Problem>,
    SessionForm { session, .. }: SessionForm,
) -> Response {
    let done = async {
        subscriptions::remove(State(app.clone()), id?).await?;
        Ok(Redirect::to(SUBSCRIPTIONS).into_response())
    };
    done.await.unwrap_or_else(|problem: Problem| refusal(&app, Some(&session), &problem))
}
