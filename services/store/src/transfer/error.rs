//! Why a store could not be carried over.

use std::io;

use stoker_domain::ports::store::StoreError;
use stoker_domain::{MemberId, Slot};

/// Why a store could not be written out or read in. Each says the way out.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The file, not what is in it.
    #[error("failed to {action} the export")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("it is no export of Stoker: make one by `stoker data export`")]
    NoExport,
    /// It ends too early.
    #[error("it is cut off after {bytes} bytes: copy it again, or export again")]
    Truncated {
        /// How long it is.
        bytes: u64,
    },
    /// It is not what was written.
    #[error("it is damaged at byte {at}: {what}; copy it again, or export again")]
    Damaged {
        /// Where the damaged block begins.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// A newer version wrote it.
    #[error(
        "it has format {found}, this version knows formats up to {known}: it was written by version {version}, run that one or a newer one"
    )]
    Newer {
        /// Its format.
        found: u32,
        /// The newest that this version knows.
        known: u32,
        /// Who wrote it.
        version: String,
    },
    /// It was made for another count or hash of slots.
    #[error("it was made with {found}, this version uses {known}: they never mix")]
    SlotsDiffer {
        /// What it records.
        found: String,
        /// What this version uses.
        known: String,
    },
    /// The store that is to take it has something in it.
    #[error("keyspace {keyspace} already holds {what}: nothing was changed, give another cassandra.keyspace")]
    NotEmpty {
        /// Which.
        keyspace: String,
        /// What was found first.
        what: String,
    },
    /// Another file is half in it.
    #[error(
        "keyspace {keyspace} holds a part of another export (checksum {other}): go on with that file, or give another \
         cassandra.keyspace"
    )]
    OtherImport {
        /// Which.
        keyspace: String,
        /// The checksum of the other.
        other: String,
    },
    /// A file is half in it.
    #[error(
        "keyspace {keyspace} holds a part of an import (checksum {checksum}) that is under way or was cut off: let it end, \
         or run `stoker data import` again with the same file, or give another cassandra.keyspace"
    )]
    Unfinished {
        /// Which.
        keyspace: String,
        /// The checksum of the file.
        checksum: String,
    },
    /// Somebody works on it.
    #[error(
        "core {member} at {address} works on keyspace {keyspace}: stop all cores and try again half a minute later"
    )]
    CoresRun {
        /// Which.
        keyspace: String,
        /// One of them.
        member: MemberId,
        /// Where it is.
        address: String,
    },
    /// A core has taken a slot over before all was there.
    #[error(
        "slot {slot} was taken over before everything was imported: stop all cores, and import into another \
         cassandra.keyspace"
    )]
    Lost {
        /// Which.
        slot: Slot,
    },
    /// The store that is written out cannot be read.
    #[error("failed to read the store")]
    Read(#[source] StoreError),
    /// The store failed, again and again.
    #[error("failed to {action}; the same file may be imported again, and goes on")]
    Store {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: StoreError,
    },
}

impl TransferError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    pub(crate) fn store(action: &'static str) -> impl FnOnce(StoreError) -> Self {
        move |source| Self::Store { action, source }
    }
}
