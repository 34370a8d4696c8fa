//! Crash reports by mail: at once while the process lives, else at its next start, and at most one an hour.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use stoker_notifier::{EmailConfig, send_mail};
use stoker_telemetry::Crashes;
use tokio_util::sync::CancellationToken;

use crate::config::Configuration;
use crate::files;

/// However much crashes.
const EVERY: Duration = Duration::from_secs(3_600);
/// How soon one is tried again that could not be sent, or that had to wait.
const AGAIN: Duration = Duration::from_secs(60);
/// One mail, all told; a process that ends waits no longer for it.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a report that are mailed. All of it is in its file.
const BODY: u64 = 256 * 1024;
/// Names the newest report that was mailed; its own time is when.
const MARK: &str = "mailed";
/// Bytes of a name.
const NAME: u64 = 256;

/// Mails reports.
pub(crate) struct CrashMail {
    crashes: Arc<Crashes>,
    email: EmailConfig,
    to: String,
    host: String,
    /// The report that was mailed last, and when: where that cannot be written down, it is known here.
    last: Option<(String, SystemTime)>,
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

/// Which report the mark names, and since when. A link is none.
fn marked(mark: &Path) -> Option<(String, SystemTime)> {
    let found = fs::symlink_metadata(mark).ok().filter(fs::Metadata::is_file)?;
    let mut name = String::new();
    File::open(mark).ok()?.take(NAME).read_to_string(&mut name).ok()?;
    Some((name.trim().to_owned(), found.modified().ok()?))
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
        Ok(Some(Self { crashes, email, to, host, last: None }))
    }

    /// Mails until the end, and what was left by then.
    pub(crate) async fn run(mut self, end: CancellationToken) -> Result<(), Infallible> {
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

    async fn send(&mut self) {
        let mark = self.crashes.directory().join(MARK);
        let last = [marked(&mark), self.last.clone()].into_iter().flatten().max_by_key(|(_, at)| *at);
        let age = |at: SystemTime| SystemTime::now().duration_since(at).unwrap_or_default();
        let mailed = last.as_ref().map(|(name, at)| (name.as_str(), age(*at)));
        let Some(Due { report, others }) = due(&self.crashes.reports(), mailed) else { return };
        if let Err(error) = self.mail(&report, others).await {
            tracing::warn!(report = %report.display(), error, "a crash report was not mailed");
            return;
        }
        tracing::info!(report = %report.display(), to = self.to, "a crash report was mailed");
        // Marked after it was sent: one that is sent twice is better than none.
        self.last = Some((name(&report).to_owned(), SystemTime::now()));
        if let Err(error) = files::write_private(&mark, name(&report).as_bytes()) {
            tracing::warn!(
                error = format!("{error:#}"),
                "that a crash report was mailed could not be written down: after a restart it may be mailed again"
            );
        }
    }

    async fn mail(&self, report: &Path, others: usize) -> Result<(), String> {
        let mut text = Vec::new();
        let read = File::open(report).and_then(|file| file.take(BODY).read_to_end(&mut text));
        read.map_err(|error| format!("it cannot be read: {error}"))?;
        let text = String::from_utf8_lossy(&text).into_owned();
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use stoker_telemetry::CrashConfig;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

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

    /// A mail server that takes everything, and counts the mails.
    async fn server() -> (String, Arc<AtomicU32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let taken = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let (mut line, mut in_mail) = (String::from("HELLO"), false);
                loop {
                    let answer = match line.trim_end() {
                        "HELLO" => "220 x\r\n",
                        "." => {
                            in_mail = false;
                            count.fetch_add(1, Ordering::SeqCst);
                            "250 taken\r\n"
                        }
                        _ if in_mail => "",
                        "DATA" => {
                            in_mail = true;
                            "354 go on\r\n"
                        }
                        _ => "250 x\r\n",
                    };
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    line.clear();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
            }
        });
        (url, taken)
    }

    #[tokio::test]
    async fn what_cannot_be_marked_as_mailed_is_not_mailed_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let (service, instance) = ("core".to_owned(), "m1".to_owned());
        let of = CrashConfig {
            directory: directory.path().to_owned(),
            owner: None,
            service,
            instance,
            version: "0.0.0-test",
        };
        let crashes = Crashes::new(of);
        crashes.task_died("slots", "on purpose");
        // Nothing can take the place of a directory that is not empty.
        fs::create_dir_all(directory.path().join("mailed/in the way")).unwrap();
        let (smtp_url, taken) = server().await;
        let email = EmailConfig { smtp_url, from: "stoker@example.com".to_owned() };
        let (to, host) = ("night@example.com".to_owned(), "core on a".to_owned());
        let mut mail = CrashMail { crashes, email, to, host, last: None };
        mail.send().await;
        assert_eq!(taken.load(Ordering::SeqCst), 1);
        mail.send().await;
        assert_eq!(taken.load(Ordering::SeqCst), 1);
        assert!(marked(&directory.path().join(MARK)).is_none());
    }
}
