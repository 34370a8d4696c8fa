use http::Method;
use serde_json::{Value, json};
use stoker_proto::core::v1::{
    Attempt, AttemptResult, CommandOutcome, CommandState, Event, Notification, NotificationState,
    NotificationStep, Severity,
};

use crate::fake::{NOW, alarm, device, key};
use crate::harness::Portal;

async fn with_device() -> Portal {
    let portal = Portal::start().await;
    portal.core.0.lock().devices.insert("b".to_owned(), device("b"));
    portal
}

#[tokio::test]
async fn attributes_merge_and_null_removes() {
    let portal = with_device().await;
    let body = json!({"shared": {"a": 1, "b": 1.5, "c": {"x": [1]}}, "server": {"d": "text", "e": true}});
    assert_eq!(portal.patch("/devices/b/attributes", &body).await.status, 200);
    let body = json!({"shared": {"a": null, "b": 2}, "server": {"d": null}});
    let now = portal.patch("/devices/b/attributes", &body).await.json();
    assert_eq!(now, json!({"client": {}, "shared": {"b": 2, "c": {"x": [1]}}, "server": {"e": true}}));
    assert_eq!(portal.get("/devices/b/attributes").await.json(), now);
}

#[tokio::test]
async fn attributes_of_the_device_are_not_for_people_to_write() {
    let portal = with_device().await;
    let refused = portal.patch("/devices/b/attributes", &json!({"client": {"a": 1}})).await;
    assert_eq!(refused.problem(400, "invalid_request")["errors"][0]["pointer"], "/client");
    let deep = serde_json::from_str(&format!("{}{}", "[".repeat(17), "]".repeat(17))).unwrap();
    let refused =
        portal.patch("/devices/b/attributes", &json!({"shared": {"a/b": Value::Array(deep)}})).await;
    assert_eq!(refused.problem(400, "invalid_request")["errors"][0]["pointer"], "/shared/a~1b");
}

#[tokio::test]
async fn a_command_is_accepted_with_all_of_its_ledger() {
    let portal = with_device().await;
    let body = json!({"method": "write_setpoint", "params": {"value": 55.0}, "expires_in_s": 30});
    let made = portal.post("/devices/b/commands", &body).await;
    assert_eq!(made.status, 202, "{}", made.text());
    assert_eq!(made.headers["location"], "/api/v1/commands/cmd-00-1-1");
    let expected = json!({
        "id": "cmd-00-1-1", "number": 1, "device": "b", "method": "write_setpoint", "params": {"value": 55.0},
        "state": "queued", "outcome": null, "reply": null, "detail": null, "online": false,
        "created_at": "2023-11-14T22:13:20.000Z", "sent_at": null, "delivered_at": null, "ended_at": null,
        "expires_at": "2023-11-14T22:13:50.000Z"
    });
    assert_eq!(made.json(), expected);
    assert_eq!(portal.get("/commands/cmd-00-1-1?wait_s=60").await.json(), expected);
    assert_eq!(portal.get("/devices/b/commands").await.json()["items"], json!([expected]));
}

#[tokio::test]
async fn params_may_be_left_out_or_be_any_json() {
    let portal = with_device().await;
    assert_eq!(portal.post("/devices/b/commands", &json!({"method": "m"})).await.json()["params"], json!({}));
    for params in [json!(null), json!([1, "x"]), json!(7), json!("text")] {
        let made = portal.post("/devices/b/commands", &json!({"method": "m", "params": params})).await;
        assert_eq!(made.json()["params"], params);
    }
}

#[tokio::test]
async fn an_expired_command_says_what_is_known() {
    let portal = with_device().await;
    portal.post("/devices/b/commands", &json!({"method": "m"})).await;
    for (outcome, word) in [
        (CommandOutcome::NeverSent, "never_sent"),
        (CommandOutcome::Unknown, "unknown"),
        (CommandOutcome::NoReply, "no_reply"),
    ] {
        {
            let mut state = portal.core.0.lock();
            let command = state.commands.get_mut("cmd-00-1-1").unwrap();
            command.state = CommandState::Expired.into();
            command.outcome = Some(outcome.into());
            command.ended_at = Some(NOW);
        }
        let shown = portal.get("/commands/cmd-00-1-1").await.json();
        assert_eq!((&shown["state"], &shown["outcome"]), (&json!("expired"), &json!(word)));
    }
}

#[tokio::test]
async fn a_command_is_cancelled_once() {
    let portal = with_device().await;
    portal.post("/devices/b/commands", &json!({"method": "m"})).await;
    let cancelled = portal.ask(Method::POST, "/commands/cmd-00-1-1/cancel", None).await;
    assert_eq!(cancelled.json()["state"], "cancelled");
    portal.ask(Method::POST, "/commands/cmd-00-1-1/cancel", None).await.problem(409, "command_ended");
}

