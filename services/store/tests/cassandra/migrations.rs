//! Processes that start, at once or with another schema than they know.

use std::time::Duration;

use stoker_domain::Slot;
use stoker_domain::ports::store::Store;
use stoker_store::{CassandraError, CassandraOptions, CassandraStore};

use super::lab::Lab;

pub(crate) async fn processes_that_start_at_once_make_one_schema(lab: &Lab) {
    let keyspace = lab.fresh_keyspace();
    let open = || CassandraStore::open(lab.options_of(&keyspace));
    let (a, b, c) = tokio::join!(Box::pin(open()), Box::pin(open()), Box::pin(open()));
    for store in [a.unwrap(), b.unwrap(), c.unwrap()] {
        assert_eq!(store.head(Slot(0)).await.unwrap().epoch.0, 0);
        assert!(store.load(Slot(0)).await.unwrap().is_empty());
    }
    let session = lab.session().await;
    let text = format!("SELECT number, process FROM {keyspace}.schema_migrations");
    let rows = session.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
    let done: Vec<(i32, String)> = rows.rows().unwrap().map(Result::unwrap).collect();
    assert_eq!(done.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    let text = format!("SELECT owner FROM {keyspace}.schema_lock");
    let rows = session.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
    assert_eq!(rows.rows_num(), 0, "the lock is given up");
}

pub(crate) async fn a_changed_migration_is_refused(lab: &Lab) {
    let keyspace = lab.fresh_keyspace();
    CassandraStore::open(lab.options_of(&keyspace)).await.unwrap();
    lab.query(&format!("UPDATE {keyspace}.schema_migrations SET checksum = 'other' WHERE number = 1")).await;
    let error = CassandraStore::open(lab.options_of(&keyspace)).await.unwrap_err();
    assert!(matches!(error, CassandraError::Checksum { number: 1, .. }), "{error}");
    assert!(error.to_string().contains(&keyspace), "{error}");
}

pub(crate) async fn an_unknown_migration_is_ignored_only_if_it_is_marked_so(lab: &Lab) {
    let keyspace = lab.fresh_keyspace();
    CassandraStore::open(lab.options_of(&keyspace)).await.unwrap();
    let insert = |compatible: bool| {
        format!(
            "INSERT INTO {keyspace}.schema_migrations (number, name, checksum, compatible) \
             VALUES (99, 'of tomorrow', 'x', {compatible})"
        )
    };
    lab.query(&insert(true)).await;
    CassandraStore::open(lab.options_of(&keyspace)).await.unwrap();
    lab.query(&insert(false)).await;
    let error = CassandraStore::open(lab.options_of(&keyspace)).await.unwrap_err();
    assert!(matches!(error, CassandraError::Newer { number: 99, .. }), "{error}");
    assert!(error.to_string().contains("of tomorrow"), "{error}");
}

pub(crate) async fn a_process_waits_for_the_lock_and_names_its_holder(lab: &Lab) {
    let keyspace = lab.fresh_keyspace();
    CassandraStore::open(lab.options_of(&keyspace)).await.unwrap();
    lab.query(&format!("DELETE FROM {keyspace}.schema_migrations WHERE number = 1")).await;
    let lock = "INSERT INTO {}.schema_lock (name, owner) VALUES ('schema', '77@elsewhere') IF NOT EXISTS";
    lab.query(&lock.replace("{}", &keyspace)).await;
    let impatient = CassandraOptions { schema_timeout: Duration::from_secs(1), ..lab.options_of(&keyspace) };
    let error = CassandraStore::open(impatient).await.unwrap_err();
    assert!(matches!(&error, CassandraError::Locked { holder, .. } if holder == "77@elsewhere"), "{error}");
    // A patient one goes on as soon as it is gone, and carries out again what is there already.
    let (store, ()) = tokio::join!(Box::pin(CassandraStore::open(lab.options_of(&keyspace))), async {
        lab.query(&format!("DELETE FROM {keyspace}.schema_lock WHERE name = 'schema' IF EXISTS")).await;
    });
    assert!(store.unwrap().load(Slot(3)).await.unwrap().is_empty());
}

pub(crate) async fn a_process_with_other_slots_is_refused(lab: &Lab) {
    let keyspace = lab.fresh_keyspace();
    CassandraStore::open(lab.options_of(&keyspace)).await.unwrap();
    for (name, what) in [("slot_hash", "slot hash"), ("slot_count", "slot count")] {
        lab.query(&format!("UPDATE {keyspace}.platform SET value = '17' WHERE name = '{name}'")).await;
        let error = CassandraStore::open(lab.options_of(&keyspace)).await.unwrap_err();
        assert!(matches!(error, CassandraError::SlotsDiffer { .. }), "{error}");
        assert!(error.to_string().contains(what) && error.to_string().contains("17"), "{error}");
    }
}

pub(crate) async fn a_wrong_datacentre_or_node_is_named(lab: &Lab) {
    let keyspace = lab.fresh_keyspace();
    let elsewhere = CassandraOptions { datacenter: "nowhere".into(), ..lab.options_of(&keyspace) };
    let home = lab.options_of(&keyspace).datacenter;
    let error = CassandraStore::open(elsewhere).await.unwrap_err();
    assert!(matches!(error, CassandraError::Datacenter { .. }), "{error}");
    assert!(error.to_string().contains("nowhere") && error.to_string().contains(&home), "{error}");
    // More replicas than the lab has nodes: nobody could read what would be made.
    let wide = CassandraOptions { replication_factor: 9, ..lab.options_of(&keyspace) };
    let error = CassandraStore::open(wide).await.unwrap_err();
    assert!(matches!(error, CassandraError::TooFewNodes { replicas: 9, .. }) && error.may_come(), "{error}");
    assert!(error.to_string().contains("replication_factor is 9"), "{error}");
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let nobody = CassandraOptions { contact_points: vec![address.clone()], ..lab.options_of(&keyspace) };
    let error = CassandraStore::open(nobody).await.unwrap_err();
    assert!(matches!(error, CassandraError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}
