//! Errors: why a directory cannot be opened, and what can go wrong inside.

use std::path::PathBuf;

use stoker_domain::ports::store::StoreError;

use crate::rows::RowError;

/// Why a data directory cannot be opened. Each says the way out.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path is something else.
    #[error("{0} is not a directory: give another --data-dir")]
    NotADirectory(PathBuf),
    /// Something in it cannot be made, read or written.
    #[error(
        "failed to {action} {path}: check that its owner is the user that runs this, and that the disk has room"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else has it.
    #[error(
        "data directory {path} is used by another process ({holder}): stop it or give another --data-dir"
    )]
    InUse {
        /// Which.
        path: PathBuf,
        /// `pid N`, as far as it is known.
        holder: String,
    },
    /// A newer version has written it.
    #[error(
        "data directory {path} has format {found}, this version knows formats up to {known}: run the version that wrote it, or a newer one"
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this version knows.
        known: u32,
    },
    /// It was made for another count or hash of slots.
    #[error(
        "data directory {path} was made with {what} {found}, this version uses {known}: they never mix, give another --data-dir"
    )]
    SlotsDiffer {
        /// Which.
        path: PathBuf,
        /// Count or hash.
        what: &'static str,
        /// What it records.
        found: String,
        /// What this version uses.
        known: String,
    },
    /// Its files do not belong together or cannot be read.
    #[error("data directory {path} is damaged: {what}; restore it from a backup or give another --data-dir")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The operating system gives no thread.
    #[error("failed to start the writer of {path}")]
    Thread {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// What goes wrong inside a transaction.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The database itself: whatever is under way is void, and the store fails for good.
    Storage(redb::Error),
    /// One request: it gets this answer, the others go on.
    Answer(StoreError),
}

impl Trouble {
    /// A row that cannot be read.
    pub(super) fn corrupt(row: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Answer(StoreError::Corrupt(format!("{row}: {why}")))
    }
}

macro_rules! storage_trouble {
    ($($error:ty),+) => {$(
        impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self::Storage(error.into())
            }
        }
    )+};
}
storage_trouble!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError);

/// Names the row that a [`RowError`] is about.
pub(super) trait Named<T> {
    /// Adds the name, made only when it is needed.
    fn named<D: std::fmt::Display>(self, name: impl FnOnce() -> D) -> Result<T, Trouble>;
}

impl<T> Named<T> for Result<T, RowError> {
    fn named<D: std::fmt::Display>(self, name: impl FnOnce() -> D) -> Result<T, Trouble> {
        self.map_err(|error| Trouble::corrupt(name(), error))
    }
}
