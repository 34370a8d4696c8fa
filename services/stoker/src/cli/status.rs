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
    vec![
        ("Portal", format!("{server}, version {}", status.version)),
        (
            "Core",
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
    ]
}

pub(super) async fn run(api: &Api, output: &Output) -> Result<(), Failure> {
    output.one(&api.get(api.url(&["status"])).await?, |status| details(api.server(), status))
}
