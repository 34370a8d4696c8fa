//! Connecting: a session that keeps to the home datacentre, and the keyspace.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};

use super::error::{CassandraError, Place};
use super::options::CassandraOptions;

/// Connecting as a whole may take so many times as long as one connection: nodes that take connections and say nothing
/// must not hold a process up for ever.
const CONNECT_TIMES: u32 = 6;

/// How often a connection without traffic is tried, and how long its answer may take. One to a machine that has gone is
/// given up after both, and its requests go to other nodes.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// How often nodes are asked whether they agree on the schema. They mostly do within tens of milliseconds, and a keyspace that is
/// made asks for each of its tables.
const AGREEMENT: Duration = Duration::from_millis(50);

/// Longest name of a keyspace that the database takes.
const KEYSPACE_LENGTH_MAX: usize = 48;

/// Checks what can be checked without asking anybody.
fn check(options: &CassandraOptions) -> Result<(), CassandraError> {
    let wrong =
        |option, value: &str, why| Err(CassandraError::Option { option, value: value.to_owned(), why });
    if options.contact_points.is_empty() {
        return wrong("contact_points", "", "name at least one node");
    }
    let name = options.keyspace.as_str();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.len() > KEYSPACE_LENGTH_MAX
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(fits)
    {
        return wrong("keyspace", name, "use up to 48 of a-z 0-9 _, a letter first");
    }
    if options.datacenter.is_empty() || options.datacenter.contains(['\'', '"']) {
        return wrong("datacenter", &options.datacenter, "name the one that `nodetool status` shows");
    }
    if options.username.is_some() != options.password.is_some() {
        return wrong("username", "", "a user name and a password go together");
    }
    if options.replication_factor == 0 {
        return wrong("replication_factor", "0", "data needs at least one replica");
    }
    Ok(())
}

/// Connects.
pub(super) async fn connect(options: &CassandraOptions) -> Result<(Session, Place), CassandraError> {
    check(options)?;
    let place = Place { keyspace: options.keyspace.clone(), nodes: options.contact_points.join(", ") };
    let policy = DefaultPolicy::builder()
        .prefer_datacenter(options.datacenter.clone())
        .permit_dc_failover(false)
        .token_aware(true)
        .build();
    // Requests are tried again only where that is harmless: the driver's own policy looks at whether a statement is
    // marked so, and conditional ones have a policy that never does. Nothing is sent twice at a time.
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(options.request_timeout))
        .load_balancing_policy(policy)
        .speculative_execution_policy(None)
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(options.connect_timeout)
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        .schema_agreement_timeout(options.schema_timeout)
        .schema_agreement_interval(AGREEMENT)
        .keyspaces_to_fetch([&options.keyspace])
        .tls_context(options.tls.clone());
    if let (Some(username), Some(password)) = (&options.username, &options.password) {
        builder = builder.user(username, password);
    }
    // Boxed: the driver's future is large.
    let deadline = options.connect_timeout.saturating_mul(CONNECT_TIMES);
    let session = tokio::time::timeout(deadline, Box::pin(builder.build()))
        .await
        .map_err(|_| CassandraError::Silent { nodes: place.nodes.clone(), waited_s: deadline.as_secs() })?
        .map_err(|source| CassandraError::Connect { nodes: place.nodes.clone(), source: Box::new(source) })?;
    check_datacenter(&session, options, &place)?;
    Ok((session, place))
}

fn check_datacenter(
    session: &Session,
    options: &CassandraOptions,
    place: &Place,
) -> Result<(), CassandraError> {
    let state = session.get_cluster_state();
    let found: BTreeSet<String> =
        state.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
    if found.contains(&options.datacenter) {
        return Ok(());
    }
    Err(CassandraError::Datacenter {
        nodes: place.nodes.clone(),
        wanted: options.datacenter.clone(),
        found: found.into_iter().collect::<Vec<_>>().join(", "),
    })
}

