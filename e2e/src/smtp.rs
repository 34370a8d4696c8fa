//! A mail server that nobody here wrote, in a process of its own: `clients/smtp_sink.py`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::wait::{WITHIN, eventually};

/// A mail that the server took.
#[derive(Debug, Clone)]
pub struct Mail(Value);

impl Mail {
    /// The first header of that name, in small letters.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0["headers"][name][0].as_str()
    }

    /// The subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.header("subject").unwrap_or_default()
    }

    /// The idempotency key.
    ///
    /// # Errors
    /// There is none.
    pub fn key(&self) -> Result<&str> {
        self.header("x-stoker-notification").context("a mail without an idempotency key")
    }

    /// The one recipient of the envelope.
    #[must_use]
    pub fn to(&self) -> &str {
        self.0["to"][0].as_str().unwrap_or_default()
    }

    /// The sender of the envelope.
    #[must_use]
    pub fn from(&self) -> &str {
        self.0["from"].as_str().unwrap_or_default()
    }

    /// The text.
    #[must_use]
    pub fn body(&self) -> &str {
        self.0["body"].as_str().unwrap_or_default()
    }
}

/// What is done to a mail in place of taking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailFate {
    /// This answer.
    Answered(&'static str),
    /// The connection is reset.
    Dropped,
    /// No answer ever.
    Hung,
}

#[derive(Debug, Default)]
struct Seen {
    mails: Vec<Mail>,
    turned_away: usize,
}

/// The server, which runs or stands still after a kill. Ends with the test; what it took stays known over a kill.
#[derive(Debug)]
pub struct SmtpSink {
    address: SocketAddr,
    running: Option<Running>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug)]
struct Running {
    process: Child,
    input: ChildStdin,
    /// Answers to orders.
    answers: mpsc::Receiver<Value>,
    reader: tokio::task::JoinHandle<()>,
}

/// The Python that has what `requirements.txt` says.
pub(crate) fn python() -> Result<PathBuf> {
    let path = match std::env::var_os("STOKER_E2E_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe().context("failed to find this test's own path")?;
            let target = test.ancestors().nth(3).context("this test stands in no target directory")?;
            target.join("e2e-venv/bin/python")
        }
    };
    ensure!(path.exists(), "{} is not there: `cargo xtask test --only e2e` installs it", path.display());
    Ok(path)
}

async fn read(
    mut lines: Lines<BufReader<ChildStdout>>,
    answers: mpsc::Sender<Value>,
    seen: Arc<Mutex<Seen>>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(mut said) = serde_json::from_str::<Value>(&line) else {
            println!("the mail server said: {line}");
            continue;
        };
        if said["mail"].is_object() {
            let mail = Mail(said["mail"].take());
            seen.lock().unwrap_or_else(PoisonError::into_inner).mails.push(mail);
        } else if !said["turned_away"].is_null() {
            seen.lock().unwrap_or_else(PoisonError::into_inner).turned_away += 1;
        } else {
            // Whoever asked may have given up.
            drop(answers.send(said).await);
        }
    }
}

impl SmtpSink {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub async fn start() -> Result<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut sink = Self { address: nowhere, running: None, seen: Arc::default() };
        sink.restart().await?;
        Ok(sink)
    }

    /// The configuration of a platform that sends its mails here.
    #[must_use]
    pub fn config(&self) -> String {
        format!("notifier: {}\n", self.email())
    }

    /// The part of it that says how mail is sent, as it stands below `notifier`.
    #[must_use]
    pub fn email(&self) -> Value {
        let url = format!("smtp://{}", self.address);
        serde_json::json!({"email": {"smtp_url": url, "from": "alarms@example.com"}})
    }

    /// Starts it again after a kill, on the same port.
    ///
    /// # Errors
    /// It runs, or does not start.
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the mail server still runs");
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/smtp_sink.py");
        let mut command = Command::new(python()?);
        command.arg("-u").arg(program).arg(self.address.port().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("failed to start the mail server")?;
        let input = process.stdin.take().context("no standard input")?;
        let lines = BufReader::new(process.stdout.take().context("no standard output")?).lines();
        let (sender, answers) = mpsc::channel(16);
        let reader = tokio::spawn(read(lines, sender, Arc::clone(&self.seen)));
        let mut running = Running { process, input, answers, reader };
        let said = running.answer().await?;
        let port = said["listening"].as_u64().with_context(|| format!("no port: {said}"))?;
        self.address.set_port(u16::try_from(port)?);
        self.running = Some(running);
        Ok(())
    }

    /// Kills it by SIGKILL; all that it said before is known when this returns.
    ///
    /// # Errors
    /// It was not running.
    pub async fn kill9(&mut self) -> Result<()> {
        let mut running = self.running.take().context("the mail server is not running")?;
        running.process.kill().await.context("failed to kill the mail server")?;
        running.reader.await.context("failed to read the mail server's last words")
    }

    /// What happens to the next mails.
    ///
    /// # Errors
    /// It is not running.
    pub async fn next(&mut self, fate: MailFate, count: usize) -> Result<()> {
        let running = self.running.as_mut().context("the mail server is not running")?;
        let with = match fate {
            MailFate::Answered(answer) => answer,
            MailFate::Dropped => "drop",
            MailFate::Hung => "hang",
        };
        let order = json!({"op": "answer", "with": with, "count": count});
        running.input.write_all(format!("{order}\n").as_bytes()).await.context("it takes no order")?;
        let said = running.answer().await?;
        ensure!(said["ok"] == true, "{said}");
        Ok(())
    }

    /// All mails taken so far, in their order.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).mails.clone()
    }

    /// How many mails were not taken so far.
    #[must_use]
    pub fn turned_away(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).turned_away
    }

    /// All mails, once there are that many.
    ///
    /// # Errors
    /// There are not, in time, or there are more.
    pub async fn mails_once(&self, count: usize) -> Result<Vec<Mail>> {
        eventually(&format!("{count} mails"), || async {
            let mails = self.mails();
            if mails.len() > count {
                bail!("{} mails in place of {count}: {mails:#?}", mails.len());
            }
            Ok((mails.len() == count).then_some(mails))
        })
        .await
    }
}

impl Running {
    async fn answer(&mut self) -> Result<Value> {
        let answer = timeout(WITHIN, self.answers.recv()).await.context("the mail server is mute")?;
        answer.context("the mail server has ended")
    }
}
