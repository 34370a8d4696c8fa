//! Where Services are reached.

use k8s_openapi::api::core::v1::Service;

/// Its name and its address, if it has one. One with a port on every node has no address of its own.
pub(super) fn address(service: &Service) -> Option<(String, String)> {
    let name = service.metadata.name.clone()?;
    let spec = service.spec.as_ref()?;
    let address = match spec.type_.as_deref() {
        Some("LoadBalancer") => {
            let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
            let first = balancer.ingress.as_ref()?.first()?;
            first.hostname.clone().or_else(|| first.ip.clone())
        }
        Some("NodePort") => None,
        _ => spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None"),
    };
    Some((name, address?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(spec: &Value, ingress: &Value) -> Option<String> {
        let service = json!({
            "metadata": {"name": "edge-gateway"},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        address(&serde_json::from_value(service).unwrap()).map(|(_, address)| address)
    }

    #[test]
    fn an_address_is_the_load_balancers_or_the_clusters() {
        let balanced = json!({"type": "LoadBalancer", "clusterIP": "198.19.0.7"});
        assert_eq!(of(&balanced, &json!([])), None);
        assert_eq!(of(&balanced, &json!([{"ip": "192.0.2.10"}])).as_deref(), Some("192.0.2.10"));
        assert_eq!(
            of(&balanced, &json!([{"hostname": "lb.example.com"}])).as_deref(),
            Some("lb.example.com")
        );
        let within = json!({"type": "ClusterIP", "clusterIP": "198.19.0.7"});
        assert_eq!(of(&within, &json!([])).as_deref(), Some("198.19.0.7"));
        assert_eq!(of(&json!({"type": "ClusterIP", "clusterIP": "None"}), &json!([])), None);
        assert_eq!(of(&json!({"type": "NodePort", "clusterIP": "198.19.0.7"}), &json!([])), None);
    }
}
