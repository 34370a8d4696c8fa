//! How far an import is, on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use stoker_store::{ExportFile, ImportProgress};

/// How often it is said: in one line of a terminal, and line by line in a log.
const IN_PLACE: Duration = Duration::from_millis(200);
const BY_LINES: Duration = Duration::from_secs(10);

/// Says how far an import is, not too often.
pub(super) struct Progress {
    file_bytes: u64,
    records: u64,
    began: Instant,
    said: Instant,
    in_place: bool,
}

impl Progress {
    pub(super) fn of(file: &ExportFile) -> Self {
        let (now, in_place) = (Instant::now(), io::stderr().is_terminal());
        Self { file_bytes: file.bytes, records: file.counts.total(), began: now, said: now, in_place }
    }

    /// Takes in how far it is, and says so if it is time.
    pub(super) fn told(&mut self, progress: ImportProgress) {
        let pause = if self.in_place { IN_PLACE } else { BY_LINES };
        if self.said.elapsed() < pause {
            return;
        }
        self.said = Instant::now();
        let line = self.line(progress, self.began.elapsed());
        // Nobody is kept from importing by a terminal that is gone.
        let mut out = io::stderr().lock();
        drop(if self.in_place { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") });
        drop(out.flush());
    }

    fn line(&self, progress: ImportProgress, elapsed: Duration) -> String {
        let share = progress.bytes.saturating_mul(100) / self.file_bytes.max(1);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = progress.records.saturating_mul(1_000) / millis;
        format!(
            "{} of {} records, {share}% of the file read, {rate} records/s",
            progress.records, self.records
        )
    }

    /// Ends the line that is written in place.
    pub(super) fn end(&self) {
        if self.in_place {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_records_share_and_rate() {
        let now = Instant::now();
        let progress = Progress { file_bytes: 400, records: 9_000, began: now, said: now, in_place: false };
        let line = progress.line(ImportProgress { records: 3_000, bytes: 100 }, Duration::from_millis(1_500));
        assert_eq!(line, "3000 of 9000 records, 25% of the file read, 2000 records/s");
        let none = Progress { file_bytes: 0, records: 0, ..progress };
        assert!(none.line(ImportProgress::default(), Duration::ZERO).starts_with("0 of 0 records, 0%"));
    }
}
