//! A mail that is about no alarm: what the platform has to say about itself.

use std::time::{Duration, SystemTime};

use lettre::Address;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use stoker_domain::AttemptResult;

use super::message::{Sender, header};
use super::server::MailServer;
use crate::config::EmailConfig;
use crate::text::{bounded, one_line};

/// Bytes of a subject.
const SUBJECT: usize = 160;

/// Sends one mail by the configured server, within that time. It may arrive twice when the server's answer is lost.
///
/// # Errors
/// Says, for a person, why it was not sent.
pub async fn send_mail(
    email: &EmailConfig,
    to: &str,
    subject: &str,
    body: String,
    within: Duration,
) -> Result<(), String> {
    let wrong = |error: crate::run::NotifierError| error.to_string();
    let (sender, server) = (
        Sender::new(&email.from).map_err(wrong)?,
        MailServer::new(&email.smtp_url, within, 0).map_err(wrong)?,
    );
    let to: Address = to.parse().map_err(|error| format!("not a mail address: {}: {error}", one_line(to)))?;
    let message = Message::builder()
        .from(sender.from)
        .to(Mailbox::new(None, to))
        .date(SystemTime::now())
        .subject(bounded(&one_line(subject), SUBJECT))
        .header(header::AutoSubmitted)
        .header(ContentType::TEXT_PLAIN)
        .body(body)
        .map_err(|error| format!("failed to build the mail: {error}"))?;
    let outcome = server.send(&message).await;
    if outcome.result == AttemptResult::Sent { Ok(()) } else { Err(outcome.detail) }
}
