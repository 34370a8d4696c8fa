//! A mail server that accepts everything and notes when.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::delivery::{Deliveries, Delivery};

/// Serves as long as it is held.
pub(crate) struct MailSink {
    address: SocketAddr,
    pub(crate) accepted: Deliveries,
    _tasks: JoinSet<()>,
}

impl MailSink {
    /// On a free port.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// On that address.
    pub(crate) async fn start_at(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to listen for mails on {address}"))?;
        let address = listener.local_addr()?;
        let accepted = Deliveries::default();
        let (mut tasks, kept) = (JoinSet::new(), accepted.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                connections.spawn(async move {
                    // Whoever hangs up in the middle of a mail has not delivered it.
                    let _ = serve(stream, &kept).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, accepted, _tasks: tasks })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// What the platform needs to know, for its environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("STOKER__NOTIFIER__EMAIL__SMTP_URL", self.url()),
            ("STOKER__NOTIFIER__EMAIL__FROM", "Stoker <alarms@example.com>".to_owned()),
        ]
    }
}

async fn serve(stream: TcpStream, accepted: &Deliveries) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 bench ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_str() {
            "EHLO" => b"250-bench\r\n250 8BITMIME\r\n",
            "DATA" => b"354 go on\r\n",
            "QUIT" => b"221 bye\r\n",
            _ => b"250 fine\r\n",
        };
        writer.write_all(reply).await?;
        match verb.as_str() {
            "QUIT" => return Ok(()),
            "DATA" => {
                let mut mail = String::new();
                loop {
                    let Some(line) = lines.next_line().await? else { return Ok(()) };
                    if line == "." {
                        break;
                    }
                    mail.push_str(line.strip_prefix('.').unwrap_or(&line));
                    mail.push('\n');
                }
                // Kept before it is confirmed: a confirmed mail that is not kept would look lost.
                accepted.accept(read(&mail, Instant::now()));
                writer.write_all(b"250 2.0.0 accepted\r\n").await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a mail is about: the key by its header, alarm and step by its Message-ID (`<ALARM.STEP.HASH@HOST>`), the code
/// from the brackets at the end of its subject.
fn read(mail: &str, at: Instant) -> Option<Delivery> {
    // A header that goes on in the next line begins it with a blank.
    let (head, _body) = mail.split_once("\n\n")?;
    let head = head.replace("\n ", " ").replace("\n\t", " ");
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    let id = header("Message-ID")?.strip_prefix('<')?;
    let mut parts = id.split('.');
    let (alarm, step) = (parts.next()?, parts.next()?);
    let code = header("Subject")?.strip_suffix(')')?.rsplit_once('(')?.1;
    Some(Delivery {
        at,
        key: header("X-Stoker-Notification")?.to_owned(),
        alarm: alarm.to_owned(),
        step: step.to_owned(),
        code: code.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_says_what_it_is_about() {
        let at = Instant::now();
        let mail = "From: a@b\nSubject: [critical] bench-1: flame lost\n (E42)\nX-Stoker-Notification: ntf-0a-1-1\n\
                    Message-ID: <alm-0a-1-3.raised.0123456789abcdef@example.com>\n\nbody\n";
        let delivery = read(mail, at).unwrap();
        assert_eq!((delivery.key.as_str(), delivery.alarm.as_str()), ("ntf-0a-1-1", "alm-0a-1-3"));
        assert_eq!((delivery.step.as_str(), delivery.code.as_str()), ("raised", "E42"));
        assert_eq!(read("Subject: x\n\nbody", at), None);
    }
}
