//! `/subscriptions`.

use std::fmt;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use stoker_domain::SubscriptionId;
use stoker_proto::core::v1 as wire;
use utoipa::{IntoParams, ToSchema};
use wire::channel::{Email, Kind, Webhook};

use crate::App;
use crate::alarms::Severity;
use crate::core::missing;
use crate::extract::{Id, Json, Label, Object, Parsed, Query, present};
use crate::list::{Limit, List, position};
use crate::problem::Problem;
use crate::time::Time;

mod channel;

use channel::{Address, ChannelToChange, ChannelToMake, Pattern, Secret, WebhookUrl};

/// Who wants to know what.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Subscription {
    /// Made by the platform.
    pub(crate) id: String,
    /// For a person.
    pub(crate) name: String,
    /// Which alarms.
    #[serde(rename = "match")]
    pub(crate) matching: Match,
    /// Where to.
    pub(crate) deliver: Vec<Channel>,
    /// When it was made.
    pub(crate) created_at: Time,
}

/// Which alarms. All given conditions must hold; of the items of one, any. An absent condition holds always.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Match {
    /// Device ids, where `*` stands for any run of characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["boiler-*"]))]
    pub(crate) devices: Option<Vec<String>>,
    /// Sites, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sites: Option<Vec<String>>,
    /// Tags of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Vec<String>>,
    /// This severity or a worse one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_severity: Option<Severity>,
}

/// Where to deliver, without what must not be read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "channel", rename_all = "lowercase")]
pub(crate) enum Channel {
    /// A mail.
    Email {
        /// The address.
        to: String,
    },
    /// A signed HTTP POST.
    Webhook {
        /// Where to.
        url: String,
    },
}

impl Subscription {
    fn from_wire(subscription: wire::Subscription) -> Result<Self, Problem> {
        let matching = subscription.r#match.unwrap_or_default();
        let items = |list: Option<wire::Strings>| list.map(|list| list.items);
        let deliver = subscription.deliver.into_iter().map(|channel| match channel.kind {
            Some(Kind::Email(Email { to })) => Ok(Channel::Email { to }),
            Some(Kind::Webhook(Webhook { url, secret: _ })) => Ok(Channel::Webhook { url }),
            None => Err(missing("the kind of a channel")),
        });
        Ok(Self {
            id: subscription.id,
            name: subscription.name,
            matching: Match {
                devices: items(matching.devices),
                sites: items(matching.sites),
                tags: items(matching.tags),
                min_severity: matching.min_severity.map(Severity::from_wire).transpose()?,
            },
            deliver: deliver.collect::<Result<_, _>>()?,
            created_at: Time(subscription.created_at),
        })
    }

    fn from_reply(reply: wire::SubscriptionReply) -> Result<Self, Problem> {
        Self::from_wire(reply.subscription.ok_or_else(|| missing("the subscription"))?)
    }
}

/// The most items of one condition.
const MAX_ITEMS: usize = 100;
/// The most recipients of one subscription: more are better served by a mailing list.
const MAX_CHANNELS: usize = 16;

/// Which alarms. All given conditions must hold; of the items of one, any. An absent condition holds always.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMatch {
    /// Device ids, where `*` stands for any run of characters.
    #[schema(value_type = Option<Vec<Pattern>>, min_items = 1, max_items = 100)]
    devices: Option<Vec<Parsed<Pattern>>>,
    /// Sites, likewise.
    #[schema(value_type = Option<Vec<Pattern>>, min_items = 1, max_items = 100)]
    sites: Option<Vec<Parsed<Pattern>>>,
    /// Tags of the device.
    #[schema(value_type = Option<Vec<Label>>, min_items = 1, max_items = 100)]
    tags: Option<Vec<Parsed<Label>>>,
    /// This severity or a worse one.
    min_severity: Option<Severity>,
}

fn condition<T>(
    name: &str,
    items: Option<Vec<Parsed<T>>>,
    text: impl Fn(T) -> String,
) -> Result<Option<wire::Strings>, Problem> {
    let Some(items) = items else { return Ok(None) };
    if items.is_empty() || items.len() > MAX_ITEMS {
        let detail = format!("{name} has 1 to {MAX_ITEMS} items; leave it out to match everything");
        return Err(Problem::invalid(detail).pointing_at(format!("/match/{name}")));
    }
    Ok(Some(wire::Strings { items: items.into_iter().map(|item| text(item.0)).collect() }))
}

