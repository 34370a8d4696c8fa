//! The process and the system: signals and limits.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Files that are not connections: the store, logs, listeners, calls to others.
const OTHER_FILES: u64 = 512;
/// Connections held at once, whatever the system allows.
const CONNECTIONS_MOST: u64 = 1_000_000;

/// The signals that end a process. One that comes while nobody waits for it is told to who waits next.
pub(crate) struct Signals(Option<(Signal, Signal)>);

impl Signals {
    /// From now on. To be called within a runtime.
    pub(crate) fn listen() -> Self {
        let both = signal(SignalKind::terminate()).and_then(|terminate| {
            let interrupt = signal(SignalKind::interrupt())?;
            Ok((terminate, interrupt))
        });
        if let Err(error) = &both {
            tracing::error!(%error, "signals cannot be received; end the process by its health");
        }
        Self(both.ok())
    }

    /// None ever comes: for who is tested beside what sends some.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Returns the name of the next one.
    pub(crate) async fn ended(&mut self) -> &'static str {
        let Some((terminate, interrupt)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_signal_that_nobody_waited_for_is_told_to_who_waits_next() {
        let mut signals = Signals::listen();
        let pid = std::process::id().to_string();
        for (name, sent) in [("SIGINT", "INT"), ("SIGTERM", "TERM")] {
            assert!(Command::new("kill").args(["-s", sent, &pid]).status().unwrap().success());
            assert_eq!(signals.ended().await, name);
        }
    }
}
