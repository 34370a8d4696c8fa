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
    let crashes = Crashes::new(CrashConfig {
        directory: configuration.crash.directory.clone().unwrap_or_else(default),
        service: service.to_owned(),
        instance: member.to_string(),
        version: env!("CARGO_PKG_VERSION"),
    });
    crashes.watch_panics();
    crashes
}

/// What systemd gives to a service; without it, a folder among those that come and go.
fn default() -> PathBuf {
    match std::env::var_os("STATE_DIRECTORY").filter(|directory| !directory.is_empty()) {
        Some(directory) => PathBuf::from(directory).join(FOLDER),
        None => std::env::temp_dir().join("stoker").join(FOLDER),
    }
}
