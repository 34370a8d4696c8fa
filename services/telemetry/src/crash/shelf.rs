//! Where reports are kept: so many files, which only their owner reads.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Reports that are kept; then the oldest goes.
const KEPT: usize = 10;
const PREFIX: &str = "crash-";
const ENDING: &str = ".txt";

/// A directory of reports.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    directory: PathBuf,
    owner: Option<u32>,
}

impl Shelf {
    /// With an owner, only as long as nobody else could have put something there.
    pub(super) fn new(directory: PathBuf, owner: Option<u32>) -> Self {
        Self { directory, owner }
    }

    /// Refuses a directory that others have made, or can write to or read.
    fn check(&self) -> io::Result<()> {
        let Some(owner) = self.owner else { return Ok(()) };
        let found = fs::symlink_metadata(&self.directory)?;
        if found.is_dir() && found.uid() == owner && found.mode() & 0o077 == 0 {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "it is not a directory of user {owner} alone: remove it, or name another one by crash.directory"
        )))
    }

    /// Keeps a report.
    pub(super) fn put(&self, text: &str) -> io::Result<PathBuf> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        self.check()?;
        let millis = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            self.directory.join(format!("{PREFIX}{millis:015}-{}-{count:04}{ENDING}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let all = self.all();
        for old in all.iter().take(all.len().saturating_sub(KEPT)) {
            // Several processes may share the directory: another may have removed it.
            drop(fs::remove_file(old));
        }
        Ok(path)
    }

    /// All reports, the oldest first. A link is none: it may lead to what is not to be mailed.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        if self.check().is_err() {
            return Vec::new();
        }
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        let files = files.map(|entry| entry.path());
        let mut all: Vec<PathBuf> =
            files.filter(|path| name(path).starts_with(PREFIX) && name(path).ends_with(ENDING)).collect();
        all.sort();
        all
    }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_reports_are_kept_and_only_their_owner_reads_them() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(directory.path().join("a/b"), None);
        let paths: Vec<PathBuf> = (0..KEPT + 5).map(|n| shelf.put(&format!("report {n}")).unwrap()).collect();
        assert_eq!(shelf.all(), paths[5..]);
        assert_eq!(fs::metadata(&paths[9]).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&paths[9]).unwrap(), "report 9");
    }

    #[test]
    fn a_directory_among_those_of_others_is_used_only_by_who_has_it_alone() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let directory = tempfile::tempdir().unwrap();
        let own = fs::metadata(directory.path()).unwrap().uid();
        let path = directory.path().join("reports");
        let shelf = Shelf::new(path.clone(), Some(own));
        let report = shelf.put("ours").unwrap();
        assert_eq!(shelf.all(), [report]);
        let refused = |shelf: &Shelf| {
            let error = shelf.put("a report").unwrap_err().to_string();
            assert!(error.contains("crash.directory") && shelf.all().is_empty(), "{error}");
        };
        refused(&Shelf::new(path.clone(), Some(own + 1)));
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        refused(&Shelf::new(link, Some(own)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        refused(&shelf);
    }

    #[test]
    fn a_link_is_no_report() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(directory.path().to_owned(), None);
        let report = shelf.put("ours").unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, "not for a mail").unwrap();
        std::os::unix::fs::symlink(&secret, directory.path().join("crash-9.txt")).unwrap();
        assert_eq!(shelf.all(), [report]);
    }
}
