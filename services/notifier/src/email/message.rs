//! What a mail says. Everything in it that comes from a device is made one line first.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::{Address, message};
use sha2::{Digest, Sha256};
use stoker_domain::{Alarm, Millis, Notification, NotificationStep};

use crate::run::NotifierError;
use crate::text::{bounded, duration, for_people, one_line};

/// Bytes of a subject's text and code. Mail clients show about 80 characters; the rest is in the body.
const SUBJECT_TEXT: usize = 160;
const SUBJECT_CODE: usize = 64;
/// Bytes of text and code in the body.
const BODY_TEXT: usize = 2_048;

/// Who sends.
#[derive(Debug)]
pub(super) struct Sender {
    from: Mailbox,
}

impl Sender {
    pub(super) fn new(from: &str) -> Result<Self, NotifierError> {
        let from = from.parse().map_err(|error: lettre::address::AddressError| NotifierError::Setting {
            key: "notifier.email.from",
            why: format!("{error}: write `alarms@example.com` or `Stoker <alarms@example.com>`"),
        })?;
        Ok(Self { from })
    }

    /// The mail about one step of an alarm, for one recipient. The same but for its date whenever it is built.
    ///
    /// # Errors
    /// Says, for a person, why there is no such mail.
    pub(super) fn message(
        &self,
        notification: &Notification,
        to: &str,
        now: Millis,
    ) -> Result<Message, String> {
        let address: Address =
            to.parse().map_err(|error| format!("not a mail address: {}: {error}", one_line(to)))?;
        let date = UNIX_EPOCH + Duration::from_millis(u64::try_from(now).unwrap_or(0));
        let raised = self.message_id(notification, NotificationStep::Raised);
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .date(date)
            .subject(subject(notification))
            .header(header::AutoSubmitted)
            .header(header::StokerNotification(notification.id.to_string()));
        builder = match notification.step {
            NotificationStep::Raised => builder.message_id(Some(raised)),
            NotificationStep::Cleared => builder
                .message_id(Some(self.message_id(notification, NotificationStep::Cleared)))
                .in_reply_to(raised.clone())
                .references(raised),
        };
        builder
            .header(ContentType::TEXT_PLAIN)
            .body(body(notification))
            .map_err(|error| format!("failed to build the mail: {error}"))
    }

    /// The id of the mail about that step. It is the same for every attempt, so that a mailbox that got two shows one,
    /// and the raising's can be told without having seen it, so that the clearing stands in its thread.
    ///
    /// The hash is over what makes the raising unique beyond this installation, too: ids begin anew with a fresh
    /// store, the time does not.
    fn message_id(&self, notification: &Notification, step: NotificationStep) -> String {
        let alarm = &notification.content;
        let mut hash = Sha256::new();
        for part in [
            alarm.device.organization.as_str(),
            alarm.device.device.as_str(),
            &alarm.id.to_string(),
            &alarm.raised_at.to_string(),
            notification.channel.to(),
        ] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let mut unique = String::new();
        for byte in hash.finalize().iter().take(8) {
            let _infallible = write!(unique, "{byte:02x}");
        }
        format!("<{}.{}.{unique}@{}>", alarm.id, step.as_str(), self.from.email.domain())
    }
}

/// `[critical] boiler-7: flame lost (E42)`, or `[cleared] …`.
fn subject(notification: &Notification) -> String {
    let alarm = &notification.content;
    let mark = match notification.step {
        NotificationStep::Raised => alarm.severity.as_str(),
        NotificationStep::Cleared => "cleared",
    };
    let what = what(alarm, SUBJECT_TEXT, SUBJECT_CODE);
    format!("[{mark}] {}: {what}", alarm.device.device)
}

/// Text and code; just the code where the device gave no text of its own.
fn what(alarm: &Alarm, text_bytes: usize, code_bytes: usize) -> String {
    let text = bounded(&one_line(&alarm.text), text_bytes);
    let code = bounded(&one_line(&alarm.code), code_bytes);
    match (text.is_empty() || text == code, code.is_empty()) {
        (true, _) => code,
        (false, true) => text,
        (false, false) => format!("{text} ({code})"),
    }
}

fn body(notification: &Notification) -> String {
    let alarm = &notification.content;
    let device = &alarm.device.device;
    let mut text = String::new();
    let line = |text: &mut String, name: &str, value: &str| {
        text.push_str(&format!("{:<14}{value}\n", format!("{name}:")));
    };
    text.push_str(&match notification.step {
        NotificationStep::Raised => format!("{device} has raised a {} alarm.\n\n", alarm.severity.as_str()),
        NotificationStep::Cleared => format!("The alarm of {device} is cleared.\n\n"),
    });
    text.push_str(&what(alarm, BODY_TEXT, BODY_TEXT));
    text.push_str("\n\n");
    line(&mut text, "Device", device.as_str());
    line(&mut text, "Organization", alarm.device.organization.as_str());
    line(&mut text, "Severity", alarm.severity.as_str());
    line(&mut text, "Kind", alarm.kind.as_str());
    line(&mut text, "Raised", &for_people(alarm.raised_at));
    if let Some(cleared_at) = alarm.cleared_at {
        let after = duration(cleared_at.saturating_sub(alarm.raised_at));
        line(&mut text, "Cleared", &format!("{} (after {after})", for_people(cleared_at)));
    }
    if alarm.count > 1 {
        line(&mut text, "Reported", &format!("{} times", alarm.count));
    }
    line(&mut text, "Alarm", &alarm.id.to_string());
    line(&mut text, "Subscription", notification.subscription.as_str());
    text
}

mod header {
    //! Headers that lettre does not know.

    use super::{Header, HeaderName, HeaderValue, message};

    type BoxError = Box<dyn std::error::Error + Send + Sync>;

    /// Keeps out-of-office replies away (RFC 3834).
    #[derive(Clone)]
    pub(super) struct AutoSubmitted;

    impl Header for AutoSubmitted {
        fn name() -> HeaderName {
            HeaderName::new_from_ascii_str("Auto-Submitted")
        }

        fn parse(_: &str) -> Result<Self, BoxError> {
            Ok(Self)
        }

        fn display(&self) -> HeaderValue {
            HeaderValue::new(Self::name(), "auto-generated".into())
        }
    }

    /// The idempotency key.
    #[derive(Clone)]
    pub(super) struct StokerNotification(pub(super) String);

    impl Header for StokerNotification {
        fn name() -> HeaderName {
            HeaderName::new_from_ascii_str("X-Stoker-Notification")
        }

        fn parse(text: &str) -> Result<Self, BoxError> {
            Ok(Self(text.into()))
        }

        fn display(&self) -> HeaderValue {
            message::header::HeaderValue::new(Self::name(), self.0.clone())
        }
    }
}
