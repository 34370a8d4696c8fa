//! The schema: numbered changes, each carried out once, by one process at a time.
//!
//! What was carried out is recorded with a checksum of its text. A lock with a TTL, taken by a conditional write, keeps
//! processes that start at once from changing the schema together; those that find nothing to do never take it. Every
//! change can be carried out again, so that a process may die in the middle of one.
//!
//! Versions run side by side during a roll-out, so a version may meet changes that it does not know. It ignores those
//! that are marked as compatible and refuses to start with any other.

use std::collections::{BTreeMap, hash_map::RandomState};
use std::hash::BuildHasher;
use std::pin::pin;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;
use stoker_domain::{SLOT_COUNT, SLOT_HASH_NAME};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

use super::connect::{define, never_again};
use super::error::{CassandraError, Place};
use super::options::CassandraOptions;
use super::stamps::now_us;
use super::{FIRST_PAUSE, LAST_PAUSE, spread};

/// One change of the schema.
#[derive(Debug)]
struct Migration {
    number: i32,
    name: &'static str,
    text: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "tables", text: include_str!("migrations/0001_tables.cql") },
    Migration { number: 2, name: "newest", text: include_str!("migrations/0002_newest.cql") },
];

/// The lock of a process that died goes by itself after so long.
const LOCK_TTL_S: i32 = 60;
/// Three of these have to fail before it is lost.
const LOCK_KEPT_EVERY: Duration = Duration::from_secs(15);

impl Migration {
    fn checksum(&self) -> String {
        format!("xxh3-128:{:032x}", xxh3_128(self.text.as_bytes()))
    }

    /// Whether a version that does not know it may run beside it.
    fn compatible(&self) -> bool {
        self.text.lines().any(|line| line.trim() == "-- compatible: yes")
    }

    /// Its statements, without comments.
    fn statements(&self) -> Vec<String> {
        let lines = self.text.lines().filter(|line| !line.trim_start().starts_with("--"));
        let text = lines.collect::<Vec<_>>().join("\n");
        text.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
    }
}

/// What is recorded of a migration that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Done {
    name: String,
    checksum: String,
    compatible: bool,
}

/// Which of `known` have still to be carried out, when those in `done` were.
///
/// # Errors
/// When `done` has something that these must not run with.
fn missing<'a>(
    known: &'a [Migration],
    done: &BTreeMap<i32, Done>,
    keyspace: &str,
) -> Result<Vec<&'a Migration>, CassandraError> {
    for (&number, done) in done {
        match known.iter().find(|migration| migration.number == number) {
            Some(migration) if migration.checksum() != done.checksum => {
                let (keyspace, found) = (keyspace.to_owned(), done.name.clone());
                return Err(CassandraError::Checksum { keyspace, number, found });
            }
            None if !done.compatible => {
                let (keyspace, found) = (keyspace.to_owned(), done.name.clone());
                return Err(CassandraError::Newer { keyspace, number, found });
            }
            _ => {}
        }
    }
    Ok(known.iter().filter(|migration| !done.contains_key(&migration.number)).collect())
}

/// Brings the schema to what this version needs and checks what all processes must agree on.
pub(super) async fn migrate(
    session: &Session,
    options: &CassandraOptions,
    place: &Place,
    me: &str,
) -> Result<(), CassandraError> {
    Migrator { session, options, place, me }.run().await
}

/// Tells this process from all others that may want the lock. Made once for all tries: one that had no answer may have
/// got it.
pub(super) fn my_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}@{}#{:016x}", std::process::id(), host.trim(), RandomState::new().hash_one(now_us()))
}

struct Migrator<'a> {
    session: &'a Session,
    options: &'a CassandraOptions,
    place: &'a Place,
    me: &'a str,
}

