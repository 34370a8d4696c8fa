//! The way to data.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::gateway::two;
use crate::{Pods, SecretRef, Status};

/// Slots that there are: for ever.
pub const SLOTS: i32 = 256;

/// Slots from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.first <= self.last")
        .message("slots.first is above slots.last; the first slot comes before the last")
)]
pub struct SlotRange {
    /// The first.
    #[schemars(range(min = 0, max = 255))]
    pub first: i32,
    /// The last.
    #[schemars(range(min = 0, max = 255))]
    pub last: i32,
}

impl Default for SlotRange {
    fn default() -> Self {
        Self { first: 0, last: SLOTS - 1 }
    }
}

/// Where data is kept. All CoreShards of a platform name the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cassandra {
    /// Some of its nodes, `host` or `host:port`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 261)))]
    pub contact_points: Vec<String>,

    /// The keyspace.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_]{0,47}$"))]
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("cassandra.keyspace can't be changed: all data is in it; export and import it into another platform")
    )]
    pub keyspace: String,

    /// The datacentre whose nodes answer.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("cassandra.datacenter can't be changed: what was conditional in one holds there only")
    )]
    pub datacenter: String,

    /// Replicas of each row, when the keyspace has to be made: 3 unless given. Counts at the very first start only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub replication_factor: Option<i32>,

    /// A Secret with the keys `username` and `password`; without it nobody logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// The way to data: a few processes that own some of the slots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "stoker.dev",
    version = "v1alpha1",
    kind = "CoreShard",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    shortname = "scs",
    category = "stoker",
    validation = Rule::new(crate::NAME_RULE).message(crate::NAME_MESSAGE),
    doc = "The way to data: a few processes that own some of the slots.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "First", type_ = "integer", json_path = ".spec.slots.first"),
    printcolumn(name = "Last", type_ = "integer", json_path = ".spec.slots.last"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CoreShardSpec {
    /// How many pods.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,

    /// Which slots it serves: all unless given. New ranges take effect when together they cover all slots exactly once.
    #[serde(default)]
    pub slots: SlotRange,

    /// Where data is kept.
    pub cassandra: Cassandra,

    /// RabbitMQ: a Secret with the key `url`.
    pub bus: SecretRef,

    /// The pods.
    #[serde(flatten)]
    pub pods: Pods,
}
