//! Of several operators one acts.

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use stoker_operator::{Lease, Sampling, Settings};

use crate::space::{Operator, Space, until};
use crate::wire::Wire;

const NAME: &str = "operator";

fn operator(space: &Space, identity: &str) -> (Operator, Arc<Wire>) {
    let wire = Arc::new(Wire::default());
    let lease = Lease { name: NAME.to_owned(), namespace: space.name.clone(), identity: identity.to_owned() };
    let settings = Settings {
        namespace: Some(space.name.clone()),
        image: "registry.example.com/stoker:1".to_owned(),
        instance: identity.to_owned(),
        lease: Some(lease),
        service_monitors: false,
        sampling: Sampling::default(),
    };
    (Operator::begin(wire.client(space.client.clone()), settings), wire)
}

async fn holder(space: &Space) -> Option<String> {
    let leases: Api<Object> = Api::namespaced(space.client.clone(), &space.name);
    leases.get_opt(NAME).await.unwrap()?.spec?.holder_identity
}

/// Writes, but those of the Lease.
fn writes(wire: &Wire) -> usize {
    wire.calls().iter().filter(|call| !call.starts_with("GET") && !call.contains("/leases")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_acts_and_another_goes_on_when_it_ends() {
    let space = Space::new("leading").await;
    space.secrets().await;
    let (first, first_wire) = operator(&space, "first");
    until("the first leads", || async { holder(&space).await.as_deref() == Some("first") }).await;
    let (second, second_wire) = operator(&space, "second");
    until("the second has seen all", || async { second.health.check_ready().is_ok() }).await;
    space.platform().await;
    space.at_rest().await;
    assert!(writes(&first_wire) > 0);
    assert_eq!(writes(&second_wire), 0, "{:?}", second_wire.calls());
    first.end().await;
    assert_eq!(holder(&space).await, None, "it is given back");
    let before = writes(&first_wire);
    space.change("Gateway", "edge", &json!({"spec": {"replicas": 3}})).await;
    until("the second leads", || async { holder(&space).await.as_deref() == Some("second") }).await;
    space.at_rest().await;
    assert!(writes(&second_wire) > 0);
    assert_eq!(writes(&first_wire), before);
    second.end().await;
    space.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_killed_is_followed_and_one_whose_lease_is_taken_ends() {
    let space = Space::new("losing").await;
    space.secrets().await;
    let (first, _) = operator(&space, "first");
    until("the first leads", || async { holder(&space).await.as_deref() == Some("first") }).await;
    let (second, wire) = operator(&space, "second");
    first.kill().await;
    space.platform().await;
    until("the second leads", || async { holder(&space).await.as_deref() == Some("second") }).await;
    space.at_rest().await;
    let leases: Api<Object> = Api::namespaced(space.client.clone(), &space.name);
    let renewed = MicroTime(jiff::Timestamp::now());
    let taken =
        json!({"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 3600, "renewTime": renewed}});
    leases.patch(NAME, &PatchParams::default(), &Patch::Merge(taken)).await.unwrap();
    let why = second.died().await;
    assert!(why.contains("the Lease") && why.contains("is lost"), "{why}");
    let before = writes(&wire);
    space.change("Gateway", "edge", &json!({"spec": {"replicas": 3}})).await;
    assert_eq!(writes(&wire), before);
    space.end().await;
}
