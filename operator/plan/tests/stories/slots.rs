//! CoreShards and the slots that they share.

use stoker_crds::SlotRange;

use crate::support::cluster::Cluster;
use crate::support::platform;
use crate::support::scene::Scene;

fn range(scene: &mut Scene, shard: usize, first: i32, last: i32) {
    scene.cluster.wanted.core_shards[shard].spec.slots = SlotRange { first, last };
}

#[test]
fn a_split_takes_effect_when_the_new_one_runs() {
    let mut scene = Scene::at_rest("slots-split", Cluster::new(platform::whole()));
    scene.cluster.wanted.core_shards.push(platform::core_shard("second", 100, 255));
    scene.step("a second CoreShard is made, whose slots the first one has");
    range(&mut scene, 0, 0, 98);
    scene.step("the first one is changed, and slot 99 forgotten");
    range(&mut scene, 0, 0, 99);
    scene.step("together they cover all: the second one is made, beside the first");
    scene.cluster.settle();
    scene.step("it runs, and the first one gives slots up");
    scene.cluster.settle();
    scene.step("it has rolled");
    scene.step("nothing has happened since");
    scene.end();
}

#[test]
fn who_has_no_pods_is_given_no_slots() {
    let mut scene = Scene::at_rest("slots-no-pods", Cluster::new(platform::whole()));
    let mut second = platform::core_shard("second", 100, 255);
    second.spec.replicas = 0;
    scene.cluster.wanted.core_shards.push(second);
    range(&mut scene, 0, 0, 99);
    scene.step("a second CoreShard without pods is to have some of the slots");
    scene.cluster.settle();
    scene.step("it is made, and the first one keeps them");
    scene.cluster.wanted.core_shards[1].spec.replicas = 1;
    scene.step("it gets a pod");
    scene.cluster.settle();
    scene.step("which runs, and the first one gives slots up");
    scene.end();
}

#[test]
fn what_nobody_serves_is_said() {
    let mut wanted = platform::whole();
    wanted.core_shards = vec![platform::core_shard("a", 0, 99), platform::core_shard("b", 128, 200)];
    let mut scene = Scene::new("slots-missing", Cluster::new(wanted));
    scene.step("two CoreShards that do not cover all");
    range(&mut scene, 1, 50, 255);
    scene.step("two that overlap");
    range(&mut scene, 1, 100, 255);
    scene.step("each slot once");
    for _ in 0..3 {
        scene.cluster.settle();
        scene.cluster.reconcile();
    }
    let deleted = scene.cluster.wanted.gateways[0].metadata.creation_timestamp.clone();
    scene.cluster.wanted.core_shards[1].metadata.deletion_timestamp = deleted;
    scene.step("one of them is deleted");
    scene.end();
}

#[test]
fn all_keep_their_data_in_one_place() {
    let mut scene = Scene::at_rest("cassandra-differs", Cluster::new(platform::whole()));
    let mut other = platform::core_shard("other", 0, 255);
    other.spec.cassandra.keyspace = "elsewhere".to_owned();
    scene.cluster.wanted.core_shards.push(other);
    scene.step("a CoreShard is made with another keyspace");
    scene.end();
}

#[test]
fn without_cores_nothing_is_made() {
    let mut wanted = platform::whole();
    wanted.core_shards.clear();
    let mut scene = Scene::new("no-core-shard", Cluster::new(wanted));
    scene.step("there is no CoreShard");
    scene.end();
}
