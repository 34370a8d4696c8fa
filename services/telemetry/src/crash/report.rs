//! What a report says.

use std::backtrace::Backtrace;
use std::fmt::Write;
use std::fs;
use std::time::{Instant, SystemTime};

use tracing_subscriber::Registry;
use tracing_subscriber::fmt::FormattedFields;
use tracing_subscriber::fmt::format::{DefaultFields, JsonFields};
use tracing_subscriber::registry::LookupSpan;

use super::CrashConfig;
use crate::logs::last_lines;
use crate::process::{open_files, resident_memory};

/// Characters of a message.
const MESSAGE_MOST: usize = 4_096;
/// Threads that are listed.
const THREADS_MOST: usize = 256;

/// What happened.
pub(super) struct Cause {
    pub(super) what: &'static str,
    pub(super) message: String,
    pub(super) place: String,
    pub(super) backtrace: Option<Backtrace>,
}

/// The whole report.
pub(super) fn compose(
    config: &CrashConfig,
    (began, began_at): (Instant, SystemTime),
    panics: u64,
    cause: &Cause,
) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, config, (began, began_at), panics, cause);
    text
}

fn write(
    to: &mut String,
    config: &CrashConfig,
    (began, began_at): (Instant, SystemTime),
    panics: u64,
    cause: &Cause,
) -> std::fmt::Result {
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let message: String = cause.message.chars().take(MESSAGE_MOST).collect();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    writeln!(to, "{}: {message}", cause.what)?;
    writeln!(to, "at: {}", cause.place)?;
    writeln!(to, "service: {} {}", config.service, config.instance)?;
    writeln!(to, "version: {} ({profile}, {})", config.version, std::env::consts::ARCH)?;
    writeln!(to, "time: {} (seconds since the epoch)", since(SystemTime::now()))?;
    writeln!(to, "started: {}, {} s before", since(began_at), began.elapsed().as_secs())?;
    writeln!(to, "panics so far: {panics}")?;
    writeln!(to, "thread: {}", std::thread::current().name().unwrap_or("without a name"))?;
    if let Some(task) = tokio::task::try_id() {
        writeln!(to, "task: {task}")?;
    }
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        writeln!(to, "tasks alive: {}", runtime.metrics().num_alive_tasks())?;
    }
    let shown = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    writeln!(to, "open files: {}", shown(open_files()))?;
    writeln!(to, "resident memory: {} bytes", shown(resident_memory()))?;
    writeln!(to, "\nspans, the innermost first:")?;
    spans(to)?;
    if let Some(backtrace) = &cause.backtrace {
        writeln!(to, "\nbacktrace:\n{backtrace}")?;
    }
    writeln!(to, "\nthreads:")?;
    threads(to)?;
    writeln!(to, "\nlog:")?;
    last_lines().iter().try_for_each(|line| writeln!(to, "{line}"))
}

/// The spans that this thread is in.
fn spans(to: &mut String) -> std::fmt::Result {
    tracing::dispatcher::get_default(|all| {
        let (Some(registry), Some(id)) = (all.downcast_ref::<Registry>(), all.current_span().id().cloned())
        else {
            return Ok(());
        };
        let mut next = registry.span(&id);
        while let Some(span) = next {
            let extensions = span.extensions();
            let fields = extensions
                .get::<FormattedFields<JsonFields>>()
                .map(|fields| fields.fields.as_str())
                .or_else(|| {
                    extensions.get::<FormattedFields<DefaultFields>>().map(|fields| fields.fields.as_str())
                });
            writeln!(to, "  {} {}", span.name(), fields.unwrap_or_default())?;
            drop(extensions);
            next = span.parent();
        }
        Ok(())
    })
}

/// What the kernel knows of all threads. Their own backtraces cannot be had from another thread without unsafe code.
fn threads(to: &mut String) -> std::fmt::Result {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return writeln!(to, "  unknown") };
    for task in tasks.flatten().take(THREADS_MOST) {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let status = read("status");
        let state =
            status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default().trim().to_owned();
        let waits = read("wchan");
        let id = task.file_name();
        writeln!(to, "  {} {} {state} {}", id.to_string_lossy(), read("comm").trim(), waits.trim())?;
    }
    Ok(())
}
