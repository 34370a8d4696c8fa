//! Where this process leaves a report when something in it panics or dies.

use std::path::PathBuf;
use std::sync::Arc;

use stoker_domain::model::MemberId;
use stoker_telemetry::{CrashConfig, Crashes};

use crate::config::Configuration;

/// The folder of reports, wherever it is.
pub(crate) const FOLDER: &str = "crashes";

/// Reports every panic from now on.
pub(crate) fn watch(service: &str, member: &MemberId, configuration: &Configuration) -> Arc<Crashes> {
    let named = configuration.crash.directory.clone().map(|directory| (directory, None));
    let (directory, owner) = named.unwrap_or_else(default);
    let crashes = Crashes::new(CrashConfig {
        directory,
        owner,
        service: service.to_owned(),
        instance: member.to_string(),
        version: env!("CARGO_PKG_VERSION"),
    });
    crashes.watch_panics();
    crashes
}

/// What systemd gives to a service; without it, a directory of this user among those that come and go, where somebody else
/// may have been first.
fn default() -> (PathBuf, Option<u32>) {
    match std::env::var_os("STATE_DIRECTORY").filter(|directory| !directory.is_empty()) {
        Some(directory) => (PathBuf::from(directory).join(FOLDER), None),
        None => {
            let user = rustix::process::geteuid().as_raw();
            (std::env::temp_dir().join(format!("stoker-{user}")), Some(user))
        }
    }
}
