//! The data directory: its lock, its version, and the database file in it.
//!
//! | file | what |
//! |---|---|
//! | `stoker.lock` | locked by the process that uses the directory; holds its pid, for a person |
//! | `VERSION` | format, slot count and slot hash as text; the same stands in the database |
//! | `stoker.redb` | the database |
//!
//! A fresh database is made under another name and renamed when it is whole, so a crash while it is made leaves
//! nothing that looks like a damaged one.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use stoker_domain::{SLOT_COUNT, SLOT_HASH_NAME};

use super::backend::Backend;
use super::error::OpenError;

/// The format of a data directory that this version writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

const LOCK: &str = "stoker.lock";
const VERSION: &str = "VERSION";
const DATABASE: &str = "stoker.redb";
const FRESH_DATABASE: &str = "stoker.redb.new";

/// A locked data directory. The lock goes when this is dropped, or with the process.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
    fresh: bool,
}

/// What a directory or a database says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) format: u32,
    pub(super) slot_count: u32,
    pub(super) slot_hash: String,
}

impl Identity {
    /// Of this version.
    pub(super) fn own() -> Self {
        Self {
            format: FORMAT_VERSION,
            slot_count: u32::try_from(SLOT_COUNT).unwrap_or(u32::MAX),
            slot_hash: SLOT_HASH_NAME.to_owned(),
        }
    }

    fn to_text(&self) -> String {
        format!("stoker {}\nslots {}\nslot-hash {}\n", self.format, self.slot_count, self.slot_hash)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        Some(Self {
            format: value("stoker")?.parse().ok()?,
            slot_count: value("slots")?.parse().ok()?,
            slot_hash: value("slot-hash")?.to_owned(),
        })
    }

    /// Refuses what this version must not touch.
    pub(super) fn check(&self, path: &Path) -> Result<(), OpenError> {
        let own = Self::own();
        let differ = |what, found: String, known: String| {
            Err(OpenError::SlotsDiffer { path: path.to_owned(), what, found, known })
        };
        if self.format > own.format {
            return Err(OpenError::Newer { path: path.to_owned(), found: self.format, known: own.format });
        }
        if self.slot_count != own.slot_count {
            return differ("slot count", self.slot_count.to_string(), own.slot_count.to_string());
        }
        if self.slot_hash != own.slot_hash {
            return differ("slot hash", self.slot_hash.clone(), own.slot_hash);
        }
        Ok(())
    }
}

impl Directory {
    /// Makes the directory if needed, locks it and checks its version.
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { action, path, source }
        };
        if path.exists() && !path.is_dir() {
            return Err(OpenError::NotADirectory(path.to_owned()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("create", path))?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The pid is a courtesy: without it the message says less, and nothing else.
                let _ = (&lock).take(32).read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "pid unknown".into() } else { format!("pid {holder}") };
                return Err(OpenError::InUse { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock", &lock_path)(source)),
        }
        write_pid(&mut lock).map_err(io("write", &lock_path))?;
        let mut directory = Self { path: path.to_owned(), _lock: lock, fresh: false };
        directory.fresh = directory.check_version()?;
        Ok(directory)
    }

    /// True when there is no database yet.
    fn check_version(&self) -> Result<bool, OpenError> {
        let path = self.path.join(VERSION);
        let has_database = self.path.join(DATABASE).exists();
        let damaged = |what: &str| OpenError::Damaged { path: self.path.clone(), what: what.to_owned() };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let identity = Identity::parse(&text).ok_or_else(|| damaged("VERSION cannot be read"))?;
                identity.check(&self.path)?;
                if !has_database {
                    return Err(damaged("it has a VERSION but no stoker.redb"));
                }
                Ok(false)
            }
            // A crash between the database and its VERSION: what the database says is checked anyway.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(!has_database),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(damaged("VERSION cannot be read"))
            }
            Err(source) => Err(OpenError::Io { action: "read", path, source }),
        }
    }

    /// The storage of the database.
    pub(super) fn backend(&self) -> Result<Backend, OpenError> {
        let path = self.path.join(if self.fresh { FRESH_DATABASE } else { DATABASE });
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(self.fresh)
            .truncate(self.fresh)
            .mode(0o600)
            .open(&path)
            .map_err(|source| OpenError::Io { action: "open", path: path.clone(), source })?;
        if !self.fresh && file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            return Err(OpenError::Damaged { path: self.path.clone(), what: "stoker.redb is empty".into() });
        }
        let backend = FileBackend::new(file)
            .map_err(|error| OpenError::Damaged { path: self.path.clone(), what: error.to_string() })?;
        Ok(Box::new(backend))
    }

    /// The database is whole: puts it and VERSION in their places.
    pub(super) fn finish(&self) -> Result<(), OpenError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { action, path, source }
        };
        if self.fresh {
            let path = self.path.join(DATABASE);
            fs::rename(self.path.join(FRESH_DATABASE), &path).map_err(io("create", &path))?;
        }
        let path = self.path.join(VERSION);
        if !path.exists() {
            let fresh = self.path.join("VERSION.new");
            File::create(&fresh)
                .and_then(|mut file| {
                    file.write_all(Identity::own().to_text().as_bytes())?;
                    file.sync_all()
                })
                .and_then(|()| fs::rename(&fresh, &path))
                .map_err(io("write", &path))?;
        }
        // The names are durable only when the directories are; of the one above this is asked as far as it lets us.
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(io("sync", &self.path))?;
        if let Some(parent) = self.path.parent()
            && let Ok(parent) = File::open(parent)
        {
            let _ = parent.sync_all();
        }
        Ok(())
    }
}

/// True when there is a database in that directory.
pub(super) fn has_database(dir: &Path) -> bool {
    dir.join(DATABASE).is_file()
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_comes_back_as_it_was_written() {
        assert_eq!(Identity::parse(&Identity::own().to_text()), Some(Identity::own()));
        assert_eq!(Identity::parse(""), None);
        assert_eq!(Identity::parse("stoker x\nslots 256\nslot-hash h\n"), None);
    }
}
