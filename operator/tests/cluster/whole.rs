//! A platform comes, is mended, and goes.

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::space::{Space, client, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_resources_become_a_platform_that_is_mended_and_leaves_nothing_behind() {
    let space = Space::new("whole").await;
    let operator = space.operator(space.client.clone());
    space.platform().await;
    let message = space.says("CoreShard", "main", "Ready", "SecretMissing").await;
    assert!(message.contains("Secret bus (spec.bus) does not exist: make it"), "{message}");
    space.secrets().await;
    space.at_rest().await;

    let objects = space.objects().await;
    for name in [
        "Service stoker-cores",
        "Service edge-gateway",
        "Deployment main-core",
        "Deployment people-notifier",
        "Deployment console-portal",
        "NetworkPolicy edge-gateway",
        "PodDisruptionBudget edge-gateway",
        "ServiceAccount edge-gateway",
        "Secret stoker-admin",
        "Secret stoker-ca",
        "Secret stoker-core-tls",
        "Secret stoker-gateway-tls",
        "Secret stoker-notifier-tls",
        "Secret stoker-portal-tls",
    ] {
        assert!(objects.contains_key(name), "no {name} among {:?}", objects.keys());
    }
    let secrets: Api<Secret> = Api::namespaced(space.client.clone(), &space.name);
    let token = &secrets.get("stoker-admin").await.unwrap().data.unwrap()["token"].0;
    assert!(token.starts_with(b"stk_") && token.len() == 36);
    let services: Api<Service> = Api::namespaced(space.client.clone(), &space.name);
    let ip = services.get("edge-gateway").await.unwrap().spec.unwrap().cluster_ip;
    let edge = space.resources("Gateway").get("edge").await.unwrap();
    assert_eq!(edge.data["status"]["address"].as_str(), ip.as_deref());
    assert_eq!(edge.data["status"]["readyReplicas"], 2);
    let scale = space.resources("Gateway").get_scale("edge").await.unwrap();
    assert!(scale.status.unwrap().selector.unwrap().contains("app.kubernetes.io/instance=edge"));
    let events: Api<Event> = Api::namespaced(space.client.clone(), &space.name);
    until("people are told that it is ready", || async {
        let all = events.list(&Default::default()).await.unwrap();
        let about = |of: &&Event| of.regarding.as_ref().is_some_and(|of| of.name.as_deref() == Some("edge"));
        let reasons: Vec<_> = all.items.iter().filter(about).filter_map(|of| of.reason.as_deref()).collect();
        reasons.contains(&"SecretMissing") && reasons.contains(&"AsWished")
    })
    .await;

    mends(&space).await;

    for (kind, name) in
        [("Gateway", "edge"), ("Notifier", "people"), ("Portal", "console"), ("CoreShard", "main")]
    {
        space.resources(kind).delete(name, &DeleteParams::background()).await.unwrap();
    }
    until("nothing is left", || async { space.objects().await.is_empty() }).await;
    operator.end().await;
    space.end().await;
}

/// What others change of what is ours comes back.
async fn mends(space: &Space) {
    let before = space.look().await;
    let policies = space.api("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies");
    policies.delete("edge-gateway", &DeleteParams::background()).await.unwrap();
    let services: Api<Service> = Api::namespaced(space.client.clone(), &space.name);
    let change = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}},
        "spec": {"selector": {"app.kubernetes.io/instance": "other"}}});
    services.patch("edge-gateway", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    let deployments = space.api("apps/v1", "Deployment", "deployments");
    let change = json!({"spec": {"replicas": 7}});
    deployments.patch("main-core", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    until("it is as it was", || async { space.look().await == before }).await;
    space.at_rest().await;
}

/// The rules in the documentation.
fn documented_rules(heading: &str) -> serde_json::Value {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operator.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(heading).unwrap();
    let (_, rest) = rest.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    serde_yaml::from_str(yaml).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_permissions_are_enough_and_what_is_not_permitted_is_named() {
    let space = Space::new("permissions").await;
    space.secrets().await;
    let user = format!("system:serviceaccount:{}:stoker-operator", space.name);
    let operator = space.operator(client(Some(&user)).await);
    until("it says what it may not", || async {
        let said = operator.health.check_ready().err().unwrap_or_default();
        said.contains("failed to list gateways.stoker.dev")
            && said.contains("cannot list resource \"gateways\"")
            && said.contains("grant it by a role")
    })
    .await;
    operator.end().await;

    let roles: Api<ClusterRole> = Api::all(space.client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(space.client.clone());
    let rules = documented_rules("## Permissions");
    let role = json!({"metadata": {"name": space.name}, "rules": rules});
    let binding = json!({
        "metadata": {"name": space.name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": space.name},
        "subjects": [{"kind": "ServiceAccount", "name": "stoker-operator", "namespace": space.name}],
    });
    let parameters = PostParams::default();
    roles.create(&parameters, &serde_json::from_value(role).unwrap()).await.unwrap();
    bindings.create(&parameters, &serde_json::from_value(binding).unwrap()).await.unwrap();

    let operator = space.operator(client(Some(&user)).await);
    space.platform().await;
    space.at_rest().await;
    // A second revision, which is scaled, deleted, and told of.
    space.change("Gateway", "edge", &json!({"spec": {"image": "registry.example.com/stoker:2"}})).await;
    space.at_rest().await;
    operator.end().await;
    bindings.delete(&space.name, &DeleteParams::default()).await.unwrap();
    roles.delete(&space.name, &DeleteParams::default()).await.unwrap();
    space.end().await;
}
