//! Crash reports by mail: at once while the process lives, else at its next start, and at most one an hour.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use stoker_notifier::{EmailConfig, send_mail};
use stoker_telemetry::Crashes;
use tokio_util::sync::CancellationToken;

use crate::config::Configuration;

/// However much crashes.
const EVERY: Duration = Duration::from_secs(3_600);
/// How soon one is tried again that could not be sent, or that had to wait.
const AGAIN: Duration = Duration::from_secs(60);
/// One mail, all told; a process that ends waits no longer for it.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a report that are mailed. All of it is in its file.
const BODY: usize = 256 * 1024;
/// Names the newest report that was mailed; its own time is when.
const MARK: &str = "mailed";

/// Mails reports.
pub(crate) struct CrashMail {
    crashes: Arc<Crashes>,
    email: EmailConfig,
    to: String,
    host: String,
}

/// What there is to be mailed.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    report: PathBuf,
    /// So many others are there that nobody was told of.
    others: usize,
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The newest of the reports, oldest first, if it was not mailed yet and the last mail is an hour old.
fn due(reports: &[PathBuf], mailed: Option<(&str, Duration)>) -> Option<Due> {
    let (last, age) = mailed.unwrap_or(("", EVERY));
    let mut untold = reports.iter().filter(|report| name(report) > last);
    // A clock that was put back makes an age of nothing, and that only once.
    let report = untold.next_back().filter(|_| age >= EVERY)?;
    Some(Due { report: report.clone(), others: untold.count() })
}

impl CrashMail {
    /// None unless `crash.mail_to` is configured.
    ///
    /// # Errors
    /// There is no mail server.
    pub(crate) fn new(
        configuration: &Configuration,
        crashes: Arc<Crashes>,
        host: String,
    ) -> Result<Option<Self>> {
        let Some(to) = configuration.crash.mail_to.clone() else { return Ok(None) };
        let email = configuration.notifier.email.clone();
        let email = email.context(
            "crash.mail_to is configured, and no mail server is: give notifier.email.smtp_url and notifier.email.from",
        )?;
        let email = EmailConfig { smtp_url: email.smtp_url, from: email.from };
        Ok(Some(Self { crashes, email, to, host }))
    }

    /// Mails until the end, and what was left by then.
    pub(crate) async fn run(self, end: CancellationToken) -> Result<(), Infallible> {
        loop {
            self.send().await;
            tokio::select! {
                () = end.cancelled() => {
                    self.send().await;
                    return Ok(());
                }
                () = self.crashes.written() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn send(&self) {
        let mark = self.crashes.directory().join(MARK);
        let age = fs::metadata(&mark).and_then(|mark| mark.modified()).ok();
        let age = age.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        let last = fs::read_to_string(&mark).unwrap_or_default();
        let mailed = age.map(|age| (last.trim(), age));
        let Some(Due { report, others }) = due(&self.crashes.reports(), mailed) else { return };
        let told = match self.mail(&report, others).await {
            // Marked after it was sent: one that is sent twice is better than none.
            Ok(()) => fs::write(&mark, name(&report)).map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        match told {
            Ok(()) => tracing::info!(report = %report.display(), to = self.to, "a crash report was mailed"),
            Err(error) => tracing::warn!(report = %report.display(), error, "a crash report was not mailed"),
        }
    }

    async fn mail(&self, report: &Path, others: usize) -> Result<(), String> {
        let text = fs::read(report).map_err(|error| format!("it cannot be read: {error}"))?;
        let text = String::from_utf8_lossy(text.get(..BODY).unwrap_or(&text)).into_owned();
        let first = text.lines().next().unwrap_or("a crash");
        let subject = format!("[crash] {}: {first}", self.host);
        let more = if others == 0 {
            String::new()
        } else {
            format!("{others} more reports are in {}.\n\n", self.crashes.directory().display())
        };
        let body = format!("{} left this report: {}\n\n{more}{text}", self.host, report.display());
        send_mail(&self.email, &self.to, &subject, body, WITHIN).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_report_is_mailed_once_and_not_more_than_one_an_hour() {
        let paths = |names: &[&str]| names.iter().map(|name| Path::new("/c").join(name)).collect::<Vec<_>>();
        let reports = paths(&["crash-1.txt", "crash-2.txt", "crash-3.txt"]);
        let found = |others| Some(Due { report: "/c/crash-3.txt".into(), others });
        assert_eq!(due(&[], None), None);
        assert_eq!(due(&reports, None), found(2));
        assert_eq!(due(&reports, Some(("crash-2.txt", EVERY))), found(0));
        assert_eq!(due(&reports, Some(("crash-1.txt", EVERY - Duration::from_secs(1)))), None);
        assert_eq!(due(&reports, Some(("crash-3.txt", EVERY))), None);
    }
}
