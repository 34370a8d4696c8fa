//! `/alarms`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use stoker_domain::{AlarmId, DeviceId, Millis};
use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::ADMIN;
use crate::core::{missing, unreadable};
use crate::extract::{Id, MaybeJson, Parsed, Query};
use crate::list::{Limit, List, position};
use crate::problem::Problem;
use crate::time::Time;

/// How bad, from mildest to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Worth watching.
    Warning,
    /// To be mended some time.
    Minor,
    /// To be mended today.
    Major,
    /// To be mended now.
    Critical,
}

impl Severity {
    pub(crate) fn from_wire(severity: i32) -> Result<Self, Problem> {
        use stoker_domain::Severity as S;
        Ok(match convert::severity_from_wire(severity).map_err(unreadable)? {
            S::Warning => Self::Warning,
            S::Minor => Self::Minor,
            S::Major => Self::Major,
            S::Critical => Self::Critical,
        })
    }

    pub(crate) fn to_wire(self) -> i32 {
        match self {
            Self::Warning => wire::Severity::Warning,
            Self::Minor => wire::Severity::Minor,
            Self::Major => wire::Severity::Major,
            Self::Critical => wire::Severity::Critical,
        }
        .into()
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }
}

/// What raised an alarm.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AlarmKind {
    /// The device said so.
    Fault,
    /// The device says nothing.
    Silence,
    /// A rule over its telemetry.
    Rule,
}

impl AlarmKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Silence => "silence",
            Self::Rule => "rule",
        }
    }
}

/// Whether the cause still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AlarmState {
    /// It does.
    Active,
    /// It does not any more.
    Cleared,
}

/// Somebody has taken note.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Acknowledgement {
    /// When.
    pub(crate) at: Time,
    /// Who.
    pub(crate) by: String,
    /// What they said.
    #[schema(required = true)]
    pub(crate) note: Option<String>,
}

/// One raising of an alarm. Of a device, kind and code at most one is active.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alarm {
    /// This raising.
    #[schema(example = "alm-0a-12-ff")]
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) device: String,
    /// What raised it.
    pub(crate) kind: AlarmKind,
    /// Which of its kind.
    #[schema(example = "E42")]
    pub(crate) code: String,
    /// How bad, by the newest event.
    pub(crate) severity: Severity,
    /// For a person, by the newest event.
    #[schema(example = "flame lost")]
    pub(crate) text: String,
    /// Whether the cause still stands.
    pub(crate) state: AlarmState,
    /// Who took note; null when nobody has.
    #[schema(required = true)]
    pub(crate) acknowledged: Option<Acknowledgement>,
    /// When it was raised.
    pub(crate) raised_at: Time,
    /// When it was cleared.
    #[schema(required = true)]
    pub(crate) cleared_at: Option<Time>,
    /// How many events have said so.
    pub(crate) count: u64,
}

impl Alarm {
    pub(crate) fn from_wire(alarm: wire::Alarm) -> Result<Self, Problem> {
        use stoker_domain::{AlarmKind as K, AlarmState as S};
        Ok(Self {
            id: alarm.id,
            device: alarm.device.ok_or_else(|| missing("the alarm's device"))?.device,
            kind: match convert::alarm_kind_from_wire(alarm.kind).map_err(unreadable)? {
                K::Fault => AlarmKind::Fault,
                K::Silence => AlarmKind::Silence,
                K::Rule => AlarmKind::Rule,
            },
            code: alarm.code,
            severity: Severity::from_wire(alarm.severity)?,
            text: alarm.text,
            state: match convert::alarm_state_from_wire(alarm.state).map_err(unreadable)? {
                S::Active => AlarmState::Active,
                S::Cleared => AlarmState::Cleared,
            },
            acknowledged: alarm.acknowledged.map(|acknowledged| Acknowledgement {
                at: Time(acknowledged.at),
                by: acknowledged.by,
                note: acknowledged.note,
            }),
            raised_at: Time(alarm.raised_at),
            cleared_at: alarm.cleared_at.map(Time),
            count: alarm.count,
        })
    }

    fn from_reply(reply: wire::AlarmReply) -> Result<Self, Problem> {
        Self::from_wire(reply.alarm.ok_or_else(|| missing("the alarm"))?)
    }
}

/// A remark on taking note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note(String);

impl Note {
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl std::str::FromStr for Note {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A note is read in a table and in mails; a report belongs elsewhere.
        if (1..=1_024).contains(&text.chars().count()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a note has 1 to 1024 characters")
        }
    }
}

/// A remark on taking note.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"note": "Ada is on her way"}))]
pub(crate) struct NewAcknowledgement {
    /// What to remember.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 1024)]
    pub(crate) note: Option<Parsed<Note>>,
}

