//! The embedded store's numbers.

use std::fmt;

use stoker_store::Stats;
use stoker_telemetry::{Exposition, Of};

use super::{sizes, times};

pub(super) fn show(to: &mut Exposition<'_>, store: &Stats) -> fmt::Result {
    to.counter("store_transactions", "Durable transactions", store.transactions)?;
    to.counter("store_requests", "Requests answered by the writer", store.requests)?;
    to.counter("store_slot_commits", "Commits of slots that went in", store.commits)?;
    to.counter("store_slot_commits_fenced", "Commits of slots that were refused", store.fenced)?;
    to.counter("store_rows", "Rows written", store.rows)?;
    to.counter("store_rows_removed", "Rows removed by retention or with their device", store.removed)?;
    to.counter("store_points", "Points of telemetry written", store.points)?;
    to.counter("store_written_bytes", "Bytes of rows written", store.bytes)?;
    to.counter("store_overloaded", "Requests refused for want of room", store.overloaded)?;
    to.counter("store_reads", "Reads carried out", store.reads)?;
    to.gauge("store_waiting", "Requests that wait for the writer", store.waiting)?;
    to.histogram(
        "store_transaction_seconds",
        "Time of a transaction, from its first row until it was durable",
        Of::Time,
        &times(&store.commit_us),
    )?;
    to.histogram("store_fsync_seconds", "Time of a flush to the disk", Of::Time, &times(&store.fsync_us))?;
    to.histogram(
        "store_transaction_requests",
        "Requests that shared a transaction",
        Of::Sizes,
        &sizes(&store.group_size),
    )
}
