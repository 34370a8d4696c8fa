//! What holds in whichever order things happen: to the platform, to the cluster, and to an operator that is killed
//! between any two of its writes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use proptest::prelude::*;
use stoker_crds::Listener;
use stoker_plan::{Deployment, Scale};
use support::cluster::{Cluster, NOWHERE, STALLED, Write, writes};
use support::platform;

#[derive(Debug, Clone)]
enum Happens {
    /// The cluster does something by itself.
    Tick(usize),
    /// The operator looks and plans, unless it is busy with a former plan.
    Plan,
    /// It carries out the next write.
    Write,
    /// It is killed, and starts anew.
    Restart,
    /// Somebody wants another image.
    Image(u8),
    /// Somebody wants another number of gateways.
    Replicas(i32),
    /// Somebody wants other listeners.
    Listeners(usize),
    /// Somebody changes the broker's password.
    Bus(u8),
    /// Somebody takes a Secret away, or brings it back.
    Secret(bool),
    /// Somebody pauses the Gateway, or lets it go on.
    Pause(bool),
    /// There is room for so many pods.
    Room(usize),
    /// A node takes a pod with it.
    Kill(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        20 => any::<usize>().prop_map(Happens::Tick),
        5 => Just(Happens::Plan),
        14 => Just(Happens::Write),
        1 => Just(Happens::Restart),
        1 => (0_u8..5).prop_map(Happens::Image),
        1 => (1_i32..4).prop_map(Happens::Replicas),
        1 => (0_usize..3).prop_map(Happens::Listeners),
        1 => (0_u8..2).prop_map(Happens::Bus),
        1 => any::<bool>().prop_map(Happens::Secret),
        1 => prop_oneof![1 => Just(true), 2 => Just(false)].prop_map(Happens::Pause),
        1 => (4_usize..20).prop_map(Happens::Room),
    ]
}

fn happens_with_deaths() -> impl Strategy<Value = Happens> {
    prop_oneof![20 => happens(), 1 => any::<usize>().prop_map(Happens::Kill)]
}

/// Everything there is, and the operator's memory.
struct World {
    cluster: Cluster,
    /// Writes of a plan that are still to be carried out.
    pending: std::vec::IntoIter<Write>,
    /// The smallest number of gateways that was ever wanted.
    least: i32,
    /// A revision has been whole.
    was_whole: bool,
    deaths: bool,
}

impl World {
    fn new(deaths: bool) -> Self {
        let mut cluster = Cluster::new(platform::whole());
        cluster.add_foreign();
        Self { cluster, pending: Vec::new().into_iter(), least: 2, was_whole: false, deaths }
    }

    fn let_happen(&mut self, what: &Happens) {
        let gateway = &mut self.cluster.wanted.gateways[0];
        match what {
            Happens::Tick(choice) => drop(self.cluster.tick(*choice)),
            Happens::Plan if self.pending.len() == 0 => {
                let mut writes = writes(&self.cluster.plan());
                writes.retain(|write| self.cluster.changes(write));
                self.pending = writes.into_iter();
            }
            Happens::Plan => {}
            Happens::Write => {
                if let Some(write) = self.pending.next() {
                    self.write(&write);
                }
            }
            Happens::Restart => self.pending = Vec::new().into_iter(),
            Happens::Image(0) => gateway.spec.pods.image = Some(NOWHERE.to_owned()),
            Happens::Image(4) => gateway.spec.pods.image = Some(STALLED.to_owned()),
            Happens::Image(number) => gateway.spec.pods.image = Some(format!("stoker:{number}")),
            Happens::Replicas(replicas) => {
                gateway.spec.replicas = *replicas;
                self.least = self.least.min(*replicas);
            }
            Happens::Listeners(choice) => gateway.spec.listeners = listeners()[*choice].clone(),
            Happens::Bus(number) => {
                let secret = self.cluster.secrets.entry("bus".to_owned()).or_default();
                secret.digests.insert("url".to_owned(), number.to_string());
            }
            Happens::Secret(there) => {
                self.cluster.secrets.remove("devices-tls");
                if *there {
                    let secret = platform::secret(&["tls.crt", "tls.key"]);
                    self.cluster.secrets.insert("devices-tls".to_owned(), secret);
                }
            }
            Happens::Pause(paused) => {
                let notes = gateway.metadata.annotations.get_or_insert_default();
                notes.insert(stoker_plan::PAUSED.to_owned(), paused.to_string());
            }
            Happens::Room(room) => self.cluster.room = *room,
            Happens::Kill(choice) => self.cluster.kill(*choice),
        }
        self.look();
    }

    fn write(&mut self, write: &Write) {
        let before = self.cluster.revisions();
        let done = self.cluster.write(write);
        if let Write::Scale(scale) = write
            && done
            && !self.deaths
        {
            may_go(scale, &before);
        }
    }

