//! Errors: why a store cannot be opened, and what the driver's errors mean to callers of the port.

use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
    MetadataError, NewSessionError, PrepareError, RequestAttemptError, UseKeyspaceError,
};
use stoker_domain::ports::store::StoreError;

use crate::rows::RowError;

/// Why the store cannot be opened. Each says the way out.
#[derive(Debug, thiserror::Error)]
pub enum CassandraError {
    /// An option makes no sense.
    #[error("cassandra.{option} {value:?} cannot be used: {why}")]
    Option {
        /// Which.
        option: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No node answers.
    #[error(
        "failed to connect to Cassandra at {nodes}: check cassandra.contact_points, that the nodes are up, and the user name and password"
    )]
    Connect {
        /// Where.
        nodes: String,
        /// Why not.
        #[source]
        source: Box<scylla::errors::NewSessionError>,
    },
    /// The nodes take connections and say nothing.
    #[error("Cassandra at {nodes} did not answer within {waited_s} s: look at the logs of the nodes")]
    Silent {
        /// Where.
        nodes: String,
        /// How long was waited.
        waited_s: u64,
    },
    /// The nodes have another name for where they are.
    #[error("Cassandra at {nodes} has no datacentre {wanted:?} but {found}: correct cassandra.datacenter")]
    Datacenter {
        /// Where.
        nodes: String,
        /// The one that was asked for.
        wanted: String,
        /// Those that are there.
        found: String,
    },
    /// The keyspace holds nothing in the home datacentre.
    #[error(
        "keyspace {keyspace} has no replicas in datacentre {datacenter}: alter its replication to NetworkTopologyStrategy with that datacentre, or correct cassandra.datacenter"
    )]
    Replication {
        /// Which.
        keyspace: String,
        /// The home datacentre.
        datacenter: String,
    },
    /// The keyspace would be made, and nobody could read or write it: fewer nodes than a quorum of replicas.
    #[error(
        "cassandra.replication_factor is {replicas}, and datacentre {datacenter} has {nodes} node(s), too few for a quorum: set it to {nodes}, or add nodes"
    )]
    TooFewNodes {
        /// What was asked for.
        replicas: u8,
        /// The home datacentre.
        datacenter: String,
        /// So many are known there.
        nodes: usize,
    },
    /// A request on the way failed.
    #[error("failed to {action} in keyspace {keyspace} at {nodes}: {hint}")]
    Request {
        /// What was tried.
        action: String,
        /// Where.
        keyspace: String,
        /// At which nodes.
        nodes: String,
        /// What to look at.
        hint: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process does not come to an end with the schema.
    #[error(
        "process {holder} has been changing the schema of keyspace {keyspace} for longer than {waited_s} s: look at its log; its lock goes by itself a minute after it has died"
    )]
    Locked {
        /// Where.
        keyspace: String,
        /// Who.
        holder: String,
        /// How long was waited.
        waited_s: u64,
    },
    /// A migration that was carried out is not the one that this version knows.
    #[error(
        "migration {number} of keyspace {keyspace} was carried out as {found:?} with another text than this version has: run the version that made the keyspace, or give another keyspace"
    )]
    Checksum {
        /// Where.
        keyspace: String,
        /// Which.
        number: i32,
        /// Its name there.
        found: String,
    },
    /// A newer version has changed the schema so that this one cannot use it.
    #[error(
        "keyspace {keyspace} has migration {number} ({found}), which this version does not know and may not ignore: run the version that made it, or a newer one"
    )]
    Newer {
        /// Where.
        keyspace: String,
        /// Which.
        number: i32,
        /// Its name.
        found: String,
    },
    /// It was made for another count or hash of slots.
    #[error(
        "keyspace {keyspace} was made with {what} {found}, this version uses {known}: they never mix, give another keyspace"
    )]
    SlotsDiffer {
        /// Where.
        keyspace: String,
        /// Count or hash.
        what: &'static str,
        /// What it records.
        found: String,
        /// What this version uses.
        known: String,
    },
}

impl CassandraError {
    /// True when opening the store may work later without anybody changing what it was told: nodes are away or busy.
    #[must_use]
    pub fn may_come(&self) -> bool {
        match self {
            Self::Connect { source, .. } => !is_refusal(source),
            Self::Silent { .. } | Self::Locked { .. } => true,
            Self::Request { source, .. } => match source.downcast_ref::<ExecutionError>() {
                Some(ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _))) => {
                    !matches!(error, DbError::Unauthorized | DbError::SyntaxError | DbError::ConfigError)
                }
                _ => true,
            },
            // Nodes that are too busy to say where they are.
            Self::Datacenter { found, .. } => found.is_empty(),
            // More of them may be on the way.
            Self::TooFewNodes { .. } => true,
            Self::Option { .. }
            | Self::Replication { .. }
            | Self::Checksum { .. }
            | Self::Newer { .. }
            | Self::SlotsDiffer { .. } => false,
        }
    }

    /// True when it may go by itself in a moment: a node does not know yet what was just made, or conditional writes
    /// of several processes met.
    pub(super) fn may_pass(&self) -> bool {
        let Self::Request { source, .. } = self else { return false };
        let attempt = if let Some(error) = source.downcast_ref::<ExecutionError>() {
            match error {
                ExecutionError::LastAttemptError(attempt)
                | ExecutionError::UseKeyspaceError(UseKeyspaceError::RequestError(attempt))
                | ExecutionError::PrepareError(PrepareError::AllAttemptsFailed { first_attempt: attempt }) => {
                    attempt
                }
                _ => return false,
            }
        } else if let Some(UseKeyspaceError::RequestError(attempt)) = source.downcast_ref() {
            attempt
        } else if let Some(PrepareError::AllAttemptsFailed { first_attempt }) = source.downcast_ref() {
            first_attempt
        } else {
            return false;
        };
        matches!(
            attempt,
            RequestAttemptError::DbError(
                DbError::Invalid
                    | DbError::Overloaded
                    | DbError::IsBootstrapping
                    | DbError::ReadTimeout { .. }
                    | DbError::WriteTimeout { .. },
                _
            )
        )
    }
}

