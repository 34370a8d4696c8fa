//! What the API server would refuse, and what it says then.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kube::core::cel::validate_cel_schema;
use schemars::JsonSchema;
use serde_json::{Value, json};
use stoker_crds::{CoreShardSpec, GatewaySpec, Notifier, NotifierSpec};

/// The messages of all rules that this breaks.
fn refusals<T: JsonSchema>(value: &Value, old: Option<&Value>) -> Vec<String> {
    let Err(errors) = validate_cel_schema::<T>(value, old) else { return Vec::new() };
    errors.iter().map(|error| error.message.clone()).collect()
}

fn gateway(listeners: &Value) -> Value {
    json!({
        "hostname": "devices.example.com",
        "replicas": 2,
        "listeners": listeners,
        "bus": {"secretName": "bus"},
    })
}

fn listeners_refused(listeners: &Value) -> Vec<String> {
    refusals::<GatewaySpec>(&gateway(listeners), None)
}

#[test]
fn a_listener_has_a_secret_when_it_is_encrypted_and_only_then() {
    for (protocol, secret, refused) in [
        ("Mqtt", None, None),
        ("Ws", None, None),
        ("Mqtts", Some("tls"), None),
        ("Wss", Some("tls"), None),
        ("Mqtts", None, Some("needs tlsSecretName")),
        ("Wss", None, Some("needs tlsSecretName")),
        ("Mqtt", Some("tls"), Some("tlsSecretName is for listeners of protocol Mqtts or Wss")),
        ("Ws", Some("tls"), Some("tlsSecretName is for listeners of protocol Mqtts or Wss")),
    ] {
        let mut listener = json!({"name": "a", "protocol": protocol, "port": 1883});
        if let Some(secret) = secret {
            listener["tlsSecretName"] = json!(secret);
        }
        let said = listeners_refused(&json!([listener]));
        match refused {
            None => assert!(said.is_empty(), "{protocol} {secret:?}: {said:?}"),
            Some(part) => {
                assert!(said.len() == 1 && said[0].contains(part), "{protocol} {secret:?}: {said:?}");
            }
        }
    }
}

#[test]
fn listeners_have_ports_of_their_own() {
    let two = |other: i32| {
        json!([
            {"name": "a", "protocol": "Mqtt", "port": 1883},
            {"name": "b", "protocol": "Ws", "port": other},
        ])
    };
    assert_eq!(listeners_refused(&two(8083)), [""; 0]);
    let said = listeners_refused(&two(1883));
    assert!(said.len() == 1 && said[0].contains("the same port"), "{said:?}");
}

#[test]
fn the_name_is_one_that_a_service_can_have() {
    let longest = "a".repeat(40);
    let too_long = "a".repeat(41);
    for (name, fits) in [
        ("a", true),
        ("edge-1", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("1-edge", false),
        ("edge-", false),
        ("edge.eu", false),
    ] {
        let resource = json!({
            "apiVersion": "stoker.dev/v1alpha1",
            "kind": "Notifier",
            "metadata": {"name": name},
            "spec": {"replicas": 2, "webhook": {"allow": []}, "bus": {"secretName": "bus"}},
        });
        let said = refusals::<Notifier>(&resource, None);
        assert_eq!(said.is_empty(), fits, "{name}: {said:?}");
        assert!(said.iter().all(|message| message.contains("a Service is named after it")), "{said:?}");
    }
}

#[test]
fn the_hostname_stays() {
    let listeners = json!([{"name": "a", "protocol": "Mqtt", "port": 1883}]);
    let old = gateway(&listeners);
    let mut new = old.clone();
    new["replicas"] = json!(3);
    assert_eq!(refusals::<GatewaySpec>(&new, Some(&old)), [""; 0]);
    new["hostname"] = json!("other.example.com");
    let said = refusals::<GatewaySpec>(&new, Some(&old));
    assert!(said.len() == 1 && said[0].contains("hostname can't be changed"), "{said:?}");
}

fn shard(first: i32, last: i32, keyspace: &str) -> Value {
    json!({
        "replicas": 3,
        "slots": {"first": first, "last": last},
        "cassandra": {"contactPoints": ["c"], "keyspace": keyspace, "datacenter": "dc1"},
        "bus": {"secretName": "bus"},
    })
}

#[test]
fn the_first_slot_comes_before_the_last() {
    assert_eq!(refusals::<CoreShardSpec>(&shard(0, 255, "stoker"), None), [""; 0]);
    assert_eq!(refusals::<CoreShardSpec>(&shard(7, 7, "stoker"), None), [""; 0]);
    let said = refusals::<CoreShardSpec>(&shard(8, 7, "stoker"), None);
    assert!(said.len() == 1 && said[0].contains("first is above"), "{said:?}");
}

#[test]
fn the_keyspace_stays() {
    let said = refusals::<CoreShardSpec>(&shard(0, 255, "other"), Some(&shard(0, 255, "stoker")));
    assert!(said.len() == 1 && said[0].contains("keyspace can't be changed"), "{said:?}");
}

#[test]
fn what_is_left_out_is_the_same_as_before() {
    let spec: CoreShardSpec = serde_json::from_value(json!({
        "cassandra": {"contactPoints": ["c"], "keyspace": "stoker", "datacenter": "dc1"},
        "bus": {"secretName": "bus"},
    }))
    .unwrap();
    assert_eq!((spec.replicas, spec.slots.first, spec.slots.last), (2, 0, 255));
    let spec: NotifierSpec = serde_json::from_value(json!({"bus": {"secretName": "bus"}})).unwrap();
    assert_eq!((spec.replicas, spec.email, spec.webhook.allow.len()), (2, None, 0));
}
