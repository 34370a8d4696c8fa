use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;
use stoker_portal::{PortalConfig, PortalError, router};
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use tonic::transport::Endpoint;
use tower::ServiceExt;

use crate::fake::device;
use crate::harness::{Portal, TOKEN};

fn bare(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn nothing_but_the_documentation_is_answered_without_the_token() {
    let portal = Portal::start().await;
    for path in ["/api/v1/devices", "/api/v1/status", "/api/v1/nowhere", "/api/v1/devices/a/telemetry"] {
        let refused = portal.send(bare(Method::GET, path)).await;
        refused.problem(401, "unauthenticated");
        assert!(refused.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    }
    for value in ["Bearer", "Bearer wrong", "Basic YWRtaW46YWRtaW4=", "Bearer "] {
        let mut request = bare(Method::GET, "/api/v1/devices");
        request.headers_mut().insert("authorization", value.parse().unwrap());
        portal.send(request).await.problem(401, "unauthenticated");
    }
    let description = portal.send(bare(Method::GET, "/api/v1/openapi.json")).await;
    assert_eq!(description.status, 200);
    assert_eq!(description.json()["openapi"], "3.1.0");
    assert_eq!(portal.send(bare(Method::GET, "/docs/")).await.status, 200);
}

#[tokio::test]
async fn a_token_that_could_be_guessed_starts_no_portal() {
    let client = PortalServiceClient::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy().into());
    let refused = router(&PortalConfig::new("short"), client);
    assert!(matches!(refused, Err(PortalError::WeakToken)));
}

#[tokio::test]
async fn a_configuration_in_a_log_shows_no_token() {
    assert!(!format!("{:?}", PortalConfig::new(TOKEN)).contains(TOKEN));
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems_too() {
    let portal = Portal::start().await;
    portal.get("/nowhere").await.problem(404, "not_found");
    portal.send(bare(Method::GET, "/nowhere")).await.problem(404, "not_found");
    let refused = portal.ask(Method::PUT, "/devices/a", None).await;
    refused.problem(405, "method_not_allowed");
    let allow = refused.headers["allow"].to_str().unwrap();
    for method in ["GET", "PATCH", "DELETE"] {
        assert!(allow.contains(method), "{allow}");
    }
}

#[tokio::test]
async fn ids_are_checked_before_core_is_asked() {
    let portal = Portal::start().await;
    for path in ["/devices/-a", "/devices/a%20b", "/devices/a%2Fb/telemetry", "/subscriptions/%C3%A4"] {
        let problem = portal.get(path).await.problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["parameter"], "id", "{path}");
    }
    portal.get("/devices/%FF").await.problem(400, "invalid_request");
    for path in ["/commands/nonsense", "/commands/alm-00-1-1", "/alarms/alm-0-1-1"] {
        portal.get(path).await.problem(404, "not_found");
    }
    assert!(portal.core.0.lock().request_ids.is_empty(), "core was asked");
}

#[tokio::test]
async fn parameters_out_of_range_and_unknown_ones_are_named() {
    let portal = Portal::start().await;
    for (path, parameter) in [
        ("/devices?limit=0", "limit"),
        ("/devices?limit=1001", "limit"),
        ("/devices?state=gone", "state"),
        ("/devices?site=a%20b", "site"),
        ("/devices?colour=red", "colour"),
        ("/devices?limit=1&limit=2", "limit"),
        ("/devices?cursor=nonsense", "cursor"),
        ("/devices/a/telemetry?order=up", "order"),
        ("/devices/a/telemetry?from=yesterday", "from"),
        ("/devices/a/telemetry?keys=", "keys"),
        ("/commands/cmd-00-1-1?wait_s=61", "wait_s"),
        ("/alarms?severity=awful", "severity"),
    ] {
        let problem = portal.get(path).await.problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{path}: {problem}");
    }
    let problem = portal.get("/devices?limit=1001").await.json();
    assert!(problem["detail"].as_str().unwrap().contains("1000"), "the limit is named: {problem}");
}

#[tokio::test]
async fn a_body_is_refused_by_type_size_and_form() {
    let portal = Portal::start().await;
    let send = |content_type: &'static str, body: Body| {
        let request = Request::post("/api/v1/devices")
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", content_type)
            .body(body)
            .unwrap();
        portal.send(request)
    };
    send("text/plain", Body::from("{\"id\":\"a\"}")).await.problem(415, "unsupported_media_type");
    send("application/json", Body::empty()).await.problem(400, "invalid_request");
    send("application/json", Body::from("{")).await.problem(400, "invalid_request");
    send("application/json", Body::from(vec![b' '; 2_000_000])).await.problem(413, "payload_too_large");
    let good = send("application/json; charset=utf-8", Body::from("{\"id\":\"a\"}")).await;
    assert_eq!(good.status, 201, "{}", good.text());
    for (body, pointer) in [
        (json!({"id": "a", "modle": "x"}), "/modle"),
        (json!({"id": "a b"}), "/id"),
        (json!({"id": "b", "tags": ["x", 7]}), "/tags/1"),
        (json!({"id": "b", "expected_interval_s": 0}), "/expected_interval_s"),
        (json!({"id": "b", "password": ""}), "/password"),
        (json!({"id": "b", "tags": vec!["x"; 65]}), "/tags"),
        (json!({"model": "x"}), "/id"),
    ] {
        let problem = portal.post("/devices", &body).await.problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    let problem = portal.post("/devices", &json!({"id": "b", "token": "short"})).await;
    assert_eq!(problem.problem(400, "invalid_token")["errors"][0]["pointer"], "/token");
    portal.post("/devices", &json!({"id": "a"})).await.problem(409, "already_exists");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let core = PortalServiceClient::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy().into());
    let router = router(&PortalConfig::new(TOKEN), core).unwrap();
    let body = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let request = Request::post("/api/v1/devices")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), 408);
}

