//! Deployments: of a Gateway one for each revision, of all others one.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use stoker_crds::SlotRange;

use crate::check::slots;
use crate::facts::Facts;
use crate::names::{Labels, matching, meta, selector};
use crate::wanted::{Kind, Resource};
use crate::{CONFIG, PORTS, REVISION, SLOTS_IN_EFFECT, WHOLE};

/// What is noted on a Deployment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra {
    pub(crate) slots: Option<SlotRange>,
    pub(crate) ports: Option<String>,
    pub(crate) whole: bool,
    /// Not fewer pods than these.
    pub(crate) least: Option<i32>,
}

impl Extra {
    pub(super) fn put_on(&self, mut deployment: Deployment, config: &str) -> Deployment {
        let mut notes = BTreeMap::from([(CONFIG.to_owned(), config.to_owned())]);
        if let Some(range) = self.slots {
            notes.insert(SLOTS_IN_EFFECT.to_owned(), slots::text(range));
        }
        if let Some(ports) = &self.ports {
            notes.insert(PORTS.to_owned(), ports.clone());
        }
        if self.whole {
            notes.insert(WHOLE.to_owned(), "true".to_owned());
        }
        deployment.metadata.annotations = Some(notes);
        if let (Some(least), Some(spec)) = (self.least, &mut deployment.spec) {
            spec.replicas = spec.replicas.max(Some(least));
        }
        deployment
    }
}

pub(super) fn of(
    of: &Resource<'_>,
    revision: &str,
    mut template: PodTemplateSpec,
    facts: &Facts,
) -> Deployment {
    let mut select = selector(of);
    let mut metadata = meta(of, of.base(), facts);
    let note = |labels: &mut Labels| labels.insert(REVISION.to_owned(), revision.to_owned());
    note(metadata.labels.get_or_insert_default());
    if of.id.kind == Kind::Gateway {
        metadata.name = Some(format!("{}-{revision}", of.id.name));
        note(template.metadata.get_or_insert_default().labels.get_or_insert_default());
        note(&mut select);
    }
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(of.replicas),
            revision_history_limit: Some(2),
            selector: matching(select),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}
