use std::time::Duration;

use stoker_domain::AttemptResult;

use super::*;
use crate::config::{EmailConfig, NotifierLimits};
use crate::email::Mailer;
use crate::testing::smtp::{Reaction, SmtpServer};
use crate::testing::{RAISED_AT, mail, nobody_listens, raised};

fn mailer(smtp_url: &str) -> Mailer {
    let config = EmailConfig { smtp_url: smtp_url.to_owned(), from: "alarms@example.com".into() };
    Mailer::new(Some(&config), &NotifierLimits::default()).unwrap()
}

async fn deliver(mailer: &Mailer) -> Outcome {
    mailer.deliver(&raised(1, mail()), "night@example.org", RAISED_AT).await
}

fn at(verb: &'static str, reaction: Reaction) -> impl Fn(&str, usize) -> Option<Reaction> + Send + Sync {
    move |asked, _| (asked == verb).then(|| reaction.clone())
}

#[tokio::test]
async fn a_mail_is_sent_when_the_server_has_taken_it() {
    let server = SmtpServer::start(|_, _| None).await;
    let outcome = deliver(&mailer(&server.url())).await;
    assert_eq!(outcome, Outcome::sent("250 2.0.0 queued as 4711"));
    let seen = server.seen.lock();
    assert_eq!(seen.mails.len(), 1);
    assert!(seen.mails[0].contains("Subject: [critical] boiler-7: flame lost (E42)\n"), "{}", seen.mails[0]);
    assert!(seen.commands.contains(&"MAIL FROM:<alarms@example.com>".to_owned()), "{:?}", seen.commands);
    assert!(seen.commands.contains(&"RCPT TO:<night@example.org>".to_owned()), "{:?}", seen.commands);
}

