//! What cannot be planned.

use stoker_crds::{Listener, Protocol, ProxyProtocol};

use crate::support::cluster::Cluster;
use crate::support::platform;
use crate::support::scene::Scene;

fn listener(name: &str, protocol: Protocol, port: i32, secret: Option<&str>) -> Listener {
    Listener {
        name: name.to_owned(),
        protocol,
        port,
        tls_secret_name: secret.map(str::to_owned),
        proxy_protocol: None,
    }
}

fn trusting(networks: &[&str]) -> Option<ProxyProtocol> {
    let trusted_cidrs = networks.iter().map(|network| (*network).to_owned()).collect();
    Some(ProxyProtocol { trusted_cidrs })
}

#[test]
fn a_wrong_spec_leaves_what_runs() {
    let mut scene = Scene::at_rest("wrong-specs", Cluster::new(platform::whole()));
    let right = scene.cluster.wanted.gateways[0].spec.clone();
    let spec = |scene: &mut Scene| {
        scene.cluster.wanted.gateways[0].spec = right.clone();
    };
    let mqtts = listener("other", Protocol::Mqtts, 8884, Some("other-tls"));
    scene.cluster.wanted.gateways[0].spec.listeners.push(mqtts);
    scene.step("two certificates for one protocol");
    spec(&mut scene);
    let mut other = listener("other", Protocol::Mqtt, 1884, None);
    other.proxy_protocol = trusting(&["10.0.0.0/8"]);
    scene.cluster.wanted.gateways[0].spec.listeners.push(other);
    scene.step("a balancer in front of one of two listeners of one protocol");
    spec(&mut scene);
    scene.cluster.wanted.gateways[0].spec.listeners[1].tls_secret_name = None;
    scene.step("an encrypted listener without its certificate");
    spec(&mut scene);
    scene.cluster.wanted.gateways[0].spec.drain.handover_grace = Some("99999h".to_owned());
    scene.step("a grace of eleven years");
    spec(&mut scene);
    scene.cluster.wanted.portals[0].spec.tls_secret_name = Some("portal-tls".to_owned());
    scene.step("a portal without the Secret of its certificate");
    scene.cluster.image.clear();
    scene.step("the operator does not know its image");
    scene.end();
}

#[test]
fn one_of_two_is_meant() {
    let mut wanted = platform::whole();
    wanted.notifiers.insert(0, platform::notifier("another"));
    let time = |text: &str| serde_json::from_value(serde_json::json!(text)).unwrap();
    wanted.notifiers[0].metadata.creation_timestamp = Some(time("2026-02-01T00:00:00Z"));
    wanted.gateways.push(platform::gateway("spare", "devices.example.com"));
    wanted.gateways.push(platform::gateway("Edge.1", "other.example.com"));
    wanted.portals.push(platform::portal("window"));
    let mut scene = Scene::new("two-of-a-kind", Cluster::new(wanted));
    scene.step("two Notifiers, two Gateways and two Portals of one hostname each, and a name that no Service can have");
    scene.end();
}

#[test]
fn listeners_that_share_a_port_of_the_pod() {
    let mut wanted = platform::whole();
    wanted.gateways[0].spec.listeners = vec![
        listener("tls", Protocol::Mqtts, 443, Some("devices-tls")),
        listener("legacy", Protocol::Mqtts, 8883, Some("devices-tls")),
        listener("web", Protocol::Wss, 8084, Some("devices-tls")),
    ];
    wanted.core_shards.truncate(1);
    wanted.notifiers.clear();
    wanted.portals.clear();
    let mut scene = Scene::new("listeners", Cluster::new(wanted));
    scene.objects("all encrypted, two ports of one protocol", "edge");
    scene.end();
}

#[test]
fn balancers_in_front_are_said_to_gateways() {
    let mut scene = Scene::at_rest("balancers", Cluster::new(platform::whole()));
    let networks = |scene: &mut Scene, networks: [Option<ProxyProtocol>; 2]| {
        for (listener, networks) in scene.cluster.wanted.gateways[0].spec.listeners.iter_mut().zip(networks) {
            listener.proxy_protocol = networks;
        }
    };
    networks(&mut scene, [trusting(&["192.0.2.0/24", "10.0.0.0/8"]), None]);
    scene.objects("a balancer is put in front of one listener", "edge-gateway-");
    scene.cluster.settle();
    scene.step("it serves");
    scene.cluster.settle();
    scene.step("it has rolled");
    networks(&mut scene, [trusting(&["10.0.0.0/8", "192.0.2.0/24"]), None]);
    scene.step("the same networks in another order: nothing rolls");
    networks(&mut scene, [trusting(&["10.0.0.0/8"]), trusting(&["10.0.0.0/8"])]);
    scene.step("one network less, and one in front of the other listener: the Gateway rolls");
    scene.end();
}
