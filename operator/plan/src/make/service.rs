//! Where pods are reached.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use stoker_crds::{GatewaySpec, ServiceType, TrafficPolicy};

use super::{HTTPS, port};
use crate::facts::Facts;
use crate::names::{meta, pods_of, selector, shared_meta};
use crate::object::Object;
use crate::roll::Reach;
use crate::wanted::{Kind, Resource, Spec};

/// The Service in front of a Gateway or a Portal. It selects the pods of all revisions.
pub(super) fn front(of: &Resource<'_>, reach: Option<&Reach>, facts: &Facts) -> Option<Object> {
    let spec = match of.spec {
        Spec::Gateway(spec) => gateway(spec, reach),
        Spec::Portal(spec) => ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            ports: Some(vec![match spec.tls_secret_name {
                Some(_) => named(HTTPS, 443, HTTPS),
                None => named("http", 80, "http"),
            }]),
            ..ServiceSpec::default()
        },
        Spec::CoreShard(_) | Spec::Notifier(_) => return None,
    };
    let mut metadata = meta(of, of.base(), facts);
    if let Spec::Gateway(spec) = of.spec {
        let annotations: BTreeMap<_, _> = spec.service.annotations.clone();
        metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    }
    let spec = ServiceSpec { selector: Some(selector(of)), ..spec };
    Some(Object::Service(Box::new(Service { metadata, spec: Some(spec), status: None })))
}

fn named(name: &str, port: i32, target: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(target.to_owned())),
        ..ServicePort::default()
    }
}

fn gateway(spec: &GatewaySpec, reach: Option<&Reach>) -> ServiceSpec {
    let ports = reach.into_iter().flat_map(|reach| &reach.ports);
    let ports = ports.map(|port| named(&port.name, port.number, port.door));
    let kind = match spec.service.kind {
        ServiceType::LoadBalancer => "LoadBalancer",
        ServiceType::NodePort => "NodePort",
        ServiceType::ClusterIP => "ClusterIP",
    };
    let policy = match spec.service.external_traffic_policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    };
    ServiceSpec {
        type_: Some(kind.to_owned()),
        // The API server takes it only where somebody comes from without.
        external_traffic_policy: (spec.service.kind != ServiceType::ClusterIP).then(|| policy.to_owned()),
        ports: Some(ports.collect()),
        ..ServiceSpec::default()
    }
}

/// The Service under which all cores are found: without an address of its own, so that callers see each of them.
pub(crate) fn cores(shards: &[&Resource<'_>], namespace: &str, facts: &Facts) -> Object {
    Object::Service(Box::new(Service {
        metadata: shared_meta(shards, namespace, facts),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(pods_of(Kind::CoreShard)),
            ports: Some(vec![named("grpc", port::CORE, "grpc")]),
            ..ServiceSpec::default()
        }),
        status: None,
    }))
}
