//! A Gateway that becomes another one.

use serde_json::json;
use stoker_plan::Object;

use crate::support::cluster::{Cluster, NOWHERE, STALLED};
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

/// The ports at the address and in the pods, and those that may be reached.
fn ports(scene: &mut Scene) {
    let object = |kind: &'static str| &scene.cluster.objects[&(kind, "edge-gateway".to_owned())];
    let Object::Service(service) = object("Service") else { panic!("no Service") };
    let at_address = service.spec.as_ref().unwrap().ports.iter().flatten().map(|port| {
        let target = serde_json::to_value(&port.target_port).unwrap();
        format!("{}: {} to {}", port.name.as_ref().unwrap(), port.port, target.as_str().unwrap())
    });
    let Object::NetworkPolicy(policy) = object("NetworkPolicy") else { panic!("no NetworkPolicy") };
    let rules = serde_json::to_value(policy.spec.as_ref().unwrap().ingress.as_ref().unwrap()).unwrap();
    let open: Vec<i64> =
        rules[0]["ports"].as_array().unwrap().iter().filter_map(|port| port["port"].as_i64()).collect();
    let seen = json!({"service": at_address.collect::<Vec<_>>(), "pods": open});
    scene.document(&seen);
}

#[test]
fn ports_lead_to_where_they_are_served_while_it_rolls() {
    let mut scene = scene("listeners-change");
    ports(&mut scene);
    let listener = |name: &str, protocol: &str, port: i32, secret: Option<&str>| {
        let of = json!({"name": name, "protocol": protocol, "port": port, "tlsSecretName": secret});
        serde_json::from_value(of).unwrap()
    };
    let before = scene.cluster.wanted.gateways[0].spec.listeners.clone();
    scene.cluster.wanted.gateways[0].spec.listeners[0].port = 1884;
    scene.step("another port of a protocol that all pods speak: at once");
    ports(&mut scene);
    scene.cluster.wanted.gateways[0].spec.listeners = vec![
        listener("mqtt", "Ws", 1884, None),
        listener("mqtts", "Mqtts", 443, Some("devices-tls")),
        listener("web", "Wss", 8084, Some("devices-tls")),
    ];
    scene.step("other protocols: the old ports stay, and the new ones are not there yet");
    ports(&mut scene);
    scene.cluster.settle();
    scene.step("the new revision is ready: its ports come, and those of the old one stay");
    ports(&mut scene);
    scene.cluster.settle();
    scene.step("the old one has ended");
    ports(&mut scene);
    scene.step("only the new ports are left");
    scene.cluster.wanted.gateways[0].spec.listeners = before;
    scene.step("back to the first ones: the ports stay until these are ready");
    ports(&mut scene);
    scene.cluster.settle();
    scene.step("they are");
    ports(&mut scene);
    scene.end();
}

#[test]
fn a_revision_that_runs_and_is_never_ready_goes_when_it_is_not_wished_any_more() {
    let mut scene = scene("never-ready");
    image(&mut scene, STALLED);
    scene.step("an image is wished whose process never becomes ready");
    scene.cluster.settle();
    scene.step("it runs, beside the one that serves");
    scene.cluster.late = true;
    scene.step("it has had its time");
    scene.cluster.wanted.gateways[0].spec.pods.image = None;
    scene.step("the one before is wished again: the other goes at once");
    scene.cluster.settle();
    scene.step("its pods have ended");
    scene.step("nothing is left of it");
    scene.end();
}

#[test]
fn a_revision_that_is_never_ready_makes_room_for_the_one_that_mends_it() {
    let mut scene = scene("never-ready-mended");
    image(&mut scene, STALLED);
    scene.step("an image is wished whose process never becomes ready");
    scene.cluster.settle();
    scene.step("it runs, beside the one that serves, and there is no room for a third");
    scene.cluster.room = 11;
    image(&mut scene, "stoker:3");
    scene.step("another one is wished: the broken one goes at once, and the old one serves");
    scene.cluster.settle();
    scene.step("it has found room, and is ready: the old one goes");
    scene.cluster.settle();
    scene.step("its pods have ended");
    scene.step("nothing is left of either");
    scene.end();
}

#[test]
fn the_only_revision_is_given_its_time_although_another_is_wished() {
    let mut scene = Scene::new("never-ready-alone", Cluster::new(platform::whole()));
    image(&mut scene, STALLED);
    for _ in 0..2 {
        scene.cluster.reconcile();
        scene.cluster.settle();
    }
    scene.step("the first image of all runs, and is never ready");
    image(&mut scene, NOWHERE);
    scene.step("another one is wished, and nobody serves: the first may yet come up");
    scene.cluster.settle();
    scene.cluster.late = true;
    scene.step("it has had its time, and makes room");
    scene.end();
}
