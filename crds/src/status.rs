//! What the operator answers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The type of the condition that says whether the resource is as it is wished and serves.
pub const READY: &str = "Ready";

/// The type of the condition that says whether its pods do without something that they need, such as a broker.
pub const DEGRADED: &str = "Degraded";

/// How a resource stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Up to which change of the spec this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Each with its reason and a message for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// Pods that there are, of the newest revision.
    #[serde(default)]
    pub replicas: i32,

    /// Pods that are ready, of the newest revision.
    #[serde(default)]
    pub ready_replicas: i32,

    /// The pods' labels, as `kubectl scale` and autoscalers ask for them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
}
