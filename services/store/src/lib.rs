//! The store port of [`stoker_domain::ports::store`], on real parts.
//!
//! * [`EmbeddedStore`] keeps everything in one data directory, for the whole platform in one process.
//! * [`CassandraStore`] keeps it in a Cassandra cluster, for many processes.
//!
//! The stored forms of rows (module `rows`, `proto/stoker/store/v1/rows.proto`) know nothing of any database, so that
//! another adapter writes the same bytes.

mod cassandra;
mod embedded;
mod keys;
mod rows;
mod stats;
mod transfer;

pub use cassandra::{CassandraError, CassandraOptions, CassandraStats, CassandraStore, ImportProgress};
pub use embedded::{
    Backend, Clock, EmbeddedOptions, EmbeddedStore, FORMAT_VERSION, OpenError, PurgeReport, Stats, maintain,
};
pub use stats::Histogram;
pub use transfer::{EXPORT_FORMAT, ExportCounts, ExportFile, ExportReader, ExportRecord, TransferError};
