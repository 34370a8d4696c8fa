//! What the kernel knows of this process, under the names that all of Prometheus' clients have for it.

use std::fmt;
use std::fs;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::Exposition;

/// Ticks of a second in `/proc`, the same on all of Linux.
const TICKS: f64 = 100.0;

/// Memory, processor time, open files and start of this process. For a registry without a prefix.
#[derive(Debug)]
pub struct ProcessMetrics(());

impl ProcessMetrics {
    /// To be made when the process starts: that time is taken for its start.
    #[must_use]
    pub fn new() -> Self {
        started();
        Self(())
    }
}

impl Default for ProcessMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// When this was called first, in seconds since the epoch.
fn started() -> f64 {
    static STARTED: OnceLock<f64> = OnceLock::new();
    *STARTED.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}

/// A line of `/proc/self/status` in bytes.
fn memory(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may have blanks. After it come state, parent and more; the times are the 12th and 13th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

/// How many files this process has open.
pub(crate) fn open_files() -> Option<u64> {
    // Reading the list opens one itself.
    u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1)).ok()
}

/// How much memory this process has, in bytes.
pub(crate) fn resident_memory() -> Option<u64> {
    memory("VmRSS")
}

impl Collector for ProcessMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Exposition(encoder);
        to.gauge_f64("process_start_time_seconds", "When the process started, since the epoch", started())?;
        if let Some(seconds) = processor_seconds() {
            let (name, help) = ("process_cpu_seconds", "Processor time that the process has used");
            let mut metric = to.0.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, f64, u64>(&seconds, None)?;
        }
        if let Some(bytes) = resident_memory() {
            to.gauge("process_resident_memory_bytes", "Memory that the process has", bytes)?;
        }
        if let Some(files) = open_files() {
            to.gauge("process_open_fds", "Files, sockets among them, that the process has open", files)?;
        }
        Ok(())
    }
}
