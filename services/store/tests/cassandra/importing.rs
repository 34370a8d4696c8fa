//! An import that is cut off goes on with the same file and no other, and what it leaves is what was exported.

use std::path::{Path, PathBuf};

use stoker_domain::ports::store::{
    Append, Change, ClaimOutcome, CommitOutcome, Order, PointsQuery, RegistryKey, RegistryRow, StateRow,
    Store, SwapOutcome,
};
use stoker_domain::{DeviceKey, MemberRole, MemberRow, Slot, SlotEpoch, TokenHash};
use stoker_store::{CassandraStore, EmbeddedOptions, EmbeddedStore, ExportFile, TransferError};
use tokio::sync::Notify;

use super::lab::Lab;
use super::samples::{T0, event, key, member, number, reading, state_rows, subscription};

/// More blocks than are read ahead.
const POINTS: i64 = 60_000;
const EPOCH: u64 = 5;

fn device() -> DeviceKey {
    key("default", "boiler-7")
}

fn token_key(value: u8) -> RegistryRow {
    RegistryRow::Setting { name: "token_key".into(), value: vec![value; 32] }
}

fn query(limit: usize) -> PointsQuery {
    PointsQuery {
        device: device(),
        keys: None,
        from: i64::MIN,
        to: i64::MAX,
        after: None,
        limit,
        order: Order::Descending,
    }
}

/// An export of a store with something of everything in it, and that many points.
async fn export(dir: &Path, name: &str, points: i64) -> PathBuf {
    let store = EmbeddedStore::open(&dir.join(name), EmbeddedOptions::default()).unwrap();
    for row in [
        RegistryRow::Token { hash: TokenHash([9; 32]), device: device() },
        RegistryRow::Subscription(subscription("default", "night-shift")),
        token_key(7),
    ] {
        store.registry_put(row, None).await.unwrap();
    }
    let slot = device().slot();
    for seen in 0..EPOCH {
        store.claim(slot, &member("m"), SlotEpoch(seen)).await.unwrap();
    }
    let rows = state_rows(&device()).into_iter().map(Change::put).collect();
    assert_eq!(store.commit(slot, SlotEpoch(EPOCH), rows).await, CommitOutcome::Committed);
    let events = (0..300).map(|n| Append::Event(event(&device(), &format!("e{n}"), T0 + n, "fault")));
    store.append(events.collect()).await.unwrap();
    let points: Vec<_> = (0..points).map(|n| number("n", T0 + n * 10, n as f64)).collect();
    store.append(vec![reading(&device(), points)]).await.unwrap();
    let file = dir.join(format!("{name}.export"));
    store.export(std::fs::File::create(&file).unwrap(), "1").await.unwrap();
    store.close().await;
    file
}

async fn sorted_rows(store: &CassandraStore, slot: Slot) -> Vec<StateRow> {
    let mut rows = store.load(slot).await.unwrap();
    rows.sort_by_key(StateRow::key);
    rows
}

