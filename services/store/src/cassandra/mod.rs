//! The store port on Cassandra: many processes, any number of nodes. docs/cassandra.md says which table is for what.
//!
//! * A slot is one partition; it changes by conditional batches alone, so whoever has lost it changes nothing.
//! * History is written with timestamps and lifetimes of our own: appends can be repeated, later ones win by the order
//!   of their calls, and retention is the database's work.
//! * Requests go to the replicas in the home datacentre at LOCAL_QUORUM (conditional ones at LOCAL_SERIAL), a bounded
//!   number at a time, each with a deadline.

mod connect;
mod error;
mod history;
mod import;
mod known;
mod lanes;
mod members;
mod migrate;
mod options;
mod port;
mod registry;
mod request;
mod slots;
mod stamps;
mod statements;
mod stats;
mod sweep;
mod telemetry;

pub use error::CassandraError;
pub use import::ImportProgress;
pub use options::CassandraOptions;
pub use stats::CassandraStats;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use scylla::client::session::Session;

use error::Place;
use known::Known;
use lanes::{Lane, Room};
use stamps::Stamps;
use statements::Statements;
use stats::Counters;
use sweep::Sweeps;

/// What may pass while a store is being prepared has so long to do so.
const BEHIND_MAX: Duration = Duration::from_secs(30);

/// The first and the longest pause before preparing goes on; a random part comes on top.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// The longest that an index row stands without being written again.
const INDEX_REFRESH_MAX: Duration = Duration::from_secs(24 * 3600);

/// The store port on a Cassandra cluster. See [`CassandraStore::open`].
pub struct CassandraStore {
    session: Session,
    statements: Statements,
    options: CassandraOptions,
    place: Place,
    stamps: Stamps,
    counters: Counters,
    /// Commits, claims, registry, members, history without telemetry.
    control: Lane,
    /// Telemetry.
    bulk: Lane,
    /// Everything that is read.
    reads: Lane,
    telemetry_room: Room,
    /// Index rows of telemetry that were written lately.
    telemetry_known: Known,
    /// Index rows of history that were written lately.
    history_known: Known,
    sweeps: Sweeps,
}

impl CassandraStore {
    /// Connects, makes the keyspace if it is not there, brings its schema to what this version needs, and checks that
    /// it was made for the same slots. Any number of processes may do so at once.
    ///
    /// # Errors
    /// [`CassandraError`], which says what to do.
    pub async fn open(options: CassandraOptions) -> Result<Self, CassandraError> {
        let (session, place) = connect::connect(&options).await?;
        let statements = prepare(&session, &options, &place).await?;
        let refresh = |retention: Duration| (retention / 4).min(INDEX_REFRESH_MAX);
        Ok(Self {
            session,
            statements,
            place,
            stamps: Stamps::default(),
            counters: Counters::default(),
            control: Lane::new("write", options.requests, options.wait),
            bulk: Lane::new("write of telemetry", options.requests, options.wait),
            reads: Lane::new("read", options.requests, options.wait),
            telemetry_room: Room::new(options.telemetry_bytes, options.wait),
            telemetry_known: Known::new(refresh(options.telemetry_retention)),
            history_known: Known::new(refresh(options.history_retention)),
            sweeps: Sweeps::default(),
            options,
        })
    }

    /// What it has done since it was opened, and what the driver counts.
    #[must_use]
    pub fn stats(&self) -> CassandraStats {
        self.counters.driver(&self.session.get_metrics());
        self.counters.snapshot()
    }

    /// Takes no more work: calls after it fail, those under way end. The connections go when it is dropped.
    pub fn close(&self) {
        for lane in [&self.control, &self.bulk, &self.reads] {
            lane.close();
        }
        self.telemetry_room.close();
    }
}

/// Keyspace, schema and statements. Where other processes start at the same time, a node may be a moment behind with the
/// schema, and conditional writes that meet time out: all of this can be done again, so it is.
async fn prepare(
    session: &Session,
    options: &CassandraOptions,
    place: &Place,
) -> Result<Statements, CassandraError> {
    let (began, me, mut pause) = (Instant::now(), migrate::my_name(), FIRST_PAUSE);
    loop {
        let tried = async {
            connect::ensure_keyspace(session, options, place).await?;
            migrate::migrate(session, options, place, &me).await?;
            Statements::prepare(session, place).await
        };
        match Box::pin(tried).await {
            Err(error) if error.may_pass() && began.elapsed() < BEHIND_MAX.min(options.schema_timeout) => {
                tracing::warn!(%error, "the store is prepared again");
                tokio::time::sleep(pause + spread(pause)).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// Anything up to that long, so that those who wait do not ask in step.
fn spread(most: Duration) -> Duration {
    let random = RandomState::new().hash_one(stamps::now_us());
    Duration::from_micros(random % u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1))
}

impl fmt::Debug for CassandraStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraStore").field("options", &self.options).finish_non_exhaustive()
    }
}
