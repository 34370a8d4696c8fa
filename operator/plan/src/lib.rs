//! What the operator makes of Stoker's custom resources: what is wanted and what there is in, a plan out.
//!
//! One platform per namespace, so one plan for all of it. Nothing here acts, waits or looks at a clock: whoever is
//! interrupted while carrying a plan out looks again and makes another one, of what there is then.

pub mod certificates;
mod check;
pub mod degraded;
mod facts;
mod make;
mod names;
mod object;
mod plan;
mod roll;
mod status;
mod text;
mod wanted;

pub use facts::{ConfigMap, Deployment, Facts, Operator, Secret, Wait};
pub use names::MANAGED_BY;
pub use object::{Object, ServiceMonitor};
pub use plan::{Deletable, Delete, Event, Is, Plan, Said, Scale, Standing};
pub use wanted::{Id, Kind, Wanted};

/// Who applies, for server-side apply; also what [`MANAGED_BY`] says.
pub const FIELD_MANAGER: &str = "stoker-operator";
/// The Secret with the administrator's token, key `token`.
pub const ADMIN_SECRET: &str = "stoker-admin";
/// An annotation of resources: with any value but `false`, nothing is done about them.
pub const PAUSED: &str = "stoker.dev/paused";
/// A label of Deployments, and of the pods of Gateways: which revision they are of.
pub const REVISION: &str = "stoker.dev/revision";
/// An annotation of Deployments: the ConfigMap of their pods.
pub const CONFIG: &str = "stoker.dev/config";
/// An annotation of Deployments of CoreShards: the slots that their pods serve, such as `0-127`.
pub const SLOTS_IN_EFFECT: &str = "stoker.dev/slots";
/// An annotation of Deployments of Gateways: all their pods have been ready once.
pub const WHOLE: &str = "stoker.dev/whole";
/// An annotation of Deployments of Gateways: through which ports their pods are reached, such as `devices=8883:mqtts`.
pub const PORTS: &str = "stoker.dev/ports";
/// An annotation of pods: a digest of what they have from Secrets and read once only.
pub const CREDENTIALS: &str = "stoker.dev/credentials";

/// What to do about `wanted`, as `facts` are.
///
/// A resource that cannot be planned is left as it is, with a condition that says why: nothing is applied for it, and
/// nothing of it is scaled or deleted. The same holds for one that is paused.
#[must_use]
pub fn plan(wanted: &Wanted, facts: &Facts) -> Plan {
    roll::plan(wanted, facts)
}
