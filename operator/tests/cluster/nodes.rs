//! Plays the nodes: each pod becomes ready soon after it was made. One that no node has goes at once when it is deleted.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::task::JoinHandle;

/// How often it is looked for pods.
const EVERY: Duration = Duration::from_millis(50);
/// Of an image that is called so, no process ever starts.
const NEVER: &str = "nowhere";

pub(crate) struct Nodes(JoinHandle<()>);

impl Nodes {
    pub(crate) fn play(client: Client, namespace: &str) -> Self {
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        Self(tokio::spawn(async move {
            loop {
                // A pod may go while it is looked at.
                if let Ok(all) = pods.list(&Default::default()).await {
                    for pod in all {
                        start(&pods, &pod).await;
                    }
                }
                // tidy: allow(sleep): a node looks now and then
                tokio::time::sleep(EVERY).await;
            }
        }))
    }

    pub(crate) async fn end(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

async fn start(pods: &Api<Pod>, pod: &Pod) {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap();
    let is = |kind: &str, status: &str| json!({"type": kind, "status": status});
    let state = |ready: bool, state| json!([{"name": "main", "image": image, "imageID": "", "ready": ready, "restartCount": 0, "state": state}]);
    let status = match phase {
        Some("Running") => return,
        _ if image.ends_with(NEVER) => {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone());
            // A real scheduler says now and then that there is no node for it.
            if conditions
                .unwrap_or_default()
                .iter()
                .any(|of| of.type_ == "PodScheduled" && of.status == "True")
            {
                return;
            }
            let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
            json!({
                "phase": "Pending",
                "conditions": [is("PodScheduled", "True")],
                "containerStatuses": state(false, waiting),
            })
        }
        _ => json!({
            "phase": "Running",
            "conditions": [is("PodScheduled", "True"), is("Ready", "True"), is("ContainersReady", "True")],
            "containerStatuses": state(true, json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})),
        }),
    };
    let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await;
}
