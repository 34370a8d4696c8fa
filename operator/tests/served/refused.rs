//! A write that is not taken concerns its resource, and nothing else.

use serde_json::json;

use crate::server::Server;
use crate::space::{Operator, is, monitors, platform, pod, said};

#[tokio::test]
async fn a_deployment_that_is_refused_keeps_nobody_else_waiting() {
    let server = Server::new();
    server.refuse("PATCH deployments/edge-", 422, "exceeded quota: pods");
    platform(&server);
    let operator = Operator::begin(&server, false);
    server.until("the Gateway says so", |server| is(server, "gateways", "edge", "WriteRefused")).await;
    let (_, message) = said(&server, "gateways", "edge", "Ready").unwrap();
    assert!(
        message.contains("apply Deployment edge-") && message.contains("exceeded quota: pods"),
        "{message}"
    );
    for (plural, name) in [("coreshards", "main"), ("notifiers", "people"), ("portals", "console")] {
        server.until("the others go on", |server| is(server, plural, name, "RollingOut")).await;
    }
    // What happens to others is looked at each time, although the one is refused all along.
    let rounds = 20;
    for round in 1..=rounds {
        server.change("deployments", "main-core", |of| {
            of["status"] = json!({"observedGeneration": 1, "replicas": round});
        });
        server
            .until("it is seen", |server| {
                server.find("coreshards", "main").is_some_and(|of| of["status"]["replicas"] == round)
            })
            .await;
    }
    let tries = server.count("PATCH deployments/edge-");
    assert!(tries < rounds, "{tries} tries in {rounds} looks: it has no pause of its own");
    server.take_all();
    server.change("gateways", "edge", |of| of["spec"]["replicas"] = json!(1));
    server
        .until("another spec is tried at once", |server| server.find("deployments", "edge-").is_some())
        .await;
    server.until("the Gateway goes on", |server| is(server, "gateways", "edge", "RollingOut")).await;
    operator.end().await;
}

#[tokio::test]
async fn a_webhook_that_fails_stops_no_status_and_no_other_object() {
    let server = Server::new();
    server.refuse("PATCH poddisruptionbudgets/edge-", 500, "failed calling webhook \"w.example.com\"");
    platform(&server);
    let operator = Operator::begin(&server, false);
    server.until("the Gateway says so", |server| is(server, "gateways", "edge", "WriteFailed")).await;
    let (_, message) = said(&server, "gateways", "edge", "Progressing").unwrap();
    assert!(message.contains("failed calling webhook"), "{message}");
    server
        .until("its other objects are made", |server| server.find("services", "edge-gateway").is_some())
        .await;
    assert!(server.find("deployments", "edge-").is_none(), "its pods wait for all of them");
    for (plural, name) in [("coreshards", "main"), ("notifiers", "people"), ("portals", "console")] {
        server.until("the others go on", |server| is(server, plural, name, "RollingOut")).await;
    }
    server.take_all();
    server.until("it is tried again", |server| server.find("deployments", "edge-").is_some()).await;
    operator.end().await;
}

#[tokio::test]
async fn a_status_that_is_refused_stops_no_other() {
    let server = Server::new();
    server.refuse("PATCH coreshards/main/status", 403, "denied by a policy");
    platform(&server);
    let operator = Operator::begin(&server, false);
    for (plural, name) in [("gateways", "edge"), ("notifiers", "people"), ("portals", "console")] {
        server.until("the others are told", |server| is(server, plural, name, "RollingOut")).await;
    }
    assert!(server.find("deployments", "main-core").is_some());
    server.take_all();
    server.until("it is tried again", |server| is(server, "coreshards", "main", "RollingOut")).await;
    operator.end().await;
}

#[tokio::test]
async fn what_is_for_metrics_alone_keeps_no_pods_waiting() {
    let server = Server::new();
    server.refuse("PATCH servicemonitors/", 403, "servicemonitors are denied by a policy");
    server.refuse("PATCH services/people-notifier-metrics", 422, "no such Service");
    monitors(&server);
    platform(&server);
    let operator = Operator::begin(&server, true);
    for name in ["main-core", "edge-", "people-notifier", "console-portal"] {
        server.until("all pods are asked for", |server| server.find("deployments", name).is_some()).await;
    }
    pod(&server, "people-notifier");
    server
        .until("it is told once all else is there", |server| {
            is(server, "notifiers", "people", "WriteRefused")
        })
        .await;
    let (_, message) = said(&server, "notifiers", "people", "Ready").unwrap();
    assert!(message.contains("no such Service") && message.contains("all else is there"), "{message}");
    let (reason, _) = said(&server, "notifiers", "people", "Progressing").unwrap();
    assert_eq!(reason, "Settled", "pods are another matter");
    server.take_all();
    server.until("it is tried again", |server| is(server, "notifiers", "people", "AsWished")).await;
    assert!(server.find("servicemonitors", "people-notifier-metrics").is_some());
    operator.end().await;
}
