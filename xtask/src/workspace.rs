//! Where things are: the workspace's root, its target directory, its files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Directories that hold nothing written by hand.
const SKIPPED: [&str; 8] =
    ["target", "node_modules", "__pycache__", "corpus", "artifacts", "coverage", ".git", ".lab"];

/// The work tree that the tasks are about.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the work tree by the place of this crate, wherever the command was started.
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets it for `cargo run`; the value from build time serves a binary that is started by hand.
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir
            .parent()
            .with_context(|| format!("{} has no parent directory", manifest_dir.display()))?
            .to_path_buf();
        let program = env::current_exe().context("failed to find this program's own place")?;
        let target = target_of(&program).unwrap_or_else(|| root.join("target"));
        Ok(Self { root, target })
    }

    /// The path below the root, for messages.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// All files that people write, sorted, as paths below the root.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut waiting = vec![self.root.clone()];
        while let Some(dir) = waiting.pop() {
            let entries = fs::read_dir(&dir).with_context(|| format!("failed to list {}", dir.display()))?;
            for entry in entries {
                let entry = entry.with_context(|| format!("failed to list {}", dir.display()))?;
                let kind = entry
                    .file_type()
                    .with_context(|| format!("failed to look at {}", entry.path().display()))?;
                // Also as a file: of a linked work tree `.git` is one.
                if SKIPPED.iter().any(|name| entry.file_name() == *name) {
                    continue;
                }
                if kind.is_dir() {
                    waiting.push(entry.path());
                } else if kind.is_file() {
                    found.push(self.relative(&entry.path()).to_path_buf());
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// The text of a file below the root; nothing for one that isn't UTF-8.
    pub(crate) fn text(&self, path: &Path) -> Result<Option<String>> {
        let bytes =
            fs::read(self.root.join(path)).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(String::from_utf8(bytes).ok())
    }
}

/// The directory that cargo built `program` in. It knows all the ways in which that can be configured, and where it
/// puts this program it also puts the others.
fn target_of(program: &Path) -> Option<PathBuf> {
    let profile = program.parent()?;
    let is_profile = profile.file_name().is_some_and(|name| name == "debug" || name == "release");
    if is_profile { profile.parent().map(Path::to_path_buf) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_directory_is_where_cargo_built() {
        assert_eq!(target_of(Path::new("/x/y/debug/xtask")), Some(PathBuf::from("/x/y")));
        assert_eq!(target_of(Path::new("/usr/bin/xtask")), None);
    }

    #[test]
    fn files_are_those_that_people_write() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a.rs", "b/c.md", "target/x.rs", "b/node_modules/x.js", ".git/x", ".ci/run"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let workspace = Workspace { root: dir.path().to_path_buf(), target: dir.path().join("target") };
        let expected = [".ci/run", "a.rs", "b/c.md"].map(PathBuf::from);
        assert_eq!(workspace.files().unwrap(), expected);
    }
}
