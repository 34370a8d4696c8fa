//! The numbers of the store on Cassandra.

use std::fmt;

use stoker_store::CassandraStats;
use stoker_telemetry::{Exposition, Of};

use super::times;

pub(super) fn show(to: &mut Exposition<'_>, store: &CassandraStats) -> fmt::Result {
    to.counter("store_requests", "Requests to the database", store.requests)?;
    to.counter("store_requests_failed", "Requests that failed or timed out", store.failed)?;
    to.counter("store_slot_commits", "Commits, releases and sweeps of slots that went in", store.commits)?;
    to.counter("store_slot_sweeps", "Slots whose deletions were put together", store.swept)?;
    to.counter("store_slot_sweeps_failed", "Sweeps that failed and wait for the next", store.sweeps_failed)?;
    to.counter("store_slot_commits_fenced", "Commits of slots that were refused", store.fenced)?;
    to.counter("store_slot_commits_unknown", "Commits of slots of which nobody knows", store.unknown)?;
    to.counter("store_rows", "Rows of telemetry and history written", store.rows)?;
    to.counter("store_points", "Points of telemetry written", store.points)?;
    to.counter("store_overloaded", "Requests refused for want of room", store.overloaded)?;
    to.counter("store_reads", "Reads carried out", store.reads)?;
    to.gauge("store_connections", "Connections to nodes that are up", store.driver_connections)?;
    to.counter("store_driver_retries", "Requests that the driver made again", store.driver_retries)?;
    to.counter("store_driver_timeouts", "Requests of the driver that timed out", store.driver_timeouts)?;
    to.histogram(
        "store_commit_seconds",
        "Time of a conditional write of a slot",
        Of::Time,
        &times(&store.commit_us),
    )?;
    to.histogram("store_append_seconds", "Time of an append", Of::Time, &times(&store.append_us))?;
    to.histogram("store_read_seconds", "Time of a read", Of::Time, &times(&store.read_us))
}
