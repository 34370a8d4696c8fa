use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use stoker_domain::{Acknowledgement, AttemptResult};
use tokio::time::Instant;

use super::*;
use crate::testing::http::{HttpServer, Reaction};
use crate::testing::{RAISED_AT, cleared, nobody_listens, raised, test, webhook};

const NOW: Millis = RAISED_AT + 1_234;

fn client_with(allow: &[&str], lookup: Lookup) -> WebhookClient {
    let allow: Vec<String> = allow.iter().map(|&text| text.to_owned()).collect();
    WebhookClient::new(&allow, &NotifierLimits::default(), lookup).unwrap()
}

fn local() -> WebhookClient {
    client_with(&["127.0.0.0/8"], system_lookup())
}

/// A resolver that knows every name, and how often it was asked.
fn lookup(addresses: &'static [&'static str]) -> (Lookup, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Box::pin(std::future::ready(Ok(addresses)))
    });
    (lookup, asked)
}

async fn deliver(client: &WebhookClient, url: &str) -> Outcome {
    client.deliver(&raised(1, webhook(url)), url, "s3cret", NOW).await
}

#[tokio::test]
async fn a_webhook_is_a_signed_cloud_event() {
    let server = HttpServer::start(|_| Reaction::status("200 OK", "thanks")).await;
    let outcome = deliver(&local(), &server.url()).await;
    assert_eq!(outcome, Outcome::delivered("HTTP 200 OK: thanks"));

    let request = server.seen.lock().requests[0].clone();
    assert_eq!(request.line, "POST /hook?token=t0ken HTTP/1.1");
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    assert_eq!(header("content-type"), Some("application/cloudevents+json"));
    assert_eq!(header("webhook-id"), Some("ntf-0a-1-1"));
    assert_eq!(header("webhook-timestamp"), Some("1700000001"));
    let signed = signature::signature("s3cret", "ntf-0a-1-1", 1_700_000_001, &request.body);
    assert_eq!(header("webhook-signature"), Some(signed.as_str()));
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).unwrap(),
        json!({
            "specversion": "1.0",
            "id": "ntf-0a-1-1",
            "source": "urn:stoker:default",
            "type": "dev.stoker.alarm.raised",
            "subject": "boiler-7",
            "time": "2023-11-14T22:13:20.000Z",
            "datacontenttype": "application/json",
            "data": {
                "id": "alm-0a-1-3",
                "device": "boiler-7",
                "kind": "fault",
                "code": "E42",
                "severity": "critical",
                "text": "flame lost",
                "state": "active",
                "acknowledged": null,
                "raised_at": "2023-11-14T22:13:20.000Z",
                "cleared_at": null,
                "count": 1,
            },
        })
    );
}

#[tokio::test]
async fn a_test_is_an_event_of_its_own_type_and_signed_like_all() {
    let server = HttpServer::start(|_| Reaction::status("204 No Content", "")).await;
    let outcome = local().deliver(&test(4, webhook(&server.url())), &server.url(), "s3cret", NOW).await;
    assert_eq!(outcome, Outcome::delivered("HTTP 204 No Content"));
    let seen = server.seen.lock();
    let request = &seen.requests[0];
    assert!(request.headers.contains_key("webhook-signature"));
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).unwrap(),
        json!({
            "specversion": "1.0",
            "id": "ntf-0a-1-4",
            "source": "urn:stoker:default",
            "type": "dev.stoker.test",
            "subject": "night-shift",
            "time": "2023-11-14T22:13:20.000Z",
            "datacontenttype": "application/json",
            "data": {"subscription": "night-shift", "text": "Night shift: this is a test, nothing has failed"},
        })
    );
}

#[tokio::test]
async fn a_recovery_says_when_and_who_had_taken_note() {
    let server = HttpServer::start(|_| Reaction::status("204 No Content", "")).await;
    let mut notification = cleared(2, webhook(&server.url()));
    notification.content.acknowledged =
        Some(Acknowledgement { at: RAISED_AT + 5_000, by: "anna".into(), note: None });
    let outcome = local().deliver(&notification, &server.url(), "s3cret", NOW).await;
    assert_eq!(outcome, Outcome::delivered("HTTP 204 No Content"));
    let event: Value = serde_json::from_slice(&server.seen.lock().requests[0].body).unwrap();
    assert_eq!(event["type"], "dev.stoker.alarm.cleared");
    assert_eq!(event["time"], "2023-11-14T23:18:20.123Z");
    assert_eq!(event["data"]["state"], "cleared");
    assert_eq!(event["data"]["cleared_at"], "2023-11-14T23:18:20.123Z");
    let note = json!({"at": "2023-11-14T22:13:25.000Z", "by": "anna", "note": null});
    assert_eq!(event["data"]["acknowledged"], note);
}

