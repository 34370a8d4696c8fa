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
    pub(super) from: Mailbox,
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
    if notification.test {
        return format!("[test] {}", bounded(&one_line(&alarm.text), SUBJECT_TEXT));
    }
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

/// `Name:         value`
fn line(text: &mut String, name: &str, value: &str) {
    let _infallible = writeln!(text, "{:<14}{value}", format!("{name}:"));
}

fn body(notification: &Notification) -> String {
    let alarm = &notification.content;
    let device = &alarm.device.device;
    if notification.test {
        return test_body(notification);
    }
    let mut text = String::new();
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

fn test_body(notification: &Notification) -> String {
    let alarm = &notification.content;
    let mut text = bounded(&one_line(&alarm.text), BODY_TEXT);
    text.push_str(".\n\nWhat this subscription asks for is told to this address.\n\n");
    line(&mut text, "Organization", alarm.device.organization.as_str());
    line(&mut text, "Subscription", notification.subscription.as_str());
    line(&mut text, "Asked for", &for_people(alarm.raised_at));
    text
}

pub(super) mod header {
    //! Headers that lettre does not know.

    use super::{Header, HeaderName, HeaderValue, message};

    type BoxError = Box<dyn std::error::Error + Send + Sync>;

    /// Keeps out-of-office replies away (RFC 3834).
    #[derive(Clone)]
    pub(in crate::email) struct AutoSubmitted;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RAISED_AT, cleared, mail, raised, test};

    const NOW: Millis = RAISED_AT + 700;

    fn built(notification: &Notification) -> String {
        let sender = Sender::new("Stoker <alarms@example.com>").unwrap();
        let message = sender.message(notification, notification.channel.to(), NOW).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    fn header<'a>(mail: &'a str, name: &str) -> Option<&'a str> {
        let head = mail.split("\r\n\r\n").next()?;
        head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// A header with its folded lines joined.
    fn unfolded(mail: &str, name: &str) -> String {
        let head = mail.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        header(&head, name).unwrap().to_owned()
    }

    #[test]
    fn a_raised_alarm_reads_like_this() {
        let expected = "\
From: Stoker <alarms@example.com>\r
To: night@example.org\r
Date: Tue, 14 Nov 2023 22:13:20 +0000\r
Subject: [critical] boiler-7: flame lost (E42)\r
Auto-Submitted: auto-generated\r
X-Stoker-Notification: ntf-0a-1-1\r
Message-ID: <alm-0a-1-3.raised.HASH@example.com>\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: 7bit\r
\r
boiler-7 has raised a critical alarm.\r
\r
flame lost (E42)\r
\r
Device:       boiler-7\r
Organization: default\r
Severity:     critical\r
Kind:         fault\r
Raised:       2023-11-14 22:13:20 UTC\r
Alarm:        alm-0a-1-3\r
Subscription: night-shift\r
";
        let mail = built(&raised(1, mail()));
        let id = header(&mail, "Message-ID").unwrap();
        let hash = id.strip_prefix("<alm-0a-1-3.raised.").unwrap().strip_suffix("@example.com>").unwrap();
        assert!(hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert_eq!(mail.replace(hash, "HASH"), expected);
    }

    #[test]
    fn a_test_says_that_it_is_one_and_names_no_device() {
        let mail = built(&test(1, mail()));
        assert_eq!(header(&mail, "Subject"), Some("[test] Night shift: this is a test, nothing has failed"));
        let (_, body) = mail.split_once("\r\n\r\n").unwrap();
        assert!(!body.contains("Device:") && !body.contains("Alarm:"), "{body}");
        assert!(body.contains("Subscription: night-shift\r\n"), "{body}");
        assert!(body.contains("Asked for:    2023-11-14 22:13:20 UTC"), "{body}");
    }

    #[test]
    fn a_cleared_alarm_stands_in_the_thread_of_its_raising() {
        let (first, second) = (built(&raised(1, mail())), built(&cleared(2, mail())));
        assert_eq!(header(&second, "Subject"), Some("[cleared] boiler-7: flame lost (E42)"));
        let raised_id = header(&first, "Message-ID");
        assert!(raised_id.is_some());
        assert_eq!(header(&second, "In-Reply-To"), raised_id);
        assert_eq!(header(&second, "References"), raised_id);
        assert_ne!(header(&second, "Message-ID"), raised_id);
        assert!(second.contains("Cleared:      2023-11-14 23:18:20 UTC (after 1 h 5 min)"), "{second}");
        assert!(second.contains("Reported:     4 times"), "{second}");
    }

    #[test]
    fn another_attempt_is_the_same_mail_and_another_recipient_or_raising_is_not() {
        let first = raised(1, mail());
        let mut again = first.clone();
        again.tried = 7;
        assert_eq!(built(&first), built(&again));
        let id = |notification: &Notification| header(&built(notification), "Message-ID").map(str::to_owned);
        let mut other = first.clone();
        other.channel = stoker_domain::Channel::Email { to: "day@example.org".into() };
        assert_ne!(id(&first), id(&other));
        let mut other = first.clone();
        other.content.raised_at += 1;
        assert_ne!(id(&first), id(&other), "ids begin anew with a fresh store");
    }

    #[test]
    fn no_text_of_a_device_becomes_a_header_or_a_line_of_its_own() {
        let mut notification = raised(1, mail());
        notification.content.text = "lost\r\nBcc: all@example.com\r\n\r\nSeverity:     harmless".into();
        notification.content.code = "E\n42\r\nX-Evil: 1".into();
        let mail = built(&notification);
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> = head
            .split("\r\n")
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split(':').next().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "From",
                "To",
                "Date",
                "Subject",
                "Auto-Submitted",
                "X-Stoker-Notification",
                "Message-ID",
                "Content-Type",
                "Content-Transfer-Encoding"
            ]
        );
        let severities: Vec<&str> = body.lines().filter(|line| line.starts_with("Severity:")).collect();
        assert_eq!(severities, ["Severity:     critical"]);
    }

    #[test]
    fn long_and_foreign_texts_are_bounded_and_encoded() {
        let mut notification = raised(1, mail());
        notification.content.text = "Störung 火 ".repeat(1_000);
        let mail = built(&notification);
        assert!(mail.is_ascii());
        assert!(mail.lines().all(|line| line.len() < 998), "RFC 5322 allows no longer line");
        let subject = unfolded(&mail, "Subject");
        assert!(subject.contains("=?utf-8?b?"), "{subject}");
        assert!(mail.len() < 8 * 1_024, "{}", mail.len());
    }

    #[test]
    fn a_text_that_only_repeats_the_code_is_not_said_twice() {
        for (text, code, expected) in [
            ("E42", "E42", "[critical] boiler-7: E42"),
            ("", "E42", "[critical] boiler-7: E42"),
            ("flame lost", "", "[critical] boiler-7: flame lost"),
        ] {
            let mut notification = raised(1, mail());
            notification.content.text = text.into();
            notification.content.code = code.into();
            assert_eq!(subject(&notification), expected);
        }
    }

    #[test]
    fn a_sender_that_is_no_address_is_named() {
        let error = Sender::new("nobody").unwrap_err().to_string();
        assert!(error.starts_with("notifier.email.from: "), "{error}");
    }
}
