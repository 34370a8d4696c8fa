//! The certificates among the services: made once, by whichever operator, and never in place of what is another's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::server::Server;
use crate::space::{Operator, is, platform, said};

const SECRETS: &str = "/api/v1/namespaces/a/secrets";
const OURS: [&str; 5] =
    ["stoker-ca", "stoker-core-tls", "stoker-gateway-tls", "stoker-notifier-tls", "stoker-portal-tls"];
const RESOURCES: [(&str, &str); 4] =
    [("coreshards", "main"), ("gateways", "edge"), ("notifiers", "people"), ("portals", "console")];

fn value(server: &Server, name: &str, key: &str) -> Option<String> {
    let secret = server.find("secrets", name)?;
    let text = STANDARD.decode(secret["data"][key].as_str()?).unwrap();
    Some(String::from_utf8(text).unwrap())
}

fn all_run(server: &Server) -> bool {
    RESOURCES.iter().all(|(plural, name)| is(server, plural, name, "RollingOut"))
}

/// All have a certificate, and trust the one authority and no other.
fn assert_whole(server: &Server) {
    let authority = value(server, "stoker-ca", "tls.crt").unwrap();
    assert_eq!(value(server, "stoker-ca", "next.crt"), None);
    for name in &OURS[1..] {
        assert_eq!(value(server, name, "ca.crt").as_ref(), Some(&authority), "{name}");
        assert!(value(server, name, "tls.crt").unwrap().contains("BEGIN CERTIFICATE"));
        assert!(value(server, name, "tls.key").unwrap().contains("PRIVATE KEY"));
    }
}

#[tokio::test]
async fn they_are_there_before_any_pod_and_belong_to_those_who_have_them() {
    let server = Server::new();
    platform(&server);
    let operator = Operator::begin(&server, false);
    server
        .until("pods are asked for", |server| {
            let pods = server.find("deployments", "").is_some();
            assert!(!pods || OURS.iter().all(|name| server.find("secrets", name).is_some()));
            pods
        })
        .await;
    server.until("all are", all_run).await;
    assert_whole(&server);
    let owners = |name: &str| server.find("secrets", name).unwrap()["metadata"]["ownerReferences"].clone();
    assert_eq!(owners("stoker-ca").as_array().unwrap().len(), 4);
    let of_gateway = owners("stoker-gateway-tls");
    assert_eq!((of_gateway.as_array().unwrap().len(), &of_gateway[0]["kind"]), (1, &json!("Gateway")));
    assert_eq!(of_gateway[0].get("controller"), None, "several may own it");
    assert_eq!(server.find("secrets", "stoker-gateway-tls").unwrap()["type"], "kubernetes.io/tls");
    // What is mounted is the certificate of the kind, and never the authority.
    for (_, name) in RESOURCES {
        let pods = server.find("deployments", name).unwrap()["spec"]["template"]["spec"].to_string();
        assert!(pods.contains("-tls\"") && !pods.contains("stoker-ca"), "{pods}");
    }
    assert_eq!(server.count("POST secrets/"), 5);
    assert_eq!(server.count("PATCH secrets/"), 0);
    assert_eq!(server.count("GET secrets/stoker-ca"), 4, "the key is read to sign, and not kept");
    operator.end().await;
}