pub(crate) async fn an_import_that_was_cut_off_goes_on_with_the_same_file_only(lab: &Lab) {
    let dir = tempfile::tempdir().unwrap();
    let file = ExportFile::check(&export(dir.path(), "a", POINTS).await).unwrap();
    let other = ExportFile::check(&export(dir.path(), "b", 1).await).unwrap();
    let store = CassandraStore::open(lab.options_of(&lab.fresh_keyspace())).await.unwrap();
    // A core was here once, and left its key.
    store.registry_put(token_key(1), None).await.unwrap();

    let begun = Notify::new();
    tokio::select! {
        ended = store.import(&file, |_| begun.notify_one()) => panic!("it ended before it was cut off: {ended:?}"),
        () = begun.notified() => {}
    }
    let slot = device().slot();
    let head = store.head(slot).await.unwrap();
    assert!(head.epoch > SlotEpoch(EPOCH) && head.owner.is_some(), "{head:?}");
    // No core may work on the half of it, whether it looks beforehand or has been at it all the time.
    let half = store.holds_no_half().await.unwrap_err();
    assert!(
        matches!(&half, TransferError::Unfinished { checksum, .. } if *checksum == file.checksum),
        "{half}"
    );
    assert!(half.to_string().contains("run `stoker data import` again with the same file"), "{half}");
    let claim = store.claim(slot, &member("core"), head.epoch).await.unwrap_err();
    assert!(claim.to_string().contains(&half.to_string()), "{claim}");
    assert_eq!(store.head(slot).await.unwrap(), head);
    let refused = store.import(&other, |_| {}).await.unwrap_err();
    assert!(
        matches!(&refused, TransferError::OtherImport { other, .. } if *other == file.checksum),
        "{refused}"
    );

    let mut last = Default::default();
    store.import(&file, |progress| last = progress).await.unwrap();
    assert_eq!((last.records, last.bytes), (file.counts.total(), file.bytes));
    let mut expected = state_rows(&device());
    expected.sort_by_key(StateRow::key);
    assert_eq!(sorted_rows(&store, slot).await, expected);
    let (key, _) = store.registry_get(&RegistryKey::Setting("token_key".into())).await.unwrap().unwrap();
    assert_eq!(key, token_key(7));
    assert!(store.registry_get(&RegistryKey::Token(TokenHash([9; 32]))).await.unwrap().is_some());
    assert_eq!(store.subscriptions().await.unwrap().len(), 1);
    assert_eq!(store.registry_get(&RegistryKey::Setting("import".into())).await.unwrap(), None);
    let points = store.points(query(usize::try_from(POINTS).unwrap() + 1)).await.unwrap();
    assert_eq!(points.len(), usize::try_from(POINTS).unwrap());
    assert!(points.iter().zip((0..POINTS).rev()).all(|(point, n)| point.ts == T0 + n * 10));
    store.holds_no_half().await.unwrap();
    // Whoever comes next takes the slots at once, and makes no id that was made before.
    for slot in [slot, Slot(0), Slot(255)] {
        let head = store.head(slot).await.unwrap();
        assert_eq!(head.owner, None);
        let claimed = store.claim(slot, &member("core"), head.epoch).await.unwrap();
        assert_eq!(claimed, ClaimOutcome::Claimed(SlotEpoch(head.epoch.0 + 1)));
    }
    let refused = store.import(&file, |_| {}).await.unwrap_err();
    assert!(matches!(refused, TransferError::NotEmpty { .. }), "{refused}");
}

pub(crate) async fn an_import_meets_neither_cores_nor_others_data(lab: &Lab) {
    let dir = tempfile::tempdir().unwrap();
    let file = ExportFile::check(&export(dir.path(), "a", 10).await).unwrap();
    let core = |leaving| MemberRow {
        id: member("core-1"),
        role: MemberRole::Core,
        address: "127.0.0.1:7400".into(),
        host: "h".into(),
        version: "1".into(),
        slots: None,
        sessions: 0,
        leaving,
        started_at: T0,
        beat: 1,
    };
    let token = RegistryRow::Token { hash: TokenHash([3; 32]), device: key("default", "other") };
    for case in ["core", "token", "subscription", "device"] {
        let store = CassandraStore::open(lab.options_of(&lab.fresh_keyspace())).await.unwrap();
        match case {
            "core" => store.member_put(core(false)).await.unwrap(),
            "token" => {
                let put = store.registry_put(token.clone(), None).await.unwrap();
                assert_eq!(put, SwapOutcome::Swapped(1));
            }
            "subscription" => {
                let row = RegistryRow::Subscription(subscription("acme", "day"));
                assert_eq!(store.registry_put(row, None).await.unwrap(), SwapOutcome::Swapped(1));
            }
            _ => {
                let (slot, rows) = (device().slot(), state_rows(&device()));
                store.claim(slot, &member("m"), SlotEpoch(0)).await.unwrap();
                let changes = rows.into_iter().map(Change::put).collect();
                assert_eq!(store.commit(slot, SlotEpoch(1), changes).await, CommitOutcome::Committed);
            }
        }
        let refused = store.import(&file, |_| {}).await.unwrap_err();
        match case {
            "core" => assert!(matches!(refused, TransferError::CoresRun { .. }), "{refused}"),
            _ => assert!(matches!(refused, TransferError::NotEmpty { .. }), "{case}: {refused}"),
        }
        // Nothing was changed by it.
        assert_eq!(store.registry_get(&RegistryKey::Setting("import".into())).await.unwrap(), None);
        assert_eq!(store.points(query(1)).await.unwrap(), []);
        if case == "core" {
            store.member_put(core(true)).await.unwrap();
            store.import(&file, |_| {}).await.unwrap();
            assert_eq!(store.points(query(11)).await.unwrap().len(), 10);
        }
    }
}
