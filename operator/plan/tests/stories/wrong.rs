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
    let trusted_cidrs = vec!["10.0.0.0/8".to_owned()];
    scene.cluster.wanted.gateways[0].spec.listeners[0].proxy_protocol = Some(ProxyProtocol { trusted_cidrs });
    scene.step("the PROXY protocol");
    spec(&mut scene);
    scene.cluster.wanted.gateways[0].spec.listeners[1].tls_secret_name = None;
    scene.step("an encrypted listener without its certificate");
    spec(&mut scene);
    scene.cluster.wanted.gateways[0].spec.drain.handover_grace = Some("99999h".to_owned());
    scene.step("a grace of eleven years");
    spec(&mut scene);
    scene.cluster.wanted.portals[0].spec.tls_secret_name = Some("portal-tls".to_owned());
    scene.step("a portal with a certificate");
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
