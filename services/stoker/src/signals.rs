//! The process and the system: signals and limits.

use tokio::signal::unix::{SignalKind, signal};

/// Files that are not connections: the store, logs, listeners, calls to others.
const OTHER_FILES: u64 = 512;
/// Connections held at once, whatever the system allows.
const CONNECTIONS_MOST: u64 = 1_000_000;

/// Returns the name of the signal that ends the process.
pub(crate) async fn ended() -> &'static str {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; end the process by its health");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Raises the number of open files to what the system lets us have: each connection is one.
pub(crate) fn raise_file_limit() {
    match rlimit::increase_nofile_limit(CONNECTIONS_MOST + OTHER_FILES) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}

/// How many connections there is room for.
pub(crate) fn connections_most() -> usize {
    let files = rlimit::Resource::NOFILE.get().map_or(1_024, |(soft, _)| soft);
    let connections = files.saturating_sub(OTHER_FILES).clamp(64, CONNECTIONS_MOST);
    usize::try_from(connections).unwrap_or(usize::MAX)
}
