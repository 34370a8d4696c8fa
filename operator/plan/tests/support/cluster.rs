//! A cluster that is only numbers: objects as they were applied, and Deployments whose pods move when they are told to.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment as Applied;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use stoker_crds::{SLOTS, SlotRange};
use stoker_plan::certificates::Certificates;
use stoker_plan::degraded::Verdict;
use stoker_plan::{
    CONFIG, ConfigMap, Deletable, Delete, Deployment, Facts, Id, Kind, Object, Operator, PORTS, Plan,
    REVISION, SLOTS_IN_EFFECT, Scale, Secret, WHOLE, Wait, Wanted, plan,
};

use super::platform;

mod moves;

/// An image that is not to be had.
pub(crate) const NOWHERE: &str = "registry.example.com/stoker:nowhere";

/// An image whose process runs and is never ready.
pub(crate) const STALLED: &str = "registry.example.com/stoker:stalled";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Running,
    Ready,
    Ending,
}

#[derive(Debug, Clone)]
struct Pod {
    /// The digest of its template.
    template: String,
    image: String,
    /// What it serves, when it is a core.
    slots: Option<SlotRange>,
    state: State,
}

/// What a Deployment's status says: as its controller saw it last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    there: i32,
    updated: i32,
    ready: i32,
}

#[derive(Debug, Clone)]
struct Deployed {
    owner: Option<Id>,
    applied: Applied,
    image: String,
    template: String,
    wanted: i32,
    observed: bool,
    status: Counts,
    version: u64,
    pods: Vec<Pod>,
}

impl Deployed {
    fn counts(&self) -> Counts {
        Counts {
            there: self.count(|pod| pod.state != State::Ending),
            updated: self.count(|pod| pod.state != State::Ending && pod.template == self.template),
            ready: self.count(|pod| pod.state == State::Ready),
        }
    }

    fn count(&self, is: impl Fn(&Pod) -> bool) -> i32 {
        i32::try_from(self.pods.iter().filter(|pod| is(pod)).count()).unwrap()
    }

    fn slots(&self) -> Option<SlotRange> {
        let (first, last) = self.note(SLOTS_IN_EFFECT)?.split_once('-')?;
        Some(SlotRange { first: first.parse().unwrap(), last: last.parse().unwrap() })
    }

    fn note(&self, key: &str) -> Option<&String> {
        self.applied.metadata.annotations.as_ref()?.get(key)
    }
}

/// One write to the API server.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    Apply(Box<Object>),
    Scale(Scale),
    Delete(Delete),
    /// All statuses at once.
    Status(Vec<stoker_plan::Standing>),
}

/// The writes of a plan, in order.
pub(crate) fn writes(plan: &Plan) -> Vec<Write> {
    let applied = plan.apply.iter().cloned().map(|object| Write::Apply(Box::new(object)));
    let scaled = plan.scale.iter().cloned().map(Write::Scale);
    let deleted = plan.delete.iter().cloned().map(Write::Delete);
    applied.chain(scaled).chain(deleted).chain([Write::Status(plan.status.clone())]).collect()
}

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) wanted: Wanted,
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) certificates: Certificates,
    pub(crate) image: String,
    pub(crate) service_monitors: bool,
    /// Something may have happened that is not seen.
    pub(crate) behind: bool,
    /// All roll-outs have had their time.
    pub(crate) late: bool,
    /// Pods that fit in all.
    pub(crate) room: usize,
    pub(crate) addresses: BTreeMap<String, String>,
    pub(crate) connections: BTreeMap<String, i64>,
    /// What pods have said of themselves.
    pub(crate) degraded: BTreeMap<(Kind, String), Verdict>,
    /// Everything but Deployments, by kind and name.
    pub(crate) objects: BTreeMap<(&'static str, String), Object>,
    foreign: Vec<Deployment>,
    foreign_maps: Vec<ConfigMap>,
    deployed: BTreeMap<String, Deployed>,
    clock: u64,
}

