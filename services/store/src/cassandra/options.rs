//! What can be set when a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stoker_domain::ports::store::MEMBER_TTL;

/// What can be set when a store is opened. [`CassandraOptions::new`] fills in the rest.
#[derive(Clone)]
pub struct CassandraOptions {
    /// Some of the nodes, `host` or `host:port` (9042); the others are learned from them.
    pub contact_points: Vec<String>,
    /// The keyspace: lower-case letters, digits and `_`, a letter first. Made when it is not there.
    pub keyspace: String,
    /// The home datacentre: requests go to its nodes alone, quorums are its own.
    pub datacenter: String,
    /// The user, with a password; none where the nodes ask for none.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// TLS to the nodes; none for plain TCP.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Replicas in the home datacentre when the keyspace has to be made (3). A keyspace that is there is left as it is.
    pub replication_factor: u8,
    /// How long telemetry is kept, from its storing (30 days). Counts for what is stored from now on.
    pub telemetry_retention: Duration,
    /// How long events and ended commands, alarms and notifications are kept, from their storing (400 days).
    pub history_retention: Duration,
    /// How long a member's row lasts ([`MEMBER_TTL`]).
    pub member_ttl: Duration,
    /// How long a connection may take to come up (5 s).
    pub connect_timeout: Duration,
    /// How long one request may take (5 s): more than what the nodes give themselves, or nobody hears their answer.
    pub request_timeout: Duration,
    /// How long another process that changes the schema is waited for, and all nodes to know of a change (120 s).
    pub schema_timeout: Duration,
    /// Requests under way at once: of telemetry, of lists, of everything else; each of these apart (256).
    pub requests: usize,
    /// Bytes of telemetry that wait or are under way (64 MiB).
    pub telemetry_bytes: usize,
    /// How long a caller waits for room before it is told that the store is overloaded (5 s).
    pub wait: Duration,
    /// How far the clocks of two processes may be apart (1 s). Forgetting a device waits for twice as long, so that
    /// what is written afterwards is later by any clock.
    pub clock_skew: Duration,
    /// Deletions in a slot after which their traces are put together (1,000).
    pub sweep_after: usize,
}

impl CassandraOptions {
    /// Those nodes, that keyspace, that home datacentre, and the documented rest.
    #[must_use]
    pub fn new(
        contact_points: Vec<String>,
        keyspace: impl Into<String>,
        datacenter: impl Into<String>,
    ) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            contact_points,
            keyspace: keyspace.into(),
            datacenter: datacenter.into(),
            username: None,
            password: None,
            tls: None,
            replication_factor: 3,
            telemetry_retention: 30 * DAY,
            history_retention: 400 * DAY,
            member_ttl: MEMBER_TTL,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            schema_timeout: Duration::from_secs(120),
            requests: 256,
            telemetry_bytes: 64 << 20,
            wait: Duration::from_secs(5),
            clock_skew: Duration::from_secs(1),
            sweep_after: 1_000,
        }
    }
}

impl fmt::Debug for CassandraOptions {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraOptions")
            .field("contact_points", &self.contact_points)
            .field("keyspace", &self.keyspace)
            .field("datacenter", &self.datacenter)
            .field("authenticates", &self.username.is_some())
            .field("tls", &self.tls.is_some())
            .field("replication_factor", &self.replication_factor)
            .field("telemetry_retention", &self.telemetry_retention)
            .field("history_retention", &self.history_retention)
            .field("request_timeout", &self.request_timeout)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown() {
        let options = CassandraOptions {
            username: Some("ada".into()),
            password: Some("s3cret".into()),
            ..CassandraOptions::new(vec!["db:9042".into()], "stoker", "home")
        };
        let shown = format!("{options:?}");
        assert!(shown.contains("db:9042") && shown.contains("stoker"), "{shown}");
        assert!(!shown.contains("ada") && !shown.contains("s3cret"), "{shown}");
    }
}
