//! Pages of the console: what they show, what they escape, what their forms do.

use http::header;
use serde_json::json;
use stoker_proto::core::v1::{
    AlarmState, Attempt, AttemptResult, Attributes, Connection, ConnectionState, Event, Notification,
    NotificationState, NotificationStep, Point, Severity, Value, value::Kind,
};

use crate::fake::{NOW, alarm, device, key};
use crate::harness::{Answer, Portal};
use crate::pages::{form_token, get, post, sign_in};

/// Breaks out of a text, an attribute, a tag and a script, where one of them is not escaped.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;";
const OURS: Option<&str> = Some("http://stoker.test");

/// That nothing of [`HOSTILE`] has become markup.
#[track_caller]
fn assert_tame(page: &Answer, path: &str) {
    let text = page.text();
    assert!(!text.contains("<script>") && !text.contains("<img src=x"), "{path}: {text}");
    assert!(!text.contains("style=\""), "{path}");
}

fn number(ts: i64, key: &str, value: f64) -> Point {
    Point { key: key.to_owned(), ts, value: Some(Value { kind: Some(Kind::Number(value)) }) }
}

fn text(value: &str) -> Value {
    Value { kind: Some(Kind::Text(value.to_owned())) }
}

/// A platform on which everything that others may name is named [`HOSTILE`].
async fn hostile() -> (Portal, String) {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    make_hostile(&portal);
    let order = json!({"method": HOSTILE, "params": {HOSTILE: HOSTILE}});
    portal.post("/devices/boiler-7/commands", &order).await;
    let who = json!({"name": HOSTILE, "match": {"tags": [HOSTILE]}, "deliver": [{"channel": "email", "to": "a@b"}]});
    assert_eq!(portal.post("/subscriptions", &who).await.status, 201);
    (portal, cookie)
}

fn make_hostile(portal: &Portal) {
    let mut state = portal.core.0.lock();
    let mut boiler = device("boiler-7");
    boiler.model = Some(HOSTILE.to_owned());
    boiler.tags = vec![HOSTILE.to_owned()];
    boiler.connection = Some(Connection {
        state: ConnectionState::Online.into(),
        since: NOW,
        gateway: Some(HOSTILE.to_owned()),
        address: Some(HOSTILE.to_owned()),
        protocol: Some(HOSTILE.to_owned()),
        reason: None,
    });
    state.devices.insert("boiler-7".to_owned(), boiler);
    let mut raised = alarm(1, "boiler-7", Severity::Critical, HOSTILE);
    raised.code = HOSTILE.to_owned();
    state.alarms.insert(raised.id.clone(), raised);
    let now = jiff::Timestamp::now().as_millisecond();
    for (ts, key, value) in [(now - 60_000, HOSTILE, 1.0), (now - 1_000, HOSTILE, 2.0)] {
        state.points.insert(("boiler-7".to_owned(), ts, key.to_owned()), number(ts, key, value));
    }
    let said = Point { key: "said".to_owned(), ts: now, value: Some(text(HOSTILE)) };
    state.points.insert(("boiler-7".to_owned(), now, "said".to_owned()), said);
    let scope = || [(HOSTILE.to_owned(), text(HOSTILE))].into();
    let attributes = Attributes { client: scope(), shared: scope(), server: scope() };
    state.attributes.insert("boiler-7".to_owned(), attributes);
    state.events.push(Event {
        id: "e1".to_owned(),
        device: key("boiler-7"),
        ts: NOW + 1,
        kind: "fault".to_owned(),
        code: HOSTILE.to_owned(),
        severity: Severity::Critical.into(),
        text: HOSTILE.to_owned(),
        ..Event::default()
    });
    let attempt = Attempt { at: NOW + 3, result: AttemptResult::Retry.into(), detail: HOSTILE.to_owned() };
    state.notifications.push(Notification {
        id: "ntf-00-1-1".to_owned(),
        alarm: "alm-00-1-1".to_owned(),
        device: key("boiler-7"),
        subscription: "sub-1".to_owned(),
        channel: HOSTILE.to_owned(),
        to: HOSTILE.to_owned(),
        state: NotificationState::Pending.into(),
        step: NotificationStep::Raised.into(),
        attempts: vec![attempt],
        created_at: NOW + 2,
        ..Notification::default()
    });
}

