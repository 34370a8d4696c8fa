//! What of the cluster is ours: told by the label that all of it carries, and by its owners.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use stoker_plan::{FIELD_MANAGER, MANAGED_BY};

/// Whether the operator has made an object.
pub(crate) fn is_ours(meta: &ObjectMeta) -> bool {
    let by = meta.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
    by.is_some_and(|by| by == FIELD_MANAGER)
}

/// Whether an object of ours lacks owners, or has too many. Where none is wanted it goes with the last that it has, and one
/// that is about to go is left alone, too.
pub(crate) fn owners_differ(there: &ObjectMeta, wanted: &[OwnerReference]) -> bool {
    let uids = |owners: &[OwnerReference]| {
        let mut uids: Vec<String> = owners.iter().map(|owner| owner.uid.clone()).collect();
        uids.sort_unstable();
        uids
    };
    is_ours(there)
        && there.deletion_timestamp.is_none()
        && !wanted.is_empty()
        && uids(there.owner_references.as_deref().unwrap_or_default()) != uids(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_kept_right_unless_somebody_else_made_it_or_it_goes() {
        let owner = |uid: &str| OwnerReference { uid: uid.to_owned(), ..OwnerReference::default() };
        let meta = |by: &str, owners: &[OwnerReference]| ObjectMeta {
            labels: Some([(MANAGED_BY.to_owned(), by.to_owned())].into()),
            owner_references: Some(owners.to_vec()),
            ..ObjectMeta::default()
        };
        let ours = |owners: &[OwnerReference]| meta(FIELD_MANAGER, owners);
        assert!(owners_differ(&ours(&[owner("1")]), &[owner("1"), owner("2")]));
        assert!(owners_differ(&ours(&[owner("1"), owner("2")]), &[owner("1")]));
        assert!(!owners_differ(&ours(&[owner("2"), owner("1")]), &[owner("1"), owner("2")]));
        assert!(!owners_differ(&meta("Helm", &[]), &[owner("1")]));
        assert!(!owners_differ(&ours(&[owner("1")]), &[]), "then it goes with the last of them");
        let mut goes = ours(&[]);
        goes.deletion_timestamp = serde_json::from_value(serde_json::json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(!owners_differ(&goes, &[owner("1")]));
    }
}
