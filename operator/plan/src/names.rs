//! What objects are called, and by what they are found.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::facts::Facts;
use crate::wanted::{Kind, Resource};

/// The Service under which all cores of a platform are found. One for all CoreShards: another one more changes no
/// configuration, and rolls nothing.
pub(crate) const CORES: &str = "stoker-cores";

const NAME: &str = "app.kubernetes.io/name";
const INSTANCE: &str = "app.kubernetes.io/instance";
const COMPONENT: &str = "app.kubernetes.io/component";
const PART_OF: &str = "app.kubernetes.io/part-of";
/// A label of all objects: who made them.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const VERSION: &str = "app.kubernetes.io/version";
const STOKER: &str = "stoker";
/// A label of Services by which nobody but who scrapes metrics finds the pods.
pub(crate) const METRICS: &str = "stoker.dev/metrics";

pub(crate) type Labels = BTreeMap<String, String>;

fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// By which the pods of a resource are found, of all revisions. Deployments can't change it.
pub(crate) fn selector(of: &Resource<'_>) -> Labels {
    labels([(COMPONENT, of.id.kind.component()), (INSTANCE, &of.id.name), (PART_OF, STOKER)])
}

/// By which all pods of some kinds are found.
pub(crate) fn pods_of(kind: Kind) -> Labels {
    labels([(COMPONENT, kind.component()), (PART_OF, STOKER)])
}

/// What the pods of a resource carry.
pub(crate) fn pod_labels(of: &Resource<'_>) -> Labels {
    let mut all = selector(of);
    all.extend(labels([(NAME, STOKER), (MANAGED_BY, crate::FIELD_MANAGER)]));
    all
}

/// As `kubectl scale` and autoscalers ask for it.
pub(crate) fn selector_text(of: &Resource<'_>) -> String {
    let pairs = selector(of).into_iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(",")
}

pub(crate) fn matching(labels: Labels) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

/// The metadata of an object of a resource.
pub(crate) fn meta(of: &Resource<'_>, name: String, facts: &Facts) -> ObjectMeta {
    let mut labels = pod_labels(of);
    labels.insert(VERSION.to_owned(), label_value(&facts.operator.version));
    ObjectMeta {
        name: Some(name),
        namespace: Some(of.namespace.to_owned()),
        labels: Some(labels),
        owner_references: Some(vec![of.owner()]),
        ..ObjectMeta::default()
    }
}

/// The metadata of what belongs to all CoreShards together.
pub(crate) fn shared_meta(shards: &[&Resource<'_>], namespace: &str, facts: &Facts) -> ObjectMeta {
    let mut all = pods_of(Kind::CoreShard);
    all.extend(labels([(NAME, STOKER), (MANAGED_BY, crate::FIELD_MANAGER)]));
    all.insert(VERSION.to_owned(), label_value(&facts.operator.version));
    // Only one may be the controller; here it goes when the last of them does.
    let owners = shards.iter().map(|shard| shard.id.reference());
    ObjectMeta {
        name: Some(CORES.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(all),
        owner_references: Some(owners.collect()),
        ..ObjectMeta::default()
    }
}

/// A version such as `0.1.0+3` has letters that labels can't have.
fn label_value(text: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    let value: String = text.chars().map(fit).take(63).collect();
    value.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Ten letters that stand for all of `value`.
pub(crate) fn digest<T: Serialize>(value: &T) -> String {
    // Kubernetes' types have nothing that JSON could not say; were it otherwise, the error would tell them apart.
    let bytes = serde_json::to_vec(value).unwrap_or_else(|error| error.to_string().into_bytes());
    let mut text = String::new();
    for byte in Sha256::digest(&bytes).iter().take(5) {
        // A String takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_become_labels() {
        assert_eq!(label_value("0.1.0"), "0.1.0");
        assert_eq!(label_value("0.1.0+dirty~"), "0.1.0-dirty");
    }

    #[test]
    fn digests_tell_apart() {
        assert_eq!(digest(&"a"), digest(&"a"));
        assert_ne!(digest(&"a"), digest(&"b"));
        assert_eq!(digest(&"a").len(), 10);
    }
}
