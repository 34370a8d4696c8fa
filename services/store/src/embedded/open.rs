//! Opening: lock, check, repair what a crash left, start the writer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Database, ReadableDatabase};
use tokio::sync::Semaphore;

use super::backend::{Backend, Measured};
use super::directory::{Directory, Identity};
use super::error::{OpenError, Trouble};
use super::health::Health;
use super::members::Members;
use super::options::{EmbeddedOptions, millis};
use super::purge::Retention;
use super::queue::{Bounds, Queue};
use super::stats::Counters;
use super::tables::{self, meta};
use super::telemetry::TelemetryWriter;
use super::writer::{Writer, panic_text};
use super::{EmbeddedStore, Parts};

impl EmbeddedStore {
    /// Opens the data directory `dir`, making it (mode 0700) if it is not there.
    ///
    /// Blocks for a moment; after a crash it takes hardly longer, as every commit leaves what a quick repair needs: a file
    /// of 5.8 GB whose writer was killed at work opened in 18 ms, after a clean close in 7 ms
    /// (`examples/reopen_time.rs`). The price is a second flush in every commit.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do.
    pub fn open(dir: &Path, options: EmbeddedOptions) -> Result<Self, OpenError> {
        let directory = Directory::lock(dir)?;
        let backend = directory.backend()?;
        let counters = Arc::new(Counters::default());
        let database = open_database(backend, &options, &counters, dir)?;
        directory.finish()?;
        Self::start(database, Some(directory), options, counters, dir)
    }

    /// Opens a database on any storage: for tests, and for whoever keeps the bytes elsewhere. Nothing locks it.
    ///
    /// # Errors
    /// [`OpenError`] when it is damaged or of another version.
    pub fn open_backend(backend: Backend, options: EmbeddedOptions) -> Result<Self, OpenError> {
        let path = Path::new("(storage)");
        let counters = Arc::new(Counters::default());
        let database = open_database(backend, &options, &counters, path)?;
        Self::start(database, None, options, counters, path)
    }

    fn start(
        database: Database,
        directory: Option<Directory>,
        options: EmbeddedOptions,
        counters: Arc<Counters>,
        path: &Path,
    ) -> Result<Self, OpenError> {
        let database = Arc::new(database);
        let queue = Arc::new(Queue::new(Bounds {
            items: options.queue_items,
            bytes: options.queue_bytes,
            group_items: options.group_items.max(1),
            group_bytes: options.group_bytes.max(1),
            wait: options.queue_wait,
        }));
        let health = Arc::new(Health::new());
        let telemetry = database
            .begin_read()
            .map_err(Trouble::from)
            .and_then(|txn| TelemetryWriter::load(&txn))
            .map_err(|trouble| damaged(path, &trouble))?;
        let writer = Writer {
            database: database.clone(),
            queue: queue.clone(),
            telemetry,
            counters: counters.clone(),
            health: health.clone(),
            clock: options.clock.clone(),
            retention: Retention {
                telemetry: millis(options.telemetry_retention),
                history: millis(options.history_retention),
            },
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Thread { path: path.to_owned(), source })?;
        Ok(Self {
            lists: Arc::new(Semaphore::new(options.reads.max(1))),
            lookups: Arc::new(Semaphore::new(options.reads.max(1))),
            members: Members::default(),
            options,
            queue,
            counters,
            health,
            parts: Mutex::new(Parts { writer: Some(thread), database: Some(database), directory }),
        })
    }
}

fn damaged(path: &Path, trouble: &Trouble) -> OpenError {
    let what = match trouble {
        Trouble::Storage(error) => error.to_string(),
        Trouble::Answer(error) => error.to_string(),
    };
    OpenError::Damaged { path: path.to_owned(), what }
}

fn open_database(
    backend: Backend,
    options: &EmbeddedOptions,
    counters: &Arc<Counters>,
    path: &Path,
) -> Result<Database, OpenError> {
    let measured = Measured::new(backend, counters.clone());
    let cache = options.cache_bytes;
    // A damaged file may lead the database's own code astray; that must not take the process along.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = Database::builder().set_cache_size(cache).create_with_backend(measured)?;
        let identity = read_identity(&database)?;
        Ok::<_, redb::Error>((database, identity))
    }));
    let (database, identity) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(redb::Error::Io(source))) if source.kind() != std::io::ErrorKind::InvalidData => {
            return Err(OpenError::Io { action: "read", path: path.to_owned(), source });
        }
        Ok(Err(error)) => {
            return Err(OpenError::Damaged { path: path.to_owned(), what: error.to_string() });
        }
        Err(panic) => {
            return Err(OpenError::Damaged { path: path.to_owned(), what: panic_text(&*panic).to_owned() });
        }
    };
    match identity {
        Some(identity) => identity.check(path)?,
        None => initialize(&database).map_err(|trouble| damaged(path, &trouble))?,
    }
    Ok(database)
}

/// What the database says about itself; nothing when it is fresh.
fn read_identity(database: &Database) -> Result<Option<Identity>, redb::Error> {
    let txn = database.begin_read()?;
    let table = match txn.open_table(tables::META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let wrong = |what: &str| redb::Error::Corrupted(format!("its {what} cannot be read"));
    let number = |name: &[u8], what| -> Result<u32, redb::Error> {
        let bytes = table.get(name)?.ok_or_else(|| wrong(what))?;
        bytes.value().try_into().map(u32::from_be_bytes).map_err(|_| wrong(what))
    };
    let hash = table.get(meta::SLOT_HASH)?.ok_or_else(|| wrong("slot hash"))?;
    Ok(Some(Identity {
        format: number(meta::FORMAT, "format")?,
        slot_count: number(meta::SLOT_COUNT, "slot count")?,
        slot_hash: String::from_utf8(hash.value().to_vec()).map_err(|_| wrong("slot hash"))?,
    }))
}

fn initialize(database: &Database) -> Result<(), Trouble> {
    let own = Identity::own();
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    for table in tables::ALL {
        txn.open_table(*table)?;
    }
    let mut table = txn.open_table(tables::META)?;
    table.insert(meta::FORMAT, own.format.to_be_bytes().as_slice())?;
    table.insert(meta::SLOT_COUNT, own.slot_count.to_be_bytes().as_slice())?;
    table.insert(meta::SLOT_HASH, own.slot_hash.as_bytes())?;
    drop(table);
    txn.commit()?;
    Ok(())
}