#[tokio::test]
async fn no_page_takes_what_others_say_for_markup() {
    let (portal, cookie) = hostile().await;
    for path in [
        "/fleet",
        "/fleet?tag=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&q=%3Cscript%3E",
        "/devices/boiler-7",
        "/devices/boiler-7?key=%22%3E%3Cscript%3E&range=%22%3E%3Cscript%3E",
        "/alarms?device=%22%3E%3Cscript%3E&state=all",
        "/alarms/alm-00-1-1",
        "/activity",
        "/activity?kind=%22%3E%3Cscript%3E",
        "/subscriptions",
        "/notifications",
        "/connect",
        "/connect/boiler-7",
    ] {
        let page = portal.send(get(path, &cookie)).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        assert_tame(&page, path);
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(page.body.len() < 60_000, "{path}: {}", page.body.len());
        assert_eq!(page.text().matches("<h1").count(), 1, "{path} has one heading");
    }
}

#[tokio::test]
async fn no_page_is_shown_to_whoever_is_not_signed_in() {
    let (portal, _) = hostile().await;
    for path in [
        "/devices/boiler-7",
        "/alarms",
        "/alarms/alm-00-1-1",
        "/activity",
        "/subscriptions",
        "/notifications",
        "/connect",
    ] {
        let answer = portal.send(get(path, "")).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers[header::LOCATION]),
            (303, &"/sign-in".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn no_form_does_anything_without_the_token_of_its_session() {
    let (portal, cookie) = hostile().await;
    let token = form_token(&portal.send(get("/fleet", &cookie)).await);
    for (path, fields) in [
        ("/devices/boiler-7/commands", "method=stop"),
        ("/devices/boiler-7/attributes", "scope=shared&key=a&value=1"),
        ("/commands/cmd-00-1-1/cancel", ""),
        ("/alarms/alm-00-1-1/acknowledge", ""),
        ("/alarms/alm-00-1-1/clear", ""),
        ("/subscriptions", "name=a&email=a@b"),
        ("/subscriptions/sub-1/test", ""),
        ("/subscriptions/sub-1/remove", ""),
        ("/connect", "id=boiler-8"),
        ("/sign-out", ""),
    ] {
        let answer = portal.send(post(path, &cookie, OURS, fields)).await;
        assert_eq!(answer.status, 403, "{path}");
        let answer = portal
            .send(post(path, &cookie, Some("http://evil.test"), &format!("{fields}&token={token}")))
            .await;
        assert_eq!(answer.status, 403, "{path} from elsewhere");
    }
    let state = portal.core.0.lock();
    assert_eq!((state.commands.len(), state.subscriptions.len(), state.devices.len()), (1, 1, 1));
    assert!(
        state.attributes["boiler-7"].shared.len() == 1 && state.alarms["alm-00-1-1"].acknowledged.is_none()
    );
}

#[tokio::test]
async fn a_device_is_shown_with_its_chart_and_takes_commands() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    let now = jiff::Timestamp::now().as_millisecond();
    {
        let mut state = portal.core.0.lock();
        state.devices.insert("b".to_owned(), device("b"));
        for at in 0..10 {
            let ts = now - at * 60_000;
            state.points.insert(("b".to_owned(), ts, "t".to_owned()), number(ts, "t", 70.0 + at as f64));
        }
    }
    let page = portal.send(get("/devices/b?key=t&range=1d", &cookie)).await;
    let text = page.text();
    for part in
        ["<svg class=\"chart\"", "lowest 70, highest 79, mean 74.5", "class=\"line\" d=\"M", "1 month"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut request = get("/devices/b", &cookie);
    request.headers_mut().insert("x-regions", "values ledger".parse().unwrap());
    let parts = portal.send(request).await.text();
    assert!(parts.contains("id=\"values\"") && !parts.contains("<svg"), "what nobody asked for is not read");
    let none = portal.send(get("/devices/b?key=other", &cookie)).await.text();
    assert!(none.contains("No number within 1 hour"), "{none}");

    let token = form_token(&page);
    let path = "/devices/b/commands";
    let sent = portal
        .send(post(path, &cookie, OURS, &format!("token={token}&method=stop&params=%7B%22v%22%3A1.50%7D")))
        .await;
    assert_eq!(
        (sent.status.as_u16(), &sent.headers[header::LOCATION]),
        (303, &"/devices/b#commands".parse().unwrap())
    );
    assert_eq!(portal.core.0.lock().commands["cmd-00-1-1"].params, "{\"v\":1.50}");
    let ledger = portal.send(get("/devices/b", &cookie)).await.text();
    assert!(ledger.contains("stop") && ledger.contains("queued") && ledger.contains("Take back"), "{ledger}");

    for (fields, said) in [
        ("method=stop&params=%7Bv", "Parameters: this is not JSON"),
        ("method=&params=1", "Method: "),
        ("method=stop&params=1&expires_in_s=soon", "Time for it: this is a whole number"),
    ] {
        let refused = portal.send(post(path, &cookie, OURS, &format!("token={token}&{fields}"))).await;
        let text = refused.text();
        assert_eq!(refused.status, 400, "{fields}");
        assert!(text.contains(said) && text.contains("role=\"alert\""), "{fields}: {text}");
        assert!(text.contains("data-source=\"/devices/b\""), "a page to go on from");
        assert_eq!(
            text.contains("name=\"method\" required maxlength=\"128\" value=\"stop\""),
            fields.contains("stop")
        );
    }
    assert_eq!(portal.core.0.lock().commands.len(), 1);
    let back =
        portal.send(post("/commands/cmd-00-1-1/cancel", &cookie, OURS, &format!("token={token}"))).await;
    assert_eq!(back.headers[header::LOCATION], "/devices/b#commands");
    let again =
        portal.send(post("/commands/cmd-00-1-1/cancel", &cookie, OURS, &format!("token={token}"))).await;
    assert_eq!((again.status.as_u16(), again.text().contains("ended already")), (409, true));
    let nobody = portal.send(get("/devices/nobody", &cookie)).await;
    assert_eq!((nobody.status.as_u16(), nobody.text().contains("there is no device")), (404, true));
}

#[tokio::test]
async fn attributes_are_set_as_what_they_look_like_and_removed() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    portal.core.0.lock().devices.insert("b".to_owned(), device("b"));
    let token = form_token(&portal.send(get("/devices/b", &cookie)).await);
    let set = async |fields: &str| {
        let fields = format!("token={token}&{fields}");
        portal.send(post("/devices/b/attributes", &cookie, OURS, &fields)).await.status.as_u16()
    };
    for (value, kind) in [
        ("55", Kind::Integer(55)),
        ("5.5", Kind::Number(5.5)),
        ("true", Kind::Boolean(true)),
        ("on", Kind::Text("on".to_owned())),
        ("%22on%22", Kind::Text("on".to_owned())),
        ("[1]", Kind::Json("[1]".to_owned())),
    ] {
        assert_eq!(set(&format!("scope=shared&key=a%22b&value={value}")).await, 303, "{value}");
        assert_eq!(portal.core.0.lock().attributes["b"].shared["a\"b"].kind, Some(kind), "{value}");
    }
    assert_eq!(set("scope=server&key=a&value=1").await, 303);
    assert_eq!(set("scope=client&key=a&value=1").await, 400);
    assert_eq!(set("scope=shared&key=&value=1").await, 400);
    assert_eq!(set("scope=shared&key=a%22b&value=").await, 303);
    assert!(portal.core.0.lock().attributes["b"].shared.is_empty());
}

#[tokio::test]
async fn the_story_of_an_alarm_is_told_in_order() {
    let (portal, cookie) = hostile().await;
    let token = form_token(&portal.send(get("/fleet", &cookie)).await);
    let fields = format!("token={token}&note=Ada+is+on+her+way&back=/alarms/alm-00-1-1");
    let noted = portal.send(post("/alarms/alm-00-1-1/acknowledge", &cookie, OURS, &fields)).await;
    assert_eq!(noted.headers[header::LOCATION], "/alarms/alm-00-1-1");
    let text = portal.send(get("/alarms/alm-00-1-1", &cookie)).await.text();
    let places: Vec<_> = ["Raised", "The device said", "retry"]
        .iter()
        .map(|part| text.split("so-far").nth(2).unwrap().find(part))
        .collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{places:?} {text}");
    assert!(text.contains("Ada is on her way"));
    let cleared =
        portal.send(post("/alarms/alm-00-1-1/clear", &cookie, OURS, &format!("token={token}"))).await;
    assert_eq!(cleared.status, 303);
    assert_eq!(portal.core.0.lock().alarms["alm-00-1-1"].state, i32::from(AlarmState::Cleared));
    let open = portal.send(get("/alarms", &cookie)).await.text();
    assert!(open.contains("All is well"), "{open}");
    let all = portal.send(get("/alarms?state=all", &cookie)).await.text();
    assert!(all.contains("cleared") && all.contains("boiler-7"));
}

#[tokio::test]
async fn a_subscription_is_made_by_a_form_which_keeps_what_was_typed() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    let token = form_token(&portal.send(get("/subscriptions", &cookie)).await);
    let fields =
        |more: &str| format!("token={token}&name=night&min_severity=major&devices=boiler-*,+door-1&{more}");
    for (more, said) in [
        ("email=", "give an e-mail address or a webhook"),
        ("email=nobody", "E-mail address: "),
        ("url=https://example.com", "Webhook: a webhook needs a secret"),
    ] {
        let refused = portal.send(post("/subscriptions", &cookie, OURS, &fields(more))).await;
        let text = refused.text();
        assert_eq!(refused.status, 400, "{more}");
        assert!(
            text.contains(said) && text.contains("value=\"night\"") && text.contains("boiler-*, door-1"),
            "{more}: {text}"
        );
    }
    let made = portal.send(post("/subscriptions", &cookie, OURS, &fields("email=night@example.com"))).await;
    assert_eq!(made.status, 303);
    let list = portal.send(get("/subscriptions", &cookie)).await.text();
    assert!(list.contains("e-mail to night@example.com") && list.contains("major or worse"), "{list}");
    let test = || post("/subscriptions/sub-1/test", &cookie, OURS, &format!("token={token}"));
    let tested = portal.send(test()).await;
    assert_eq!(
        (tested.status.as_u16(), &tested.headers[header::LOCATION]),
        (303, &"/notifications".parse().unwrap())
    );
    let told = portal.send(get("/notifications", &cookie)).await.text();
    // It was made years ago: what has been waited for so long is looked for once in a minute.
    assert!(told.contains("test message") && told.contains("data-soon=\"61500\""), "{told}");
    assert!(!told.contains("alm-00-1-7") && !told.contains("/devices/sub-1"), "{told}");
    assert_eq!(portal.send(test()).await.status, 429);
    let removed =
        portal.send(post("/subscriptions/sub-1/remove", &cookie, OURS, &format!("token={token}"))).await;
    assert_eq!(removed.status, 303);
    assert!(portal.core.0.lock().subscriptions.is_empty());
}

