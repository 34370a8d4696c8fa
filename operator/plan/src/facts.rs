//! What there is: all that a plan is made from, beside what is wanted.

use std::collections::BTreeMap;

use stoker_crds::SlotRange;

use crate::certificates::Certificates;
use crate::degraded::Verdict;
use crate::wanted::{Id, Kind};

/// What was seen of a namespace, at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The operator itself.
    pub operator: Operator,
    /// The Secrets that resources name, and `stoker-admin`; one that is not here does not exist.
    pub secrets: BTreeMap<String, Secret>,
    /// The certificates that services know each other by.
    pub certificates: Certificates,
    /// Seconds since the epoch: by which certificates are renewed, and nothing else is decided.
    pub now: i64,
    /// Deployments with an owner among the resources.
    pub deployments: Vec<Deployment>,
    /// ConfigMaps with an owner among the resources.
    pub config_maps: Vec<ConfigMap>,
    /// Where Services are reached, by name; only those that have an address.
    pub addresses: BTreeMap<String, String>,
    /// Connections that the pods of Gateways hold, by name, as they were counted last.
    pub connections: BTreeMap<String, i64>,
    /// What the ready pods of resources do without, by kind and name; none of those of which it is not known yet.
    pub degraded: BTreeMap<(Kind, String), Verdict>,
    /// Whether the cluster knows `ServiceMonitor` of `monitoring.coreos.com/v1`.
    pub service_monitors: bool,
    /// Something may have happened that is not seen here: nothing is taken away on the strength of it.
    pub behind: bool,
}

/// The operator itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operator {
    /// What pods run unless their resource names an image.
    pub image: String,
    /// Such as `0.1.0`.
    pub version: String,
}

/// A Secret, without what it hides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// A digest of each value, by key.
    pub digests: BTreeMap<String, String>,
}

/// A Deployment and its pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// Who its controlling owner is; nobody of ours when none.
    pub owner: Option<Id>,
    /// What a change is to be based on.
    pub resource_version: String,
    /// The label [`REVISION`](crate::REVISION).
    pub revision: Option<String>,
    /// The annotation [`CONFIG`](crate::CONFIG): the ConfigMap of its pods.
    pub config: Option<String>,
    /// The annotation [`SLOTS_IN_EFFECT`](crate::SLOTS_IN_EFFECT).
    pub slots: Option<SlotRange>,
    /// The annotation [`PORTS`](crate::PORTS), as it was noted.
    pub ports: Option<String>,
    /// Whether the annotation [`WHOLE`](crate::WHOLE) is there.
    pub was_whole: bool,
    /// Whether somebody has deleted it.
    pub deleting: bool,
    /// Whether the counts are of its newest change (`observedGeneration`).
    pub observed: bool,
    /// Pods wanted.
    pub wanted: i32,
    /// Pods there are, without those that end.
    pub there: i32,
    /// Of those, the ones made from the newest template.
    pub updated: i32,
    /// Of those, the ones that are ready: the lesser of what its status and the pods themselves say, as either may lag.
    pub ready: i32,
    /// Pods whose process runs, ready or not, without those that end.
    pub running: i32,
    /// Of those, the ones that have been ready since their process began: only they may hold connections.
    pub holding: i32,
    /// Pods that end, and may hold connections until they have.
    pub terminating: i32,
    /// Whether the deadline of its roll-out has passed (`ProgressDeadlineExceeded`).
    pub overdue: bool,
    /// What its pods wait for.
    pub waits: Vec<Wait>,
}

/// Why pods do not run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wait {
    /// Kubernetes' own word, such as `ImagePullBackOff`, `CreateContainerConfigError` or `Unschedulable`.
    pub reason: String,
    /// Kubernetes' own message.
    pub message: String,
    /// How many pods wait for this.
    pub pods: i32,
}

/// A ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigMap {
    /// Its name.
    pub name: String,
    /// Who its controlling owner is; nobody of ours when none.
    pub owner: Option<Id>,
    /// What a change is to be based on.
    pub resource_version: String,
}
