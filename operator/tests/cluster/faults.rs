//! An operator that is killed after each of its writes, and one whose watches lag or lose events: the end is the same.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::look::differences;
use crate::space::{Operator, Space, core_shard, until_nothing_is_left};
use crate::wire::{Watches, Wire};

/// What is done to a platform, step by step.
const STEPS: [&str; 7] = ["create", "roll", "scale", "update", "split", "merge", "delete"];

/// Does a step. Returns whether something is there afterwards.
async fn step(space: &Space, name: &str) -> bool {
    let image = json!({"spec": {"image": "registry.example.com/stoker:2"}});
    match name {
        "create" => {
            space.secrets().await;
            space.platform().await;
        }
        "roll" => {
            space.change("Gateway", "edge", &image).await;
            space.change("Portal", "console", &image).await;
        }
        "scale" => {
            space.change("Gateway", "edge", &json!({"spec": {"replicas": 3}})).await;
            space.change("CoreShard", "main", &json!({"spec": {"replicas": 1}})).await;
        }
        "update" => {
            let listeners = json!([{"name": "ws", "protocol": "Ws", "port": 8083}]);
            space.change("Gateway", "edge", &json!({"spec": {"listeners": listeners}})).await;
            space.change("Notifier", "people", &json!({"spec": {"email": null}})).await;
        }
        "split" => {
            space.put("CoreShard", "other", &core_shard(128, 255)).await;
            space.change("CoreShard", "main", &json!({"spec": {"slots": {"first": 0, "last": 127}}})).await;
        }
        "merge" => {
            space.resources("CoreShard").delete("other", &DeleteParams::background()).await.unwrap();
            space.change("CoreShard", "main", &json!({"spec": {"slots": {"first": 0, "last": 255}}})).await;
        }
        _ => {
            for (kind, of) in space.all().await {
                let name = of.metadata.name.unwrap();
                space.resources(&kind).delete(&name, &DeleteParams::background()).await.unwrap();
            }
            return false;
        }
    }
    true
}

async fn rest(space: &Space, there: bool) -> BTreeMap<String, Value> {
    if there {
        space.at_rest().await;
    }
    until_nothing_is_left("what goes is gone", || superfluous(space, there)).await;
    space.look().await
}

/// What is there and is to go: what a resource leaves behind is taken away in its own time.
async fn superfluous(space: &Space, there: bool) -> Vec<String> {
    let pods = space.api("v1", "Pod", "pods").list(&Default::default()).await.unwrap().items;
    let resources = space.all().await;
    let uids: Vec<_> = resources.iter().filter_map(|(_, of)| of.metadata.uid.as_ref()).collect();
    let objects = space.objects().await;
    let mut left = Vec::new();
    for (name, of) in &objects {
        let owners = of.metadata.owner_references.clone().unwrap_or_default();
        if owners.is_empty() || owners.iter().any(|owner| !uids.contains(&&owner.uid)) {
            left.push(format!("{name} does not belong to those who are there: {:?}", of.metadata));
        }
    }
    // Each has one revision, and that one configuration. A former one goes only after it is said that all is settled.
    for kind in ["Deployment ", "ConfigMap "] {
        let of_kind: Vec<_> = objects.keys().filter(|name| name.starts_with(kind)).collect();
        if of_kind.len() != resources.len() {
            left.push(format!("{of_kind:?} for {} resources", resources.len()));
        }
    }
    if !there {
        left.extend(pods.iter().map(|pod| format!("a pod: {:?}", pod.metadata)));
    }
    left
}

/// The ends of all steps, with one operator that nothing happens to.
async fn undisturbed() -> Vec<BTreeMap<String, Value>> {
    let space = Space::new("calm").await;
    let operator = space.operator(space.client.clone());
    let mut ends = Vec::new();
    for name in STEPS {
        let there = step(&space, name).await;
        ends.push(rest(&space, there).await);
    }
    operator.end().await;
    space.end().await;
    ends
}

fn same(step: &str, end: &BTreeMap<String, Value>, undisturbed: &BTreeMap<String, Value>) {
    let different = differences(end, undisturbed);
    assert!(different.is_empty(), "after {step}:\n{}", different.join("\n"));
}

/// Operators that are killed after `most` writes each, one after another, until one has nothing left to write.
async fn killed(space: &Space, most: u64, there: bool) -> (u32, BTreeMap<String, Value>) {
    let mut lives = 0;
    let resting = rest(space, there);
    tokio::pin!(resting);
    loop {
        let wire = Wire::cut_after(most);
        let operator: Operator = space.operator(wire.client(space.client.clone()));
        lives += 1;
        tokio::select! {
            end = &mut resting => {
                operator.kill().await;
                return (lives, end);
            }
            () = wire.cut.cancelled() => operator.kill().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_the_same_after_which_write_ever_the_operator_is_killed() {
    let calm = undisturbed().await;
    for most in [1, 2, 5] {
        let space = Space::new("killed").await;
        for (name, calm) in STEPS.into_iter().zip(&calm) {
            let there = step(&space, name).await;
            let (lives, end) = killed(&space, most, there).await;
            println!("killed after each {most} writes: {name} took {lives} operators");
            same(name, &end, calm);
            // One that made everything in one life was not killed in the midst of it.
            assert!(lives > 1 || name == "delete", "{name} was not disturbed");
        }
        space.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_the_same_when_events_come_late_or_never() {
    let calm = undisturbed().await;
    for watches in [Watches::Late(Duration::from_millis(400)), Watches::Torn] {
        let space = Space::new("torn").await;
        let wire = Wire::with(watches);
        let operator = space.operator(wire.client(space.client.clone()));
        for (name, calm) in STEPS.into_iter().zip(&calm) {
            let there = step(&space, name).await;
            let end = rest(&space, there).await;
            println!("watches that are {watches:?}: {name} came to its end");
            same(name, &end, calm);
        }
        operator.end().await;
        space.end().await;
    }
}
