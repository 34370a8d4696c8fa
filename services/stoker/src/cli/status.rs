//! `stoker status`.

use serde::Deserialize;

use super::api::Api;
use super::failure::Failure;
use super::output::Output;
use super::table::time;

#[derive(Debug, Deserialize)]
struct View {
    version: String,
    core: Core,
    devices: u64,
    devices_online: u64,
    commands_open: u64,
    alarms_active: u64,
    notifications_pending: u64,
    /// Older portals say nothing of them.
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
struct Member {
    member: String,
    role: String,
    version: String,
    address: String,
    host: String,
    sessions: u64,
    slots_owned: u32,
    leaving: bool,
}

impl Member {
    fn shown(&self) -> String {
        let Self { member, version, address, host, .. } = self;
        let mut parts = vec![format!("{member}, version {version}")];
        parts.extend([address, host].into_iter().filter(|text| !text.is_empty()).cloned());
        match self.role.as_str() {
            "core" => parts.push(format!("{} slots", self.slots_owned)),
            "gateway" => parts.push(format!("{} sessions", self.sessions)),
            _ => {}
        }
        if self.leaving {
            parts.push("ending".to_owned());
        }
        parts.join(", ")
    }
}

/// What a row of a member begins with.
fn role(role: &str) -> &'static str {
    match role {
        "core" => "Core",
        "gateway" => "Gateway",
        "notifier" => "Notifier",
        "portal" => "Portal",
        _ => "Member",
    }
}

#[derive(Debug, Deserialize)]
struct Core {
    version: String,
    member: String,
    slots_owned: u32,
    started_at: String,
}

fn details(server: &str, status: View) -> Vec<(&'static str, String)> {
    let core = status.core;
    let mut rows = vec![
        ("Portal", format!("{server}, version {}", status.version)),
        (
            "Asked core",
            format!(
                "version {}, member {}, {} of 256 slots, since {}",
                core.version,
                core.member,
                core.slots_owned,
                time(&core.started_at)
            ),
        ),
        ("Devices", format!("{}, {} of them online", status.devices, status.devices_online)),
        ("Commands", format!("{} open", status.commands_open)),
        ("Alarms", format!("{} active", status.alarms_active)),
        ("Notifications", format!("{} pending", status.notifications_pending)),
    ];
    let mut members = status.members;
    members.sort_by(|a, b| (&a.role, &a.address, &a.member).cmp(&(&b.role, &b.address, &b.member)));
    rows.extend(members.iter().map(|member| (role(&member.role), member.shown())));
    rows
}

pub(super) async fn run(api: &Api, output: &Output) -> Result<(), Failure> {
    output.one(&api.get(api.url(&["status"])).await?, |status| details(api.server(), status))
}
