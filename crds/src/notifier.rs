//! Who tells people.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::gateway::two;
use crate::{Pods, SecretRef, Status};

/// How e-mail goes out: a Secret with the keys `smtp_url` and `from`.
pub type Email = SecretRef;

/// Where webhooks may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Webhook {
    /// Ranges beside the public ones, such as one of the cluster's own. Loopback, private, link-local and cluster
    /// ranges are refused unless they stand here.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    #[x_kube(
        validation = Rule::new("self.all(c, isCIDR(c))")
            .message("each of webhook.allow must be a range such as 10.1.2.0/24")
    )]
    pub allow: Vec<String>,
}

/// Who tells people: attempt by attempt, by e-mail and webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "stoker.dev",
    version = "v1alpha1",
    kind = "Notifier",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    shortname = "snt",
    category = "stoker",
    validation = Rule::new(crate::NAME_RULE).message(crate::NAME_MESSAGE),
    doc = "Who tells people: attempt by attempt, by e-mail and webhook.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct NotifierSpec {
    /// How many pods.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,

    /// How e-mail goes out; without it none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,

    /// Where webhooks may go.
    #[serde(default)]
    pub webhook: Webhook,

    /// RabbitMQ: a Secret with the key `url`.
    pub bus: SecretRef,

    /// The pods.
    #[serde(flatten)]
    pub pods: Pods,
}
