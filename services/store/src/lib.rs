//! The store port of [`stoker_domain::ports::store`], on real parts.
//!
//! * [`EmbeddedStore`] keeps everything in one data directory, for the whole platform in one process.
//!
//! The stored forms of rows (module `rows`, `proto/stoker/store/v1/rows.proto`) know nothing of any database, so that
//! another adapter writes the same bytes.

mod embedded;
mod keys;
mod rows;
mod stats;

pub use embedded::{
    Backend, Clock, EmbeddedOptions, EmbeddedStore, FORMAT_VERSION, OpenError, PurgeReport, Stats, maintain,
};
pub use stats::Histogram;