impl Cluster {
    /// Nothing has been made yet.
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self {
            degraded: platform::well(&wanted),
            wanted,
            secrets: platform::secrets(),
            certificates: platform::certificates(),
            image: "registry.example.com/stoker:0.1.0".to_owned(),
            service_monitors: false,
            behind: false,
            late: false,
            room: 1000,
            addresses: BTreeMap::from([("edge-gateway".to_owned(), "192.0.2.10".to_owned())]),
            connections: BTreeMap::new(),
            objects: BTreeMap::new(),
            foreign: Vec::new(),
            foreign_maps: Vec::new(),
            deployed: BTreeMap::new(),
            clock: 0,
        }
    }

    /// Somebody else's, which look much like ours.
    pub(crate) fn add_foreign(&mut self) {
        let former = Id { kind: Kind::Gateway, name: "edge".to_owned(), uid: "another".to_owned() };
        for (name, owner) in [("edge-0000000000", Some(former)), ("edge-1111111111", None)] {
            let config = format!("{name}-config");
            self.foreign.push(Deployment {
                name: name.to_owned(),
                owner: owner.clone(),
                observed: true,
                config: Some(config.clone()),
                ..Deployment::default()
            });
            self.foreign_maps.push(ConfigMap { name: config, owner, ..ConfigMap::default() });
        }
    }

    /// What is seen now.
    pub(crate) fn facts(&self) -> Facts {
        let owned = self.objects.iter().filter(|((kind, _), _)| *kind == "ConfigMap");
        let maps = owned.map(|((_, name), object)| ConfigMap {
            name: name.clone(),
            owner: owner(object.meta().owner_references.as_deref()),
            resource_version: "1".to_owned(),
        });
        let deployments = self.deployed.iter().map(|(name, deployed)| self.seen(name, deployed));
        Facts {
            operator: Operator { image: self.image.clone(), version: "0.1.0".to_owned() },
            secrets: self.secrets.clone(),
            certificates: self.certificates.clone(),
            now: platform::NOW,
            deployments: deployments.chain(self.foreign.iter().cloned()).collect(),
            config_maps: maps.chain(self.foreign_maps.iter().cloned()).collect(),
            addresses: self.addresses.clone(),
            connections: self.connections.clone(),
            degraded: self.degraded.clone(),
            service_monitors: self.service_monitors,
            behind: self.behind,
        }
    }

    fn seen(&self, name: &str, of: &Deployed) -> Deployment {
        let pending = |image: &str| {
            of.count(|pod| pod.state == State::Pending && (pod.image == NOWHERE) == (image == NOWHERE))
        };
        let wait = |reason: &str, message: &str, pods| Wait {
            reason: reason.to_owned(),
            message: message.to_owned(),
            pods,
        };
        let mut waits = Vec::new();
        if pending(NOWHERE) > 0 {
            let message = format!("Back-off pulling image \"{NOWHERE}\"");
            waits.push(wait("ImagePullBackOff", &message, pending(NOWHERE)));
        }
        if pending("") > 0 && self.occupied() >= self.room {
            waits.push(wait("Unschedulable", "0/1 nodes are available: 1 Insufficient cpu.", pending("")));
        }
        Deployment {
            name: name.to_owned(),
            owner: of.owner.clone(),
            resource_version: of.version.to_string(),
            revision: of.applied.metadata.labels.as_ref().unwrap().get(REVISION).cloned(),
            config: of.note(CONFIG).cloned(),
            slots: of.slots(),
            ports: of.note(PORTS).cloned(),
            was_whole: of.note(WHOLE).is_some(),
            deleting: false,
            observed: of.observed,
            wanted: of.wanted,
            there: of.status.there,
            updated: of.status.updated,
            ready: of.status.ready,
            running: of.count(|pod| matches!(pod.state, State::Running | State::Ready)),
            holding: of.count(|pod| pod.state == State::Ready),
            terminating: of.count(|pod| pod.state == State::Ending),
            overdue: self.late && of.status.ready < of.wanted,
            waits,
        }
    }

    /// Pods that have a node.
    fn occupied(&self) -> usize {
        let pods = self.deployed.values().flat_map(|deployed| &deployed.pods);
        pods.filter(|pod| pod.state != State::Pending).count()
    }

    /// A plan of what is there now.
    pub(crate) fn plan(&self) -> Plan {
        plan(&self.wanted, &self.facts())
    }

    /// Carries out one write; false when it is refused because something has changed meanwhile.
    pub(crate) fn write(&mut self, write: &Write) -> bool {
        self.clock += 1;
        match write {
            Write::Apply(object) => match &**object {
                Object::Deployment(applied) => self.deploy(applied),
                other => {
                    self.objects.insert((other.kind(), other.name().to_owned()), other.clone());
                }
            },
            Write::Scale(scale) => {
                let Some(deployed) = self.deployed.get_mut(&scale.deployment) else { return false };
                if deployed.version.to_string() != scale.resource_version {
                    return false;
                }
                deployed.wanted = scale.replicas;
                deployed.observed = false;
                deployed.version = self.clock;
            }
            Write::Delete(delete) => {
                match delete.what {
                    Deletable::ConfigMap => {
                        let mut pods = self.deployed.values().flat_map(|of| &of.pods);
                        let read =
                            pods.any(|pod| pod.state != State::Ending && pod.template.contains(&delete.name));
                        assert!(!read, "a pod reads ConfigMap {}", delete.name);
                        let key = ("ConfigMap", delete.name.clone());
                        assert!(self.objects.remove(&key).is_some(), "not ours: {delete:?}");
                    }
                    Deletable::Deployment => {
                        let Some(deployed) = self.deployed.get(&delete.name) else {
                            panic!("not ours: {delete:?}");
                        };
                        if deployed.version.to_string() != delete.resource_version {
                            return false;
                        }
                        assert!(deployed.pods.is_empty(), "pods of {} are left", delete.name);
                        self.deployed.remove(&delete.name);
                    }
                };
            }
            Write::Status(all) => self.say(all),
        }
        true
    }

    fn deploy(&mut self, applied: &Applied) {
        let name = applied.metadata.name.clone().unwrap();
        let spec = applied.spec.as_ref().unwrap();
        let template = serde_json::to_string(&spec.template).unwrap();
        let image = spec.template.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
        let wanted = spec.replicas.unwrap();
        let owner = owner(applied.metadata.owner_references.as_deref());
        match self.deployed.get_mut(&name) {
            None => {
                let deployed = Deployed {
                    owner,
                    applied: applied.clone(),
                    image,
                    template,
                    wanted,
                    observed: false,
                    status: Counts::default(),
                    version: self.clock,
                    pods: Vec::new(),
                };
                self.deployed.insert(name, deployed);
            }
            Some(there) => {
                assert_eq!(
                    there.applied.spec.as_ref().unwrap().selector,
                    spec.selector,
                    "the selector of {name} can't be changed"
                );
                let spec_changed = there.template != template || there.wanted != wanted;
                if spec_changed || there.applied.metadata != applied.metadata {
                    there.version = self.clock;
                    there.observed &= !spec_changed;
                }
                there.applied = applied.clone();
                (there.image, there.template, there.wanted) = (image, template, wanted);
            }
        }
    }

    fn say(&mut self, all: &[stoker_plan::Standing]) {
        let now = Time("2026-01-01T00:00:00Z".parse().unwrap());
        for standing in all {
            let name = Some(standing.of.name.clone());
            macro_rules! put {
                ($list:ident) => {
                    for of in self.wanted.$list.iter_mut().filter(|of| of.metadata.name == name) {
                        of.status = Some(standing.status(of.status.as_ref(), &now));
                    }
                };
            }
            match standing.of.kind {
                Kind::CoreShard => put!(core_shards),
                Kind::Notifier => put!(notifiers),
                Kind::Portal => put!(portals),
                Kind::Gateway => {
                    for of in self.wanted.gateways.iter_mut().filter(|of| of.metadata.name == name) {
                        let status = of.status.get_or_insert_default();
                        status.common = standing.status(Some(&status.common), &now);
                        status.address = standing.address.clone();
                        status.connections = standing.connections;
                    }
                }
            }
        }
    }

    /// Whether applying this changes anything.
    pub(crate) fn differs(&self, object: &Object) -> bool {
        match object {
            Object::Deployment(applied) => {
                let there = self.deployed.get(object.name());
                there.is_none_or(|there| {
                    let wanted = applied.spec.as_ref().unwrap().replicas;
                    there.applied != **applied || Some(there.wanted) != wanted
                })
            }
            _ => self.objects.get(&(object.kind(), object.name().to_owned())) != Some(object),
        }
    }

    /// Whether this write changes anything.
    pub(crate) fn changes(&self, write: &Write) -> bool {
        match write {
            Write::Apply(object) => self.differs(object),
            Write::Scale(_) | Write::Delete(_) | Write::Status(_) => true,
        }
    }

    /// Makes a plan and carries all of it out; refused writes are left for the next one.
    pub(crate) fn reconcile(&mut self) -> Plan {
        let plan = self.plan();
        for write in writes(&plan) {
            self.write(&write);
        }
        plan
    }

    /// Deployments of Gateways, as they truly are.
    pub(crate) fn revisions(&self) -> Vec<Deployment> {
        let of_gateway =
            |of: &&Deployment| of.owner.as_ref().is_some_and(|owner| owner.kind == Kind::Gateway);
        let all: Vec<Deployment> = self
            .deployed
            .iter()
            .map(|(name, of)| {
                let Counts { there, updated, ready } = of.counts();
                Deployment { there, updated, ready, ..self.seen(name, of) }
            })
            .collect();
        all.iter().filter(of_gateway).cloned().collect()
    }

    /// What the Service of the Gateway leads to.
    pub(crate) fn doors(&self) -> BTreeSet<String> {
        let service = self.objects.get(&("Service", "edge-gateway".to_owned()));
        let Some(Object::Service(service)) = service else { return BTreeSet::new() };
        let ports = service.spec.as_ref().unwrap().ports.as_ref().unwrap();
        let target = |port: &k8s_openapi::api::core::v1::ServicePort| match port.target_port.as_ref().unwrap()
        {
            IntOrString::String(name) => name.clone(),
            IntOrString::Int(number) => number.to_string(),
        };
        ports.iter().map(target).collect()
    }

    /// Slots that no ready core serves.
    pub(crate) fn unserved(&self) -> Vec<i32> {
        let pods = self.deployed.values().flat_map(|of| &of.pods).filter(|pod| pod.state == State::Ready);
        let ranges: Vec<SlotRange> = pods.filter_map(|pod| pod.slots).collect();
        (0..SLOTS)
            .filter(|slot| !ranges.iter().any(|range| (range.first..=range.last).contains(slot)))
            .collect()
    }

    /// Everything that somebody could see, Deployments' versions among it.
    pub(crate) fn everything(&self) -> (BTreeMap<(&'static str, String), Object>, Facts) {
        (self.objects.clone(), self.facts())
    }

    /// ConfigMaps that pods read, and those that are there.
    pub(crate) fn configs(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let read = self.deployed.values().filter_map(|of| of.note(CONFIG).cloned());
        let there =
            self.objects.keys().filter(|(kind, _)| *kind == "ConfigMap").map(|(_, name)| name.clone());
        (read.collect(), there.collect())
    }
}

fn owner(references: Option<&[OwnerReference]>) -> Option<Id> {
    let controller = references?.iter().find(|reference| reference.controller == Some(true))?;
    let kind = [Kind::CoreShard, Kind::Gateway, Kind::Notifier, Kind::Portal]
        .into_iter()
        .find(|kind| kind.name() == controller.kind)?;
    Some(Id { kind, name: controller.name.clone(), uid: controller.uid.clone() })
}