/// True when the nodes were there: they do not let us in, or we do not trust them.
fn is_refusal(error: &NewSessionError) -> bool {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: error,
    })) = error
    else {
        return false;
    };
    match error {
        ConnectionError::ConnectionSetupRequestError(error) => matches!(
            &error.error,
            ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError | DbError::Unauthorized, _)
                | ConnectionSetupRequestErrorKind::MissingAuthentication
        ),
        ConnectionError::IoError(error) => matches!(
            error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
            Some(rustls::Error::InvalidCertificate(_))
        ),
        _ => false,
    }
}

/// Where a store is, for errors.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) keyspace: String,
    pub(super) nodes: String,
}

impl Place {
    /// An error while opening.
    pub(super) fn request(
        &self,
        action: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> CassandraError {
        let source = source.into();
        let hint = source.downcast_ref::<ExecutionError>().map_or(LOG, hint);
        CassandraError::Request {
            action: action.into(),
            keyspace: self.keyspace.clone(),
            nodes: self.nodes.clone(),
            hint,
            source,
        }
    }

    /// What a failed request means to a caller of the port.
    pub(super) fn trouble(&self, action: &str, error: &ExecutionError) -> StoreError {
        let text = format!(
            "failed to {action} in keyspace {} at {}: {error}; {}",
            self.keyspace,
            self.nodes,
            hint(error)
        );
        if is_overload(error) { StoreError::Overloaded(text) } else { StoreError::Failed(text) }
    }

    /// An answer that does not have the form that was asked for.
    pub(super) fn odd(&self, action: &str, error: impl std::fmt::Display) -> StoreError {
        StoreError::Failed(format!("failed to {action} in keyspace {}: {error}; {LOG}", self.keyspace))
    }
}

/// A row that cannot be read.
pub(super) fn corrupt(row: impl std::fmt::Display, error: &RowError) -> StoreError {
    StoreError::Corrupt(format!("{row}: {error}"))
}

/// True when the nodes or the connections to them have said that they take no more, and so have not taken it.
fn is_overload(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::LastAttemptError(
            RequestAttemptError::DbError(DbError::Overloaded | DbError::RateLimitReached { .. }, _)
                | RequestAttemptError::UnableToAllocStreamId
        )
    )
}

const LOG: &str = "look at the logs of the nodes";

fn hint(error: &ExecutionError) -> &'static str {
    match error {
        ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => {
            "no node of the home datacentre can be reached: check that they are up"
        }
        ExecutionError::RequestTimeout(_) => "the nodes are out of reach or too busy",
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => match error {
            DbError::Unavailable { .. } => {
                "too few replicas of the home datacentre are up: look at `nodetool status`"
            }
            DbError::ReadTimeout { .. } | DbError::WriteTimeout { .. } => "replicas are down or too busy",
            DbError::Overloaded | DbError::RateLimitReached { .. } => "the nodes are too busy: add nodes",
            DbError::Unauthorized => "grant the user SELECT, MODIFY, CREATE and ALTER on the keyspace",
            _ => LOG,
        },
        _ => LOG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_does_not_know_yet_may_pass_and_what_is_forbidden_may_not() {
        let place = Place { keyspace: "k".into(), nodes: "n".into() };
        let attempt = |error| RequestAttemptError::DbError(error, "why".into());
        let errors = |error: DbError| {
            [
                place.request("a", ExecutionError::LastAttemptError(attempt(error.clone()))),
                place.request("a", UseKeyspaceError::RequestError(attempt(error.clone()))),
                place.request("a", PrepareError::AllAttemptsFailed { first_attempt: attempt(error) }),
            ]
        };
        let elsewhere = |found: &str| CassandraError::Datacenter {
            nodes: "n".into(),
            wanted: "home".into(),
            found: found.into(),
        };
        assert!(elsewhere("").may_come() && !elsewhere("away").may_come());
        assert!(errors(DbError::Overloaded).iter().all(CassandraError::may_come));
        assert!(!errors(DbError::Unauthorized)[0].may_come());
        assert!(errors(DbError::Invalid).iter().all(CassandraError::may_pass));
        assert!(!errors(DbError::Unauthorized).iter().any(CassandraError::may_pass));
        assert!(!place.request("a", ExecutionError::EmptyPlan).may_pass());
    }
}
