//! Who may reach the pods. Where they go is left open: brokers, databases, mail servers and webhooks are anywhere, and
//! a policy of one's own beside these tightens it.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{CALLERS, DOORS, port, ports};
use crate::facts::Facts;
use crate::names::{matching, meta, pods_of, selector};
use crate::object::Object;
use crate::roll::Reach;
use crate::wanted::{Kind, Resource};

fn tcp(port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort { port: Some(IntOrString::Int(port)), protocol: Some("TCP".to_owned()), end_port: None }
}

pub(super) fn policy(of: &Resource<'_>, reach: Option<&Reach>, facts: &Facts) -> Object {
    // Anybody, for devices and people.
    let from = (of.id.kind == Kind::CoreShard).then(|| {
        let callers = CALLERS.map(|kind| NetworkPolicyPeer {
            pod_selector: Some(matching(pods_of(kind))),
            ..NetworkPolicyPeer::default()
        });
        callers.to_vec()
    });
    let public: Vec<NetworkPolicyPort> = match reach {
        // Pods of a former revision are found by it, too.
        Some(reach) => {
            DOORS.iter().filter(|(door, _)| reach.doors.contains(door)).map(|(_, port)| tcp(*port)).collect()
        }
        None => ports(of).into_iter().map(|(_, port)| tcp(port)).collect(),
    };
    let mut ingress = Vec::new();
    if !public.is_empty() {
        ingress.push(NetworkPolicyIngressRule { from, ports: Some(public) });
    }
    // Whoever scrapes, in whichever namespace; nobody from without.
    ingress.push(NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        }]),
        ports: Some(vec![tcp(port::PRIVATE)]),
    });
    Object::NetworkPolicy(NetworkPolicy {
        metadata: meta(of, of.base(), facts),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(matching(selector(of))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            egress: None,
        }),
    })
}
