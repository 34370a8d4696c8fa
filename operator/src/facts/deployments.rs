//! Deployments with their pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::api::core::v1::Pod;
use stoker_crds::SlotRange;
use stoker_plan::{self as plan, CONFIG, PORTS, REVISION, SLOTS_IN_EFFECT, WHOLE, Wait};

use super::owner;
use super::pods::{self, Life};

pub(super) fn facts(all: &[Arc<Deployment>], all_pods: &[Arc<Pod>]) -> Vec<plan::Deployment> {
    let mut of: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in all_pods {
        if let Some(name) = pods::deployment(pod) {
            of.entry(name).or_default().push(pod);
        }
    }
    let name = |deployment: &Deployment| deployment.metadata.name.clone().unwrap_or_default();
    let mut facts: Vec<plan::Deployment> = all
        .iter()
        .map(|deployment| {
            let pods = of.get(name(deployment).as_str()).map(Vec::as_slice).unwrap_or_default();
            fact(deployment, pods)
        })
        .collect();
    facts.sort_by(|a, b| a.name.cmp(&b.name));
    facts
}

fn fact(deployment: &Deployment, of: &[&Pod]) -> plan::Deployment {
    let meta = &deployment.metadata;
    let note = |key: &str| meta.annotations.as_ref().and_then(|notes| notes.get(key)).cloned();
    let status = deployment.status.clone().unwrap_or_default();
    let spec = deployment.spec.as_ref();
    let count = |life: &[Life]| number(of.iter().filter(|pod| life.contains(&pods::life(pod))).count());
    let conditions = status.conditions.unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|said| said.type_ == kind);
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let there = status.replicas.unwrap_or(0);
    plan::Deployment {
        name: meta.name.clone().unwrap_or_default(),
        owner: owner(meta),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        revision: meta.labels.as_ref().and_then(|labels| labels.get(REVISION)).cloned(),
        config: note(CONFIG),
        slots: note(SLOTS_IN_EFFECT).as_deref().and_then(range),
        ports: note(PORTS),
        was_whole: note(WHOLE).is_some(),
        deleting: meta.deletion_timestamp.is_some(),
        observed: status.observed_generation.is_some() && status.observed_generation >= meta.generation,
        wanted,
        there,
        updated: status.updated_replicas.unwrap_or(0),
        ready: status.ready_replicas.unwrap_or(0).min(count(&[Life::Ready])),
        running: count(&[Life::Running, Life::Ready]),
        holding: number(of.iter().filter(|pod| pods::may_hold(pod)).count()),
        terminating: count(&[Life::Ending]),
        overdue: condition("Progressing").is_some_and(|said| {
            said.status == "False" && said.reason.as_deref() == Some("ProgressDeadlineExceeded")
        }),
        waits: waits(of, condition("ReplicaFailure"), wanted - there),
    }
}

/// What its pods wait for, and why pods are missing.
fn waits(of: &[&Pod], failure: Option<&DeploymentCondition>, missing: i32) -> Vec<Wait> {
    let mut of: Vec<&Pod> = of.to_vec();
    // Messages name the pod: it is always that of the first.
    of.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut waits: Vec<Wait> = Vec::new();
    for wait in of.into_iter().filter_map(pods::wait) {
        match waits.iter_mut().find(|other| other.reason == wait.reason) {
            Some(other) => other.pods += wait.pods,
            None => waits.push(wait),
        }
    }
    let failure = failure.filter(|said| said.status == "True" && missing > 0).map(|said| Wait {
        reason: said.reason.clone().unwrap_or_default(),
        message: said.message.clone().unwrap_or_default(),
        pods: missing,
    });
    waits.extend(failure);
    waits
}

/// Such as `0-127`, as the plan writes it.
fn range(text: &str) -> Option<SlotRange> {
    let (first, last) = text.split_once('-')?;
    Some(SlotRange { first: first.parse().ok()?, last: last.parse().ok()? })
}

fn number(of: usize) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(status: &Value) -> Arc<Deployment> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {
                    "name": "shard-core", "generation": 3, "resourceVersion": "77",
                    "labels": {REVISION: "0a"},
                    "annotations": {CONFIG: "shard-core-1b", SLOTS_IN_EFFECT: "0-127", PORTS: "mqtt=1883:mqtt"},
                    "ownerReferences": [{"apiVersion": "stoker.dev/v1alpha1", "kind": "CoreShard", "name": "shard",
                        "uid": "1", "controller": true}],
                },
                "spec": {"replicas": 3, "selector": {}, "template": {}},
                "status": status,
            }))
            .unwrap(),
        )
    }

    fn pod(name: &str, of: &str, status: &Value, ends: bool) -> Arc<Pod> {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {"pod-template-hash": "9f"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{of}-9f"),
                    "uid": "1", "controller": true}],
            },
            "status": status,
        }))
        .unwrap();
        if ends {
            pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        }
        Arc::new(pod)
    }

    fn ready() -> Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    }

    #[test]
    fn all_of_a_deployment_is_read() {
        let status =
            json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2});
        let pods = [
            pod("b", "shard-core", &ready(), false),
            pod("c", "shard-core", &json!({"phase": "Pending"}), false),
            pod("d", "shard-core", &ready(), true),
            pod("e", "other", &ready(), false),
        ];
        let [of] = &facts(&[deployment(&status)], &pods)[..] else { panic!("one") };
        assert_eq!((of.name.as_str(), of.resource_version.as_str()), ("shard-core", "77"));
        assert_eq!(of.revision.as_deref(), Some("0a"));
        assert_eq!(of.config.as_deref(), Some("shard-core-1b"));
        assert_eq!(of.ports.as_deref(), Some("mqtt=1883:mqtt"));
        assert_eq!(of.slots, Some(SlotRange { first: 0, last: 127 }));
        assert!(of.observed && !of.was_whole && !of.deleting && !of.overdue);
        assert_eq!((of.wanted, of.there, of.updated), (3, 2, 2));
        assert_eq!(
            (of.ready, of.running, of.terminating),
            (1, 1, 1),
            "its status says 2, but only one pod is"
        );
        assert_eq!(of.owner.as_ref().unwrap().name, "shard");
    }

    #[test]
    fn counts_of_a_former_change_are_not_taken_for_those_of_the_newest() {
        for (seen, observed) in [(json!({}), false), (json!({"observedGeneration": 2}), false)] {
            assert_eq!(facts(&[deployment(&seen)], &[])[0].observed, observed, "{seen}");
        }
        assert!(facts(&[deployment(&json!({"observedGeneration": 3}))], &[])[0].observed);
    }

    #[test]
    fn what_pods_wait_for_is_counted_and_why_some_are_missing() {
        let unscheduled = |message: &str| {
            json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]})
        };
        let pods = [
            pod("z", "shard-core", &unscheduled("second"), false),
            pod("a", "shard-core", &unscheduled("first"), false),
        ];
        let status = json!({"replicas": 2, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"},
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]});
        let of = facts(&[deployment(&status)], &pods).remove(0);
        assert!(of.overdue);
        let said: Vec<_> =
            of.waits.iter().map(|wait| (wait.reason.as_str(), wait.message.as_str(), wait.pods)).collect();
        assert_eq!(said, [("Unschedulable", "first", 2), ("FailedCreate", "exceeded quota", 1)]);
    }
}
