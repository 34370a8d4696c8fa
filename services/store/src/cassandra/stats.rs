//! What the store counts about itself, and what the driver counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::stats::{micros, stats};

stats! { CassandraStats {
    /// Requests to the database by the port's own work.
    counter requests,
    /// Requests that failed or timed out.
    counter failed,
    /// Commits of slots that went in.
    counter commits,
    /// Commits of slots that were refused.
    counter fenced,
    /// Commits of slots of which nobody knows.
    counter unknown,
    /// Rows of telemetry and history written.
    counter rows,
    /// Points of telemetry in them.
    counter points,
    /// Appends and reads refused for want of room.
    counter overloaded,
    /// Reads carried out.
    counter reads,
    /// Times that traces of deletions in a slot were put together.
    counter swept,
    /// Times that they were not, because the database failed.
    counter sweeps_failed,
    /// Attempts that the driver made again.
    gauge driver_retries,
    /// Requests of the driver that timed out.
    gauge driver_timeouts,
    /// Requests of the driver that failed.
    gauge driver_errors,
    /// Connections of the driver that are up.
    gauge driver_connections,
    /// Connections of the driver that did not come up in time.
    gauge driver_connection_timeouts,
    /// How long commits of slots took.
    histogram commit_us,
    /// How long appends took.
    histogram append_us,
    /// How long reads took.
    histogram read_us,
} }

impl Counters {
    pub(super) fn count(&self, counter: impl FnOnce(&Self) -> &AtomicU64, by: u64) {
        counter(self).fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn request(&self, ok: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !ok {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn commit(&self, took: Duration) {
        self.commit_us.add(micros(took));
    }

    pub(super) fn append(&self, took: Duration) {
        self.append_us.add(micros(took));
    }

    pub(super) fn read(&self, took: Duration) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read_us.add(micros(took));
    }

    /// Takes in what the driver counts.
    pub(super) fn driver(&self, metrics: &scylla::observability::metrics::Metrics) {
        self.driver_retries.store(metrics.get_retries_num(), Ordering::Relaxed);
        self.driver_timeouts.store(metrics.get_request_timeouts(), Ordering::Relaxed);
        let errors = metrics.get_errors_unpaged_num() + metrics.get_errors_manually_paged_num();
        self.driver_errors.store(errors, Ordering::Relaxed);
        self.driver_connections.store(metrics.get_total_connections(), Ordering::Relaxed);
        self.driver_connection_timeouts.store(metrics.get_connection_timeouts(), Ordering::Relaxed);
    }
}
