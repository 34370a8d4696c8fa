//! `/status`.

use axum::extract::State;
use serde::Serialize;
use stoker_proto::core::v1 as wire;
use utoipa::ToSchema;

use crate::App;
use crate::problem::Problem;
use crate::time::Time;

/// How the platform stands, as one core sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// The version of this portal.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// The core that answered.
    core: CoreStatus,
    /// Devices.
    devices: u64,
    /// Those of them that are connected.
    devices_online: u64,
    /// Commands that have not ended.
    commands_open: u64,
    /// Alarms whose cause still stands.
    alarms_active: u64,
    /// Notifications whose attempts go on.
    notifications_pending: u64,
    /// All processes that may be alive, where they run apart; empty where all of it is one process.
    members: Vec<Member>,
}

/// A process of the platform.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Member {
    /// Its id, fresh at every start.
    member: String,
    /// What it is there for.
    role: Role,
    /// Its version.
    version: String,
    /// Where it is reached; empty when nobody calls it.
    address: String,
    /// Its host or pod.
    host: String,
    /// Connections of devices that it holds.
    sessions: u64,
    /// How many of the 256 slots it owns.
    slots_owned: u32,
    /// It is about to end.
    leaving: bool,
}

/// What a process is there for.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Owns slots.
    Core,
    /// Ends device connections.
    Gateway,
    /// Delivers notifications.
    Notifier,
    /// Serves people.
    Portal,
}

/// A member of a kind that is newer than this portal is left out.
fn member(member: wire::Member) -> Option<Member> {
    let role = match member.role() {
        wire::MemberRole::Core => Role::Core,
        wire::MemberRole::Gateway => Role::Gateway,
        wire::MemberRole::Notifier => Role::Notifier,
        wire::MemberRole::Portal => Role::Portal,
        wire::MemberRole::Unspecified => return None,
    };
    Some(Member {
        role,
        member: member.member,
        version: member.version,
        address: member.address,
        host: member.host,
        sessions: member.sessions,
        slots_owned: member.slots_owned,
        leaving: member.leaving,
    })
}

/// The core that answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CoreStatus {
    /// Its version.
    version: String,
    /// Its id as a member, fresh at every start.
    member: String,
    /// How many of the 256 slots it owns.
    slots_owned: u32,
    /// Since when it runs.
    started_at: Time,
}

/// How the platform stands.
#[utoipa::path(get, path = "/status", operation_id = "getStatus", tag = "platform",
    responses((status = 200, description = "Versions and counts", body = Status)))]
pub(crate) async fn show(State(app): State<App>) -> Result<axum::Json<Status>, Problem> {
    let reply = app.core.get_status(wire::GetStatusRequest::default()).await?;
    Ok(axum::Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        core: CoreStatus {
            version: reply.version,
            member: reply.member,
            slots_owned: reply.slots_owned,
            started_at: Time(reply.started_at),
        },
        devices: reply.devices,
        devices_online: reply.devices_online,
        commands_open: reply.commands_open,
        alarms_active: reply.alarms_active,
        notifications_pending: reply.notifications_pending,
        members: reply.members.into_iter().filter_map(member).collect(),
    }))
}
