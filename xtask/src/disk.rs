//! Room on the disk. Where there is none left, what fails is seldom what says so: a broker that takes no more messages makes tests
//! about mails time out, and a linker ends by a signal.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Nothing is begun with less: one part more, and a node of the lab refuses to write.
const LEAST: u64 = 3 << 30;

/// What those who are not root have left where `path` is, or would be, in bytes.
///
/// # Errors
/// The file system does not say.
pub(crate) fn free(path: &Path) -> Result<u64> {
    let there = existing(path);
    let said = rustix::fs::statvfs(&there)
        .with_context(|| format!("failed to ask for the room at {}", there.display()))?;
    Ok(said.f_bavail.saturating_mul(said.f_frsize))
}

/// That there is room to go on.
///
/// # Errors
/// There is not, with how much there is.
pub(crate) fn ensure_room(path: &Path) -> Result<()> {
    let free = free(path)?;
    if free < LEAST {
        bail!(
            "{} are free at {}, and nothing is begun with less than {}: free some, or set CARGO_TARGET_DIR and STOKER_LAB_CACHE to where there is more",
            shown(free),
            path.display(),
            shown(LEAST)
        );
    }
    Ok(())
}

/// In GB, to one digit.
pub(crate) fn shown(bytes: u64) -> String {
    let tenths = bytes / 100_000_000;
    format!("{}.{} GB", tenths / 10, tenths % 10)
}

fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_known_also_where_nothing_is_yet() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free(&dir.path().join("not/yet")).unwrap() > 0);
    }

    #[test]
    fn bytes_are_shown_in_gigabytes() {
        assert_eq!(shown(0), "0.0 GB");
        assert_eq!(shown(3 << 30), "3.2 GB");
    }
}
