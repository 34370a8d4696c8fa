//! `/devices/{id}/commands` and `/commands`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stoker_domain::{CommandId, DeviceId};
use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::core::{missing, unreadable};
use crate::devices::DevicePath;
use crate::extract::{Id, Json, Label, Parsed, Query, Whole, present};
use crate::json::{compact, raw};
use crate::list::{Limit, List, position};
use crate::problem::Problem;
use crate::time::Time;

/// An order to a device, and its ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Command {
    /// On the whole platform.
    #[schema(example = "cmd-0a-12-ff")]
    pub(crate) id: String,
    /// The number the device sees; it grows per device and stays the same when the command is sent again.
    pub(crate) number: u64,
    /// Whom it is for.
    pub(crate) device: String,
    /// What to do.
    #[schema(example = "write_setpoint")]
    pub(crate) method: String,
    /// With what.
    #[schema(value_type = serde_json::Value)]
    pub(crate) params: Box<RawValue>,
    /// Where it stands. States never go back; the last four are final.
    pub(crate) state: CommandState,
    /// What is known once it has expired.
    #[schema(required = true)]
    pub(crate) outcome: Option<CommandOutcome>,
    /// The device's answer; null before.
    #[schema(value_type = serde_json::Value, required = true)]
    pub(crate) reply: Option<Box<RawValue>>,
    /// Why it failed, where the device did not say it itself.
    #[schema(required = true)]
    pub(crate) detail: Option<String>,
    /// Whether the device was connected when the command was made.
    pub(crate) online: bool,
    /// When it was made.
    pub(crate) created_at: Time,
    /// When it was first written to a connection.
    #[schema(required = true)]
    pub(crate) sent_at: Option<Time>,
    /// When the device acknowledged it.
    #[schema(required = true)]
    pub(crate) delivered_at: Option<Time>,
    /// When it reached its final state.
    #[schema(required = true)]
    pub(crate) ended_at: Option<Time>,
    /// When its time runs out.
    pub(crate) expires_at: Time,
}

/// Where a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CommandState {
    /// Written down.
    Queued,
    /// Written to the device's connection.
    Sent,
    /// The device's MQTT stack has acknowledged it.
    Delivered,
    /// The device replied.
    Succeeded,
    /// The device replied with an error, or refused it.
    Failed,
    /// Its time ran out; see the outcome.
    Expired,
    /// Somebody took it back.
    Cancelled,
}

impl CommandState {
    fn from_wire(state: i32) -> Result<Self, Problem> {
        use stoker_domain::CommandState as S;
        Ok(match convert::command_state_from_wire(state).map_err(unreadable)? {
            S::Queued => Self::Queued,
            S::Sent => Self::Sent,
            S::Delivered => Self::Delivered,
            S::Succeeded => Self::Succeeded,
            S::Failed => Self::Failed,
            S::Expired => Self::Expired,
            S::Cancelled => Self::Cancelled,
        })
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    fn to_wire(self) -> i32 {
        use stoker_domain::CommandState as S;
        convert::command_state_to_wire(match self {
            Self::Queued => S::Queued,
            Self::Sent => S::Sent,
            Self::Delivered => S::Delivered,
            Self::Succeeded => S::Succeeded,
            Self::Failed => S::Failed,
            Self::Expired => S::Expired,
            Self::Cancelled => S::Cancelled,
        })
    }
}

/// What is known of a command whose time ran out.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CommandOutcome {
    /// It never left the platform.
    NeverSent,
    /// It may have reached the device; nobody can say.
    Unknown,
    /// It reached the device; no reply came.
    NoReply,
}

impl CommandOutcome {
    fn from_wire(outcome: i32) -> Result<Self, Problem> {
        use stoker_domain::CommandOutcome as O;
        Ok(match convert::outcome_from_wire(outcome).map_err(unreadable)? {
            O::NeverSent => Self::NeverSent,
            O::Unknown => Self::Unknown,
            O::NoReply => Self::NoReply,
        })
    }
}

impl Command {
    pub(crate) fn from_wire(command: wire::Command) -> Result<Self, Problem> {
        Ok(Self {
            id: command.id,
            number: command.number,
            device: command.device.ok_or_else(|| missing("the command's device"))?.device,
            method: command.method,
            params: raw(command.params)?,
            state: CommandState::from_wire(command.state)?,
            outcome: command.outcome.map(CommandOutcome::from_wire).transpose()?,
            reply: command.reply.map(raw).transpose()?,
            detail: command.detail,
            online: command.online,
            created_at: Time(command.created_at),
            sent_at: command.sent_at.map(Time),
            delivered_at: command.delivered_at.map(Time),
            ended_at: command.ended_at.map(Time),
            expires_at: Time(command.expires_at),
        })
    }

    fn from_reply(reply: wire::CommandReply) -> Result<Self, Problem> {
        Self::from_wire(reply.command.ok_or_else(|| missing("the command"))?)
    }
}

/// An order to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"method": "write_setpoint", "params": {"value": 55}, "expires_in_s": 60}))]
pub(crate) struct NewCommand {
    /// What to do.
    #[schema(value_type = Label)]
    pub(crate) method: Parsed<Label>,
    /// With what: any JSON of at most 32 KiB, `{}` when it is left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub(crate) params: Option<Box<RawValue>>,
    /// How long it may take, in seconds.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 604_800, default = 60)]
    pub(crate) expires_in_s: Option<Whole>,
}

