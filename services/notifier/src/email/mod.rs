//! Mails: built here, handed to one mail server.

mod message;
mod plain;
mod server;

use stoker_domain::{Millis, Notification};

use crate::config::{EmailConfig, NotifierLimits};
use crate::outcome::Outcome;
use crate::run::NotifierError;
use message::Sender;
use server::MailServer;

pub use plain::send_mail;

/// The mail channel, or the lack of one.
#[derive(Debug)]
pub(crate) struct Mailer {
    configured: Option<(Sender, MailServer)>,
}

impl Mailer {
    pub(crate) fn new(config: Option<&EmailConfig>, limits: &NotifierLimits) -> Result<Self, NotifierError> {
        let configured = match config {
            None => None,
            Some(config) => Some((
                Sender::new(&config.from)?,
                MailServer::new(&config.smtp_url, limits.email_within, limits.email.under_way)?,
            )),
        };
        Ok(Self { configured })
    }

    /// One attempt.
    pub(crate) async fn deliver(&self, notification: &Notification, to: &str, now: Millis) -> Outcome {
        let Some((sender, server)) = &self.configured else {
            // Not refused: the alarm is told once somebody has configured a server.
            return Outcome::retry("no mail server configured (notifier.email.smtp_url)");
        };
        match sender.message(notification, to, now) {
            Ok(message) => server.send(&message).await,
            Err(why) => Outcome::refused(&why),
        }
    }

    /// Says goodbye to the server on connections that are kept.
    pub(crate) async fn close(&self) {
        if let Some((_, server)) = &self.configured {
            server.close().await;
        }
    }
}
