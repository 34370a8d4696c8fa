//! What can be set when a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stoker_domain::Millis;

/// Tells the time: what is stored is stamped with it, and retention counts from that.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// What can be set when a store is opened.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// Bytes of the database's own cache (32 MiB).
    pub cache_bytes: usize,
    /// Requests that may wait for the writer or be under way; readings and the rest count apart (16,384).
    pub queue_items: usize,
    /// Bytes of these (64 MiB).
    pub queue_bytes: usize,
    /// How long a caller waits for room in the queue before it is told that the store is overloaded (5 s).
    pub queue_wait: Duration,
    /// Requests in one transaction (8,192).
    pub group_items: usize,
    /// Bytes in one transaction (8 MiB): above that a group takes so long that those who wait for the next one notice.
    pub group_bytes: usize,
    /// Reads at the same time (8); more wait. Lists and look-ups count apart.
    pub reads: usize,
    /// How long a read waits for its turn before it is told that the store is overloaded (10 s).
    pub read_wait: Duration,
    /// How long telemetry is kept, from its storing (30 days). It goes by whole days.
    pub telemetry_retention: Duration,
    /// How long events and ended commands, alarms and notifications are kept, from their storing (400 days).
    pub history_retention: Duration,
    /// Tells the time (the system's clock).
    pub clock: Clock,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            cache_bytes: 32 << 20,
            queue_items: 16_384,
            queue_bytes: 64 << 20,
            queue_wait: Duration::from_secs(5),
            group_items: 8_192,
            group_bytes: 8 << 20,
            reads: 8,
            read_wait: Duration::from_secs(10),
            telemetry_retention: 30 * DAY,
            history_retention: 400 * DAY,
            clock: Arc::new(system_now),
        }
    }
}

impl fmt::Debug for EmbeddedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedOptions")
            .field("cache_bytes", &self.cache_bytes)
            .field("queue_items", &self.queue_items)
            .field("queue_bytes", &self.queue_bytes)
            .field("telemetry_retention", &self.telemetry_retention)
            .field("history_retention", &self.history_retention)
            .finish_non_exhaustive()
    }
}

fn system_now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
