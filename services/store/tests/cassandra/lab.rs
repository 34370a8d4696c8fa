//! The node under the tests, and this run's keyspaces on it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libtest_mimic::Trial;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::statement::unprepared::Statement;
use stoker_domain::Millis;
use stoker_domain::ports::store::Store;
use stoker_store::{CassandraOptions, CassandraStore};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

use super::promises::Subject;

const ADDRESS: &str = "STOKER_TEST_CASSANDRA";
const DATACENTER: &str = "STOKER_TEST_CASSANDRA_DATACENTER";

pub(crate) struct Lab {
    runtime: Runtime,
    /// Its nodes.
    addresses: Vec<String>,
    /// All of this run's keyspaces begin like this.
    name: String,
    next: AtomicU64,
    shared: OnceCell<Arc<CassandraStore>>,
    /// Slots are few: of the tests that take some over, one runs at a time.
    slots: Mutex<()>,
}

/// The store that promises share.
pub(crate) struct Shared(Arc<CassandraStore>);

impl Subject for Shared {
    fn store(&self) -> &dyn Store {
        &*self.0
    }

    /// The database keeps its own time. What the promises say of it is said of every time.
    fn set_time(&self, _: Millis) {}
}

impl Lab {
    pub(crate) fn new(needed: bool) -> Self {
        let named = std::env::var(ADDRESS).unwrap_or_default();
        let addresses: Vec<String> =
            named.split(',').map(str::trim).filter(|node| !node.is_empty()).map(str::to_owned).collect();
        if needed && addresses.is_empty() {
            eprintln!(
                "{ADDRESS} names no node: set it to the address of a Cassandra node, such as 127.0.0.1:9042"
            );
            std::process::exit(1);
        }
        let random = RandomState::new().hash_one(std::process::id());
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            addresses,
            name: format!("stoker_test_{random:016x}"),
            next: AtomicU64::new(0),
            shared: OnceCell::new(),
            slots: Mutex::default(),
        }
    }

    /// A test of that name.
    pub(crate) fn trial<F>(self: &Arc<Self>, module: &str, name: &str, test: F) -> Trial
    where
        F: AsyncFnOnce(&Lab) + Send + 'static,
    {
        let (lab, takes_slots) = (self.clone(), ["slots", "several", "unknown", "outage"].contains(&module));
        Trial::test(format!("{module}::{name}"), move || {
            lab.runtime.block_on(async {
                let _turn = if takes_slots { Some(lab.slots.lock().await) } else { None };
                test(&lab).await;
            });
            Ok(())
        })
    }

    /// Options for a keyspace of that name.
    pub(crate) fn options_of(&self, keyspace: &str) -> CassandraOptions {
        let datacenter = std::env::var(DATACENTER).unwrap_or_else(|_| "datacenter1".into());
        CassandraOptions {
            replication_factor: u8::try_from(self.addresses.len().min(3)).unwrap(),
            // A busy machine must not make a commit unknown.
            request_timeout: std::time::Duration::from_secs(30),
            wait: std::time::Duration::from_secs(60),
            ..CassandraOptions::new(self.addresses.clone(), keyspace, datacenter)
        }
    }

    /// The name of a keyspace that nobody else uses.
    pub(crate) fn fresh_keyspace(&self) -> String {
        format!("{}_{}", self.name, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Options for the keyspace that most tests share.
    pub(crate) fn options(&self) -> CassandraOptions {
        self.options_of(&self.name)
    }

    /// One of the nodes.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// A store of one's own in the shared keyspace.
    pub(crate) async fn open(&self) -> CassandraStore {
        CassandraStore::open(self.options()).await.unwrap()
    }

    /// The store that promises share.
    pub(crate) async fn shared(&self) -> Shared {
        Shared(self.shared.get_or_init(async || Arc::new(self.open().await)).await.clone())
    }

    /// A connection past the store, to look at and change what is there.
    pub(crate) async fn session(&self) -> Session {
        SessionBuilder::new().known_nodes(&self.addresses).build().await.unwrap()
    }

    /// Carries out what may be carried out again: conditional writes that meet a store's own time out.
    pub(crate) async fn query(&self, text: &str) {
        let mut statement = Statement::new(text);
        statement.set_request_timeout(Some(std::time::Duration::from_secs(120)));
        let session = self.session().await;
        for tries in 1.. {
            match session.query_unpaged(statement.clone(), ()).await {
                Ok(_) => return,
                Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                    DbError::WriteTimeout { .. },
                    _,
                ))) if tries < 20 => {}
                Err(error) => panic!("{text}: {error}"),
            }
        }
    }

    /// A setting of the node, as it names it.
    pub(crate) async fn setting(&self, name: &str) -> Option<String> {
        let text = "SELECT value FROM system_views.settings WHERE name = ?";
        let rows =
            self.session().await.query_unpaged(text, (name,)).await.unwrap().into_rows_result().unwrap();
        rows.maybe_first_row::<(Option<String>,)>().unwrap().and_then(|(value,)| value)
    }

    /// Drops what this run has made.
    pub(crate) fn drop_keyspaces(&self) {
        if self.addresses.is_empty() {
            return;
        }
        let made = self.next.load(Ordering::Relaxed);
        let names = (0..made).map(|n| format!("{}_{n}", self.name)).chain([self.name.clone()]);
        self.runtime.block_on(async {
            for name in names {
                self.query(&format!("DROP KEYSPACE IF EXISTS {name}")).await;
            }
        });
    }
}
