//! Where reports are kept: so many files, which only their owner reads.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Reports that are kept; then the oldest goes.
const KEPT: usize = 10;
const PREFIX: &str = "crash-";
const ENDING: &str = ".txt";

/// A directory of reports.
#[derive(Debug, Clone)]
pub(super) struct Shelf(PathBuf);

impl Shelf {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Keeps a report.
    pub(super) fn put(&self, text: &str) -> io::Result<PathBuf> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let millis = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.0.join(format!("{PREFIX}{millis:015}-{}-{count:04}{ENDING}", std::process::id()));
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

    /// All reports, the oldest first.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
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
        let shelf = Shelf::new(directory.path().join("a/b"));
        let paths: Vec<PathBuf> = (0..KEPT + 5).map(|n| shelf.put(&format!("report {n}")).unwrap()).collect();
        assert_eq!(shelf.all(), paths[5..]);
        assert_eq!(fs::metadata(&paths[9]).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&paths[9]).unwrap(), "report 9");
    }
}
