//! What pods need beside themselves.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::facts::Facts;
use crate::names::{matching, meta, selector};
use crate::object::Object;
use crate::wanted::Resource;

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
pub(super) fn budget(of: &Resource<'_>, facts: &Facts) -> Object {
    Object::PodDisruptionBudget(PodDisruptionBudget {
        metadata: meta(of, of.base(), facts),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(matching(selector(of))),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
