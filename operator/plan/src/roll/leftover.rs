//! What former configurations leave behind.

use super::steady;
use crate::facts::{Deployment, Facts};
use crate::make::Made;
use crate::plan::{Deletable, Delete};
use crate::wanted::{Kind, Resource};

/// ConfigMaps of `of` that no pod reads any more, nor is about to.
pub(super) fn configs(of: &Resource<'_>, made: &Made, seen: &[&Deployment], facts: &Facts) -> Vec<Delete> {
    // A Deployment that rolls pod by pod has pods of several templates until it is settled.
    let settled = of.id.kind == Kind::Gateway
        || seen.iter().all(|there| {
            steady::is_current(there, made)
                && steady::is_settled(there, of.replicas)
                && there.terminating == 0
        });
    if !settled {
        return Vec::new();
    }
    let read =
        |name: &str| name == made.config || seen.iter().any(|there| there.config.as_deref() == Some(name));
    facts
        .config_maps
        .iter()
        .filter(|map| map.owner.as_ref() == Some(&of.id) && !read(&map.name))
        .map(|map| Delete {
            what: Deletable::ConfigMap,
            name: map.name.clone(),
            resource_version: map.resource_version.clone(),
        })
        .collect()
}
