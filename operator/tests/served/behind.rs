//! What may have happened without being seen.

use serde_json::json;

use crate::server::Server;
use crate::space::{Operator, is, platform, pod};

#[tokio::test]
async fn nothing_is_deleted_while_a_watch_fails() {
    let server = Server::new();
    platform(&server);
    let operator = Operator::begin(&server, false);
    server.until("pods are asked for", |server| server.find("deployments", "people-").is_some()).await;
    pod(&server, "people-notifier");
    server.until("it runs", |server| is(server, "notifiers", "people", "AsWished")).await;
    assert_eq!(operator.health.check_ready(), Ok(()));
    server.refuse("WATCH portals/", 403, "cannot watch resource \"portals\"");
    let before = server.count("WATCH portals/");
    server.change("coreshards", "main", |of| of["spec"]["replicas"] = json!(3));
    server.until("the watch is tried", |server| server.count("WATCH portals/") > before).await;
    server.change("notifiers", "people", |of| of["spec"]["webhook"] = json!({"allow": ["192.0.2.0/24"]}));
    let generation =
        |server: &Server| server.find("deployments", "people-").unwrap()["metadata"]["generation"].clone();
    server.until("its pods are to have another configuration", |server| generation(server) == 2).await;
    server.change("deployments", "people-notifier", |of| of["status"]["observedGeneration"] = json!(2));
    server
        .until("it has rolled", |server| {
            let notifier = server.find("notifiers", "people").unwrap();
            notifier["status"]["observedGeneration"] == 2 && is(server, "notifiers", "people", "AsWished")
        })
        .await;
    assert_eq!(server.count("DELETE "), 0);
    server.take_all();
    server.until("the old one goes", |server| server.count("DELETE configmaps/people-notifier-") == 1).await;
    operator.end().await;
}