/// Which alarm, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "only describes the parameter; `Id` takes it")]
pub(crate) struct AlarmPath {
    /// The alarm's id.
    #[param(
        pattern = "^alm-[0-9a-f]{2}-(0|[1-9a-f][0-9a-f]{0,15})-(0|[1-9a-f][0-9a-f]{0,15})$",
        example = "alm-0a-12-ff"
    )]
    id: String,
}

/// Which alarms.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlarmsQuery {
    /// Only active or only cleared ones.
    pub(crate) state: Option<AlarmState>,
    /// Only of this severity.
    pub(crate) severity: Option<Severity>,
    /// Only this device's.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    pub(crate) device: Option<Parsed<DeviceId>>,
    /// How many at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: Option<Parsed<Limit>>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]{1,1024}$")]
    pub(crate) cursor: Option<String>,
}

const KIND: &str = "alarms";

/// Alarms, newest first.
#[utoipa::path(get, path = "/alarms", operation_id = "listAlarms", tag = "alarms", params(AlarmsQuery),
    responses((status = 200, description = "One page of alarms", body = List<Alarm>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<AlarmsQuery>,
) -> Result<axum::Json<List<Alarm>>, Problem> {
    let after: Option<(Millis, String)> = position(query.cursor.as_deref(), KIND)?;
    let (after_raised_at, after_id) = after.unzip();
    let request = wire::ListAlarmsRequest {
        here_only: false,
        organization: app.organization.to_string(),
        state: query.state.map(|state| match state {
            AlarmState::Active => wire::AlarmState::Active.into(),
            AlarmState::Cleared => wire::AlarmState::Cleared.into(),
        }),
        severity: query.severity.map(Severity::to_wire),
        device: query.device.map(|device| device.0.to_string()),
        limit: query.limit.unwrap_or_default().0.0,
        after_raised_at,
        after_id,
    };
    let reply = app.core.list_alarms(request).await?;
    let alarms: Vec<_> = reply.alarms.into_iter().map(Alarm::from_wire).collect::<Result<_, _>>()?;
    let last = alarms.last().map(|alarm| (alarm.raised_at.0, alarm.id.clone()));
    Ok(axum::Json(List::new(alarms, reply.more, KIND, last)))
}

/// One alarm.
#[utoipa::path(get, path = "/alarms/{id}", operation_id = "getAlarm", tag = "alarms", params(AlarmPath),
    responses((status = 200, description = "The alarm", body = Alarm)))]
pub(crate) async fn show(State(app): State<App>, Id(id): Id<AlarmId>) -> Result<axum::Json<Alarm>, Problem> {
    let organization = app.organization.to_string();
    let reply = app.core.get_alarm(wire::GetAlarmRequest { organization, id: id.to_string() }).await?;
    Alarm::from_reply(reply).map(axum::Json)
}

/// Take note of an alarm. The first who does stays on record.
#[utoipa::path(post, path = "/alarms/{id}/acknowledge", operation_id = "acknowledgeAlarm", tag = "alarms",
    params(AlarmPath), request_body = Option<NewAcknowledgement>,
    responses((status = 200, description = "The alarm as it is now", body = Alarm)))]
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Id(id): Id<AlarmId>,
    MaybeJson(new): MaybeJson<NewAcknowledgement>,
) -> Result<axum::Json<Alarm>, Problem> {
    acknowledge_as(&app, id, new.note.map(|Parsed(Note(note))| note)).await.map(axum::Json)
}

/// What the API and the page do alike.
pub(crate) async fn acknowledge_as(app: &App, id: AlarmId, note: Option<String>) -> Result<Alarm, Problem> {
    let request = wire::AcknowledgeAlarmRequest {
        organization: app.organization.to_string(),
        id: id.to_string(),
        by: ADMIN.to_owned(),
        note,
    };
    Alarm::from_reply(app.core.acknowledge_alarm(request).await?)
}

/// Clear an alarm by hand. It is raised anew when its cause shows again.
#[utoipa::path(post, path = "/alarms/{id}/clear", operation_id = "clearAlarm", tag = "alarms", params(AlarmPath),
    responses((status = 200, description = "The alarm as it is now", body = Alarm)))]
pub(crate) async fn clear(State(app): State<App>, Id(id): Id<AlarmId>) -> Result<axum::Json<Alarm>, Problem> {
    let request = wire::ClearAlarmRequest {
        organization: app.organization.to_string(),
        id: id.to_string(),
        by: ADMIN.to_owned(),
    };
    Alarm::from_reply(app.core.clear_alarm(request).await?).map(axum::Json)
}