/// Whether what is to be made could be used at all.
fn check_nodes(session: &Session, options: &CassandraOptions) -> Result<(), CassandraError> {
    let home = |datacenter: &Option<String>| datacenter.as_ref() == Some(&options.datacenter);
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info().iter().filter(|node| home(&node.datacenter)).count();
    if nodes > usize::from(options.replication_factor / 2) {
        return Ok(());
    }
    Err(CassandraError::TooFewNodes {
        replicas: options.replication_factor,
        datacenter: options.datacenter.clone(),
        nodes,
    })
}

/// Makes the keyspace if it is not there, and uses it.
pub(super) async fn ensure_keyspace(
    session: &Session,
    options: &CassandraOptions,
    place: &Place,
) -> Result<(), CassandraError> {
    let mut replication = read_replication(session, place).await?;
    if replication.is_none() {
        check_nodes(session, options)?;
        let text = format!(
            "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{'class': 'NetworkTopologyStrategy', '{}': {}}}",
            options.keyspace, options.datacenter, options.replication_factor
        );
        define(session, &text, options).await.map_err(|error| place.request("make the keyspace", error))?;
        tracing::info!(
            keyspace = options.keyspace,
            replicas = options.replication_factor,
            "made the keyspace"
        );
        replication = read_replication(session, place).await?;
    }
    // SimpleStrategy, which knows no datacentres, is not for production, but it does hold replicas.
    let replicas = replication.unwrap_or_default();
    let simple = replicas.get("class").is_some_and(|class| class.ends_with("SimpleStrategy"));
    if !simple && !replicas.contains_key(&options.datacenter) {
        return Err(CassandraError::Replication {
            keyspace: options.keyspace.clone(),
            datacenter: options.datacenter.clone(),
        });
    }
    session
        .use_keyspace(&options.keyspace, true)
        .await
        .map_err(|error| place.request("use the keyspace", error))?;
    // The driver looks up replicas in what it knows of the keyspace.
    session.refresh_metadata().await.map_err(|error| place.request("read the keyspace's replication", error))
}

async fn read_replication(
    session: &Session,
    place: &Place,
) -> Result<Option<HashMap<String, String>>, CassandraError> {
    let action = "look the keyspace up";
    let rows = session
        .query_unpaged(
            "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?",
            (place.keyspace.as_str(),),
        )
        .await
        .map_err(|error| place.request(action, error))?
        .into_rows_result()
        .map_err(|error| place.request(action, error))?;
    let row =
        rows.maybe_first_row::<(HashMap<String, String>,)>().map_err(|error| place.request(action, error))?;
    Ok(row.map(|(replication,)| replication))
}

/// Changes the schema; ends when all nodes know of it.
pub(super) async fn define(
    session: &Session,
    text: &str,
    options: &CassandraOptions,
) -> Result<(), scylla::errors::ExecutionError> {
    let mut statement = Statement::new(text);
    statement.set_request_timeout(Some(options.schema_timeout));
    session.query_unpaged(statement, ()).await?;
    // The driver waits for the nodes only where this was what changed something, not where another process was faster.
    session.await_schema_agreement().await?;
    Ok(())
}

/// A policy for what must not be sent twice.
pub(super) fn never_again() -> Arc<dyn scylla::policies::retry::RetryPolicy> {
    Arc::new(scylla::policies::retry::FallthroughRetryPolicy::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut CassandraOptions)) -> String {
        let mut options = CassandraOptions::new(vec!["db".into()], "stoker", "home");
        assert!(check(&options).is_ok());
        change(&mut options);
        check(&options).unwrap_err().to_string()
    }

    #[test]
    fn options_that_cannot_work_are_refused_by_name() {
        assert!(refusal(|o| o.contact_points.clear()).contains("contact_points"));
        for name in ["", "Stoker", "1a", "a-b", "a;drop", &"a".repeat(49)] {
            assert!(refusal(|o| o.keyspace = name.to_owned()).contains("keyspace"), "{name}");
        }
        assert!(refusal(|o| o.datacenter = "a'b".into()).contains("datacenter"));
        assert!(refusal(|o| o.username = Some("ada".into())).contains("go together"));
        assert!(refusal(|o| o.replication_factor = 0).contains("replica"));
    }
}