/// When two take owners away, by what each has seen last, none may be left in the end, and the object stays for good.
#[tokio::test]
async fn owners_are_added_and_never_taken_away_which_is_for_the_cluster_to_do() {
    const SHARED: [(&str, &str); 3] =
        [("secrets", "stoker-ca"), ("secrets", "stoker-core-tls"), ("services", "stoker-cores")];
    let server = Server::new();
    platform(&server);
    let range = |first: u16, last: u16| {
        move |shard: &mut Value| {
            shard["spec"]["slots"] = json!({"first": first, "last": last});
            let generation = shard["metadata"]["generation"].as_i64().unwrap_or(1);
            shard["metadata"]["generation"] = json!(generation + 1);
        }
    };
    let mut other = server.find("coreshards", "main").unwrap();
    other["metadata"] = json!({"name": "other", "namespace": "a"});
    range(128, 255)(&mut other);
    server.put("/apis/stoker.dev/v1alpha1/namespaces/a/coreshards", other);
    server.change("coreshards", "main", range(0, 127));
    let operator = Operator::begin(&server, false);
    let owned_by = |server: &Server, shard: &str| {
        SHARED.iter().all(|(plural, name)| {
            let object = server.find(plural, name).unwrap_or_default();
            let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            owners.iter().any(|owner| owner["name"] == shard)
        })
    };
    let both = |server: &Server| owned_by(server, "main") && owned_by(server, "other");
    server.until("both own what they share", both).await;

    server.delete("coreshards", "other");
    server.change("coreshards", "main", range(0, 255));
    let newest = |server: &Server| {
        let main = server.find("coreshards", "main").unwrap();
        main["status"]["observedGeneration"] == main["metadata"]["generation"]
    };
    server.until("the one has all slots", newest).await;
    assert!(both(&server), "somebody has taken an owner away");

    let mut third = server.find("coreshards", "main").unwrap();
    third["metadata"] = json!({"name": "third", "namespace": "a"});
    range(128, 255)(&mut third);
    server.change("coreshards", "main", range(0, 127));
    server.put("/apis/stoker.dev/v1alpha1/namespaces/a/coreshards", third);
    server.until("it owns what they share, too", |server| owned_by(server, "third")).await;
    assert!(both(&server), "somebody has taken an owner away");
    operator.end().await;
}

#[tokio::test]
async fn an_operator_that_is_killed_after_each_write_makes_each_of_them_once() {
    let server = Server::new();
    platform(&server);
    let mut lives = 0;
    loop {
        server.cut_after(1);
        let operator = Operator::begin(&server, false);
        lives += 1;
        let over = |server: &Server| server.is_cut() || all_run(server);
        server.until("it is cut off, or all is done", over).await;
        if !server.is_cut() {
            operator.end().await;
            break;
        }
        operator.kill().await;
        assert!(lives < 200, "it comes to no end");
    }
    assert!(lives > 5, "{lives} lives: it was not disturbed");
    assert_eq!((server.count("POST secrets/"), server.count("PATCH secrets/")), (5, 0));
    assert_whole(&server);
}

#[tokio::test]
async fn of_two_operators_that_know_nothing_of_each_other_one_is_refused() {
    let server = Server::new();
    platform(&server);
    let operators = [Operator::begin(&server, false), Operator::begin(&server, false)];
    server.until("all is there", all_run).await;
    assert_whole(&server);
    for operator in operators {
        operator.end().await;
    }
}

#[tokio::test]
async fn what_somebody_deletes_or_damages_is_made_anew_and_nothing_rolls() {
    let server = Server::new();
    platform(&server);
    let operator = Operator::begin(&server, false);
    server.until("all is there", all_run).await;
    let deployments = ["main-core", "edge-", "people-notifier", "console-portal"];
    let versions = |server: &Server| {
        deployments.map(|name| server.find("deployments", name).unwrap()["metadata"]["generation"].clone())
    };
    let before = versions(&server);

    for name in &OURS[1..] {
        let old = value(&server, name, "tls.crt");
        server.delete("secrets", name);
        server.until("it is back", |server| value(server, name, "tls.crt").is_some()).await;
        assert_ne!(value(&server, name, "tls.crt"), old);
    }
    server.change("secrets", "stoker-portal-tls", |secret| {
        secret["data"]["tls.key"] = json!(STANDARD.encode("nothing"));
    });
    server
        .until("the key is one again", |server| {
            value(server, "stoker-portal-tls", "tls.key").is_some_and(|key| key.contains("PRIVATE KEY"))
        })
        .await;
    assert_whole(&server);

    // Who has a certificate of the former authority goes on with it: the next one is trusted first.
    let held = |server: &Server| OURS.map(|name| value(server, name, "tls.crt"));
    let former = held(&server);
    server.delete("secrets", "stoker-ca");
    server
        .until("all trust both", |server| {
            let bundles = OURS[1..].iter().map(|name| value(server, name, "ca.crt").unwrap());
            bundles.map(|pem| pem.matches("BEGIN").count()).all(|count| count == 2)
                && value(server, "stoker-ca", "next.since").is_some()
        })
        .await;
    assert_eq!(held(&server)[1..], former[1..]);
    assert_eq!(value(&server, "stoker-ca", "former.crt").map(|pem| pem.matches("BEGIN").count()), Some(1));
    assert_eq!(versions(&server), before);
    operator.end().await;
}

