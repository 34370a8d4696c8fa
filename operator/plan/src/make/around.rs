//! What pods need beside themselves.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::facts::Facts;
use crate::names::{matching, meta, selector};
use crate::object::Object;
use crate::wanted::{Kind, Resource};

/// Services have nothing to say to the API server.
pub(super) fn service_account(of: &Resource<'_>, facts: &Facts) -> Object {
    Object::ServiceAccount(ServiceAccount {
        metadata: meta(of, of.base(), facts),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}

/// Another content has another name, so that pods see either the old one or the new one, and roll when it changes.
pub(super) fn config_map(of: &Resource<'_>, name: &str, text: String, facts: &Facts) -> Object {
    Object::ConfigMap(ConfigMap {
        metadata: meta(of, name.to_owned(), facts),
        data: Some(BTreeMap::from([("stoker.yaml".to_owned(), text)])),
        immutable: Some(true),
        ..ConfigMap::default()
    })
}

/// One at a time. Pods that are not ready may always go: nobody is served by keeping them.
///
/// A Gateway that rolls has pods of two revisions. Of both together as many stay as are wanted of one, but one: counted from
/// what all of them should be, a revision that never comes up would keep every pod of the one that serves on its node.
pub(super) fn budget(of: &Resource<'_>, facts: &Facts) -> Object {
    let (most_away, least_there) = match of.id.kind {
        Kind::Gateway => (None, Some(IntOrString::Int((of.replicas - 1).max(0)))),
        _ => (Some(IntOrString::Int(1)), None),
    };
    Object::PodDisruptionBudget(PodDisruptionBudget {
        metadata: meta(of, of.base(), facts),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: most_away,
            min_available: least_there,
            selector: Some(matching(selector(of))),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        }),
        status: None,
    })
}
