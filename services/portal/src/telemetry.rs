//! `/devices/{id}/telemetry`.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use stoker_domain::{DeviceId, Millis};
use stoker_proto::core::v1 as wire;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::devices::DevicePath;
use crate::extract::{Id, Parsed, Query};
use crate::json::Value;
use crate::list::{Limit, List, position};
use crate::problem::Problem;
use crate::time::{Moment, latest as end_of_time, now};

/// One value of one key at one time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"key": "t_supply", "ts": 1_700_000_000_000_i64, "value": 71.2}))]
pub(crate) struct Point {
    /// Which of the device's keys.
    pub(crate) key: String,
    /// When it was measured, in milliseconds since the epoch.
    pub(crate) ts: Millis,
    /// A number, boolean, text or JSON.
    pub(crate) value: Value,
}

/// The newest value of a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"ts": 1_700_000_000_000_i64, "value": 71.2}))]
pub(crate) struct Latest {
    /// When it was measured, in milliseconds since the epoch.
    pub(crate) ts: Millis,
    /// A number, boolean, text or JSON.
    pub(crate) value: Value,
}

impl Latest {
    pub(crate) fn from_wire(ts: Millis, value: Option<wire::Value>) -> Result<Self, Problem> {
        Ok(Self { ts, value: Value::from_wire(value)? })
    }
}

/// Keys in one parameter, between commas.
#[derive(Debug)]
pub(crate) struct Keys(Vec<String>);

impl FromStr for Keys {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let keys: Vec<String> = text.split(',').map(ToOwned::to_owned).collect();
        if keys.len() > 256 {
            return Err("at most 256 keys at once");
        }
        if keys.iter().any(|key| key.is_empty() || key.len() > 128) {
            return Err("a key has 1 to 128 bytes");
        }
        Ok(Self(keys))
    }
}

fn strings(keys: Option<Parsed<Keys>>) -> Option<wire::Strings> {
    keys.map(|Parsed(Keys(items))| wire::Strings { items })
}

/// By time.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// Oldest first.
    Asc,
    /// Newest first.
    #[default]
    Desc,
}

/// Which points.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PointsQuery {
    /// Only these keys, between commas.
    #[param(value_type = Option<String>, example = "t_supply,t_return", pattern = "^[^,]{1,128}(,[^,]{1,128}){0,255}$")]
    keys: Option<Parsed<Keys>>,
    /// From this time on, itself included: RFC 3339 or milliseconds since the epoch.
    #[param(value_type = Option<Moment>, inline)]
    from: Option<Parsed<Moment>>,
    /// Up to this time, itself included.
    #[param(value_type = Option<Moment>, inline)]
    to: Option<Parsed<Moment>>,
    /// How many at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<Parsed<Limit>>,
    /// `desc`, newest first, unless given.
    #[param(inline)]
    order: Option<Order>,
    /// The `next_cursor` of the page before, with the other parameters unchanged.
    #[param(pattern = "^[A-Za-z0-9_-]{1,1024}$")]
    cursor: Option<String>,
}

const KIND: &str = "points";

/// The span between two optional bounds; the epoch and the end of all time when they are not given.
pub(crate) fn span(
    from: Option<Parsed<Moment>>,
    to: Option<Parsed<Moment>>,
) -> Result<(Millis, Millis), Problem> {
    let from = from.map(|Parsed(Moment(from))| from);
    let to = to.map(|Parsed(Moment(to))| to);
    // A bound that was given may lie beyond the one that was not.
    in_order(match (from, to) {
        (Some(from), Some(to)) => (from, to),
        (Some(from), None) => (from, from.max(end_of_time())),
        (None, Some(to)) => (to.min(0), to),
        (None, None) => (0, end_of_time()),
    })
}

fn in_order((from, to): (Millis, Millis)) -> Result<(Millis, Millis), Problem> {
    if from > to {
        return Err(Problem::invalid("from is later than to").about_parameter("from"));
    }
    Ok((from, to))
}

