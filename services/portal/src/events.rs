//! `/events`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stoker_domain::{DeviceId, Millis};
use stoker_proto::core::v1 as wire;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::alarms::Severity;
use crate::core::missing;
use crate::extract::{Label, Parsed, Query};
use crate::json::raw;
use crate::list::{Limit, List, position};
use crate::problem::Problem;
use crate::telemetry::span;
use crate::time::{Moment, Time};

/// An immutable fact about a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Event {
    /// Unique within its device.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) device: String,
    /// When it happened.
    pub(crate) ts: Time,
    /// What it is about; `fault` raises an alarm.
    #[schema(example = "fault")]
    pub(crate) kind: String,
    /// Which of its kind.
    #[schema(example = "E42")]
    pub(crate) code: String,
    /// How bad.
    pub(crate) severity: Severity,
    /// For a person.
    #[schema(example = "flame lost")]
    pub(crate) text: String,
    /// True when it ends what an earlier event of the same kind and code began.
    pub(crate) cleared: bool,
    /// Further data; null when there is none.
    #[schema(value_type = serde_json::Value, required = true)]
    pub(crate) data: Option<Box<RawValue>>,
}

impl Event {
    pub(crate) fn from_wire(event: wire::Event) -> Result<Self, Problem> {
        Ok(Self {
            id: event.id,
            device: event.device.ok_or_else(|| missing("the event's device"))?.device,
            ts: Time(event.ts),
            kind: event.kind,
            code: event.code,
            severity: Severity::from_wire(event.severity)?,
            text: event.text,
            cleared: event.cleared,
            data: event.data.map(raw).transpose()?,
        })
    }
}

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Only this device's.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    pub(crate) device: Option<Parsed<DeviceId>>,
    /// Only of this kind.
    #[param(value_type = Option<String>, pattern = r"^[^\x00-\x1f\x7f-\x9f]{1,128}$", example = "fault")]
    pub(crate) kind: Option<Parsed<Label>>,
    /// From this time on, itself included: RFC 3339 or milliseconds since the epoch.
    #[param(value_type = Option<Moment>, inline)]
    pub(crate) from: Option<Parsed<Moment>>,
    /// Up to this time, itself included.
    #[param(value_type = Option<Moment>, inline)]
    pub(crate) to: Option<Parsed<Moment>>,
    /// How many at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: Option<Parsed<Limit>>,
    /// The `next_cursor` of the page before, with the other parameters unchanged.
    #[param(pattern = "^[A-Za-z0-9_-]{1,1024}$")]
    pub(crate) cursor: Option<String>,
}

const KIND: &str = "events";

/// Events, newest first.
#[utoipa::path(get, path = "/events", operation_id = "listEvents", tag = "events", params(EventsQuery),
    responses((status = 200, description = "One page of events", body = List<Event>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<EventsQuery>,
) -> Result<axum::Json<List<Event>>, Problem> {
    let after: Option<(Millis, String, String)> = position(query.cursor.as_deref(), KIND)?;
    let (from, to) = span(query.from, query.to)?;
    let (mut after_ts, mut after_device, mut after_id) = (None, None, None);
    if let Some((ts, device, id)) = after {
        (after_ts, after_device, after_id) = (Some(ts), Some(device), Some(id));
    }
    let request = wire::ListEventsRequest {
        organization: app.organization.to_string(),
        device: query.device.map(|device| device.0.to_string()),
        kind: query.kind.map(|Parsed(Label(kind))| kind),
        from,
        to,
        limit: query.limit.unwrap_or_default().0.0,
        after_ts,
        after_device,
        after_id,
    };
    let reply = app.core.list_events(request).await?;
    let events: Vec<_> = reply.events.into_iter().map(Event::from_wire).collect::<Result<_, _>>()?;
    let last = events.last().map(|event| (event.ts.0, event.device.clone(), event.id.clone()));
    Ok(axum::Json(List::new(events, reply.more, KIND, last)))
}