    /// Once a revision was whole, the ready pods of one are always there, and a port of the Service leads to them.
    fn look(&mut self) {
        let revisions = self.cluster.revisions();
        self.was_whole |= revisions.iter().any(|of| of.wanted > 0 && of.ready >= of.wanted);
        if self.was_whole && !self.deaths {
            let most = revisions.iter().map(|of| of.ready).max().unwrap_or(0);
            assert!(most >= self.least, "{most} gateways of one revision serve: {revisions:#?}");
            let ports = self.cluster.doors();
            let reached = |of: &Deployment| doors(of).any(|door| ports.contains(door));
            let mut serve = revisions.iter().filter(|of| of.ready >= self.least);
            // What was planned before a revision came up may be carried out after that; one that the operator has seen
            // whole it leads to ever after.
            let known = serve.clone().any(|of| of.was_whole);
            assert!(!known || serve.any(reached), "the Service leads to {ports:?}: {revisions:#?}");
        }
    }

    /// Everything is in order again, and the operator goes on: it has to come to an end.
    fn come_to_rest(&mut self) {
        self.let_happen(&Happens::Restart);
        for what in [Happens::Image(1), Happens::Secret(true), Happens::Pause(false), Happens::Room(1000)] {
            self.let_happen(&what);
        }
        for _ in 0..20 {
            for write in writes(&self.cluster.plan()) {
                self.write(&write);
                self.look();
            }
            self.cluster.settle();
            self.look();
        }
    }
}

/// The same port of the address for two protocols, and others.
fn listeners() -> [Vec<Listener>; 3] {
    let of = |all: &[(&str, &str, i32)]| {
        let listener = |(name, protocol, port): &(&str, &str, i32)| serde_json::json!({"name": name, "protocol": protocol, "port": port});
        serde_json::from_value(all.iter().map(listener).collect()).unwrap()
    };
    [
        of(&[("mqtt", "Mqtt", 1883)]),
        of(&[("mqtt", "Ws", 1883)]),
        of(&[("web", "Ws", 80), ("mqtt", "Mqtt", 1884)]),
    ]
}

/// What its pods serve.
fn doors(of: &Deployment) -> impl Iterator<Item = &str> {
    of.ports.as_deref().unwrap_or_default().split(',').filter_map(|port| port.rsplit(':').next())
}

/// A revision may go when another one is wholly ready, or when no pod of it has been ready: then it holds no device. One
/// whose processes run goes only where others serve.
fn may_go(scale: &Scale, before: &[Deployment]) {
    assert_eq!(scale.replicas, 0);
    let (goes, others): (Vec<&Deployment>, Vec<&Deployment>) =
        before.iter().partition(|of| of.name == scale.deployment);
    let [goes] = goes[..] else { panic!("{} is not of the Gateway: {before:#?}", scale.deployment) };
    let whole = others.iter().any(|of| of.wanted > 0 && of.ready >= of.wanted);
    let others_serve = others.iter().any(|of| of.ready > 0);
    let holds_nobody = !goes.was_whole && goes.holding == 0 && (goes.running == 0 || others_serve);
    assert!(whole || holds_nobody, "{} goes too early: {before:#?}", goes.name);
}

fn at_rest(world: &mut World) {
    let cluster = &mut world.cluster;
    let replicas = cluster.wanted.gateways[0].spec.replicas;
    let revisions = cluster.revisions();
    let [only] = &revisions[..] else { panic!("more than one revision is left: {revisions:#?}") };
    assert_eq!((only.wanted, only.ready, only.there), (replicas, replicas, replicas));
    let (read, there) = cluster.configs();
    assert_eq!(read, there, "ConfigMaps that are read, and those that are there");
    let before = cluster.everything();
    let plan = cluster.reconcile();
    assert_eq!((plan.scale, plan.delete, plan.events, plan.again), (vec![], vec![], vec![], None));
    for standing in &plan.status {
        let ready = standing.conditions.iter().find(|said| said.kind == "Ready").unwrap();
        assert!(ready.is.holds(), "{}: {ready:?}", standing.of);
    }
    assert!(
        cluster.everything() == before,
        "carrying out a plan of what is as it is to be changes something"
    );
    assert!(!cluster.tick(0), "and something goes on");
    assert_eq!(cluster.plan().status, plan.status);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_whole_revision_serves_whatever_happens_and_all_comes_to_rest(
        all in prop::collection::vec(happens(), 0..400),
    ) {
        let mut world = World::new(false);
        for what in &all {
            world.let_happen(what);
        }
        world.come_to_rest();
        at_rest(&mut world);
    }

    #[test]
    fn all_comes_to_rest_although_pods_die(
        all in prop::collection::vec(happens_with_deaths(), 0..400),
    ) {
        let mut world = World::new(true);
        for what in &all {
            world.let_happen(what);
        }
        world.come_to_rest();
        at_rest(&mut world);
    }
}
