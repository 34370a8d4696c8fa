//! Crash reports: what was known when something panicked, or when a task died, in a file that outlives the process.

mod redact;
mod report;
mod shelf;

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;

use report::Cause;
use shelf::Shelf;

/// So many reports, and the next ones only after this time: whatever panics again and again fills no disk.
const AT_ONCE: u32 = 3;
const EVERY: Duration = Duration::from_secs(60);

/// Whose reports, and where they are kept.
#[derive(Debug, Clone)]
pub struct CrashConfig {
    /// The directory; it is made when it is not there.
    pub directory: PathBuf,
    /// The user of this id, when the directory is among those of others, as in `/tmp`: it is used only while it is theirs
    /// alone.
    pub owner: Option<u32>,
    /// What the process is, such as `core`.
    pub service: String,
    /// Which of them: the member's id.
    pub instance: String,
    /// The version that runs.
    pub version: &'static str,
}

/// Writes crash reports.
#[derive(Debug)]
pub struct Crashes {
    config: CrashConfig,
    shelf: Shelf,
    began: (Instant, SystemTime),
    panics: AtomicU64,
    written: Notify,
    /// When the last was written, and how many may still be before that matters.
    last: Mutex<(Option<Instant>, u32)>,
}

impl Crashes {
    /// Writes nothing yet.
    #[must_use]
    pub fn new(config: CrashConfig) -> Arc<Self> {
        Arc::new(Self {
            shelf: Shelf::new(config.directory.clone(), config.owner),
            config,
            began: (Instant::now(), SystemTime::now()),
            panics: AtomicU64::new(0),
            written: Notify::new(),
            last: Mutex::new((None, AT_ONCE)),
        })
    }

    /// From now on every panic of this process is reported, and logged as an error. To be called once.
    pub fn watch_panics(self: &Arc<Self>) {
        let (crashes, before) = (Arc::clone(self), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            crashes.panicked(panic);
            before(panic);
        }));
    }

    /// The reports that are kept, of this process and of those before it, the oldest first.
    #[must_use]
    pub fn reports(&self) -> Vec<PathBuf> {
        self.shelf.all()
    }

    /// Where they are kept.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.config.directory
    }

    /// Waits for the next report. For one task.
    pub async fn written(&self) {
        self.written.notified().await;
    }

    fn panicked(&self, panic: &PanicHookInfo<'_>) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let cause = Cause {
            what: "panic",
            message: message.unwrap_or("a panic without words").to_owned(),
            place,
            backtrace: Some(Backtrace::force_capture()),
        };
        self.write(&cause);
    }

    /// A task died without a panic: one of those that are not to end before the process does.
    pub fn task_died(&self, task: &str, reason: &str) {
        let message = format!("the task \"{task}\" died: {reason}");
        self.write(&Cause { what: "task died", message, place: task.to_owned(), backtrace: None });
    }

    fn write(&self, cause: &Cause) {
        if !self.may_write() {
            return;
        }
        let text = redact::secrets(&report::compose(
            &self.config,
            self.began,
            self.panics.load(Ordering::Relaxed),
            cause,
        ));
        match self.shelf.put(&text) {
            Ok(path) => {
                tracing::error!(
                    what = cause.what, place = cause.place, report = %path.display(), "a crash report was written"
                );
                // Kept for whoever does not wait yet.
                self.written.notify_one();
            }
            Err(error) => tracing::error!(
                what = cause.what, place = cause.place, %error, directory = %self.config.directory.display(),
                "a crash report could not be written"
            ),
        }
    }

    fn may_write(&self) -> bool {
        // Who panics while another thread is here is told by that one's report.
        let Some(mut last) = self.last.try_lock() else { return false };
        let (at, left) = *last;
        let left = if at.is_none_or(|at| at.elapsed() >= EVERY) { AT_ONCE } else { left };
        if left == 0 {
            // That it goes on does not put off the next one.
            return false;
        }
        *last = (Some(Instant::now()), left - 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crashes(directory: PathBuf) -> Arc<Crashes> {
        let (service, instance) = ("core".to_owned(), "m1".to_owned());
        Crashes::new(CrashConfig { directory, owner: None, service, instance, version: "0.0.0-test" })
    }

    #[test]
    fn a_task_that_died_leaves_a_report_and_many_leave_few() {
        let directory = tempfile::tempdir().unwrap();
        let crashes = crashes(directory.path().join("crashes"));
        for _ in 0..100 {
            crashes
                .task_died("slots", "amqp://ann:s3cret@mq.example.com/ was lost with stk_0123456789abcdef");
        }
        let reports = crashes.shelf.all();
        assert_eq!(reports.len(), usize::try_from(AT_ONCE).unwrap());
        let text = std::fs::read_to_string(&reports[0]).unwrap();
        for part in
            ["task died", "the task \"slots\" died", "0.0.0-test", "service: core", "threads:", "log:"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("s3cret") && !text.contains("0123456789abcdef"), "{text}");
    }

    #[test]
    fn a_panic_leaves_its_message_place_and_way() {
        let directory = tempfile::tempdir().unwrap();
        let crashes = crashes(directory.path().to_owned());
        crashes.watch_panics();
        let panicked = std::thread::Builder::new().name("fragile".to_owned()).spawn(|| {
            if true {
                panic!("on purpose, in a test")
            }
        });
        assert!(panicked.unwrap().join().is_err());
        assert!(crashes.panics.load(Ordering::Relaxed) >= 1);
        let reports = crashes.shelf.all();
        let texts: Vec<String> = reports.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let text = texts.iter().find(|text| text.contains("on purpose, in a test")).unwrap();
        for part in ["services/telemetry/src/crash/mod.rs:", "thread: fragile", "a_panic_leaves_its_message"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
