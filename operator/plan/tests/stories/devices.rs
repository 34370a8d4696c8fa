//! What a portal tells people of where devices connect.

use serde_json::{Value, json};
use stoker_crds::{Gateway, Listener};
use stoker_plan::{Object, PAUSED};

use crate::support::cluster::Cluster;
use crate::support::platform;

/// The name of the portal's ConfigMap, which is another one when its pods roll, and what it says of devices.
fn said(cluster: &Cluster) -> (String, Option<String>) {
    let plan = cluster.plan();
    let found = plan.apply.iter().find_map(|object| match object {
        Object::ConfigMap(map) if object.name().starts_with("console-portal") => Some(map),
        _ => None,
    });
    let map = found.unwrap();
    let text = &map.data.as_ref().unwrap()["stoker.yaml"];
    let config: Value = serde_yaml::from_str(text).unwrap();
    let url = config["portal"]["mqtt_url"].as_str().map(str::to_owned);
    (map.metadata.name.clone().unwrap(), url)
}

fn url(cluster: &Cluster) -> Option<String> {
    said(cluster).1
}

fn with(gateways: Vec<Gateway>) -> Cluster {
    let mut wanted = platform::whole();
    wanted.gateways = gateways;
    Cluster::new(wanted)
}

fn listeners(all: &[(&str, i32)]) -> Vec<Listener> {
    let listener = |(at, (protocol, port)): (usize, &(&str, i32))| {
        let secret = protocol.ends_with('s').then_some("devices-tls");
        let secret = if *protocol == "Ws" { None } else { secret };
        json!({"name": format!("l{at}"), "protocol": protocol, "port": port, "tlsSecretName": secret})
    };
    serde_json::from_value(all.iter().enumerate().map(listener).collect()).unwrap()
}

fn gateway(name: &str, created: &str, all: &[(&str, i32)]) -> Gateway {
    let mut gateway = platform::gateway(name, &format!("{name}.example.com"));
    gateway.metadata.creation_timestamp = Some(serde_json::from_value(json!(created)).unwrap());
    gateway.spec.listeners = listeners(all);
    gateway
}

const OLD: &str = "2026-01-01T00:00:00Z";
const YOUNG: &str = "2026-02-01T00:00:00Z";

#[test]
fn it_is_the_first_encrypted_listener_or_else_the_first_plain_one() {
    for (all, expected) in [
        (&[("Mqtt", 1883), ("Mqtts", 8883), ("Mqtts", 443)][..], Some("mqtts://a.example.com:8883")),
        (&[("Ws", 80), ("Mqtt", 1884), ("Mqtt", 1883)], Some("mqtt://a.example.com:1884")),
        (&[("Ws", 80), ("Wss", 443)], None),
    ] {
        assert_eq!(url(&with(vec![gateway("a", OLD, all)])).as_deref(), expected, "{all:?}");
    }
    assert_eq!(url(&with(Vec::new())), None);
}

#[test]
fn of_several_gateways_it_is_the_oldest_that_speaks_it() {
    let plain = |name: &str, created: &str| gateway(name, created, &[("Mqtt", 1883)]);
    let alone = with(vec![plain("b", OLD)]);
    let mut both = with(vec![gateway("a", YOUNG, &[("Mqtts", 8883)]), plain("b", OLD)]);
    assert_eq!(url(&both).as_deref(), Some("mqtt://b.example.com:1883"));
    assert_eq!(said(&both), said(&alone), "another one rolls the portal");
    let web = with(vec![plain("b", YOUNG), gateway("a", OLD, &[("Ws", 80)])]);
    assert_eq!(url(&web).as_deref(), Some("mqtt://b.example.com:1883"));
    let deleted = serde_json::from_value(json!(YOUNG)).unwrap();
    both.wanted.gateways[1].metadata.deletion_timestamp = Some(deleted);
    assert_eq!(url(&both).as_deref(), Some("mqtts://a.example.com:8883"));
}

#[test]
fn nothing_else_of_a_gateway_rolls_a_portal() {
    let begun = with(vec![gateway("a", OLD, &[("Mqtts", 8883)])]);
    let before = said(&begun);
    let changed = |change: &dyn Fn(&mut Gateway)| {
        let mut cluster = begun.clone();
        change(&mut cluster.wanted.gateways[0]);
        said(&cluster)
    };
    assert_eq!(changed(&|of| of.spec.replicas = 7), before);
    assert_eq!(changed(&|of| of.spec.pods.image = Some("stoker:2".to_owned())), before);
    assert_eq!(changed(&|of| of.spec.drain.max_rate = Some(1)), before);
    assert_eq!(changed(&|of| of.spec.listeners.extend(listeners(&[("Ws", 80), ("Mqtt", 1883)]))), before);
    assert_ne!(changed(&|of| of.spec.listeners = listeners(&[("Mqtts", 8884)])), before);
}

#[test]
fn it_stays_while_what_is_wished_has_no_effect() {
    let mut cluster = with(vec![gateway("a", OLD, &[("Mqtts", 8883)])]);
    cluster.reconcile();
    let before = said(&cluster);
    let right = cluster.wanted.gateways[0].clone();
    // The same protocol with two certificates.
    let mut wrong = listeners(&[("Mqtts", 1), ("Mqtts", 2)]);
    wrong[1].tls_secret_name = Some("other-tls".to_owned());
    cluster.wanted.gateways[0].spec.listeners = wrong;
    assert_eq!(said(&cluster), before, "a wrong spec");
    cluster.wanted.gateways[0] = right;
    let paused = [(PAUSED.to_owned(), "true".to_owned())].into();
    cluster.wanted.gateways[0].metadata.annotations = Some(paused);
    cluster.wanted.gateways[0].spec.listeners = listeners(&[("Mqtt", 1883)]);
    assert_eq!(said(&cluster), before, "a paused Gateway");
    cluster.wanted.gateways[0].metadata.annotations = None;
    assert_eq!(url(&cluster).as_deref(), Some("mqtt://a.example.com:1883"));
}
