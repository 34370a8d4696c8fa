//! A platform as a whole.

use serde_json::json;
use stoker_crds::{Pods, ServiceType, TrafficPolicy};
use stoker_plan::Object;

use crate::support::cluster::Cluster;
use crate::support::platform;
use crate::support::scene::Scene;

#[test]
fn all_that_is_made_of_one_of_each() {
    let mut cluster = Cluster::new(platform::whole());
    cluster.service_monitors = true;
    let mut scene = Scene::new("nothing-yet", cluster);
    scene.objects("nothing has been made yet", "");
    scene.end();
}

#[test]
fn all_that_can_be_said_of_pods_and_services_arrives_there() {
    let mut wanted = platform::whole();
    let pods: Pods = serde_json::from_value(json!({
        "image": "registry.example.com/other:1",
        "resources": {"limits": {"memory": "1Gi"}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "devices", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}},
        ]}},
        "imagePullSecrets": [{"name": "registry"}],
    }))
    .unwrap();
    let core = &mut wanted.core_shards[0].spec;
    core.cassandra.replication_factor = Some(1);
    core.cassandra.secret_name = None;
    core.pods = pods;
    let service = &mut wanted.gateways[0].spec.service;
    service.kind = ServiceType::NodePort;
    service.external_traffic_policy = TrafficPolicy::Local;
    let mut scene = Scene::new("all-fields", Cluster::new(wanted));
    let plan = scene.cluster.plan();
    let chosen = plan.apply.iter().filter(|object| match object {
        Object::Deployment(_) => object.name() == "main-core",
        Object::ConfigMap(_) => object.name().starts_with("main-core"),
        Object::Service(_) => object.name() == "edge-gateway",
        _ => false,
    });
    for object in chosen {
        scene.document(&serde_json::to_value(object).unwrap());
    }
    scene.end();
}

#[test]
fn it_comes_up_and_rests() {
    let mut scene = Scene::new("coming-up", Cluster::new(platform::whole()));
    scene.cluster.secrets.remove("stoker-admin");
    scene.step("nothing has been made yet, not even the administrator's token");
    scene.cluster.secrets.insert("stoker-admin".to_owned(), platform::secret(&["token"]));
    scene.step("the token is there");
    scene.cluster.settle();
    scene.step("all pods are ready");
    scene.step("nothing has happened since");
    scene.end();
}

#[test]
fn a_gateway_says_where_it_is_and_what_it_holds() {
    let mut scene = Scene::at_rest("address-and-connections", Cluster::new(platform::whole()));
    let count = |scene: &mut Scene, now| {
        scene.cluster.connections.insert("edge".to_owned(), now);
    };
    let address = scene.cluster.addresses.remove("edge-gateway").unwrap();
    scene.step("the load balancer has taken the address away");
    scene.cluster.wanted.gateways[0].spec.service.kind = ServiceType::ClusterIP;
    scene.step("no load balancer is wished");
    scene.cluster.wanted.gateways[0].spec.service.kind = ServiceType::LoadBalancer;
    scene.cluster.addresses.insert("edge-gateway".to_owned(), address);
    count(&mut scene, 1000);
    scene.step("it is back, and a thousand devices have come");
    count(&mut scene, 1050);
    scene.step("five in a hundred more: near enough");
    count(&mut scene, 1051);
    scene.step("one more");
    count(&mut scene, 1050);
    scene.step("one less: near enough");
    scene.end();
}

#[test]
fn what_is_changed_in_secrets_rolls_pods_unless_it_is_a_certificate() {
    let mut scene = Scene::at_rest("secrets-changed", Cluster::new(platform::whole()));
    let change = |scene: &mut Scene, secret: &str, key: &str| {
        let secret = scene.cluster.secrets.get_mut(secret).unwrap();
        secret.digests.insert(key.to_owned(), format!("{key}-2"));
    };
    change(&mut scene, "devices-tls", "tls.crt");
    change(&mut scene, "devices-tls", "tls.key");
    scene.step("a new certificate: its files are renewed, and nothing rolls");
    change(&mut scene, "stoker-admin", "token");
    scene.step("a new administrator's token: the portal rolls");
    change(&mut scene, "devices-tls", "ca.crt");
    scene.step("an authority for devices' certificates: the configuration of gateways changes");
    change(&mut scene, "cassandra", "password");
    change(&mut scene, "mail", "smtp_url");
    scene.step("other credentials of Cassandra and of the mail server: cores and notifiers roll");
    scene.end();
}

#[test]
fn a_portal_speaks_tls_itself_where_it_has_a_certificate() {
    let mut scene = Scene::at_rest("portal-tls", Cluster::new(platform::whole()));
    scene.cluster.wanted.portals[0].spec.tls_secret_name = Some("portal-tls".to_owned());
    scene.step("a certificate is named that is not there");
    scene.cluster.secrets.insert("portal-tls".to_owned(), platform::secret(&["tls.crt", "tls.key"]));
    scene.objects("it is there", "console-portal");
    scene.cluster.settle();
    scene.step("the portal has rolled");
    let secret = scene.cluster.secrets.get_mut("portal-tls").unwrap();
    secret.digests.insert("tls.crt".to_owned(), "tls.crt-2".to_owned());
    scene.step("it is renewed: its files are, too, and nothing rolls");
    scene.cluster.wanted.portals[0].spec.tls_secret_name = None;
    scene.step("it is named no more");
    scene.end();
}

#[test]
fn nothing_is_done_while_it_is_paused() {
    let mut scene = Scene::at_rest("paused", Cluster::new(platform::whole()));
    let notes = |scene: &mut Scene, value: &str| {
        let notes = scene.cluster.wanted.gateways[0].metadata.annotations.get_or_insert_default();
        notes.insert(stoker_plan::PAUSED.to_owned(), value.to_owned());
    };
    notes(&mut scene, "true");
    scene.cluster.wanted.gateways[0].spec.pods.image = Some("stoker:2".to_owned());
    scene.step("paused, and another image is wished");
    scene.cluster.settle();
    scene.step("later");
    notes(&mut scene, "false");
    scene.step("it may go on");
    scene.cluster.settle();
    notes(&mut scene, "true");
    scene.step("paused again when the new revision is ready: the old one stays");
    notes(&mut scene, "false");
    scene.step("it may go on, and the old one goes");
    scene.end();
}