/// What a device reported.
#[utoipa::path(get, path = "/devices/{id}/telemetry", operation_id = "listTelemetry", tag = "telemetry",
    params(DevicePath, PointsQuery),
    responses((status = 200, description = "One page of points", body = List<Point>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Id(id): Id<DeviceId>,
    Query(query): Query<PointsQuery>,
) -> Result<axum::Json<List<Point>>, Problem> {
    let after: Option<(Millis, String)> = position(query.cursor.as_deref(), KIND)?;
    let (after_ts, after_key) = after.unzip();
    let (from, to) = span(query.from, query.to)?;
    let order = match query.order.unwrap_or_default() {
        Order::Asc => wire::Order::Ascending,
        Order::Desc => wire::Order::Descending,
    };
    let request = wire::ListPointsRequest {
        device: app.device(&id),
        keys: strings(query.keys),
        from,
        to,
        limit: query.limit.unwrap_or_default().0.0,
        order: order.into(),
        after_ts,
        after_key,
    };
    let reply = app.core.list_points(request).await?;
    let points = reply.points.into_iter().map(|point| {
        let value = Value::from_wire(point.value)?;
        Ok(Point { key: point.key, ts: point.ts, value })
    });
    let points: Vec<Point> = points.collect::<Result<_, Problem>>()?;
    let last = points.last().map(|point| (point.ts, point.key.clone()));
    Ok(axum::Json(List::new(points, reply.more, KIND, last)))
}

/// Which keys.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LatestQuery {
    /// Only these keys, between commas.
    #[param(value_type = Option<String>, example = "t_supply,t_return", pattern = "^[^,]{1,128}(,[^,]{1,128}){0,255}$")]
    pub(crate) keys: Option<Parsed<Keys>>,
}

/// The newest value of every key of a device.
#[utoipa::path(get, path = "/devices/{id}/telemetry/latest", operation_id = "latestTelemetry", tag = "telemetry",
    params(DevicePath, LatestQuery),
    responses((status = 200, description = "Keys with their newest values", body = BTreeMap<String, Latest>)))]
pub(crate) async fn latest(
    State(app): State<App>,
    Id(id): Id<DeviceId>,
    Query(query): Query<LatestQuery>,
) -> Result<axum::Json<BTreeMap<String, Latest>>, Problem> {
    let request = wire::GetLatestRequest { device: app.device(&id), keys: strings(query.keys) };
    let reply = app.core.get_latest(request).await?;
    let latest =
        reply.points.into_iter().map(|point| Ok((point.key, Latest::from_wire(point.ts, point.value)?)));
    latest.collect::<Result<_, Problem>>().map(axum::Json)
}

/// The most parts of a summary, and how many there are unless given.
const PARTS_MOST: u32 = 1_000;
const PARTS: u32 = 240;

/// Into how many parts of the same length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts(u32);

impl FromStr for Parts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(parts @ 1..=PARTS_MOST) => Ok(Self(parts)),
            _ => Err(format!("parts is 1 to {PARTS_MOST}, not {text:?}")),
        }
    }
}

/// One key, commas and all.
#[derive(Debug, Clone)]
pub(crate) struct Key(pub(crate) String);

impl FromStr for Key {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if (1..=128).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a key has 1 to 128 bytes")
        }
    }
}

/// Which numbers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SummaryQuery {
    /// Of this key.
    #[param(value_type = String, example = "t_supply", pattern = "^.{1,128}$")]
    pub(crate) key: Parsed<Key>,
    /// From this time on, itself included: RFC 3339 or milliseconds since the epoch. A day before `to` unless given.
    #[param(value_type = Option<Moment>, inline)]
    pub(crate) from: Option<Parsed<Moment>>,
    /// Up to this time, itself included; now unless given, or `from` where that is later than now.
    #[param(value_type = Option<Moment>, inline)]
    pub(crate) to: Option<Parsed<Moment>>,
    /// Into how many parts of the same length.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 240)]
    pub(crate) parts: Option<Parsed<Parts>>,
}

