use http::Method;
use serde_json::{Value, json};
use stoker_proto::core::v1::{Point, Value as WireValue, value::Kind};

use crate::fake::{NOW, device};
use crate::harness::Portal;

#[tokio::test]
async fn a_made_device_has_the_documented_shape_and_its_token_once() {
    let portal = Portal::start().await;
    let made = portal
        .post("/devices", &json!({"id": "boiler-7", "model": "K200", "site": "north", "tags": ["a", "b"]}))
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.headers["location"], "/api/v1/devices/boiler-7");
    let mut expected = json!({
        "id": "boiler-7", "organization": "default", "model": "K200", "site": "north", "tags": ["a", "b"],
        "expected_interval_s": null,
        "connection": {
            "state": "never", "since": "2023-11-14T22:13:20.000Z", "gateway": null, "address": null,
            "protocol": null, "reason": null
        },
        "created_at": "2023-11-14T22:13:20.000Z", "token": "stk_boiler-7"
    });
    assert_eq!(made.json(), expected);
    expected.as_object_mut().unwrap().remove("token");
    assert_eq!(portal.get("/devices/boiler-7").await.json(), expected);
    assert_eq!(portal.get("/devices").await.json(), json!({"items": [expected], "next_cursor": null}));
}

#[tokio::test]
async fn a_device_that_brings_its_own_token_is_not_shown_it() {
    let portal = Portal::start().await;
    let made = portal.post("/devices", &json!({"id": "b", "token": "0123456789abcdef"})).await;
    assert_eq!(made.status, 201);
    assert!(made.json().get("token").is_none());
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_empties_what_it_nulls() {
    let portal = Portal::start().await;
    portal.post("/devices", &json!({"id": "b", "model": "K200", "site": "north", "tags": ["a"]})).await;
    let patched = portal
        .patch("/devices/b", &json!({"site": null, "expected_interval_s": 30, "renew_token": true}))
        .await
        .json();
    assert_eq!(patched["model"], "K200");
    assert_eq!(patched["site"], Value::Null);
    assert_eq!(patched["tags"], json!(["a"]));
    assert_eq!(patched["expected_interval_s"], 30);
    assert_eq!(patched["token"], "stk_renewed");
    let patched =
        portal.patch("/devices/b", &json!({"expected_interval_s": null, "tags": null})).await.json();
    assert_eq!(patched["expected_interval_s"], Value::Null);
    assert_eq!(patched["tags"], json!([]));
    let both = portal.patch("/devices/b", &json!({"token": null, "renew_token": true})).await;
    assert_eq!(both.problem(400, "invalid_request")["errors"][0]["pointer"], "/renew_token");
}

#[tokio::test]
async fn a_removed_device_is_gone() {
    let portal = Portal::start().await;
    portal.post("/devices", &json!({"id": "b"})).await;
    let removed = portal.ask(Method::DELETE, "/devices/b", None).await;
    assert_eq!((removed.status.as_u16(), removed.body.len()), (204, 0));
    portal.get("/devices/b").await.problem(404, "not_found");
    portal.ask(Method::DELETE, "/devices/b", None).await.problem(404, "not_found");
}

#[tokio::test]
async fn pages_of_a_list_follow_each_other_without_gap_or_repeat() {
    let portal = Portal::start().await;
    for n in 0..25 {
        let id = format!("boiler-{n:02}");
        portal.core.0.lock().devices.insert(id.clone(), device(&id));
    }
    let (mut seen, mut path) = (Vec::new(), "/devices?limit=10".to_owned());
    loop {
        let page = portal.get(&path).await.json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/devices?limit=10&cursor={cursor}");
    }
    assert_eq!(seen, (0..25).map(|n| format!("boiler-{n:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn filters_reach_core() {
    let portal = Portal::start().await;
    portal.post("/devices", &json!({"id": "a", "site": "north", "tags": ["x y"]})).await;
    portal.post("/devices", &json!({"id": "b", "site": "south", "model": "K200"})).await;
    for (query, id) in
        [("site=north", "a"), ("tag=x%20y", "a"), ("tag=x+y", "a"), ("q=K2", "b"), ("state=never&q=b", "b")]
    {
        let page = portal.get(&format!("/devices?{query}")).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), 1, "{query}");
        assert_eq!(page["items"][0]["id"], id, "{query}");
    }
    assert_eq!(portal.get("/devices?state=online").await.json()["items"], json!([]));
}

fn put(portal: &Portal, key: &str, ts: i64, kind: Kind) {
    let point = Point { key: key.to_owned(), ts, value: Some(WireValue { kind: Some(kind) }) };
    portal.core.0.lock().points.insert(("b".to_owned(), ts, key.to_owned()), point);
}

#[tokio::test]
async fn telemetry_comes_back_as_it_was_sent() {
    let portal = Portal::start().await;
    portal.core.0.lock().devices.insert("b".to_owned(), device("b"));
    put(&portal, "on", NOW, Kind::Boolean(true));
    put(&portal, "count", NOW + 1, Kind::Integer(i64::MAX));
    put(&portal, "t", NOW + 2, Kind::Number(71.2));
    put(&portal, "whole", NOW + 3, Kind::Number(7.0));
    put(&portal, "text", NOW + 4, Kind::Text("é\"".to_owned()));
    put(&portal, "json", NOW + 5, Kind::Json(r#"{"a":1.50}"#.to_owned()));
    let answer = portal.get("/devices/b/telemetry?order=asc").await;
    assert_eq!(
        answer.text(),
        concat!(
            r#"{"items":[{"key":"on","ts":1700000000000,"value":true},"#,
            r#"{"key":"count","ts":1700000000001,"value":9223372036854775807},"#,
            r#"{"key":"t","ts":1700000000002,"value":71.2},"#,
            r#"{"key":"whole","ts":1700000000003,"value":7.0},"#,
            r#"{"key":"text","ts":1700000000004,"value":"é\""},"#,
            r#"{"key":"json","ts":1700000000005,"value":{"a":1.50}}],"next_cursor":null}"#
        )
    );
    let latest = portal.get("/devices/b/telemetry/latest?keys=t,json").await;
    assert_eq!(
        latest.text(),
        r#"{"json":{"ts":1700000000005,"value":{"a":1.50}},"t":{"ts":1700000000002,"value":71.2}}"#
    );
}

#[tokio::test]
async fn telemetry_is_newest_first_and_resumes_between_points_of_one_time() {
    let portal = Portal::start().await;
    portal.core.0.lock().devices.insert("b".to_owned(), device("b"));
    for key in ["a", "b", "c"] {
        for ts in [NOW, NOW + 1] {
            put(&portal, key, ts, Kind::Integer(ts));
        }
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = portal.get(&format!("/devices/b/telemetry?limit=2{cursor}")).await.json();
        for item in page["items"].as_array().unwrap() {
            seen.push((item["ts"].as_i64().unwrap(), item["key"].as_str().unwrap().to_owned()));
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.reverse();
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (6, &sorted));
}

#[tokio::test]
async fn time_spans_take_both_forms() {
    let portal = Portal::start().await;
    portal.core.0.lock().devices.insert("b".to_owned(), device("b"));
    put(&portal, "t", NOW, Kind::Integer(1));
    put(&portal, "t", NOW + 1_000, Kind::Integer(2));
    for (span, count) in [
        ("from=1700000000000&to=1700000000000", 1),
        ("from=2023-11-14T22:13:20Z&to=2023-11-14T23:13:20.500%2B01:00", 1),
        ("from=2023-11-14T22:13:20Z", 2),
        ("to=0", 0),
    ] {
        let page = portal.get(&format!("/devices/b/telemetry?{span}")).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{span}");
    }
    let backwards = portal.get("/devices/b/telemetry?from=2&to=1").await;
    assert_eq!(backwards.problem(400, "invalid_request")["errors"][0]["parameter"], "from");
}
