use stoker_domain::ownership::SlotRange;
use stoker_domain::ports::store::Store;
use stoker_domain::{MemberRole, MemberRow};

use super::samples::{T0, member};
use super::{Subject, fresh};

pub(crate) fn core(id: &str, beat: u64) -> MemberRow {
    MemberRow {
        id: member(id),
        role: MemberRole::Core,
        address: "10.0.0.7:7400".into(),
        host: "core-0".into(),
        version: "0.1.0".into(),
        slots: Some(SlotRange::new(0, 127).unwrap()),
        sessions: 0,
        leaving: false,
        started_at: T0,
        beat,
    }
}

fn gateway(id: &str, beat: u64) -> MemberRow {
    MemberRow {
        role: MemberRole::Gateway,
        address: String::new(),
        slots: None,
        sessions: 15_000,
        leaving: true,
        ..core(id, beat)
    }
}

/// Those of the given rows that are listed.
pub(crate) async fn listed(store: &dyn Store, ours: &str) -> Vec<MemberRow> {
    let mut rows = store.members().await.unwrap();
    assert!(rows.is_sorted_by_key(|row| row.id.clone()));
    rows.retain(|row| row.id.as_str().starts_with(ours));
    rows
}

pub(crate) async fn a_members_row_is_the_one_that_it_wrote_last(subject: &dyn Subject) {
    let (store, ours) = (subject.store(), fresh("member"));
    let (a, b) = (format!("{ours}-a"), format!("{ours}-b"));
    assert_eq!(listed(store, &ours).await, []);
    store.member_put(gateway(&b, u64::MAX)).await.unwrap();
    store.member_put(core(&a, 1)).await.unwrap();
    assert_eq!(listed(store, &ours).await, [core(&a, 1), gateway(&b, u64::MAX)]);
    // Neither a smaller number nor another role is older: a row is what was written last.
    store.member_put(core(&b, 0)).await.unwrap();
    for beat in 2..6 {
        store.member_put(core(&a, beat)).await.unwrap();
        assert_eq!(listed(store, &ours).await, [core(&a, beat), core(&b, 0)]);
    }
}
