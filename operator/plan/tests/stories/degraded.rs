//! What pods do without, as it is said.

use stoker_plan::Kind;
use stoker_plan::degraded::{Verdict, Without};

use crate::support::cluster::Cluster;
use crate::support::platform::{self, pods};
use crate::support::scene::Scene;

const NO_WAY: &str = "there is no connection to the broker";

fn without(mut verdict: Verdict, thing: &str, pods: usize, why: &str) -> Verdict {
    verdict.without.insert(thing.to_owned(), Without { pods, why: why.to_owned() });
    verdict
}

fn say(scene: &mut Scene, kind: Kind, name: &str, verdict: Verdict) {
    scene.cluster.degraded.insert((kind, name.to_owned()), verdict);
}

#[test]
fn what_pods_do_without_is_said_until_it_is_back() {
    let mut scene = Scene::at_rest("degraded", Cluster::new(platform::whole()));
    say(&mut scene, Kind::Gateway, "edge", without(pods(2, 0), "bus", 1, NO_WAY));
    scene.step("RabbitMQ is away, and the first pod says so");
    for (kind, name, all) in
        [(Kind::Gateway, "edge", 2), (Kind::CoreShard, "main", 3), (Kind::Portal, "console", 1)]
    {
        say(&mut scene, kind, name, without(pods(all, 0), "bus", all, NO_WAY));
    }
    scene.step("all of them do");
    say(&mut scene, Kind::Portal, "console", without(pods(1, 0), "bus", 1, "connection refused"));
    scene.step("one says it in other words");
    let both = without(without(pods(3, 1), "bus", 2, NO_WAY), "store", 2, "the members' rows cannot be read");
    say(&mut scene, Kind::CoreShard, "main", both);
    say(&mut scene, Kind::Notifier, "people", without(pods(1, 0), "moon", 1, "it is new"));
    scene.step(
        "Cassandra is away as well, a pod does not answer, and one of another version lacks something else",
    );
    scene.cluster.degraded.clear();
    scene.step("another operator leads, which has asked nobody yet: what was said stays");
    scene.cluster.degraded = platform::well(&scene.cluster.wanted);
    scene.step("all is there again");
    scene.end();
}

#[test]
fn what_is_not_known_is_not_said() {
    let mut cluster = Cluster::new(platform::whole());
    let well = std::mem::take(&mut cluster.degraded);
    let mut scene = Scene::new("degraded-unknown", cluster);
    for _ in 0..2 {
        scene.cluster.reconcile();
        scene.cluster.settle();
    }
    scene.step("all are ready, and nobody has been asked yet");
    scene.cluster.degraded = well;
    say(&mut scene, Kind::Gateway, "edge", pods(2, 2));
    say(&mut scene, Kind::CoreShard, "main", pods(3, 1));
    scene.step("no pod of the gateway answers, and one of the cores does not");
    let away = without(pods(1, 0), "bus", 1, NO_WAY);
    say(&mut scene, Kind::Notifier, "people", away);
    scene.step("the notifier has no broker");
    scene.cluster.wanted.notifiers[0].spec.replicas = 0;
    scene.cluster.reconcile();
    scene.cluster.settle();
    scene.step("it has no pod any more");
    scene.end();
}
