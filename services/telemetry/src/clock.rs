//! The one clock of a process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch that never go back and never jump.
///
/// It takes the wall clock once, when it is made, and counts monotonic time from there: when somebody sets the wall
/// clock forward, no timer of ours fires early and no device is called silent for it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base_ms: i64,
    started: Instant,
}

impl Clock {
    /// Starts at the wall clock's time.
    #[must_use]
    pub fn start() -> Self {
        Self { base_ms: Self::wall_ms(), started: Instant::now() }
    }

    /// Now, in milliseconds since the epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.base_ms.saturating_add(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// The wall clock itself, for stamping what people read.
    #[must_use]
    pub fn wall_ms() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Until `due` of this clock; zero when it has passed.
    #[must_use]
    pub fn until(&self, due_ms: i64) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(due_ms.saturating_sub(self.now_ms())).unwrap_or(0))
    }
}