#[tokio::test]
async fn too_many_open_commands_are_refused_with_a_time_to_come_back() {
    let portal = with_device().await;
    for _ in 0..100 {
        portal.post("/devices/b/commands", &json!({"method": "m"})).await;
    }
    let refused = portal.post("/devices/b/commands", &json!({"method": "m"})).await;
    refused.problem(429, "too_many_open_commands");
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn events_have_the_documented_shape() {
    let portal = with_device().await;
    portal.core.0.lock().events.push(Event {
        id: "e1".to_owned(),
        device: key("b"),
        ts: NOW,
        kind: "fault".to_owned(),
        code: "E42".to_owned(),
        severity: Severity::Critical.into(),
        text: "flame lost".to_owned(),
        cleared: false,
        data: Some(r#"{"p":1.50}"#.to_owned()),
    });
    let page = portal.get("/events?device=b&kind=fault").await;
    assert_eq!(
        page.json(),
        json!({"items": [{
            "id": "e1", "device": "b", "ts": "2023-11-14T22:13:20.000Z", "kind": "fault", "code": "E42",
            "severity": "critical", "text": "flame lost", "cleared": false, "data": {"p": 1.5}
        }], "next_cursor": null})
    );
    assert!(page.text().contains("1.50"), "data is passed on letter by letter");
    assert_eq!(portal.get("/events?kind=boot").await.json()["items"], json!([]));
}

#[tokio::test]
async fn alarms_are_shown_acknowledged_and_cleared() {
    let portal = with_device().await;
    let raised = alarm(1, "b", Severity::Critical, "flame lost");
    portal.core.0.lock().alarms.insert(raised.id.clone(), raised);
    let expected = json!({
        "id": "alm-00-1-1", "device": "b", "kind": "fault", "code": "E42", "severity": "critical",
        "text": "flame lost", "state": "active", "acknowledged": null,
        "raised_at": "2023-11-14T22:13:20.001Z", "cleared_at": null, "count": 1
    });
    assert_eq!(portal.get("/alarms/alm-00-1-1").await.json(), expected);
    assert_eq!(
        portal.get("/alarms?state=active&severity=critical&device=b").await.json()["items"],
        json!([expected])
    );
    assert_eq!(portal.get("/alarms?severity=minor").await.json()["items"], json!([]));
    let taken = portal.post("/alarms/alm-00-1-1/acknowledge", &json!({"note": "on my way"})).await.json();
    let acknowledged = json!({"at": "2023-11-14T22:13:20.000Z", "by": "admin", "note": "on my way"});
    assert_eq!(taken["acknowledged"], acknowledged);
    let again = portal.ask(Method::POST, "/alarms/alm-00-1-1/acknowledge", None).await.json();
    assert_eq!(again["acknowledged"], acknowledged, "the first who took note stays on record");
    let cleared = portal.ask(Method::POST, "/alarms/alm-00-1-1/clear", None).await.json();
    assert_eq!(
        (&cleared["state"], &cleared["cleared_at"]),
        (&json!("cleared"), &json!("2023-11-14T22:13:20.000Z"))
    );
}

fn subscription() -> Value {
    json!({
        "name": "Night shift",
        "match": {"devices": ["boiler-*"], "min_severity": "major"},
        "deliver": [
            {"channel": "email", "to": "night@example.com"},
            {"channel": "webhook", "url": "https://example.com/hook", "secret": "a long random text"}
        ]
    })
}

#[tokio::test]
async fn a_secret_is_written_and_never_read() {
    let portal = Portal::start().await;
    let made = portal.post("/subscriptions", &subscription()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.headers["location"], "/api/v1/subscriptions/sub-1");
    let expected = json!({
        "id": "sub-1", "name": "Night shift", "match": {"devices": ["boiler-*"], "min_severity": "major"},
        "deliver": [
            {"channel": "email", "to": "night@example.com"},
            {"channel": "webhook", "url": "https://example.com/hook"}
        ],
        "created_at": "2023-11-14T22:13:20.000Z"
    });
    assert_eq!(made.json(), expected);
    assert_eq!(portal.get("/subscriptions/sub-1").await.json(), expected);
    assert_eq!(portal.get("/subscriptions").await.json()["items"], json!([expected]));
    assert!(!portal.get("/subscriptions").await.text().contains("random"));
}

#[tokio::test]
async fn a_subscription_changes_by_whole_fields() {
    let portal = Portal::start().await;
    portal.post("/subscriptions", &subscription()).await;
    let webhook = json!({"channel": "webhook", "url": "https://example.com/hook"});
    let body = json!({"match": {"sites": ["n*"]}, "deliver": [webhook]});
    let changed = portal.patch("/subscriptions/sub-1", &body).await.json();
    assert_eq!(changed["name"], "Night shift");
    assert_eq!(changed["match"], json!({"sites": ["n*"]}));
    assert_eq!(changed["deliver"], json!([webhook]));
    let changed = portal.patch("/subscriptions/sub-1", &json!({"match": null})).await.json();
    assert_eq!(changed["match"], json!({}));
    assert_eq!(portal.ask(Method::DELETE, "/subscriptions/sub-1", None).await.status, 204);
    portal.get("/subscriptions/sub-1").await.problem(404, "not_found");
}

#[tokio::test]
async fn a_subscription_that_could_tell_nobody_is_refused_by_field() {
    let portal = Portal::start().await;
    for (field, value, pointer) in [
        ("deliver", json!([]), "/deliver"),
        ("deliver", json!([{"channel": "sms", "to": "1"}]), "/deliver/0/channel"),
        ("deliver", json!([{"channel": "email", "to": "nobody"}]), "/deliver/0"),
        ("deliver", json!([{"channel": "email", "to": "a@b", "cc": "c@d"}]), "/deliver/0"),
        ("deliver", json!([{"channel": "webhook", "url": "https://a.b"}]), "/deliver/0/secret"),
        (
            "deliver",
            json!([{"channel": "webhook", "url": "ftp://a.b", "secret": "0123456789abcdef"}]),
            "/deliver/0",
        ),
        ("deliver", json!([{"channel": "webhook", "url": "https://a.b", "secret": "short"}]), "/deliver/0"),
        ("name", json!(""), "/name"),
        ("match", json!({"devices": []}), "/match/devices"),
        ("match", json!({"min_severity": "awful"}), "/match/min_severity"),
    ] {
        let mut body = subscription();
        body[field] = value.clone();
        let problem = portal.post("/subscriptions", &body).await.problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{field} {value}: {problem}");
    }
    for field in ["name", "deliver"] {
        let mut body = subscription();
        body.as_object_mut().unwrap().remove(field);
        let problem = portal.post("/subscriptions", &body).await.problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"));
    }
}

#[tokio::test]
async fn notifications_show_every_attempt() {
    let portal = Portal::start().await;
    portal.core.0.lock().notifications.push(Notification {
        id: "ntf-00-1-1".to_owned(),
        device: key("b"),
        alarm: "alm-00-1-1".to_owned(),
        subscription: "sub-1".to_owned(),
        channel: "email".to_owned(),
        to: "night@example.com".to_owned(),
        state: NotificationState::Pending.into(),
        attempts: vec![Attempt { at: NOW, result: AttemptResult::Retry.into(), detail: "451".to_owned() }],
        created_at: NOW,
        step: NotificationStep::Raised.into(),
        next_attempt_at: Some(NOW + 1_000),
        test: false,
    });
    let page = portal.get("/notifications?alarm=alm-00-1-1&state=pending").await.json();
    assert_eq!(
        page["items"],
        json!([{
            "id": "ntf-00-1-1", "alarm": "alm-00-1-1", "device": "b", "step": "raised", "subscription": "sub-1",
            "channel": "email", "to": "night@example.com", "state": "pending",
            "attempts": [{"at": "2023-11-14T22:13:20.000Z", "result": "retry", "detail": "451"}],
            "created_at": "2023-11-14T22:13:20.000Z", "next_attempt_at": "2023-11-14T22:13:21.000Z"
        }])
    );
    assert_eq!(portal.get("/notifications?state=failed").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_test_of_a_subscription_is_a_notification_of_no_alarm() {
    let portal = Portal::start().await;
    portal.post("/subscriptions", &subscription()).await;
    let tested = portal.ask(Method::POST, "/subscriptions/sub-1/test", None).await;
    assert_eq!((tested.status.as_u16(), tested.json()), (202, json!({"notifications": ["ntf-00-1-1"]})));
    let listed = portal.get("/notifications").await.json();
    let of_it = |field: &str| &listed["items"][0][field];
    assert_eq!(
        (of_it("step"), of_it("alarm"), of_it("device")),
        (&json!("test"), &Value::Null, &Value::Null)
    );
    let again = portal.ask(Method::POST, "/subscriptions/sub-1/test", None).await;
    again.problem(429, "too_many_tests");
    assert_eq!(again.headers["retry-after"], "10");
    portal.ask(Method::POST, "/subscriptions/sub-2/test", None).await.problem(404, "not_found");
}

#[tokio::test]
async fn the_status_tells_versions_and_counts() {
    let portal = with_device().await;
    let status = portal.get("/status").await.json();
    assert_eq!(status["devices"], 1);
    assert_eq!(status["core"]["slots_owned"], 256);
    assert_eq!(status["core"]["started_at"], "2023-11-14T22:13:20.000Z");
}
