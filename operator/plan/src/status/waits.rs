//! Why pods do not come up, and what helps.

use super::Progress;
use crate::facts::{Deployment, Wait};
use crate::text::shortened;

/// What is told of Kubernetes' own message.
const MESSAGE_MOST: usize = 512;

/// What `of` does not get over by itself; none while it is only on its way. `serving` goes on until then.
pub(crate) fn stuck(of: &Deployment, serving: Option<&str>) -> Option<Progress> {
    let mut found: Vec<(u8, &'static str, &'static str, &Wait)> = of
        .waits
        .iter()
        .map(|wait| {
            let (rank, reason, way_out) = meaning(&wait.reason);
            (rank, reason, way_out, wait)
        })
        .collect();
    found.sort_by_key(|(rank, _, _, wait)| (*rank, -wait.pods));
    let keeps = serving.map(|what| format!("; {what} keeps serving")).unwrap_or_default();
    let (reason, message) = match found.first() {
        Some((_, reason, way_out, wait)) => (
            *reason,
            format!(
                "{} of {}: {}: {}: {way_out}{keeps}",
                pods(wait.pods),
                of.name,
                wait.reason,
                shortened(wait.message.trim().trim_end_matches('.'), MESSAGE_MOST)
            ),
        ),
        None if of.overdue => (
            "NotReadyInTime",
            format!(
                "{} of {} pods of {} are ready, and the others have taken too long: see what they wait for by \
                 `kubectl logs deployment/{}`, and mend it or change the spec back{keeps}",
                of.ready, of.wanted, of.name, of.name
            ),
        ),
        None => return None,
    };
    Some(Progress::Stuck { reason, message })
}

/// The order in which they are told, our reason, and the way out.
fn meaning(reason: &str) -> (u8, &'static str, &'static str) {
    match reason {
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => {
            (0, "ImageUnavailable", "correct spec.image or spec.imagePullSecrets")
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            (1, "ContainerNotMade", "mend what the message names")
        }
        "CrashLoopBackOff" | "Error" | "OOMKilled" => {
            (2, "Crashing", "see `kubectl logs --previous` of the pod, and spec.resources")
        }
        "Unschedulable" => (
            3,
            "NoRoom",
            "add nodes, or ask for less by spec.resources, nodeSelector, tolerations or affinity",
        ),
        "FailedCreate" => (4, "PodsNotMade", "mend what the message names, such as a quota or a policy"),
        _ => (5, "Waiting", "see `kubectl describe pod`"),
    }
}

fn pods(number: i32) -> String {
    if number == 1 { "1 pod".to_owned() } else { format!("{number} pods") }
}