impl NewMatch {
    fn into_wire(self) -> Result<wire::Match, Problem> {
        Ok(wire::Match {
            devices: condition("devices", self.devices, |Pattern(pattern)| pattern)?,
            sites: condition("sites", self.sites, |Pattern(pattern)| pattern)?,
            tags: condition("tags", self.tags, |Label(tag)| tag)?,
            min_severity: self.min_severity.map(Severity::to_wire),
        })
    }
}

/// Where to deliver. [`ChannelToMake`] and [`ChannelToChange`] describe it.
#[derive(Deserialize)]
#[serde(tag = "channel", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum NewChannel {
    /// A mail.
    Email { to: Parsed<Address> },
    /// A signed HTTP POST. A change may leave the secret out, which keeps the one that this URL had.
    Webhook { url: Parsed<WebhookUrl>, secret: Option<Parsed<Secret>> },
}

impl fmt::Debug for NewChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Email { .. } => "Email",
            Self::Webhook { .. } => "Webhook",
        })
    }
}

fn channels(deliver: Vec<Object<NewChannel>>, secrets_needed: bool) -> Result<Vec<wire::Channel>, Problem> {
    if deliver.is_empty() || deliver.len() > MAX_CHANNELS {
        let detail = format!("deliver has 1 to {MAX_CHANNELS} channels");
        return Err(Problem::invalid(detail).pointing_at("/deliver"));
    }
    let channels = deliver.into_iter().enumerate().map(|(index, Object(channel))| {
        let kind = match channel {
            NewChannel::Email { to } => Kind::Email(Email { to: to.0.0 }),
            NewChannel::Webhook { url, secret } => {
                if secret.is_none() && secrets_needed {
                    let detail = "a webhook needs a secret, by which its receiver knows us";
                    return Err(Problem::invalid(detail).pointing_at(format!("/deliver/{index}/secret")));
                }
                let secret = secret.map(|Parsed(Secret(secret))| secret).unwrap_or_default();
                Kind::Webhook(Webhook { url: url.0.0, secret })
            }
        };
        Ok(wire::Channel { kind: Some(kind) })
    });
    channels.collect()
}

/// A subscription to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Night shift",
    "match": {"devices": ["boiler-*"], "min_severity": "major"},
    "deliver": [
        {"channel": "email", "to": "night@example.com"},
        {"channel": "webhook", "url": "https://example.com/hook", "secret": "a long random text"}
    ]
}))]
pub(crate) struct NewSubscription {
    /// For a person.
    #[schema(value_type = Label)]
    name: Parsed<Label>,
    /// Which alarms; all when it is left out.
    #[serde(rename = "match")]
    #[schema(value_type = Option<NewMatch>)]
    matching: Option<Object<NewMatch>>,
    /// Where to.
    #[schema(value_type = Vec<ChannelToMake>, min_items = 1, max_items = 16)]
    deliver: Vec<Object<NewChannel>>,
}

/// What is to change: an absent field stays as it is, a given one replaces all of the old.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"match": {"min_severity": "critical"}}))]
pub(crate) struct SubscriptionChange {
    /// For a person.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Label, required = false)]
    name: Option<Parsed<Label>>,
    /// Which alarms; null for all.
    #[serde(default, rename = "match", deserialize_with = "present")]
    #[schema(value_type = Option<NewMatch>)]
    matching: Option<Option<Object<NewMatch>>>,
    /// Where to.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<ChannelToChange>, required = false, min_items = 1, max_items = 16)]
    deliver: Option<Vec<Object<NewChannel>>>,
}

/// Which subscription, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "only describes the parameter; `Id` takes it")]
pub(crate) struct SubscriptionPath {
    /// The subscription's id.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    id: String,
}

/// Which subscriptions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SubscriptionsQuery {
    /// How many at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: Option<Parsed<Limit>>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]{1,1024}$")]
    pub(crate) cursor: Option<String>,
}

const KIND: &str = "subscriptions";

