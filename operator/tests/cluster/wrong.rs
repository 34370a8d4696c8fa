//! What can't be done is said, and what runs goes on.

use std::collections::BTreeMap;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::space::{Space, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_of_somebody_else_is_left_to_them_and_named() {
    let space = Space::new("foreign").await;
    space.secrets().await;
    let budgets = space.api("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets");
    let theirs = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "edge-gateway"},
        "spec": {"maxUnavailable": 7},
    });
    budgets.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    let operator = space.operator(space.client.clone());
    space.platform().await;
    let message = space.says("Gateway", "edge", "Ready", "WriteRefused").await;
    assert!(
        message
            .contains("apply PodDisruptionBudget edge-gateway: it is there, and was made by somebody else")
    );
    space.says("Portal", "console", "Ready", "AsWished").await;
    let there = budgets.get("edge-gateway").await.unwrap();
    assert_eq!(there.data["spec"]["maxUnavailable"], 7);
    assert!(!space.objects().await.keys().any(|name| name.starts_with("Deployment edge-")));
    budgets.delete("edge-gateway", &DeleteParams::background()).await.unwrap();
    space.at_rest().await;
    operator.end().await;
    space.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_server_refuses_is_said_and_what_runs_goes_on() {
    let space = Space::new("refused").await;
    space.secrets().await;
    let operator = space.operator(space.client.clone());
    space.platform().await;
    space.at_rest().await;
    let before = space.look().await;
    // More is asked for than is allowed: the schema can't tell, and the API server refuses such pods.
    let resources = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}});
    space.change("Gateway", "edge", &json!({"spec": {"resources": resources}})).await;
    let message = space.says("Gateway", "edge", "Ready", "WriteRefused").await;
    assert!(
        message.contains("apply Deployment edge-") && message.contains("what runs stays as it is"),
        "{message}"
    );
    assert!(message.contains("must be less than or equal to cpu limit"), "{message}");
    let deployments = |all: BTreeMap<String, serde_json::Value>| {
        all.into_iter().filter(|(name, _)| name.starts_with("Deployment")).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(deployments(space.look().await), deployments(before));
    let edge = space.resources("Gateway").get("edge").await.unwrap();
    assert!(edge.data["status"]["conditions"].to_string().contains("2 pods are ready"));
    space.change("Gateway", "edge", &json!({"spec": {"resources": null}})).await;
    space.at_rest().await;
    operator.end().await;
    space.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_had_leaves_the_old_revision_serving() {
    let space = Space::new("image").await;
    space.secrets().await;
    let operator = space.operator(space.client.clone());
    space.platform().await;
    space.at_rest().await;
    space.change("Gateway", "edge", &json!({"spec": {"image": "registry.example.com/nowhere"}})).await;
    let message = space.says("Gateway", "edge", "Ready", "ImageUnavailable").await;
    assert!(message.contains("no such image") && message.contains("keeps serving"), "{message}");
    let said = space.condition("Gateway", "edge", "Serving").await.unwrap();
    assert_eq!(said, ["True", "PodsReady", "2 pods are ready"]);
    // Going back is another roll-out.
    space.change("Gateway", "edge", &json!({"spec": {"image": null}})).await;
    space.at_rest().await;
    until("the one that never came up is gone", || async {
        space.objects().await.keys().filter(|name| name.starts_with("Deployment edge-")).count() == 1
    })
    .await;
    operator.end().await;
    space.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_resource_is_left_as_it_is() {
    let space = Space::new("paused").await;
    space.secrets().await;
    let operator = space.operator(space.client.clone());
    space.platform().await;
    space.at_rest().await;
    let before = space.objects().await.keys().cloned().collect::<Vec<_>>();
    let change =
        json!({"metadata": {"annotations": {"stoker.dev/paused": "true"}}, "spec": {"image": "other:1"}});
    let gateways = space.resources("Gateway");
    gateways.patch("edge", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    space.says("Gateway", "edge", "Ready", "Paused").await;
    assert_eq!(space.objects().await.keys().cloned().collect::<Vec<_>>(), before);
    space.change("Gateway", "edge", &json!({"metadata": {"annotations": {"stoker.dev/paused": null}}})).await;
    space.at_rest().await;
    operator.end().await;
    space.end().await;
}