/// Which command, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "only describes the parameter; `Id` takes it")]
pub(crate) struct CommandPath {
    /// The command's id.
    #[param(
        pattern = "^cmd-[0-9a-f]{2}-(0|[1-9a-f][0-9a-f]{0,15})-(0|[1-9a-f][0-9a-f]{0,15})$",
        example = "cmd-0a-12-ff"
    )]
    id: String,
}

/// Which commands.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CommandsQuery {
    /// Only commands that stand so.
    pub(crate) state: Option<CommandState>,
    /// How many at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: Option<Parsed<Limit>>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]{1,1024}$")]
    pub(crate) cursor: Option<String>,
}

/// How long to wait, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wait(u32);

impl std::str::FromStr for Wait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(seconds @ 0..=60) => Ok(Self(seconds)),
            _ => Err(format!("wait_s is 0 to 60, not {text:?}")),
        }
    }
}

/// Whether to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CommandQuery {
    /// Wait so long for the command to end, in seconds. The answer comes at the end or after that time.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 60, default = 0)]
    wait_s: Option<Parsed<Wait>>,
}

const KIND: &str = "commands";

/// Give an order to a device. It is kept until the device is there or its time runs out.
#[utoipa::path(post, path = "/devices/{id}/commands", operation_id = "createCommand", tag = "commands",
    params(DevicePath), request_body = NewCommand,
    responses(
        (status = 202, description = "Queued", body = Command,
            headers(("location" = String, description = "Where its ledger can be read"))),
        (status = 429, description = "Too many open commands for this device", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(crate) async fn create(
    State(app): State<App>,
    Id(id): Id<DeviceId>,
    Json(new): Json<NewCommand>,
) -> Result<Response, Problem> {
    let command = create_for(&app, &id, new).await?;
    let location = format!("/api/v1/commands/{}", command.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(command)).into_response())
}

/// What the API and the page do alike.
pub(crate) async fn create_for(app: &App, id: &DeviceId, new: NewCommand) -> Result<Command, Problem> {
    let params = new.params.map(|params| compact(&params)).transpose();
    let params = params.map_err(|detail| Problem::invalid(detail).pointing_at("/params"))?;
    if new.expires_in_s == Some(Whole(0)) {
        return Err(Problem::invalid("expires_in_s is at least 1").pointing_at("/expires_in_s"));
    }
    let request = wire::CreateCommandRequest {
        device: app.device(id),
        method: new.method.0.0,
        params: params.unwrap_or_default(),
        expires_in_s: new.expires_in_s.map(|Whole(seconds)| seconds),
    };
    let entered = app.orders.enter()?;
    let reply = app.core.create_command(request).await?;
    entered.written();
    Command::from_reply(reply)
}

/// The commands of a device, newest first.
#[utoipa::path(get, path = "/devices/{id}/commands", operation_id = "listCommands", tag = "commands",
    params(DevicePath, CommandsQuery),
    responses((status = 200, description = "One page of commands", body = List<Command>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Id(id): Id<DeviceId>,
    Query(query): Query<CommandsQuery>,
) -> Result<axum::Json<List<Command>>, Problem> {
    let request = wire::ListCommandsRequest {
        device: app.device(&id),
        state: query.state.map(CommandState::to_wire),
        limit: query.limit.unwrap_or_default().0.0,
        after: position(query.cursor.as_deref(), KIND)?,
    };
    let reply = app.core.list_commands(request).await?;
    let commands: Vec<_> = reply.commands.into_iter().map(Command::from_wire).collect::<Result<_, _>>()?;
    let last = commands.last().map(|command| command.id.clone());
    Ok(axum::Json(List::new(commands, reply.more, KIND, last)))
}

/// One command, at once or when it has ended.
#[utoipa::path(get, path = "/commands/{id}", operation_id = "getCommand", tag = "commands",
    params(CommandPath, CommandQuery),
    responses((status = 200, description = "The command as it stands", body = Command)))]
pub(crate) async fn show(
    State(app): State<App>,
    Id(id): Id<CommandId>,
    Query(query): Query<CommandQuery>,
) -> Result<axum::Json<Command>, Problem> {
    let request = wire::GetCommandRequest {
        organization: app.organization.to_string(),
        id: id.to_string(),
        wait_ms: query.wait_s.unwrap_or_default().0.0 * 1_000,
    };
    Command::from_reply(app.core.get_command(request).await?).map(axum::Json)
}

/// Take a command back. The device may have acted on it already; whether it was sent shows in the ledger.
#[utoipa::path(post, path = "/commands/{id}/cancel", operation_id = "cancelCommand", tag = "commands",
    params(CommandPath),
    responses(
        (status = 200, description = "Cancelled", body = Command),
        (status = 409, description = "It has ended already", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(crate) async fn cancel(
    State(app): State<App>,
    Id(id): Id<CommandId>,
) -> Result<axum::Json<Command>, Problem> {
    let organization = app.organization.to_string();
    let request = wire::CancelCommandRequest { organization, id: id.to_string() };
    Command::from_reply(app.core.cancel_command(request).await?).map(axum::Json)
}