#[tokio::test]
async fn another_attempt_has_the_same_key_and_body() {
    let server = HttpServer::start(|_| Reaction::status("503 Service Unavailable", "")).await;
    let client = local();
    let mut notification = raised(1, webhook(&server.url()));
    for (tried, now) in [(0, NOW), (1, NOW + 5_000)] {
        notification.tried = tried;
        client.deliver(&notification, &server.url(), "s3cret", now).await;
    }
    let seen = server.seen.lock();
    let (first, second) = (&seen.requests[0], &seen.requests[1]);
    assert_eq!(first.body, second.body);
    assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"]);
    assert_ne!(first.headers["webhook-signature"], second.headers["webhook-signature"], "the time is signed");
}

#[tokio::test]
async fn statuses_mean_what_they_say() {
    use AttemptResult::{Delivered, Refused, Retry};
    for (status, result) in [
        ("200 OK", Delivered),
        ("202 Accepted", Delivered),
        ("299 Whatever", Delivered),
        ("304 Not Modified", Refused),
        ("400 Bad Request", Refused),
        ("401 Unauthorized", Refused),
        ("404 Not Found", Refused),
        ("408 Request Timeout", Retry),
        ("410 Gone", Refused),
        ("425 Too Early", Retry),
        ("429 Too Many Requests", Retry),
        ("500 Internal Server Error", Retry),
        ("503 Service Unavailable", Retry),
        ("599 Whatever", Retry),
    ] {
        let server = HttpServer::start(move |_| Reaction::status(status, "")).await;
        let outcome = deliver(&local(), &server.url()).await;
        assert_eq!(outcome.result, result, "{status}");
        let (code, _) = status.split_once(' ').unwrap();
        assert!(outcome.detail.contains(code), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_refused_and_not_followed() {
    let server = HttpServer::start(|_| {
        Reaction::Respond(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".into(),
        )
    })
    .await;
    let outcome = deliver(&local(), &server.url()).await;
    assert_eq!(
        outcome,
        Outcome::refused("HTTP 307 Temporary Redirect to /elsewhere: redirects are not followed")
    );
    assert_eq!(server.seen.lock().requests.len(), 1);
}

#[tokio::test]
async fn of_an_endless_answer_only_the_beginning_is_read() {
    for (status, result) in
        [("200 OK", AttemptResult::Delivered), ("500 Internal Server Error", AttemptResult::Retry)]
    {
        let server = HttpServer::start(move |_| Reaction::Endless(status)).await;
        let outcome = deliver(&local(), &server.url()).await;
        assert_eq!(outcome.result, result);
        assert!(outcome.detail.len() < 300, "{}", outcome.detail.len());
        while server.seen.lock().cut_off == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_hangs_has_a_deadline() {
    let server = HttpServer::start(|_| Reaction::held("200 OK")).await;
    let began = Instant::now();
    let outcome = deliver(&local(), &server.url()).await;
    assert_eq!(outcome.result, AttemptResult::Retry, "{outcome:?}");
    assert!(began.elapsed() <= NotifierLimits::default().webhook_within + Duration::from_millis(10));
}

#[tokio::test]
async fn a_host_that_hangs_up_or_is_not_there_is_to_be_retried() {
    let server = HttpServer::start(|_| Reaction::Drop).await;
    let outcome = deliver(&local(), &server.url()).await;
    assert_eq!(outcome.result, AttemptResult::Retry, "{outcome:?}");
    let (_port, address) = nobody_listens();
    let outcome = deliver(&local(), &format!("http://{address}/hook?token=t0ken")).await;
    assert_eq!(outcome.result, AttemptResult::Retry);
    assert!(outcome.detail.starts_with("failed to connect: "), "{outcome:?}");
    assert!(!outcome.detail.contains("t0ken"), "the URL's token is not told: {outcome:?}");
}

#[tokio::test]
async fn what_is_no_http_is_to_be_retried() {
    let server = HttpServer::start(|_| Reaction::Respond("SSH-2.0-OpenSSH_9.6\r\n\r\n".into())).await;
    let outcome = deliver(&local(), &server.url()).await;
    assert_eq!(outcome.result, AttemptResult::Retry, "{outcome:?}");
}

/// However it is written.
#[tokio::test]
async fn an_address_of_our_own_network_is_refused_before_anything_is_sent() {
    let server = HttpServer::start(|_| Reaction::status("200 OK", "")).await;
    let port = server.address.port();
    let client = client_with(&[], system_lookup());
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "0.0.0.0",
    ] {
        let outcome = deliver(&client, &format!("http://{host}:{port}/")).await;
        assert_eq!(outcome.result, AttemptResult::Refused, "{host}: {outcome:?}");
        assert!(outcome.detail.contains("notifier.webhook.allow"), "{host}: {outcome:?}");
    }
    for url in ["", "boiler-7", "ftp://example.org/", "file:///etc/passwd", "http://"] {
        let outcome = deliver(&client, url).await;
        assert_eq!(outcome.result, AttemptResult::Refused, "{url:?}: {outcome:?}");
    }
    assert_eq!(server.seen.lock().connections, 0);
}

#[tokio::test]
async fn a_name_with_one_forbidden_address_is_refused() {
    let (lookup, _) = lookup(&["93.184.216.34", "169.254.169.254"]);
    let outcome = deliver(&client_with(&[], lookup), "http://hook.example/").await;
    assert_eq!(outcome.result, AttemptResult::Refused);
    assert!(outcome.detail.starts_with("169.254.169.254 (link-local)"), "{outcome:?}");
}

/// The connection goes to the address that was checked: there is no second look-up that could say otherwise.
#[tokio::test]
async fn a_name_is_resolved_once_for_a_connection() {
    let server = HttpServer::start(|_| Reaction::status("200 OK", "")).await;
    let (lookup, asked) = lookup(&["127.0.0.1"]);
    let client = client_with(&["127.0.0.1"], lookup);
    let url = format!("http://hook.example:{}/", server.address.port());
    assert_eq!(deliver(&client, &url).await.result, AttemptResult::Delivered);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(
        server.seen.lock().requests[0].headers["host"],
        format!("hook.example:{}", server.address.port())
    );
}

#[tokio::test]
async fn a_name_that_moves_into_our_network_is_refused_from_then_on() {
    let server = HttpServer::start(|_| {
        Reaction::Respond("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".into())
    })
    .await;
    let asked = AtomicUsize::new(0);
    let lookup: Lookup = Arc::new(move |_| {
        let address = if asked.fetch_add(1, Ordering::SeqCst) == 0 { "127.0.0.1" } else { "127.0.0.2" };
        Box::pin(std::future::ready(Ok(vec![address.parse().unwrap()])))
    });
    let client = client_with(&["127.0.0.1"], lookup);
    let url = format!("http://hook.example:{}/", server.address.port());
    assert_eq!(deliver(&client, &url).await.result, AttemptResult::Delivered);
    assert_eq!(deliver(&client, &url).await.result, AttemptResult::Refused);
    assert_eq!(server.seen.lock().connections, 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_cannot_be_resolved_is_to_be_retried() {
    let unknown: Lookup = Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such host")) }));
    let outcome = deliver(&client_with(&[], unknown), "http://hook.example/").await;
    assert_eq!(outcome.result, AttemptResult::Retry);
    assert!(outcome.detail.contains("hook.example cannot be resolved: no such host"), "{outcome:?}");
    let hangs: Lookup = Arc::new(|_| Box::pin(std::future::pending()));
    let outcome = deliver(&client_with(&[], hangs), "http://hook.example/").await;
    assert_eq!(outcome.result, AttemptResult::Retry, "{outcome:?}");
    let (nothing, _) = lookup(&[]);
    let outcome = deliver(&client_with(&[], nothing), "http://hook.example/").await;
    assert_eq!(outcome.result, AttemptResult::Retry, "{outcome:?}");
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = HttpServer::start(|_| Reaction::status("200 OK", "thanks")).await;
    let client = local();
    for _ in 0..50 {
        assert_eq!(deliver(&client, &server.url()).await.result, AttemptResult::Delivered);
    }
    assert_eq!(server.seen.lock().connections, 1);
}