#[tokio::test]
async fn what_somebody_else_has_made_is_left_to_them_and_named() {
    let server = Server::new();
    let theirs = |name: &str| {
        let meta = json!({"name": name, "namespace": "a", "labels": {"app": "theirs"}});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"tls.crt": "YWI="}})
    };
    let data = |server: &Server, name: &str| server.find("secrets", name).map(|of| of["data"].clone());
    server.put(SECRETS, theirs("stoker-ca"));
    server.put(SECRETS, theirs("stoker-portal-tls"));
    platform(&server);
    let operator = Operator::begin(&server, false);
    server.until("it is said", |server| is(server, "gateways", "edge", "CertificatesStuck")).await;
    let (_, message) = said(&server, "gateways", "edge", "Ready").unwrap();
    assert!(
        message.contains("Secret stoker-ca is there, and was made by somebody else: delete it"),
        "{message}"
    );
    server.until("it is said", |server| is(server, "portals", "console", "SecretTaken")).await;
    assert_eq!(data(&server, "stoker-ca"), Some(json!({"tls.crt": "YWI="})));
    server.delete("secrets", "stoker-ca");
    for (plural, name) in &RESOURCES[..3] {
        server.until("the others go on", |server| is(server, plural, name, "RollingOut")).await;
    }
    assert_eq!(data(&server, "stoker-portal-tls"), Some(json!({"tls.crt": "YWI="})));
    let (_, message) = said(&server, "portals", "console", "Ready").unwrap();
    assert!(message.contains("Secret stoker-portal-tls is there"), "{message}");
    server.delete("secrets", "stoker-portal-tls");
    server.until("it goes on", |server| is(server, "portals", "console", "RollingOut")).await;

    // One of ours that cannot be used is not replaced either: what runs goes on.
    server.change("secrets", "stoker-ca", |secret| secret["data"]["tls.crt"] = json!("YWI="));
    server.change("notifiers", "people", |of: &mut Value| {
        of["metadata"]["annotations"] = json!({"stoker.dev/paused": "false"});
    });
    server.delete("secrets", "stoker-notifier-tls");
    server.until("it is said", |server| is(server, "notifiers", "people", "CertificatesStuck")).await;
    let (_, message) = said(&server, "notifiers", "people", "Accepted").unwrap();
    assert!(message.contains("Secret stoker-ca cannot be used: tls.crt has no certificate"), "{message}");
    assert_eq!(data(&server, "stoker-ca").unwrap()["tls.crt"], "YWI=");
    operator.end().await;
}

#[tokio::test]
async fn a_write_that_is_refused_is_told_and_what_has_a_certificate_goes_on() {
    let server = Server::new();
    platform(&server);
    server.refuse("POST secrets/", 403, "secrets is forbidden: denied by a policy");
    let operator = Operator::begin(&server, false);
    server.until("it is said", |server| is(server, "coreshards", "main", "WriteRefused")).await;
    let (_, message) = said(&server, "coreshards", "main", "Ready").unwrap();
    assert!(message.contains("make Secret stoker-ca: secrets is forbidden: denied by a policy"), "{message}");
    assert!(server.find("deployments", "").is_none());
    server.take_all();
    server.change("secrets", "bus", |of| of["data"]["url"] = json!("YWM="));
    server.until("it is tried again", all_run).await;
    assert_whole(&server);
    operator.end().await;
}
