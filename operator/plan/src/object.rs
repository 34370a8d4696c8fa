//! What is applied.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use crate::names::{METRICS, digest};

/// An object, whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Object {
    /// Who the pods are: nobody, to the API server.
    ServiceAccount(ServiceAccount),
    /// `stoker.yaml`
    ConfigMap(ConfigMap),
    /// Who may reach the pods.
    NetworkPolicy(NetworkPolicy),
    /// How many pods may be away at once.
    PodDisruptionBudget(PodDisruptionBudget),
    /// Where the pods are reached.
    Service(Box<Service>),
    /// The pods.
    Deployment(Box<Deployment>),
    /// Where Prometheus finds the pods. Its kind is another project's.
    ServiceMonitor(ServiceMonitor),
}

/// `ServiceMonitor` of `monitoring.coreos.com/v1`, as far as it is used here.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMonitor {
    /// `monitoring.coreos.com/v1`
    pub api_version: &'static str,
    /// `ServiceMonitor`
    pub kind: &'static str,
    /// Name, labels, owner.
    pub metadata: ObjectMeta,
    /// Its spec.
    pub spec: Value,
}

impl Object {
    /// Its kind, as Kubernetes names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ServiceAccount(_) => "ServiceAccount",
            Self::ConfigMap(_) => "ConfigMap",
            Self::NetworkPolicy(_) => "NetworkPolicy",
            Self::PodDisruptionBudget(_) => "PodDisruptionBudget",
            Self::Service(_) => "Service",
            Self::Deployment(_) => "Deployment",
            Self::ServiceMonitor(_) => "ServiceMonitor",
        }
    }

    /// Group and version, such as `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> &'static str {
        match self {
            Self::ServiceAccount(_) | Self::ConfigMap(_) | Self::Service(_) => "v1",
            Self::NetworkPolicy(_) => "networking.k8s.io/v1",
            Self::PodDisruptionBudget(_) => "policy/v1",
            Self::Deployment(_) => "apps/v1",
            Self::ServiceMonitor(_) => "monitoring.coreos.com/v1",
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Self::ServiceAccount(of) => &of.metadata,
            Self::ConfigMap(of) => &of.metadata,
            Self::NetworkPolicy(of) => &of.metadata,
            Self::PodDisruptionBudget(of) => &of.metadata,
            Self::Service(of) => &of.metadata,
            Self::Deployment(of) => &of.metadata,
            Self::ServiceMonitor(of) => &of.metadata,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    /// Whether it is for whoever scrapes metrics alone: nothing of the platform waits for it.
    #[must_use]
    pub fn is_for_metrics(&self) -> bool {
        let marked = || self.meta().labels.as_ref().is_some_and(|labels| labels.contains_key(METRICS));
        match self {
            Self::ServiceMonitor(_) => true,
            Self::Service(_) => marked(),
            _ => false,
        }
    }

    /// What it is to be, in ten letters: the same as long as nothing of it changes.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(self)
    }
}
