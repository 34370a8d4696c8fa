//! What the system says about a process and about the machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {path}"))
}

/// CPU time of a process, user and system, its ended threads included. In steps of 10 ms.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = read(&path)?;
    // The name may hold anything, blanks and brackets too; what follows the last bracket is numbers.
    let numbers = stat.rsplit_once(')').map_or("", |(_, numbers)| numbers);
    let mut fields = numbers.split_whitespace();
    // utime and stime are the fields 14 and 15; the first behind the name is the third.
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let _skipped = (0..11).map(|_| ticks()).count();
    let (user, system) = ticks().zip(ticks()).with_context(|| format!("{path} is of another form"))?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_secs_f64((user + system) as f64 / per_second as f64))
}

/// CPU time of the calling thread, and the time that it was ready to run and could not.
pub(crate) fn thread_cpu() -> Result<(Duration, Duration)> {
    let stat = read("/proc/thread-self/schedstat")?;
    let mut numbers = stat.split_whitespace().filter_map(|number| number.parse().ok());
    let (ran, waited) = numbers.next().zip(numbers.next()).context("schedstat is of another form")?;
    Ok((Duration::from_nanos(ran), Duration::from_nanos(waited)))
}

fn kilobytes(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = read(&path)?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} has no {name}"))
}

/// Resident memory of a process, in kB: all of it, and what is not files.
pub(crate) fn memory(pid: u32) -> Result<(u64, u64)> {
    Ok((kilobytes(pid, "VmRSS")?, kilobytes(pid, "RssAnon")?))
}

/// Descriptors that a process has open.
pub(crate) fn descriptors(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/fd");
    let open = fs::read_dir(&path).with_context(|| format!("failed to list {path}"))?;
    Ok(u64::try_from(open.count())?)
}

/// Bytes that a process caused to be written to storage.
pub(crate) fn written(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/io");
    let io = read(&path)?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|line| line.trim().parse().ok()).with_context(|| format!("{path} has no write_bytes"))
}

/// Bytes of all files in a directory, without those in directories of it.
pub(crate) fn bytes_of(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    let entries =
        fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
    for entry in entries {
        // One that went away in the meantime has no bytes.
        if let Ok(metadata) = entry.and_then(|entry| entry.metadata()) {
            bytes += if metadata.is_file() { metadata.len() } else { 0 };
        }
    }
    Ok(bytes)
}

/// Where something was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) memory_gb: f64,
    pub(crate) kernel: String,
    /// Of the last minute, before the run: above a few tenths the figures are disturbed.
    pub(crate) load: String,
}

impl Machine {
    /// This one. What can't be found out is empty.
    pub(crate) fn here() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpus = text("/proc/cpuinfo");
        let model = cpus.lines().find(|line| line.starts_with("model name")).and_then(|l| l.split_once(": "));
        let memory = text("/proc/meminfo");
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kilobytes = total.and_then(|total| total.split_whitespace().next()?.parse::<f64>().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            cpu: model.map_or("", |(_, model)| model).to_owned(),
            memory_gb: (kilobytes.unwrap_or(0.0) / 1e5).round() / 10.0,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: text("/proc/loadavg").split_whitespace().next().unwrap_or_default().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_measured() {
        let pid = std::process::id();
        let wanted = Duration::from_millis(30);
        let begun = std::time::Instant::now();
        while cpu(pid).unwrap() < wanted || thread_cpu().unwrap().0 < wanted {
            assert!(begun.elapsed() < Duration::from_secs(30), "working costs time");
        }
        let (all, anonymous) = memory(pid).unwrap();
        assert!(all >= anonymous && anonymous > 0);
        written(pid).unwrap();
        assert!(descriptors(pid).unwrap() > 0);
        assert!(Machine::here().cores > 0);
    }
}