/// What the server says of us is to be retried, whatever it says; what it says of a mail is final if it says so.
#[tokio::test]
async fn answers_mean_what_they_say() {
    use AttemptResult::{Refused, Retry, Sent};
    for (verb, reply, result) in [
        ("GREETING", "421 too busy", Retry),
        ("GREETING", "554 go away", Retry),
        ("MAIL", "451 try later", Retry),
        ("MAIL", "530 authentication required", Retry),
        ("RCPT", "450 mailbox busy", Retry),
        ("RCPT", "550 no such user", Refused),
        ("DATA", "554 no valid recipients", Refused),
        (".", "452 disk full", Retry),
        (".", "554 looks like spam", Refused),
        (".", "250 taken", Sent),
    ] {
        let server = SmtpServer::start(at(verb, Reaction::Say(reply))).await;
        let outcome = deliver(&mailer(&server.url())).await;
        assert_eq!(outcome.result, result, "{verb}: {reply}");
        assert!(outcome.detail.contains(reply), "{:?} does not say {reply:?}", outcome.detail);
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_or_is_not_there_is_to_be_retried() {
    for verb in ["GREETING", "MAIL", "DATA", "."] {
        let server = SmtpServer::start(at(verb, Reaction::Drop)).await;
        let outcome = deliver(&mailer(&server.url())).await;
        assert_eq!(outcome.result, AttemptResult::Retry, "{verb}: {outcome:?}");
        assert!(server.seen.lock().mails.is_empty());
    }
    let (_port, address) = nobody_listens();
    let outcome = deliver(&mailer(&format!("smtp://{address}"))).await;
    assert_eq!(outcome.result, AttemptResult::Retry);
    assert!(outcome.detail.contains("refused"), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_has_a_deadline() {
    for verb in ["GREETING", "RCPT", "."] {
        let server = SmtpServer::start(at(verb, Reaction::Hang)).await;
        let began = Instant::now();
        let outcome = deliver(&mailer(&server.url())).await;
        assert_eq!(outcome.result, AttemptResult::Retry, "{verb}");
        assert!(outcome.detail.contains("within 30 s"), "{outcome:?}");
        assert!(began.elapsed() < Duration::from_secs(31), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn connections_are_used_again_and_a_dead_one_is_replaced() {
    let server =
        SmtpServer::start(|verb, connection| (verb == "NOOP" && connection == 0).then_some(Reaction::Drop))
            .await;
    let mailer = mailer(&server.url());
    for turn in 1..=4 {
        assert_eq!(deliver(&mailer).await.result, AttemptResult::Sent, "mail {turn}");
    }
    assert_eq!(server.seen.lock().connections, 2);
    assert_eq!(server.seen.lock().mails.len(), 4);
    mailer.close().await;
    assert_eq!(server.seen.lock().commands.last().map(String::as_str), Some("QUIT"));
}

/// An answer that comes late must not be taken for the answer to the next mail.
#[tokio::test(start_paused = true)]
async fn a_connection_that_was_given_up_is_never_used_again() {
    let server =
        SmtpServer::start(|verb, connection| (verb == "." && connection == 0).then_some(Reaction::Hang))
            .await;
    let mailer = mailer(&server.url());
    assert_eq!(deliver(&mailer).await.result, AttemptResult::Retry);
    assert_eq!(deliver_patiently(&mailer).await.result, AttemptResult::Sent);
    assert_eq!(server.seen.lock().connections, 2);
}

/// With the clock resumed: the answers come from a socket.
async fn deliver_patiently(mailer: &Mailer) -> Outcome {
    tokio::time::resume();
    deliver(mailer).await
}

#[tokio::test]
async fn credentials_are_percent_decoded_and_a_wrong_password_is_to_be_retried() {
    let server = SmtpServer::start(at("AUTH", Reaction::Say("535 wrong password"))).await;
    let url = format!("smtp://user%40example.com:p%C3%A4ss@{}", server.address);
    let outcome = deliver(&mailer(&url)).await;
    assert_eq!(outcome.result, AttemptResult::Retry);
    assert!(outcome.detail.contains("535 wrong password"), "{outcome:?}");
    // `\0user@example.com\0päss` in base64.
    let expected = "AUTH PLAIN AHVzZXJAZXhhbXBsZS5jb20AcMOkc3M=";
    assert!(
        server.seen.lock().commands.iter().any(|line| line == expected),
        "{:?}",
        server.seen.lock().commands
    );
}

#[tokio::test]
async fn tls_that_is_required_is_never_done_without() {
    let server = SmtpServer::start(|_, _| None).await;
    let outcome = deliver(&mailer(&format!("{}?tls=required", server.url()))).await;
    assert_eq!(outcome.result, AttemptResult::Retry);
    assert!(outcome.detail.contains("STARTTLS"), "{outcome:?}");
    assert!(server.seen.lock().mails.is_empty());
    let outcome = deliver(&mailer(&format!("{}?tls=opportunistic", server.url()))).await;
    assert_eq!(outcome.result, AttemptResult::Sent, "the server offers none: {outcome:?}");
}

#[tokio::test]
async fn without_a_mail_server_a_mail_is_to_be_retried() {
    let mailer = Mailer::new(None, &NotifierLimits::default()).unwrap();
    let outcome = deliver(&mailer).await;
    assert_eq!(outcome, Outcome::retry("no mail server configured (notifier.email.smtp_url)"));
}

#[tokio::test]
async fn a_recipient_that_is_no_address_is_refused() {
    let server = SmtpServer::start(|_, _| None).await;
    let mailer = mailer(&server.url());
    for to in ["", "nobody", "a@b\r\nRCPT TO:<c@d>", "a@b c@d"] {
        let outcome = mailer.deliver(&raised(1, mail()), to, RAISED_AT).await;
        assert_eq!(outcome.result, AttemptResult::Refused, "{to:?}: {outcome:?}");
    }
    assert_eq!(server.seen.lock().connections, 0);
}

#[test]
fn a_url_that_cannot_be_used_is_named_without_its_password() {
    for url in [
        "",
        "mail.example.com:25",
        "http://user:hunter2@mail.example.com",
        "smtp://",
        "smtp://user@mail.example.com",
        "smtp://mail.example.com?tls=maybe",
        "smtps://user:hunter2@mail.example.com?tls=required",
        "smtps://user:hunter2%ff@mail.example.com",
    ] {
        let error = MailServer::new(url, Duration::from_secs(1), 1).unwrap_err().to_string();
        assert!(error.starts_with("notifier.email.smtp_url: "), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn ports_are_the_usual_ones_unless_given() {
    for (url, host, port) in [
        ("smtp://mail.example.com", "mail.example.com", 25),
        ("smtp://mail.example.com:2525", "mail.example.com", 2525),
        ("smtp://mail.example.com?tls=required", "mail.example.com", 587),
        ("smtp://mail.example.com?tls=opportunistic", "mail.example.com", 587),
        ("smtps://u:p@mail.example.com", "mail.example.com", 465),
        ("smtp://[::1]:1025", "::1", 1025),
    ] {
        let server = MailServer::new(url, Duration::from_secs(1), 1).unwrap();
        assert_eq!((server.host.as_str(), server.port), (host, port), "{url}");
    }
}