#[tokio::test]
async fn a_core_that_cannot_be_reached_is_said_with_a_time_to_come_back() {
    let core = PortalServiceClient::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy().into());
    let mut portal = Portal::start().await;
    portal.router = router(&PortalConfig::new(TOKEN), core).unwrap();
    let refused = portal.get("/devices").await;
    refused.problem(503, "unavailable");
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test(start_paused = true)]
async fn a_core_that_never_answers_is_given_up() {
    // Takes connections and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let core = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let mut portal = Portal::start().await;
    portal.router = router(&PortalConfig::new(TOKEN), PortalServiceClient::new(core.into())).unwrap();
    let refused = portal.get("/devices").await.problem(503, "unavailable");
    assert!(refused["detail"].as_str().unwrap().contains("may or may not"), "{refused}");
}

#[tokio::test]
async fn what_breaks_inside_is_not_told_outside() {
    let portal = Portal::start().await;
    portal.core.0.lock().broken = true;
    let refused = portal.get("/devices").await;
    refused.problem(500, "internal");
    assert!(!refused.text().contains("secret"), "{}", refused.text());
}

#[tokio::test]
async fn a_request_keeps_its_id_all_the_way_to_core() {
    let portal = Portal::start().await;
    portal.core.0.lock().devices.insert("a".to_owned(), device("a"));
    let mut request = bare(Method::GET, "/api/v1/devices/a");
    request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    request.headers_mut().insert("x-request-id", "from-outside-1".parse().unwrap());
    let answer = portal.send(request).await;
    assert_eq!(answer.headers["x-request-id"], "from-outside-1");
    assert_eq!(portal.core.0.lock().request_ids, ["from-outside-1"]);
    let made = portal.get("/devices/a").await;
    let id = made.headers["x-request-id"].to_str().unwrap();
    assert_eq!(id.len(), 24);
    assert_eq!(portal.core.0.lock().request_ids[1], id);
}

#[tokio::test(start_paused = true)]
async fn a_request_too_many_is_turned_away_and_told_why() {
    let mut config = PortalConfig::new(TOKEN);
    config.limits.requests = 1;
    config.limits.core_deadline = Duration::from_secs(3_600);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let core = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let router = router(&config, PortalServiceClient::new(core.connect_lazy().into())).unwrap();
    let request = || {
        let mut request = bare(Method::GET, "/api/v1/devices");
        request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
        request
    };
    let mut first = Box::pin(router.clone().oneshot(request()));
    let waiting = futures_util::poll!(first.as_mut());
    assert!(waiting.is_pending());
    let second = router.clone().oneshot(request()).await.unwrap();
    assert_eq!(second.status(), 503);
    assert_eq!(second.headers()["content-type"], "application/problem+json");
    let mut asks = bare(Method::GET, "/api/v1/commands/cmd-01-1-1?wait_s=60");
    asks.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let mut asks = Box::pin(router.clone().oneshot(asks));
    assert!(
        futures_util::poll!(asks.as_mut()).is_pending(),
        "who was let in with an order may ask for its end"
    );
    drop((first, asks));
}

#[tokio::test]
async fn every_answer_forbids_what_a_browser_should_not_do() {
    let portal = Portal::start().await;
    for path in ["/api/v1/devices", "/docs/", "/nowhere"] {
        let answer = portal.send(bare(Method::GET, path)).await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers["x-frame-options"], "DENY", "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
    }
}

#[tokio::test]
async fn every_operation_is_described_with_its_id_and_its_refusals() {
    let portal = Portal::start().await;
    let description = portal.send(bare(Method::GET, "/api/v1/openapi.json")).await.json();
    let mut ids = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if !operation.is_object() {
                continue;
            }
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
            for status in ["400", "401", "500", "503"] {
                let content = &operation["responses"][status]["content"];
                assert!(content["application/problem+json"].is_object(), "{method} {path} {status}");
            }
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), count), (28, 28), "{ids:?}");
}
