//! The custom resources of Stoker, `stoker.dev/v1alpha1`: what a platform engineer writes down, and what the operator
//! answers. Types and rules only; `generated/` holds the definitions that are made of them (`cargo xtask crds`).

#![allow(unreachable_pub, reason = "derived schemas repeat the types where they cannot be reached")]
#![allow(clippy::duplicated_attributes, reason = "each printed column has a name and a path")]

mod core_shard;
mod gateway;
mod notifier;
mod pods;
mod portal;
mod status;

pub use core_shard::{Cassandra, CoreShard, CoreShardSpec, SLOTS, SlotRange};
pub use gateway::{
    Drain, Gateway, GatewaySpec, GatewayStatus, Listener, Protocol, ProxyProtocol, Service, ServiceType,
    TrafficPolicy,
};
pub use notifier::{Email, Notifier, NotifierSpec, Webhook};
pub use pods::{Pods, SecretRef};
pub use portal::{Portal, PortalSpec};
pub use status::{DEGRADED, READY, Status};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The group of all of them.
pub const GROUP: &str = "stoker.dev";
/// The version of all of them.
pub const VERSION: &str = "v1alpha1";

/// Names of resources become names of Services, with something behind them.
const NAME_RULE: &str =
    "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')";
const NAME_MESSAGE: &str = "metadata.name must have at most 40 lower-case letters, digits and hyphens, and begin with a letter: a Service is named after it";

/// The definitions of all four, by the name of their file in `generated/`.
#[must_use]
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 4] {
    [
        ("gateways.yaml", Gateway::crd()),
        ("coreshards.yaml", CoreShard::crd()),
        ("notifiers.yaml", Notifier::crd()),
        ("portals.yaml", Portal::crd()),
    ]
}
