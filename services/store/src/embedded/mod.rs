//! The embedded store: one data directory, one process, one writer.
//!
//! * Everything is in one redb file; every commit is flushed to the disk before anybody is answered. One thread writes:
//!   it takes all that waits, writes it in one transaction and answers all. No timer makes anybody wait.
//! * Reads run beside it on snapshots, a bounded number at a time.
//! * The directory is locked: a second process is refused, with the pid of the first.
//! * When the database fails, the store fails for good and says so: [`EmbeddedStore::failed`].

mod backend;
mod directory;
mod error;
mod export;
mod health;
mod history;
mod list;
mod maintenance;
mod members;
mod open;
mod options;
mod port;
mod purge;
mod queue;
mod state;
mod stats;
mod tables;
mod telemetry;
mod writer;

pub use backend::Backend;
pub use directory::FORMAT_VERSION;
pub use error::OpenError;
pub use maintenance::maintain;
pub use options::{Clock, EmbeddedOptions};
pub use purge::PurgeReport;
pub use stats::Stats;

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use redb::{Database, ReadTransaction, ReadableDatabase};
use stoker_domain::Millis;
use stoker_domain::ports::store::StoreError;
use tokio::sync::{Semaphore, oneshot};

use directory::Directory;
use error::Trouble;
use health::Health;
use members::Members;
use queue::{Chore, Queue};
use stats::Counters;

/// The store port on one data directory. See [`EmbeddedStore::open`].
///
/// Dropping it stops the writer after what is under way; [`EmbeddedStore::close`] also finishes what waits.
#[derive(Debug)]
pub struct EmbeddedStore {
    options: EmbeddedOptions,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    health: Arc<Health>,
    lists: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
    members: Members,
    parts: Mutex<Parts>,
}

/// What goes when the store is closed, in this order: writer, database, lock.
#[derive(Debug)]
struct Parts {
    writer: Option<JoinHandle<()>>,
    database: Option<Arc<Database>>,
    directory: Option<Directory>,
}

impl EmbeddedStore {
    /// What it has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// Why it has failed, if it has. A store that has failed answers nothing any more; the process has to be restarted.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.health.failure()
    }

    /// True unless it has failed.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.health.failure().is_none()
    }

    /// Waits until it fails and says why; for ever, if it does not.
    pub async fn failed(&self) -> String {
        self.health.failed().await
    }

    /// The time by its clock.
    #[must_use]
    pub fn now(&self) -> Millis {
        (self.options.clock)()
    }

    /// Removes what is past its retention as of `now`, in small steps between other work.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails or is closed meanwhile; what was removed until then stays removed.
    pub async fn purge(&self, now: Millis) -> Result<PurgeReport, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push_chore(Chore::Purge { now, report: PurgeReport::default(), reply })?;
        self.answer(answer).await?
    }

    /// Finishes what waits for the writer, stops it, waits for reads under way, closes the database and gives up the
    /// lock. Calls after it fail.
    pub async fn close(&self) {
        self.queue.close();
        let writer = self.parts.lock().writer.take();
        if let Some(writer) = writer {
            // Joining blocks; a writer that panicked has said so in its health.
            let joining = tokio::task::spawn_blocking(move || writer.join());
            let _ = joining.await;
        }
        // All permits together: no read is under way.
        let all = u32::try_from(self.options.reads.max(1)).unwrap_or(u32::MAX);
        for reads in [&self.lists, &self.lookups] {
            let _ = reads.acquire_many(all).await;
            reads.close();
        }
        let (database, directory) = {
            let mut parts = self.parts.lock();
            (parts.database.take(), parts.directory.take())
        };
        // Closing the database writes and flushes.
        let closing = tokio::task::spawn_blocking(move || {
            drop(database);
            drop(directory);
        });
        if let Err(error) = closing.await {
            tracing::error!(%error, "the database could not be closed; the next start repairs it");
        }
    }

    /// What the writer answers; why it is gone, if it does not.
    async fn answer<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, StoreError> {
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) if self.queue.is_closed() => Err(self.gone()),
            // The writer is panicking: it drops what it holds before it can say why.
            Err(_) => Err(StoreError::Failed(self.health.failed().await)),
        }
    }

    fn gone(&self) -> StoreError {
        StoreError::Failed(self.health.failure().unwrap_or_else(|| "the store is closed".to_owned()))
    }

    /// Runs a list on a snapshot, off the runtime's own threads.
    async fn list<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read(&self.lists, read).await
    }

    /// The same for what owners of slots, sessions and people look up: its turns are its own, so that long lists hold
    /// up no take-over.
    async fn look_up<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read(&self.lookups, read).await
    }

    async fn read<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !self.healthy() {
            return Err(self.gone());
        }
        let permit = tokio::time::timeout(self.options.read_wait, turns.clone().acquire_owned()).await;
        let permit = permit
            .map_err(|_| {
                self.counters.overload();
                StoreError::Overloaded(format!(
                    "no read got its turn within {} ms",
                    self.options.read_wait.as_millis()
                ))
            })?
            .map_err(|_| self.gone())?;
        let database = self.parts.lock().database.clone().ok_or_else(|| self.gone())?;
        self.counters.read();
        let task = tokio::task::spawn_blocking(move || {
            let result = database.begin_read().map_err(Trouble::from).and_then(|txn| read(&txn));
            // In this order: who holds all permits holds the last reference to the database.
            drop(database);
            drop(permit);
            result
        });
        match task.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Trouble::Answer(error))) => Err(error),
            Ok(Err(Trouble::Storage(redb::Error::Corrupted(what)))) => Err(StoreError::Corrupt(what)),
            Ok(Err(Trouble::Storage(error))) => {
                self.health.fail(error.to_string());
                Err(StoreError::Failed(error.to_string()))
            }
            Err(error) => {
                let why = format!("a read did not end: {error}");
                if error.is_panic() {
                    self.health.fail(why.clone());
                }
                Err(StoreError::Failed(why))
            }
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.queue.close();
        let mut parts = self.parts.lock();
        if let Some(writer) = parts.writer.take() {
            // Nobody waits for an answer any more, so this is at most what is under way. A panic is in its health.
            let _ = writer.join();
        }
        parts.database = None;
        parts.directory = None;
    }
}
