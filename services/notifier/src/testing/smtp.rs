//! A mail server that does what it is told.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What it does at a verb: `GREETING`, `EHLO`, `AUTH`, `MAIL`, `RCPT`, `DATA`, `.` (the end of a mail), `NOOP`, `QUIT`.
#[derive(Debug, Clone)]
pub(crate) enum Reaction {
    Say(&'static str),
    Drop,
    Hang,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    /// Commands, without the mails themselves.
    pub(crate) commands: Vec<String>,
    /// What was accepted.
    pub(crate) mails: Vec<String>,
}

type Script = dyn Fn(&str, usize) -> Option<Reaction> + Send + Sync;

pub(crate) struct SmtpServer {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

impl SmtpServer {
    /// `script` is asked with the verb and the number of the connection, from 0; `None` is the usual answer.
    pub(crate) async fn start(
        script: impl Fn(&str, usize) -> Option<Reaction> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let script: Arc<Script> = Arc::new(script);
        let mut tasks = JoinSet::new();
        let for_task = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = for_task.lock().connections;
                for_task.lock().connections += 1;
                connections.spawn(serve(stream, number, Arc::clone(&script), Arc::clone(&for_task)));
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }
}

async fn serve(stream: TcpStream, number: usize, script: Arc<Script>, seen: Arc<Mutex<Seen>>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut verb = "GREETING".to_owned();
    let mut mail = String::new();
    loop {
        let usual = match verb.as_str() {
            "GREETING" => "220 mail.test",
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN",
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            "." => "250 2.0.0 queued as 4711",
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        let reply = match script(&verb, number) {
            None => usual,
            Some(Reaction::Say(reply)) => reply,
            Some(Reaction::Drop) => return,
            Some(Reaction::Hang) => std::future::pending().await,
        };
        if verb == "." && reply.starts_with('2') {
            seen.lock().mails.push(std::mem::take(&mut mail));
        }
        if writer.write_all(format!("{reply}\r\n").as_bytes()).await.is_err() || verb == "QUIT" {
            return;
        }
        if verb == "DATA" && reply.starts_with('3') {
            mail.clear();
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "." {
                    break;
                }
                mail.push_str(&line);
                mail.push('\n');
            }
            verb = ".".to_owned();
            continue;
        }
        let Ok(Some(line)) = lines.next_line().await else { return };
        verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        seen.lock().commands.push(line);
    }
}