/// Subscriptions, ordered by id.
#[utoipa::path(get, path = "/subscriptions", operation_id = "listSubscriptions", tag = "subscriptions",
    params(SubscriptionsQuery),
    responses((status = 200, description = "One page of subscriptions", body = List<Subscription>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<SubscriptionsQuery>,
) -> Result<axum::Json<List<Subscription>>, Problem> {
    let request = wire::ListSubscriptionsRequest {
        organization: app.organization.to_string(),
        after: position(query.cursor.as_deref(), KIND)?,
        limit: query.limit.unwrap_or_default().0.0,
    };
    let reply = app.core.list_subscriptions(request).await?;
    let all = reply.subscriptions.into_iter().map(Subscription::from_wire);
    let all: Vec<_> = all.collect::<Result<_, _>>()?;
    let last = all.last().map(|subscription| subscription.id.clone());
    Ok(axum::Json(List::new(all, reply.more, KIND, last)))
}

/// Make a subscription. From the answer on, every alarm that matches is told.
#[utoipa::path(post, path = "/subscriptions", operation_id = "createSubscription", tag = "subscriptions",
    request_body = NewSubscription,
    responses(
        (status = 201, description = "Made", body = Subscription,
            headers(("location" = String, description = "Where the subscription is"))),
        (status = 409, description = "As many subscriptions as fit", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(crate) async fn create(
    State(app): State<App>,
    Json(new): Json<NewSubscription>,
) -> Result<Response, Problem> {
    let subscription = create_as(&app, new).await?;
    let location = format!("/api/v1/subscriptions/{}", subscription.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(subscription)).into_response())
}

/// What the API and the page do alike.
pub(crate) async fn create_as(app: &App, new: NewSubscription) -> Result<Subscription, Problem> {
    let request = wire::CreateSubscriptionRequest {
        organization: app.organization.to_string(),
        name: new.name.0.0,
        r#match: Some(new.matching.unwrap_or_default().0.into_wire()?),
        deliver: channels(new.deliver, true)?,
    };
    Subscription::from_reply(app.core.create_subscription(request).await?)
}

/// One subscription.
#[utoipa::path(get, path = "/subscriptions/{id}", operation_id = "getSubscription", tag = "subscriptions",
    params(SubscriptionPath),
    responses((status = 200, description = "The subscription", body = Subscription)))]
pub(crate) async fn show(
    State(app): State<App>,
    Id(id): Id<SubscriptionId>,
) -> Result<axum::Json<Subscription>, Problem> {
    let organization = app.organization.to_string();
    let request = wire::GetSubscriptionRequest { organization, id: id.to_string() };
    Subscription::from_reply(app.core.get_subscription(request).await?).map(axum::Json)
}

/// Change a subscription. An absent field stays as it is.
#[utoipa::path(patch, path = "/subscriptions/{id}", operation_id = "changeSubscription", tag = "subscriptions",
    params(SubscriptionPath), request_body = SubscriptionChange,
    responses(
        (status = 200, description = "The subscription as it is now", body = Subscription),
        (status = 409, description = "Somebody else changed it at the same time", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(crate) async fn change(
    State(app): State<App>,
    Id(id): Id<SubscriptionId>,
    Json(change): Json<SubscriptionChange>,
) -> Result<axum::Json<Subscription>, Problem> {
    let deliver = change.deliver.map(|deliver| channels(deliver, false)).transpose()?;
    let request = wire::PatchSubscriptionRequest {
        organization: app.organization.to_string(),
        id: id.to_string(),
        name: change.name.map(|Parsed(Label(name))| name),
        r#match: change.matching.map(|matching| matching.unwrap_or_default().0.into_wire()).transpose()?,
        deliver: deliver.map(|items| wire::Deliver { items }),
    };
    Subscription::from_reply(app.core.patch_subscription(request).await?).map(axum::Json)
}

/// Remove a subscription. It tells of nothing new; what is on its way to somebody already is still tried.
#[utoipa::path(delete, path = "/subscriptions/{id}", operation_id = "removeSubscription", tag = "subscriptions",
    params(SubscriptionPath),
    responses((status = 204, description = "Removed")))]
pub(crate) async fn remove(
    State(app): State<App>,
    Id(id): Id<SubscriptionId>,
) -> Result<StatusCode, Problem> {
    let organization = app.organization.to_string();
    app.core
        .remove_subscription(wire::RemoveSubscriptionRequest { organization, id: id.to_string() })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What was made by a test of a subscription.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tested {
    /// The ids of the notifications, one for each recipient.
    #[schema(example = json!(["ntf-0a-12-ff"]))]
    pub(crate) notifications: Vec<String>,
}

/// Send a test message to each recipient of a subscription. It goes the way that alarms go; `GET /notifications` shows how far
/// it is. It is tried for ten minutes, or until the broker is there and has taken it.
#[utoipa::path(post, path = "/subscriptions/{id}/test", operation_id = "testSubscription", tag = "subscriptions",
    params(SubscriptionPath),
    responses(
        (status = 202, description = "On its way", body = Tested),
        (status = 429, description = "It was tested less than 10 s ago; Retry-After says when to try again",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn test(
    State(app): State<App>,
    Id(id): Id<SubscriptionId>,
) -> Result<(StatusCode, axum::Json<Tested>), Problem> {
    let organization = app.organization.to_string();
    let request = wire::TestSubscriptionRequest { organization, id: id.to_string() };
    let wire::TestSubscriptionReply { notifications } = app.core.test_subscription(request).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(Tested { notifications })))
}
