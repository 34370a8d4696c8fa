//! What of the cluster is ours: told by the label that all of it carries, and by its owners.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use stoker_plan::{FIELD_MANAGER, MANAGED_BY};

/// Whether the operator has made an object.
pub(crate) fn is_ours(meta: &ObjectMeta) -> bool {
    let by = meta.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
    by.is_some_and(|by| by == FIELD_MANAGER)
}

/// Whether an object of ours lacks an owner. One that is about to go is left alone.
pub(crate) fn lacks_owners(there: &ObjectMeta, wanted: &[OwnerReference]) -> bool {
    let owns = |uid: &str| there.owner_references.iter().flatten().any(|owner| owner.uid == uid);
    is_ours(there) && there.deletion_timestamp.is_none() && wanted.iter().any(|owner| !owns(&owner.uid))
}

/// The owners that are there, and those of `wanted` that are not. None is ever taken away: the cluster does that when one is
/// gone, and if two did, by what each had seen last, an object could be left with no owner at all, and stay for good.
pub(crate) fn with_owners(there: &ObjectMeta, wanted: &[OwnerReference]) -> Vec<OwnerReference> {
    let there = there.owner_references.iter().flatten();
    let others = there.filter(|owner| wanted.iter().all(|of| of.uid != owner.uid));
    others.chain(wanted).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference { uid: uid.to_owned(), ..OwnerReference::default() }
    }

    fn meta(by: &str, owners: &[OwnerReference]) -> ObjectMeta {
        ObjectMeta {
            labels: Some([(MANAGED_BY.to_owned(), by.to_owned())].into()),
            owner_references: Some(owners.to_vec()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn owners_are_added_unless_somebody_else_made_it_or_it_goes() {
        let ours = |owners: &[OwnerReference]| meta(FIELD_MANAGER, owners);
        assert!(lacks_owners(&ours(&[owner("1")]), &[owner("1"), owner("2")]));
        assert!(lacks_owners(&ours(&[]), &[owner("1")]), "what it belonged to was deleted without it");
        assert!(!lacks_owners(&ours(&[owner("2"), owner("1")]), &[owner("1"), owner("2")]));
        assert!(!lacks_owners(&meta("Helm", &[]), &[owner("1")]));
        let mut goes = ours(&[]);
        goes.deletion_timestamp = serde_json::from_value(serde_json::json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(!lacks_owners(&goes, &[owner("1")]));
    }

    #[test]
    fn no_owner_is_taken_away_for_that_is_for_the_cluster_to_do() {
        let there = meta(FIELD_MANAGER, &[owner("gone"), owner("1")]);
        assert!(!lacks_owners(&there, &[owner("1")]));
        assert!(!lacks_owners(&there, &[]));
        assert_eq!(with_owners(&there, &[owner("1"), owner("2")]), [owner("gone"), owner("1"), owner("2")]);
    }
}