#[tokio::test]
async fn a_first_device_is_made_and_its_first_reading_turns_the_page_green() {
    let portal = Portal::start().await;
    let cookie = sign_in(&portal).await;
    let token = form_token(&portal.send(get("/fleet", &cookie)).await);
    let bad = portal.send(post("/connect", &cookie, OURS, &format!("token={token}&id=a+b"))).await;
    assert_eq!((bad.status.as_u16(), bad.text().contains("Id: ")), (400, true), "{}", bad.text());
    let made =
        portal.send(post("/connect", &cookie, OURS, &format!("token={token}&id=boiler-7&site=north"))).await;
    let text = made.text();
    assert_eq!(made.status, 201);
    assert!(text.contains("mosquitto_pub -h stoker.test -p 1883 -q 1 -u stk_boiler-7"), "{text}");
    let mut elsewhere = stoker_portal::PortalConfig::new(crate::harness::TOKEN);
    elsewhere.mqtt = "mqtts://devices.example:443".parse().unwrap();
    let elsewhere = Portal::with(elsewhere).await;
    let cookie_there = sign_in(&elsewhere).await;
    let first = elsewhere.send(get("/fleet", &cookie_there)).await.text();
    assert!(first.contains("-h devices.example -p 443 --tls-use-os-certs -q 1"), "{first}");
    assert!(
        text.contains("Waiting for the first reading") && text.contains("data-source=\"/connect/boiler-7\"")
    );
    let again = portal.send(post("/connect", &cookie, OURS, &format!("token={token}&id=boiler-7"))).await;
    assert_eq!(again.status, 409);
    portal.core.0.lock().points.insert(("boiler-7".to_owned(), NOW, "t".to_owned()), number(NOW, "t", 71.2));
    let text = portal.send(get("/connect/boiler-7", &cookie)).await.text();
    assert!(
        text.contains("The first reading is here") && text.contains("arrived good") && !text.contains("stk_"),
        "{text}"
    );
}