impl Migrator<'_> {
    async fn run(&self) -> Result<(), CassandraError> {
        self.bootstrap().await?;
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            if missing(MIGRATIONS, &self.done().await?, &self.place.keyspace)?.is_empty() {
                break;
            }
            match self.lock().await? {
                None => {
                    let result = self.carry_out().await;
                    self.unlock().await;
                    result?;
                }
                Some(holder) if began.elapsed() > self.options.schema_timeout => {
                    let (keyspace, waited_s) = (self.place.keyspace.clone(), began.elapsed().as_secs());
                    return Err(CassandraError::Locked { keyspace, holder, waited_s });
                }
                Some(_) => {
                    tokio::time::sleep(pause + spread(pause)).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
        self.session
            .await_schema_agreement()
            .await
            .map_err(|error| self.place.request("wait until all nodes know the schema", error))?;
        self.agree("slot_count", "slot count", &SLOT_COUNT.to_string()).await?;
        self.agree("slot_hash", "slot hash", SLOT_HASH_NAME).await
    }

    /// The two tables that everything else rests on. Their ids follow from their names, so that processes which make
    /// them at once through different nodes make the same tables.
    async fn bootstrap(&self) -> Result<(), CassandraError> {
        let tables = [
            (
                "schema_migrations",
                "number int PRIMARY KEY, name text, checksum text, compatible boolean, at bigint, process text",
            ),
            ("schema_lock", "name text PRIMARY KEY, owner text"),
        ];
        for (table, columns) in tables {
            let found = self
                .query(
                    "look the schema up",
                    "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?",
                    (self.place.keyspace.as_str(), table),
                )
                .await?;
            if found.rows_num() > 0 {
                continue;
            }
            let id = table_id(&self.place.keyspace, table);
            let text = format!("CREATE TABLE IF NOT EXISTS {table} ({columns}) WITH ID = {id}");
            self.define(format!("make table {table}"), &text).await?;
        }
        Ok(())
    }

    async fn done(&self) -> Result<BTreeMap<i32, Done>, CassandraError> {
        let action = "read which migrations were carried out";
        let rows = self
            .query(action, "SELECT number, name, checksum, compatible FROM schema_migrations", ())
            .await?;
        let mut done = BTreeMap::new();
        type Row = (i32, Option<String>, Option<String>, Option<bool>);
        for row in rows.rows::<Row>().map_err(|error| self.place.request(action, error))? {
            let (number, name, checksum, compatible) =
                row.map_err(|error| self.place.request(action, error))?;
            let (name, checksum) = (name.unwrap_or_default(), checksum.unwrap_or_default());
            done.insert(number, Done { name, checksum, compatible: compatible.unwrap_or(false) });
        }
        Ok(done)
    }

    /// Carries out what is missing; the lock is held.
    async fn carry_out(&self) -> Result<(), CassandraError> {
        // Read again: another process may have done it all before this one got the lock.
        for migration in missing(MIGRATIONS, &self.done().await?, &self.place.keyspace)? {
            for statement in migration.statements() {
                if !self.keep_lock().await? {
                    return Ok(());
                }
                let action = format!("carry out migration {} ({})", migration.number, migration.name);
                if !self.define_locked(action, &statement).await? {
                    return Ok(());
                }
            }
            self.query_void(
                "record a migration",
                "INSERT INTO schema_migrations (number, name, checksum, compatible, at, process) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    migration.number,
                    migration.name,
                    migration.checksum(),
                    migration.compatible(),
                    now_us() / 1_000,
                    self.me,
                ),
            )
            .await?;
            tracing::info!(
                keyspace = self.place.keyspace,
                migration = migration.number,
                name = migration.name,
                "carried out a migration"
            );
        }
        Ok(())
    }

    /// Takes the lock; who has it, if somebody else does.
    async fn lock(&self) -> Result<Option<String>, CassandraError> {
        let text = format!(
            "INSERT INTO schema_lock (name, owner) VALUES ('schema', ?) IF NOT EXISTS USING TTL {LOCK_TTL_S}"
        );
        let rows = self.conditional("take the schema's lock", &text, (self.me,)).await?;
        let owner = match rows {
            Applied::Yes => return Ok(None),
            Applied::No(owner) => owner,
        };
        // A try that timed out may have got it.
        Ok((owner != self.me).then_some(owner))
    }

    /// Holds the lock for longer; false when it is lost.
    async fn keep_lock(&self) -> Result<bool, CassandraError> {
        let text = format!(
            "UPDATE schema_lock USING TTL {LOCK_TTL_S} SET owner = ? WHERE name = 'schema' IF owner = ?"
        );
        let me = self.me;
        Ok(matches!(self.conditional("keep the schema's lock", &text, (me, me)).await?, Applied::Yes))
    }

    /// Changes the schema while the lock is held; false when it was lost.
    async fn define_locked(&self, action: String, text: &str) -> Result<bool, CassandraError> {
        match while_kept(self.define(action, text), async || self.keep_lock().await).await {
            Some(outcome) => outcome.map(|()| true),
            None => Ok(false),
        }
    }

    /// Gives the lock up. When that fails it goes by itself.
    async fn unlock(&self) {
        let text = "DELETE FROM schema_lock WHERE name = 'schema' IF owner = ?";
        if let Err(error) = self.conditional("give the schema's lock up", text, (self.me,)).await {
            tracing::warn!(%error, "the schema's lock goes by itself in a minute");
        }
    }

    /// Records what all processes must agree on, or compares it with what is recorded.
    async fn agree(&self, name: &str, what: &'static str, own: &str) -> Result<(), CassandraError> {
        let action = "compare what all processes must agree on";
        let read = async || {
            let text = "SELECT value FROM platform WHERE name = ?";
            let rows = self.query(action, text, (name,)).await?;
            rows.maybe_first_row::<(Option<String>,)>().map_err(|error| self.place.request(action, error))
        };
        let mut found = read().await?;
        if found.is_none() {
            let text = "INSERT INTO platform (name, value) VALUES (?, ?) IF NOT EXISTS";
            self.conditional(action, text, (name, own)).await?;
            found = read().await?;
        }
        let found = found.and_then(|(value,)| value).unwrap_or_default();
        if found == own {
            return Ok(());
        }
        let (keyspace, known) = (self.place.keyspace.clone(), own.to_owned());
        Err(CassandraError::SlotsDiffer { keyspace, what, found, known })
    }

    async fn define(&self, action: String, text: &str) -> Result<(), CassandraError> {
        define(self.session, text, self.options).await.map_err(|error| self.place.request(action, error))
    }

    async fn query(
        &self,
        action: &str,
        text: &str,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<scylla::response::query_result::QueryRowsResult, CassandraError> {
        self.session
            .query_unpaged(text, values)
            .await
            .map_err(|error| self.place.request(action, error))?
            .into_rows_result()
            .map_err(|error| self.place.request(action, error))
    }

    async fn query_void(
        &self,
        action: &str,
        text: &str,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<(), CassandraError> {
        let result = self.session.query_unpaged(text, values).await;
        result.map(drop).map_err(|error| self.place.request(action, error))
    }

    /// A conditional write; of a refused one, the row's text column.
    async fn conditional(
        &self,
        action: &str,
        text: &str,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<Applied, CassandraError> {
        let mut statement = Statement::new(text);
        statement.set_retry_policy(Some(never_again()));
        let rows = self
            .session
            .query_unpaged(statement, values)
            .await
            .map_err(|error| self.place.request(action, error))?
            .into_rows_result()
            .map_err(|error| self.place.request(action, error))?;
        let owner = rows.column_specs().get_by_name("owner").map(|(index, _)| index);
        let row =
            rows.first_row::<scylla::value::Row>().map_err(|error| self.place.request(action, error))?;
        let applied = row.columns.first().and_then(|value| value.as_ref()?.as_boolean());
        if applied == Some(true) {
            return Ok(Applied::Yes);
        }
        let owner = owner.and_then(|index| row.columns.get(index)?.as_ref()?.as_text().cloned());
        Ok(Applied::No(owner.unwrap_or_default()))
    }
}

/// Waits for a change, and keeps the lock for as long as that takes: until all nodes know of a change may be longer than
/// the lock lasts. None when it was lost; the change may be under way then, and whoever has the lock now does it again.
async fn while_kept<T>(
    change: impl Future<Output = T>,
    mut keep: impl AsyncFnMut() -> Result<bool, CassandraError>,
) -> Option<T> {
    let mut change = pin!(change);
    loop {
        tokio::select! {
            outcome = &mut change => return Some(outcome),
            () = tokio::time::sleep(LOCK_KEPT_EVERY) => {}
        }
        match keep().await {
            Ok(true) => {}
            Ok(false) => return None,
            // Until the lock has really gone there are other tries.
            Err(error) => tracing::warn!(%error, "the schema's lock was not kept for longer"),
        }
    }
}

/// How a conditional write ended.
enum Applied {
    Yes,
    No(String),
}

/// An id for a table, for ever the same for the same names.
fn table_id(keyspace: &str, table: &str) -> String {
    let hash = xxh3_128(format!("{keyspace}.{table}").as_bytes());
    // The bits that say what kind of UUID it is: version 8, made by a rule of one's own.
    let id = (hash & !(0xf << 76) & !(0x3 << 62)) | (8 << 76) | (0x2 << 62);
    let hex = format!("{id:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().to_owned();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(migration: &Migration) -> (i32, Done) {
        let (name, checksum) = (migration.name.to_owned(), migration.checksum());
        (migration.number, Done { name, checksum, compatible: migration.compatible() })
    }

    fn known() -> Vec<Migration> {
        vec![
            Migration { number: 1, name: "one", text: "CREATE a;" },
            Migration { number: 2, name: "two", text: "-- compatible: yes\nALTER a;\n-- b; c\nALTER b" },
        ]
    }

    #[test]
    fn what_is_missing_is_carried_out_in_order() {
        let known = known();
        let numbers = |done: &BTreeMap<i32, Done>| -> Vec<i32> {
            missing(&known, done, "k").unwrap().iter().map(|migration| migration.number).collect()
        };
        assert_eq!(numbers(&BTreeMap::new()), [1, 2]);
        assert_eq!(numbers(&[done(&known[0])].into()), [2]);
        assert_eq!(numbers(&known.iter().map(done).collect()), [0i32; 0]);
    }

    #[test]
    fn a_changed_text_is_refused() {
        let mut recorded: BTreeMap<i32, Done> = known().iter().map(done).collect();
        recorded.get_mut(&1).unwrap().checksum = "xxh3-128:0".into();
        assert!(matches!(missing(&known(), &recorded, "k"), Err(CassandraError::Checksum { number: 1, .. })));
    }

    #[test]
    fn an_unknown_migration_is_ignored_only_if_it_is_marked_so() {
        let known = known();
        let mut recorded: BTreeMap<i32, Done> = known.iter().map(done).collect();
        recorded.insert(3, Done { name: "three".into(), checksum: "x".into(), compatible: true });
        assert!(missing(&known, &recorded, "k").unwrap().is_empty());
        recorded.get_mut(&3).unwrap().compatible = false;
        let error = missing(&known, &recorded, "k").unwrap_err();
        assert!(error.to_string().contains("migration 3 (three)"), "{error}");
    }

    #[test]
    fn statements_come_without_comments() {
        assert_eq!(known()[1].statements(), ["ALTER a", "ALTER b"]);
        assert!(known()[1].compatible() && !known()[0].compatible());
    }

    /// A migration that was released is never changed: the next one changes what it made.
    #[test]
    fn the_migrations_are_numbered_and_the_released_ones_are_as_they_were() {
        let numbers: Vec<i32> = MIGRATIONS.iter().map(|migration| migration.number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
        let checksums: Vec<String> = MIGRATIONS.iter().map(Migration::checksum).collect();
        let released =
            ["xxh3-128:42a750c48c553250d41920bc6be0afa5", "xxh3-128:e4c40fb58c4e4c69c0cdd2e9f04ff47e"];
        assert_eq!(checksums, released);
        for migration in MIGRATIONS {
            for statement in migration.statements() {
                assert!(statement.contains("IF NOT EXISTS"), "can be carried out again: {statement}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_lock_is_kept_while_a_change_takes_its_time() {
        let long = || tokio::time::sleep(Duration::from_secs(100));
        let mut kept = 0;
        let outcome = while_kept(long(), async || {
            kept += 1;
            // Tries may fail, as long as the lock is there.
            if kept % 2 == 0 {
                Err(CassandraError::Silent { nodes: "n".into(), waited_s: 1 })
            } else {
                Ok(true)
            }
        });
        assert_eq!((outcome.await, kept), (Some(()), 6));
        let mut kept = 0;
        let outcome = while_kept(long(), async || {
            kept += 1;
            Ok(kept < 3)
        });
        assert_eq!((outcome.await, kept), (None, 3));
    }

    #[test]
    fn a_tables_id_is_a_uuid_and_its_own() {
        let id = table_id("stoker", "schema_lock");
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!((&id[14..15], "89ab".contains(&id[19..20])), ("8", true));
        assert_ne!(id, table_id("stoker", "schema_migrations"));
        assert_ne!(id, table_id("other", "schema_lock"));
    }
}
