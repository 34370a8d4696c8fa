//! What pods do, and what they wait for.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use stoker_plan::{Kind, Wait};

use crate::certificates::KINDS;

/// What each pod of ours is labelled with.
const COMPONENT: &str = "app.kubernetes.io/component";
const INSTANCE: &str = "app.kubernetes.io/instance";
const HASH: &str = "pod-template-hash";
/// So often a process has ended that it is no accident.
const CRASHES: i32 = 2;

/// One pod as far as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Its process does not run yet, or no more.
    Waiting,
    /// Its process runs.
    Running,
    /// And is ready.
    Ready,
    /// It is to end, and has not ended.
    Ending,
    /// It has ended.
    Over,
}

/// The name of the Deployment that it was made for: its ReplicaSet is called after that and the hash of the template.
pub(super) fn deployment(pod: &Pod) -> Option<&str> {
    let owner =
        pod.metadata.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))?;
    let hash = pod.metadata.labels.as_ref()?.get(HASH)?;
    (owner.kind == "ReplicaSet").then_some(())?;
    owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')
}

pub(super) fn life(pod: &Pod) -> Life {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return Life::Over;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Life::Ending;
    }
    if is(pod, "Ready") {
        return Life::Ready;
    }
    let runs = |of: &ContainerStatus| of.state.as_ref().is_some_and(|state| state.running.is_some());
    let running = match phase {
        Some("Running") => containers(pod).is_empty() || containers(pod).iter().any(runs),
        // Its node is not heard of: it may well run.
        Some("Unknown") => true,
        _ => containers(pod).iter().any(runs),
    };
    if running { Life::Running } else { Life::Waiting }
}

fn is(pod: &Pod, kind: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|of| of.type_ == kind && of.status == "True"))
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

/// What it waits for, in Kubernetes' words; nothing while it only takes its time.
pub(super) fn wait(pod: &Pod) -> Option<Wait> {
    if !matches!(life(pod), Life::Waiting | Life::Running) {
        return None;
    }
    unscheduled(pod).or_else(|| containers(pod).iter().find_map(|container| held_up(pod, container)))
}

fn unscheduled(pod: &Pod) -> Option<Wait> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let said = conditions.iter().find(|of| of.type_ == "PodScheduled" && of.status == "False")?;
    let reason = said.reason.clone().filter(|reason| reason == "Unschedulable")?;
    Some(Wait { reason, message: said.message.clone().unwrap_or_default(), pods: 1 })
}

fn held_up(pod: &Pod, container: &ContainerStatus) -> Option<Wait> {
    let state = container.state.as_ref();
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if matches!(reason, "" | "ContainerCreating" | "PodInitializing") {
            return None;
        }
        if reason == "CrashLoopBackOff" {
            return Some(crash(container).unwrap_or_else(|| told(reason, waiting.message.as_deref())));
        }
        return Some(told(reason, waiting.message.as_deref()));
    }
    // Between two crashes it runs for a moment: that is no progress.
    let crashes = container.restart_count >= CRASHES && !was_ready_since(pod, container);
    crashes.then(|| crash(container)).flatten()
}

/// Whether it has been ready since its process began: then it is another matter why it is not so now.
fn was_ready_since(pod: &Pod, container: &ContainerStatus) -> bool {
    // It ceases to be ready when the process ends, before that begins anew; or else while it runs.
    began(container).zip(is_not_ready_since(pod)).is_some_and(|(began, ended)| ended.0 > began.0)
}

fn began(container: &ContainerStatus) -> Option<&Time> {
    container.state.as_ref()?.running.as_ref()?.started_at.as_ref()
}

/// Of one that is not ready: since when.
fn is_not_ready_since(pod: &Pod) -> Option<&Time> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|of| of.type_ == "Ready")?.last_transition_time.as_ref()
}

fn told(reason: &str, message: Option<&str>) -> Wait {
    Wait { reason: reason.to_owned(), message: message.unwrap_or_default().to_owned(), pods: 1 }
}

/// How its process ended last. The same whether it runs again or waits to, or the status would change with each turn.
fn crash(container: &ContainerStatus) -> Option<Wait> {
    let ended = |state: &Option<ContainerState>| state.as_ref()?.terminated.clone();
    let ended = ended(&container.state).or_else(|| ended(&container.last_state))?;
    let code = ended.exit_code;
    let mut message = match ended.reason.as_deref() {
        Some(reason @ "OOMKilled") => format!("{reason}, exit code {code}"),
        _ => format!("exit code {code}"),
    };
    if let Some(said) = ended.message.filter(|said| !said.trim().is_empty()) {
        message = format!("{message}: {}", said.trim());
    }
    Some(Wait { reason: "CrashLoopBackOff".to_owned(), message, pods: 1 })
}