/// The numbers of one part of a span.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"ts": 1_700_000_000_000_i64, "count": 60, "min": 70.9, "max": 71.4, "mean": 71.2}))]
pub(crate) struct Part {
    /// When the part begins, in milliseconds since the epoch.
    pub(crate) ts: Millis,
    /// How many points it has.
    pub(crate) count: u64,
    /// The smallest.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
    /// The mean of all.
    pub(crate) mean: f64,
}

/// The numbers of a series, drawn together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Summary {
    /// Parts with a number in them, oldest first.
    pub(crate) items: Vec<Part>,
    /// How long each part is, in milliseconds.
    pub(crate) part_ms: i64,
    /// From when on nothing is left out, in milliseconds since the epoch: `from`, or later where the span has more than
    /// 100,000 points.
    pub(crate) complete_from: Millis,
}

/// A day.
const DAY_MS: Millis = 86_400_000;

/// The span between two optional bounds: the day up to now when none is given.
fn recent_span(
    from: Option<Parsed<Moment>>,
    to: Option<Parsed<Moment>>,
    now: Millis,
) -> Result<(Millis, Millis), Problem> {
    let from = from.map(|Parsed(Moment(from))| from);
    // Who asks from a moment on that is still to come, as by a clock that is ahead, is told that there is nothing yet.
    let to = to.map_or_else(|| from.map_or(now, |from| from.max(now)), |Parsed(Moment(to))| to);
    in_order((from.unwrap_or_else(|| to.saturating_sub(DAY_MS)), to))
}

/// The numbers of one key, drawn together into parts of the same length, for a chart.
#[utoipa::path(get, path = "/devices/{id}/telemetry/summary", operation_id = "summarizeTelemetry", tag = "telemetry",
    params(DevicePath, SummaryQuery),
    responses((status = 200, description = "What the numbers of each part are", body = Summary)))]
pub(crate) async fn summary(
    State(app): State<App>,
    Id(id): Id<DeviceId>,
    Query(query): Query<SummaryQuery>,
) -> Result<axum::Json<Summary>, Problem> {
    let (from, to) = recent_span(query.from, query.to, now())?;
    let request = wire::SummarizePointsRequest {
        device: app.device(&id),
        key: query.key.0.0,
        from,
        to,
        parts: query.parts.map_or(PARTS, |Parsed(Parts(parts))| parts),
    };
    let reply = app.core.summarize_points(request).await?;
    let shown = |wire::PointsSummary { ts, count, min, max, mean }| Part { ts, count, min, max, mean };
    Ok(axum::Json(Summary {
        items: reply.parts.into_iter().map(shown).collect(),
        part_ms: reply.part_ms,
        complete_from: reply.complete_from,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_not_given_never_puts_a_span_out_of_order() {
        const NOW: Millis = 10 * DAY_MS;
        let recent = |from: Option<Millis>, to: Option<Millis>| {
            let bound = |at: Option<Millis>| at.map(|at| Parsed(Moment(at)));
            recent_span(bound(from), bound(to), NOW).ok()
        };
        assert_eq!(recent(None, None), Some((NOW - DAY_MS, NOW)));
        assert_eq!(recent(Some(5), None), Some((5, NOW)));
        assert_eq!(recent(Some(NOW + 1), None), Some((NOW + 1, NOW + 1)), "a clock that is ahead");
        assert_eq!(recent(None, Some(DAY_MS + 5)), Some((5, DAY_MS + 5)));
        assert_eq!(recent(None, Some(Millis::MIN)), Some((Millis::MIN, Millis::MIN)));
        assert_eq!(recent(Some(5), Some(5)), Some((5, 5)));
        assert_eq!(recent(Some(6), Some(5)), None);
    }
}
