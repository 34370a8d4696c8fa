//! What the disk itself takes: no durable write is faster than that.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::histogram::Histogram;
use crate::random::Random;

/// How often it is tried.
const TRIES: u32 = 200;
/// What is written at once: a page.
const PAGE: usize = 4 * 1024;
/// Pages of the file that is written to, so that it does not grow while it is measured.
const PAGES: u64 = 1_024;
/// Of tmpfs, from `linux/magic.h`.
const TMPFS: i64 = 0x0102_1994;

/// Refuses a directory in memory: it would make durable writes look free.
///
/// # Errors
/// Says what to do.
pub(crate) fn check_on_disk(directory: &Path) -> Result<()> {
    let shown = directory.display();
    let stat = rustix::fs::statfs(directory)
        .with_context(|| format!("failed to look at the file system of {shown}"))?;
    if stat.f_type == TMPFS {
        bail!("{shown} lies in memory (tmpfs): give a directory on a disk by --dir");
    }
    Ok(())
}

/// Times of `write` + `fdatasync` of one page somewhere in a file that is there already, as a database does it.
pub(crate) fn sync_times(directory: &Path) -> Result<Histogram> {
    let path = directory.join("fsync-probe");
    let times = measure(&path).with_context(|| format!("failed to write {}", path.display()));
    let removed = std::fs::remove_file(&path);
    let times = times?;
    removed.with_context(|| format!("failed to remove {}", path.display()))?;
    Ok(times)
}

fn measure(path: &Path) -> Result<Histogram> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let page = [0xA5; PAGE];
    let at = |number: u64| number * PAGE as u64;
    for number in 0..PAGES {
        file.write_all_at(&page, at(number))?;
    }
    file.sync_all()?;
    let mut random = Random::new(1);
    let mut times = Histogram::default();
    for _ in 0..TRIES {
        let offset = at(random.below(PAGES));
        let begun = Instant::now();
        file.write_all_at(&page, offset)?;
        file.sync_data()?;
        times.record(begun.elapsed());
    }
    Ok(times)
}
