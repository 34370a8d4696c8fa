//! The counters of the store on Cassandra.

use std::fmt;
use std::sync::Arc;

use stoker_store::CassandraStore;
use stoker_telemetry::metrics::collector::Collector;
use stoker_telemetry::metrics::encoding::DescriptorEncoder;

use super::{counter, gauge};

/// Its counters.
pub(super) struct Cassandra(pub(super) Arc<CassandraStore>);

impl fmt::Debug for Cassandra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cassandra")
    }
}

impl Collector for Cassandra {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        let store = self.0.stats();
        counter(to, "store_requests", "Requests to the database", store.requests)?;
        counter(to, "store_requests_failed", "Requests that failed or timed out", store.failed)?;
        counter(to, "store_slot_commits", "Commits of slots that went in", store.commits)?;
        counter(to, "store_slot_commits_fenced", "Commits of slots that were refused", store.fenced)?;
        counter(to, "store_slot_commits_unknown", "Commits of slots of which nobody knows", store.unknown)?;
        counter(to, "store_rows", "Rows of telemetry and history written", store.rows)?;
        counter(to, "store_points", "Points of telemetry written", store.points)?;
        counter(to, "store_overloaded", "Requests refused for want of room", store.overloaded)?;
        counter(to, "store_reads", "Reads carried out", store.reads)?;
        gauge(to, "store_connections", "Connections to nodes that are up", store.driver_connections)?;
        gauge(to, "store_driver_retries", "Requests that the driver made again", store.driver_retries)?;
        gauge(to, "store_driver_timeouts", "Requests of the driver that timed out", store.driver_timeouts)
    }
}
