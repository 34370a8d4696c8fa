//! Where people and scripts look.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::gateway::two;
use crate::{Pods, SecretRef, Status};

/// Where people and scripts look: the HTTP API and the console.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "stoker.dev",
    version = "v1alpha1",
    kind = "Portal",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    shortname = "spt",
    category = "stoker",
    validation = Rule::new(crate::NAME_RULE).message(crate::NAME_MESSAGE),
    doc = "Where people and scripts look: the HTTP API and the console.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Hostname", type_ = "string", json_path = ".spec.hostname"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct PortalSpec {
    /// How many pods.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,

    /// The name by which people reach it.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")
    )]
    pub hostname: String,

    /// The Secret with its certificate, `tls.crt` and `tls.key`; without it the portal speaks plain HTTP, for whatever
    /// stands in front to encrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,

    /// RabbitMQ: a Secret with the key `url`.
    pub bus: SecretRef,

    /// The pods.
    #[serde(flatten)]
    pub pods: Pods,
}