/// Whether it has been ready since its process began: then somebody may be connected to it. So it is taken to be where that
/// cannot be told.
pub(super) fn may_hold(pod: &Pod) -> bool {
    match life(pod) {
        Life::Ready => true,
        Life::Running => {
            let running =
                |of: &&ContainerStatus| of.state.as_ref().is_some_and(|state| state.running.is_some());
            let mut running = containers(pod).iter().filter(running).peekable();
            let known = running.peek().is_some() && is_not_ready_since(pod).is_some();
            !known || running.any(|container| began(container).is_none() || was_ready_since(pod, container))
        }
        Life::Waiting | Life::Ending | Life::Over => false,
    }
}

/// A pod of a resource, where it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    /// Of its resource.
    pub(crate) kind: Kind,
    /// Of its resource.
    pub(crate) name: &'a str,
    pub(crate) address: &'a str,
}

fn place(pod: &Pod) -> Option<Place<'_>> {
    let labels = pod.metadata.labels.as_ref()?;
    let component = labels.get(COMPONENT)?;
    let kind = KINDS.into_iter().find(|kind| kind.component() == component)?;
    let address = pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())?;
    Some(Place { kind, name: labels.get(INSTANCE)?, address })
}

/// One of a Gateway, if it may hold connections.
pub(crate) fn gateways(pod: &Pod) -> Option<Place<'_>> {
    let asked = matches!(life(pod), Life::Running | Life::Ready | Life::Ending);
    place(pod).filter(|place| asked && place.kind == Kind::Gateway)
}

