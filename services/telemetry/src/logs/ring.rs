//! Every line goes to standard error, and the last of them are kept.

use std::collections::VecDeque;
use std::io::{self, Write};

use parking_lot::Mutex;

/// Lines that are kept.
const LINES: usize = 200;
/// Bytes that are kept of one.
const LINE_BYTES: usize = 2_048;

static RING: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// The last lines of the log, the oldest first. None when somebody is writing one: whoever asks may not be able to wait.
pub(crate) fn last_lines() -> Vec<String> {
    RING.try_lock().map(|ring| ring.iter().cloned().collect()).unwrap_or_default()
}

fn keep(line: &[u8]) {
    let line = line.get(..LINE_BYTES).unwrap_or(line);
    let line = String::from_utf8_lossy(line).trim_end().to_owned();
    let mut ring = RING.lock();
    if ring.len() >= LINES {
        ring.pop_front();
    }
    ring.push_back(line);
}

/// Writes to both.
#[derive(Debug)]
pub(super) struct Tee(io::Stderr);

impl Tee {
    pub(super) fn new() -> Self {
        Self(io::stderr())
    }
}

impl Write for Tee {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line)?;
        Ok(line.len())
    }

    /// One call for each line.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        keep(line);
        self.0.write_all(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_no_more() {
        for n in 0..LINES + 50 {
            keep(format!("line {n}\n").as_bytes());
        }
        keep(&vec![b'x'; 100_000]);
        let lines = last_lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.first().map(String::as_str), Some("line 51"));
        assert_eq!(lines.last().map(String::len), Some(LINE_BYTES));
    }
}