#[tokio::test]
async fn a_first_view_is_small() {
    let (portal, cookie) = hostile().await;
    let page = portal.send(get("/fleet", &cookie)).await;
    let text = page.text();
    let mut bytes = page.body.len();
    for path in text
        .split(['"'])
        .filter(|part| part.starts_with("/assets/"))
        .collect::<std::collections::BTreeSet<_>>()
    {
        let asset = portal.send(get(path, "")).await;
        assert_eq!(asset.status, 200, "{path}");
        bytes += asset.body.len();
    }
    assert!(bytes < 100_000, "{bytes}");
}

#[tokio::test]
async fn the_numbers_of_a_series_are_summarized() {
    let portal = Portal::start().await;
    portal.core.0.lock().devices.insert("b".to_owned(), device("b"));
    portal.core.0.lock().points.insert(("b".to_owned(), NOW, "a,b".to_owned()), number(NOW, "a,b", 1.5));
    let path = format!("/devices/b/telemetry/summary?key=a%2Cb&from={NOW}&to={}&parts=10", NOW + 99);
    let answer = portal.get(&path).await.json();
    let part = json!({"ts": NOW, "count": 1, "min": 1.5, "max": 1.5, "mean": 1.5});
    assert_eq!(answer, json!({"items": [part], "part_ms": 10, "complete_from": NOW}));
    for bad in ["", "key=", "key=a&parts=0", "key=a&parts=1001", "key=a&from=2&to=1"] {
        portal.get(&format!("/devices/b/telemetry/summary?{bad}")).await.problem(400, "invalid_request");
    }
}