/// One of any kind, if it is ready.
pub(crate) fn ready(pod: &Pod) -> Option<Place<'_>> {
    place(pod).filter(|_| life(pod) == Life::Ready)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "edge-0a-77c-x",
                "labels": {"pod-template-hash": "77c", COMPONENT: "gateway", INSTANCE: "edge"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "edge-0a-77c", "uid": "1",
                    "controller": true}],
            },
            "status": status,
        }))
        .unwrap()
    }

    fn container(state: &Value, restarts: i32, last: &Value) -> Value {
        json!({"phase": "Running", "podIP": "198.18.0.7", "containerStatuses": [{
            "name": "gateway", "image": "stoker:1", "imageID": "", "ready": false, "restartCount": restarts,
            "state": state, "lastState": last,
        }]})
    }

    fn ending(status: &Value) -> Pod {
        let mut pod = pod(status);
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        pod
    }

    #[test]
    fn a_pod_belongs_to_the_deployment_of_its_replica_set() {
        let mut pod = pod(&json!({}));
        assert_eq!(deployment(&pod), Some("edge-0a"));
        pod.metadata.labels = None;
        assert_eq!(deployment(&pod), None);
    }

    #[test]
    fn a_pod_lives_in_steps() {
        let running = container(&json!({"running": {}}), 0, &json!({}));
        let waiting = container(&json!({"waiting": {"reason": "CrashLoopBackOff"}}), 3, &json!({}));
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(life(&pod(&json!({"phase": "Pending"}))), Life::Waiting);
        assert_eq!(life(&pod(&running)), Life::Running);
        assert_eq!(life(&pod(&waiting)), Life::Waiting);
        assert_eq!(life(&pod(&ready)), Life::Ready);
        assert_eq!(life(&pod(&json!({"phase": "Unknown"}))), Life::Running);
        assert_eq!(life(&ending(&ready)), Life::Ending);
        assert_eq!(life(&ending(&json!({"phase": "Succeeded"}))), Life::Over);
        assert_eq!(life(&pod(&json!({"phase": "Failed"}))), Life::Over);
    }

    #[test]
    fn what_a_pod_waits_for_is_told_in_kubernetes_words() {
        let unscheduled = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}]});
        assert_eq!(wait(&pod(&unscheduled)), Some(told("Unschedulable", Some("no room"))));
        let pulling = json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}});
        let pulling = container(&pulling, 0, &json!({}));
        assert_eq!(wait(&pod(&pulling)), Some(told("ImagePullBackOff", Some("not found"))));
        assert_eq!(wait(&ending(&pulling)), None);
        let creating = container(&json!({"waiting": {"reason": "ContainerCreating"}}), 0, &json!({}));
        assert_eq!(wait(&pod(&creating)), None);
    }

    #[test]
    fn a_crash_is_told_the_same_whether_the_next_try_runs_or_waits() {
        let last = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}});
        let crashed = Some(told("CrashLoopBackOff", Some("OOMKilled, exit code 137")));
        assert_eq!(wait(&pod(&container(&waits, 4, &last))), crashed);
        assert_eq!(wait(&pod(&container(&json!({"running": {}}), 4, &last))), crashed);
        assert_eq!(wait(&pod(&container(&json!({"running": {}}), 1, &last))), None, "once is an accident");
        assert_eq!(wait(&pod(&container(&last, 4, &json!({})))), crashed);
    }

    #[test]
    fn restarts_before_it_was_ready_are_over() {
        let last = json!({"terminated": {"exitCode": 1}});
        let at = |minute: u32| format!("2026-01-01T00:{minute:02}:00Z");
        let of = |ready: &str, since: u32| {
            let mut status = container(&json!({"running": {"startedAt": at(10)}}), 7, &last);
            status["conditions"] =
                json!([{"type": "Ready", "status": ready, "lastTransitionTime": at(since)}]);
            pod(&status)
        };
        let crashed = Some(told("CrashLoopBackOff", Some("exit code 1")));
        assert_eq!(wait(&of("False", 9)), crashed, "it ended, and was not ready since");
        assert_eq!(wait(&of("False", 10)), crashed, "it ended, and began again in the same second");
        assert_eq!(wait(&of("True", 11)), None);
        assert_eq!(wait(&of("False", 30)), None, "it ran for long, and is busy with something else");
    }

    #[test]
    fn gateways_that_hold_connections_are_asked_where_they_are() {
        let running = container(&json!({"running": {}}), 0, &json!({}));
        let edge = Place { kind: Kind::Gateway, name: "edge", address: "198.18.0.7" };
        assert_eq!(gateways(&pod(&running)), Some(edge));
        assert_eq!(gateways(&ending(&running)), Some(edge), "until it has ended");
        assert_eq!(gateways(&pod(&json!({"phase": "Pending"}))), None);
        let mut core = pod(&running);
        core.metadata.labels.as_mut().unwrap().insert(COMPONENT.to_owned(), "core".to_owned());
        assert_eq!(gateways(&core), None);
    }

    #[test]
    fn ready_pods_of_all_kinds_are_asked_how_they_are() {
        let mut status = container(&json!({"running": {}}), 0, &json!({}));
        assert_eq!(ready(&pod(&status)), None);
        status["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        let mut of = pod(&status);
        let edge = Place { kind: Kind::Gateway, name: "edge", address: "198.18.0.7" };
        assert_eq!(ready(&of), Some(edge));
        assert_eq!(ready(&ending(&status)), None);
        of.metadata.labels.as_mut().unwrap().insert(COMPONENT.to_owned(), "core".to_owned());
        assert_eq!(ready(&of), Some(Place { kind: Kind::CoreShard, ..edge }));
        of.metadata.labels.as_mut().unwrap().insert(COMPONENT.to_owned(), "operator".to_owned());
        assert_eq!(ready(&of), None);
        status["podIP"] = json!("");
        assert_eq!(ready(&pod(&status)), None);
    }

    #[test]
    fn nobody_is_connected_to_a_pod_that_was_never_ready() {
        let at = |minute: u32| format!("2026-01-01T00:{minute:02}:00Z");
        let of = |ready: &str, since: u32| {
            let mut status = container(&json!({"running": {"startedAt": at(10)}}), 0, &json!({}));
            status["conditions"] =
                json!([{"type": "Ready", "status": ready, "lastTransitionTime": at(since)}]);
            pod(&status)
        };
        assert!(may_hold(&of("True", 11)));
        assert!(may_hold(&of("False", 11)), "it has been ready before");
        assert!(!may_hold(&of("False", 9)), "since before it began");
        assert!(!may_hold(&pod(&json!({"phase": "Pending"}))));
        assert!(may_hold(&pod(&json!({"phase": "Unknown"}))), "nothing is known of it");
        assert!(may_hold(&pod(&container(&json!({"running": {}}), 0, &json!({})))), "nor of this one");
    }
}
