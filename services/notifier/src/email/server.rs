//! The mail server: connections that are kept between mails, and what its answers mean.
//!
//! The connections are kept here and not by lettre's transport, whose commands have no deadline of their own: a
//! deadline around it would put a connection back in the middle of a command, and the next mail would take the answers
//! to the last for its own.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use lettre::message::Message;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use url::Url;

use crate::outcome::{Outcome, root_cause};
use crate::run::NotifierError;

/// How long an unused connection is kept: below the five minutes after which servers may close it.
const KEEP: Duration = Duration::from_secs(60);
/// How long a kept connection may take to show that it still lives.
const PROBE: Duration = Duration::from_secs(3);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

pub(super) struct MailServer {
    host: String,
    port: u16,
    tls: Tls,
    hello: ClientId,
    credentials: Option<Credentials>,
    /// For one mail, all told.
    within: Duration,
    /// How many connections are kept.
    keep: usize,
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    connection: AsyncSmtpConnection,
    since: Instant,
}

enum Tls {
    None,
    Opportunistic(TlsParameters),
    Required(TlsParameters),
    Wrapper(TlsParameters),
}

impl fmt::Debug for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailServer")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl MailServer {
    pub(super) fn new(smtp_url: &str, within: Duration, keep: usize) -> Result<Self, NotifierError> {
        // The URL itself stands in no message: it may hold a password.
        let wrong = |why: String| NotifierError::Setting { key: "notifier.email.smtp_url", why };
        let url = Url::parse(smtp_url).map_err(|error| wrong(error.to_string()))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no host".into()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls_option = url.query_pairs().find(|(key, _)| key == "tls").map(|(_, value)| value.into_owned());
        let parameters = || TlsParameters::new(host.clone()).map_err(|error| wrong(root_cause(&error)));
        let (tls, default_port) = match (url.scheme(), tls_option.as_deref()) {
            ("smtp", None | Some("none")) => (Tls::None, 25),
            ("smtp", Some("opportunistic")) => (Tls::Opportunistic(parameters()?), 587),
            ("smtp", Some("required")) => (Tls::Required(parameters()?), 587),
            ("smtps", None) => (Tls::Wrapper(parameters()?), 465),
            ("smtp" | "smtps", Some(_)) => {
                return Err(wrong("`tls` goes with smtp:// and is none, opportunistic or required".into()));
            }
            (scheme, _) => return Err(wrong(format!("neither smtp:// nor smtps:// but {scheme}://"))),
        };
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(String::from).map_err(|_| wrong("user or password is not UTF-8".into()))
        };
        let credentials = match url.password() {
            Some(password) => Some(Credentials::new(decoded(url.username())?, decoded(password)?)),
            None if url.username().is_empty() => None,
            None => return Err(wrong("a user without a password".into())),
        };
        let hello = match url.path().trim_matches('/') {
            "" => ClientId::default(),
            name => ClientId::Domain(name.to_owned()),
        };
        let port = url.port().unwrap_or(default_port);
        Ok(Self { host, port, tls, hello, credentials, within, keep, kept: Mutex::default() })
    }

    /// Sends one mail. Whatever does not end in the server's word that it has taken the mail is no success.
    pub(super) async fn send(&self, message: &Message) -> Outcome {
        // A connection that is dropped half-way is closed with it, and so never used again.
        match timeout(self.within, self.try_send(message)).await {
            Ok(Ok(answer)) => Outcome::sent(&answer),
            Ok(Err(failure)) => self.failed(&failure),
            Err(_) => Outcome::retry(&format!(
                "the mail server {}:{} did not finish within {} s",
                self.host,
                self.port,
                self.within.as_secs()
            )),
        }
    }

    /// Ends the connections that are kept.
    pub(super) async fn close(&self) {
        let kept = std::mem::take(&mut *self.kept.lock());
        let goodbyes = kept.into_iter().map(|mut kept| async move {
            let _best_effort = timeout(GOODBYE, kept.connection.quit()).await;
        });
        futures_util::future::join_all(goodbyes).await;
    }

    async fn try_send(&self, message: &Message) -> Result<String, Failure> {
        let mut connection = match self.kept_and_alive().await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let sent = connection.send(message.envelope(), &message.formatted()).await;
        let response = sent.map_err(Failure::OfMail)?;
        let answer = format!("{} {}", response.code(), response.message().collect::<Vec<_>>().join(" "));
        if !connection.has_broken() {
            let mut kept = self.kept.lock();
            if kept.len() < self.keep {
                kept.push(Kept { connection, since: Instant::now() });
            }
        }
        Ok(answer)
    }

    async fn kept_and_alive(&self) -> Option<AsyncSmtpConnection> {
        loop {
            // The newest first: the others grow old and go.
            let mut kept = self.kept.lock().pop()?;
            if kept.since.elapsed() < KEEP
                && timeout(PROBE, kept.connection.test_connected()).await.unwrap_or(false)
            {
                return Some(kept.connection);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let server = (self.host.as_str(), self.port);
        let mut connection = match &self.tls {
            Tls::Wrapper(parameters) => {
                let parameters = Some(parameters.clone());
                AsyncSmtpConnection::connect_tokio1(server, None, &self.hello, parameters, None).await?
            }
            Tls::None | Tls::Opportunistic(_) | Tls::Required(_) => {
                let stream = TcpStream::connect(server).await?;
                // A mail is written in two pieces: with Nagle's algorithm the second waits 40 ms for the server's
                // delayed acknowledgement of the first.
                stream.set_nodelay(true)?;
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await?
            }
        };
        match &self.tls {
            Tls::Required(parameters) => connection.starttls(parameters.clone(), &self.hello).await?,
            Tls::Opportunistic(parameters) if connection.can_starttls() => {
                connection.starttls(parameters.clone(), &self.hello).await?;
            }
            Tls::Opportunistic(_) | Tls::None | Tls::Wrapper(_) => {}
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await?;
        }
        Ok(connection)
    }

    fn failed(&self, failure: &Failure) -> Outcome {
        let server = format!("the mail server {}:{}", self.host, self.port);
        let (status, cause) = match failure {
            Failure::Unreachable(error) => (None, root_cause(error)),
            Failure::BeforeMail(error) | Failure::OfMail(error) => {
                (error.status().map(u16::from), root_cause(error))
            }
        };
        match (failure, status) {
            // Before there is a mail, and with 53x, the server speaks of us: our configuration is at fault, or the
            // server, and not the recipient. Once it is mended the alarm must go out.
            (Failure::OfMail(_), Some(code @ (500..=529 | 540..))) => {
                Outcome::refused(&format!("{server} said {code} {cause}"))
            }
            (_, Some(code)) => Outcome::retry(&format!("{server} said {code} {cause}")),
            (_, None) => Outcome::retry(&format!("{server}: {cause}")),
        }
    }
}

/// What went wrong, by when.
enum Failure {
    /// There was no connection.
    Unreachable(std::io::Error),
    /// While greeting or authenticating.
    BeforeMail(SmtpError),
    /// About this mail.
    OfMail(SmtpError),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Unreachable(error)
    }
}

/// Only for what comes before a mail; an error about the mail is named as such where it occurs.
impl From<SmtpError> for Failure {
    fn from(error: SmtpError) -> Self {
        Self::BeforeMail(error)
    }
}
