//! What people have written down, and one way to look at all four kinds of it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use stoker_crds::{
    CoreShard, CoreShardSpec, GROUP, Gateway, GatewaySpec, Notifier, NotifierSpec, Pods, Portal, PortalSpec,
    Status, VERSION,
};

use crate::PAUSED;

/// All resources of a namespace: one platform.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// Where all of them are.
    pub namespace: String,
    /// Where devices connect.
    pub gateways: Vec<Gateway>,
    /// The way to data.
    pub core_shards: Vec<CoreShard>,
    /// Who tells people.
    pub notifiers: Vec<Notifier>,
    /// Where people look.
    pub portals: Vec<Portal>,
}

/// The kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `CoreShard`
    CoreShard,
    /// `Gateway`
    Gateway,
    /// `Notifier`
    Notifier,
    /// `Portal`
    Portal,
}

impl Kind {
    /// As Kubernetes names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CoreShard => "CoreShard",
            Self::Gateway => "Gateway",
            Self::Notifier => "Notifier",
            Self::Portal => "Portal",
        }
    }

    /// The service, as it names itself: the sub-command, and the label `app.kubernetes.io/component`.
    #[must_use]
    pub fn component(self) -> &'static str {
        match self {
            Self::CoreShard => "core",
            Self::Gateway => "gateway",
            Self::Notifier => "notifier",
            Self::Portal => "portal",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid: another one of the same name is another resource.
    pub uid: String,
}

impl Id {
    /// It among the owners of an object. Several may own one, of which at most one controls it: this one does not.
    #[must_use]
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: self.kind.name().to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: None,
            block_owner_deletion: None,
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The spec of one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spec<'a> {
    CoreShard(&'a CoreShardSpec),
    Gateway(&'a GatewaySpec),
    Notifier(&'a NotifierSpec),
    Portal(&'a PortalSpec),
}

/// One resource.
#[derive(Debug, Clone)]
pub(crate) struct Resource<'a> {
    pub(crate) id: Id,
    pub(crate) namespace: &'a str,
    pub(crate) generation: Option<i64>,
    pub(crate) paused: bool,
    pub(crate) spec: Spec<'a>,
    pub(crate) replicas: i32,
    pub(crate) bus: &'a str,
    pub(crate) pods: &'a Pods,
    /// The status as it was written last.
    pub(crate) before: Option<&'a Status>,
    /// Of a Gateway: the connections in it.
    pub(crate) connections_before: Option<i64>,
}

impl Resource<'_> {
    /// Such as `edge-gateway`: what most of its objects are called.
    pub(crate) fn base(&self) -> String {
        format!("{}-{}", self.id.name, self.id.kind.component())
    }

    /// It as the one that controls an object, which goes with it.
    pub(crate) fn owner(&self) -> OwnerReference {
        OwnerReference { controller: Some(true), block_owner_deletion: Some(true), ..self.id.reference() }
    }
}

fn id(kind: Kind, meta: &ObjectMeta) -> Id {
    Id { kind, name: meta.name.clone().unwrap_or_default(), uid: meta.uid.clone().unwrap_or_default() }
}

/// Any value but `false` pauses: who has written `yes` or `"1"` means it.
fn paused(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().and_then(|all| all.get(PAUSED)).is_some_and(|value| value != "false")
}

macro_rules! resource {
    ($kind:ident, $namespace:expr, $of:expr, $status:expr, $connections:expr) => {
        Resource {
            id: id(Kind::$kind, &$of.metadata),
            namespace: $namespace,
            generation: $of.metadata.generation,
            paused: paused(&$of.metadata),
            spec: Spec::$kind(&$of.spec),
            replicas: $of.spec.replicas,
            bus: &$of.spec.bus.secret_name,
            pods: &$of.spec.pods,
            before: $status,
            connections_before: $connections,
        }
    };
}

impl Wanted {
    /// All that are not being deleted, cores first; of each kind the oldest first, by name where two are of one second.
    pub(crate) fn resources(&self) -> Vec<Resource<'_>> {
        let space = self.namespace.as_str();
        let mut all: Vec<(&ObjectMeta, Resource<'_>)> = Vec::new();
        for of in &self.core_shards {
            all.push((&of.metadata, resource!(CoreShard, space, of, of.status.as_ref(), None)));
        }
        for of in &self.gateways {
            let status = of.status.as_ref();
            let connections = status.and_then(|status| status.connections);
            let common = status.map(|status| &status.common);
            all.push((&of.metadata, resource!(Gateway, space, of, common, connections)));
        }
        for of in &self.notifiers {
            all.push((&of.metadata, resource!(Notifier, space, of, of.status.as_ref(), None)));
        }
        for of in &self.portals {
            all.push((&of.metadata, resource!(Portal, space, of, of.status.as_ref(), None)));
        }
        all.retain(|(meta, _)| meta.deletion_timestamp.is_none());
        all.sort_by_key(|(meta, resource)| {
            let created = meta.creation_timestamp.as_ref().map(|time| time.0);
            // What has no time yet is the newest.
            (resource.id.kind, created.is_none(), created, resource.id.name.clone())
        });
        all.into_iter().map(|(_, resource)| resource).collect()
    }
}
