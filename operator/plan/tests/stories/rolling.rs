//! A Gateway that becomes another one.

use crate::support::cluster::{Cluster, NOWHERE};
use crate::support::platform;
use crate::support::scene::Scene;

fn scene(name: &'static str) -> Scene {
    Scene::at_rest(name, Cluster::new(platform::whole()))
}

fn image(scene: &mut Scene, image: &str) {
    let gateway = &mut scene.cluster.wanted.gateways[0];
    gateway.spec.pods.image = Some(image.to_owned());
    gateway.metadata.generation = gateway.metadata.generation.map(|generation| generation + 1);
}

#[test]
fn it_rolls_as_a_whole() {
    let mut scene = scene("rolling");
    image(&mut scene, "stoker:2");
    scene.step("another image is wished");
    // The controller sees it, and makes a pod.
    for _ in 0..2 {
        scene.cluster.tick(0);
    }
    scene.step("a pod is made");
    let ready = |scene: &Scene| scene.cluster.facts().deployments.iter().any(|of| of.ready == 1);
    while !ready(&scene) {
        scene.cluster.tick(0);
    }
    scene.step("it is ready");
    scene.cluster.settle();
    scene.step("all of them are");
    // Both are told to end, and counted as gone.
    for choice in [1, 1, 0] {
        scene.cluster.tick(choice);
    }
    scene.step("the old ones let their devices go: their Deployment stays until they have ended");
    scene.cluster.settle();
    scene.step("they have ended");
    scene.step("nothing is left of them");
    scene.step("nothing has happened since");
    scene.end();
}

#[test]
fn it_goes_on_after_an_operator_was_killed() {
    let mut scene = scene("interrupted");
    image(&mut scene, "stoker:2");
    scene.cut_off("another image is wished; killed before the first write", 0);
    scene.step("once more");
    scene.cluster.settle();
    scene.cut_off("all are ready; killed after one write, which notes it", 1);
    scene.cut_off("once more; killed after the old ones were told to go, before anything is said", 1);
    scene.cluster.settle();
    scene.step("they have ended");
    scene.step("nothing is left of them");
    scene.end();
}

#[test]
fn going_back_is_another_roll_out() {
    let mut scene = scene("reverted");
    image(&mut scene, "stoker:2");
    scene.step("another image is wished");
    for _ in 0..6 {
        scene.cluster.tick(0);
    }
    scene.cluster.wanted.gateways[0].spec.pods.image = None;
    scene.step("the old one is wished again while the new one comes up: it serves already");
    scene.cluster.settle();
    scene.step("the new one has ended");
    scene.step("nothing is left of it");
    image(&mut scene, "stoker:3");
    scene.step("a third one is wished");
    scene.cluster.settle();
    scene.step("it is ready, and the old one goes");
    // Its controller ends both pods, before it counts what is left.
    scene.cluster.tick(1);
    scene.cluster.tick(1);
    scene.cluster.wanted.gateways[0].spec.pods.image = None;
    scene.step("the old one is wished again while it goes: it comes up once more");
    scene.step("its status still counts the pods that end, and is not believed");
    scene.cluster.settle();
    scene.step("it is ready");
    scene.end();
}

#[test]
fn another_number_of_pods_is_no_roll_out() {
    let mut scene = scene("scaled");
    scene.cluster.wanted.gateways[0].spec.replicas = 4;
    scene.step("four gateways are wished");
    scene.cluster.settle();
    scene.step("they are ready");
    scene.cluster.wanted.gateways[0].spec.replicas = 2;
    scene.step("two are wished");
    scene.cluster.settle();
    scene.cluster.wanted.gateways[0].spec.replicas = 0;
    scene.step("none is wished");
    scene.cluster.settle();
    scene.step("none is left");
    scene.end();
}

#[test]
fn an_image_that_is_not_to_be_had_takes_nothing_down() {
    let mut scene = scene("image-unavailable");
    image(&mut scene, NOWHERE);
    scene.step("an image is wished that is nowhere");
    scene.cluster.settle();
    scene.step("it can't be pulled");
    image(&mut scene, "stoker:2");
    scene.step("another one is wished, and the one before makes room");
    scene.cluster.settle();
    scene.step("it is ready");
    scene.cluster.settle();
    scene.step("the others have ended");
    scene.step("nothing is left of them");
    scene.end();
}

#[test]
fn the_last_that_served_stays_wished_although_none_of_its_pods_is_left() {
    let mut scene = scene("all-pods-lost");
    image(&mut scene, NOWHERE);
    scene.step("an image is wished that is nowhere");
    scene.cluster.settle();
    scene.cluster.room = 0;
    let old = |scene: &Scene| scene.cluster.revisions().into_iter().find(|of| of.was_whole).unwrap();
    while old(&scene).running > 0 {
        scene.cluster.kill_of(&old(&scene).name);
    }
    scene.cluster.settle();
    scene.step("all nodes are lost, with the pods of the revision that served");
    scene.cluster.room = 1000;
    scene.cluster.settle();
    scene.step("they are back, and it serves again");
    scene.end();
}

#[test]
fn without_room_for_both_the_old_one_serves() {
    let mut scene = scene("no-room");
    scene.cluster.room = 10;
    image(&mut scene, "stoker:2");
    scene.step("another image is wished, and there is room for one pod more");
    scene.cluster.settle();
    scene.step("one of two has found room");
    scene.cluster.room = 11;
    scene.cluster.settle();
    scene.step("another node has come");
    scene.end();
}

#[test]
fn a_secret_that_goes_missing_takes_nothing_down() {
    let mut scene = scene("secret-missing");
    let bus = scene.cluster.secrets.remove("bus").unwrap();
    image(&mut scene, "stoker:2");
    scene.step("the broker's Secret is gone, and another image is wished");
    scene.cluster.secrets.insert("bus".to_owned(), platform::secret(&["uri"]));
    scene.step("it is back with a wrong key");
    scene.cluster.secrets.insert("bus".to_owned(), bus);
    scene.step("it is back as it was");
    scene.end();
}

#[test]
fn nothing_is_taken_away_on_what_may_be_out_of_date() {
    let mut scene = scene("behind");
    image(&mut scene, "stoker:2");
    scene.cluster.wanted.notifiers[0].spec.webhook.allow.clear();
    scene.step("another image is wished, and another configuration of the Notifier");
    scene.cluster.settle();
    scene.cluster.behind = true;
    scene.cluster.wanted.portals[0].spec.replicas = 0;
    scene.step("all are ready, a watch has failed, and no portal is wished: all that runs stays");
    scene.step("later");
    scene.cluster.behind = false;
    scene.step("it goes on");
    scene.cluster.settle();
    scene.step("the old ones have ended");
    scene.end();
}
