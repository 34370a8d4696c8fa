use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use serde_json::{Value, json};

use crate::harness::{Answer, Portal, TOKEN};

async fn import(portal: &Portal, body: Body) -> Answer {
    let request = Request::post("/api/v1/devices:import")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/x-ndjson")
        .body(body)
        .unwrap();
    portal.send(request).await
}

#[tokio::test]
async fn thousands_of_devices_come_in_at_once_with_their_tokens() {
    let portal = Portal::start().await;
    let text: String =
        (0..3_000).map(|n| format!("{{\"id\":\"boiler-{n}\",\"site\":\"north\"}}\n")).collect();
    // Pieces that end wherever they like, as a network's do.
    let pieces: Vec<_> =
        text.as_bytes().chunks(777).map(|c| Ok::<_, std::io::Error>(Bytes::copy_from_slice(c))).collect();
    let answer = import(&portal, Body::from_stream(stream::iter(pieces))).await.json();
    assert_eq!(answer["created"], 3_000);
    assert_eq!(answer["failed"], json!([]));
    assert_eq!(answer["tokens"].as_object().unwrap().len(), 3_000);
    assert_eq!(answer["tokens"]["boiler-17"], "stk_boiler-17");
    assert_eq!(portal.core.0.lock().devices.len(), 3_000);
}

#[tokio::test]
async fn each_line_stands_alone() {
    let portal = Portal::start().await;
    portal.post("/devices", &json!({"id": "there-already"})).await;
    let long = format!("{{\"id\":\"long\",\"model\":\"{}\"}}", "x".repeat(70_000));
    let lines = [
        "{\"id\":\"a\"}",
        "",
        "{\"id\":\"there-already\"}",
        "{\"id\":\"-bad\"}",
        "nonsense",
        &long,
        "{\"id\":\"b\",\"colour\":\"red\"}",
        "{\"id\":\"c\",\"token\":\"0123456789abcdef\"}\r",
        "{\"id\":\"d\"}",
    ];
    let answer = import(&portal, Body::from(lines.join("\n"))).await.json();
    assert_eq!(answer["created"], 3);
    assert_eq!(answer["tokens"], json!({"a": "stk_a", "d": "stk_d"}));
    let failed: Vec<_> = answer["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            (
                f["line"].as_u64().unwrap(),
                f["id"].clone(),
                f["problem"]["type"].as_str().unwrap()[19..].to_owned(),
            )
        })
        .collect();
    assert_eq!(
        failed,
        [
            (3, json!("there-already"), "already_exists".to_owned()),
            (4, json!("-bad"), "invalid_request".to_owned()),
            (5, Value::Null, "invalid_request".to_owned()),
            (6, Value::Null, "invalid_request".to_owned()),
            (7, json!("b"), "invalid_request".to_owned()),
        ]
    );
}

#[tokio::test]
async fn an_import_that_breaks_off_says_what_it_made() {
    let portal = Portal::start().await;
    let pieces = [
        Ok(Bytes::from("{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":")),
        Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "gone")),
    ];
    let answer = import(&portal, Body::from_stream(stream::iter(pieces))).await.json();
    assert_eq!(answer["created"], 2);
    assert_eq!(answer["failed"][0]["line"], 3);
    assert_eq!(answer["failed"][0]["id"], Value::Null);
}

#[tokio::test]
async fn an_import_of_another_type_is_refused() {
    let portal = Portal::start().await;
    portal.post("/devices:import", &json!({"id": "a"})).await.problem(415, "unsupported_media_type");
}
