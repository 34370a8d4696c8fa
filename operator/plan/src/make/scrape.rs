//! For Prometheus, where its operator is there: a Service of its own, since no public one may have the private port.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::port;
use crate::facts::Facts;
use crate::names::{METRICS, meta, selector};
use crate::object::{Object, ServiceMonitor};
use crate::wanted::Resource;

pub(super) fn objects(of: &Resource<'_>, facts: &Facts) -> [Object; 2] {
    let name = format!("{}-metrics", of.base());
    let mut metadata = meta(of, name.clone(), facts);
    metadata.labels.get_or_insert_default().insert(METRICS.to_owned(), "true".to_owned());
    let mut select = selector(of);
    let service = Service {
        metadata,
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            // What is not ready has something to tell, too.
            publish_not_ready_addresses: Some(true),
            selector: Some(select.clone()),
            ports: Some(vec![ServicePort {
                name: Some("private".to_owned()),
                port: port::PRIVATE,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String("private".to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    select.insert(METRICS.to_owned(), "true".to_owned());
    let monitor = ServiceMonitor {
        api_version: "monitoring.coreos.com/v1",
        kind: "ServiceMonitor",
        metadata: meta(of, name, facts),
        spec: json!({
            "selector": {"matchLabels": select},
            "endpoints": [{"port": "private", "path": "/metrics"}],
        }),
    };
    [Object::Service(Box::new(service)), Object::ServiceMonitor(monitor)]
}
