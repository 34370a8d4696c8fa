//! Files that only their owner may read.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file of mode 0600, whole or not at all. Makes its directory when it is not there.
pub(crate) fn write_private(file: &Path, bytes: &[u8]) -> Result<()> {
    let half = file.with_extension("new");
    let write = || -> std::io::Result<()> {
        if let Some(directory) = file.parent().filter(|directory| !directory.exists()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        match fs::remove_file(&half) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&half, file)
    };
    write().with_context(|| format!("failed to write {}", file.display()))
}
