//! Requests without an answer, and what finds no room.

use std::time::Duration;

use stoker_domain::ports::store::{
    COMMIT_BYTES_MAX, Change, CommitOutcome, Order, PointsQuery, StateKey, StateRow, Store, StoreError,
};
use stoker_domain::{Attributes, DeviceKey, Value};
use stoker_store::{CassandraOptions, CassandraStore};

use super::fresh;
use super::lab::Lab;
use super::proxy::{Gate, Proxy};
use super::samples::{T0, key, number, reading};
use super::several::{counter, counters, put, take};

/// A store that reaches the node through a proxy, and does not wait long.
async fn behind_proxy(lab: &Lab, change: impl FnOnce(&mut CassandraOptions)) -> (CassandraStore, Proxy) {
    let proxy = Proxy::to(lab.address()).await;
    let mut options = CassandraOptions {
        contact_points: vec![proxy.address.to_string()],
        request_timeout: Duration::from_secs(2),
        ..lab.options()
    };
    change(&mut options);
    (CassandraStore::open(options).await.unwrap(), proxy)
}

pub(crate) async fn a_commit_without_an_answer_is_unknown_and_may_have_gone_in(lab: &Lab) {
    let ((cut, proxy), direct) = (behind_proxy(lab, |_| {}).await, lab.open().await);
    let key = key(&fresh("unknown"), "d");
    let epoch = take(&cut, &key).await;
    assert_eq!(cut.commit(key.slot(), epoch, put(counters(&key, 1))).await, CommitOutcome::Committed);
    proxy.set(Gate::HoldAnswers);
    assert_eq!(cut.commit(key.slot(), epoch, put(counters(&key, 2))).await, CommitOutcome::Unknown);
    assert!(matches!(cut.head(key.slot()).await, Err(StoreError::Failed(_))));
    let StoreError::Failed(why) = cut.load(key.slot()).await.unwrap_err() else { panic!("another error") };
    assert!(why.contains(&proxy.address.to_string()) && why.contains("stoker_test_"), "{why}");
    // It had reached the node, which did it.
    assert_eq!(counter(&direct, &key).await, Some(2));
    proxy.set(Gate::Open);
    // The owner finds out by taking the slot anew.
    let epoch = take(&cut, &key).await;
    assert_eq!(counter(&cut, &key).await, Some(2));
    assert_eq!(cut.commit(key.slot(), epoch, put(counters(&key, 3))).await, CommitOutcome::Committed);
    assert_eq!(cut.stats().unknown, 1);
}

pub(crate) async fn a_commit_that_arrives_after_the_next_claim_changes_nothing(lab: &Lab) {
    let ((cut, proxy), direct) = (behind_proxy(lab, |_| {}).await, lab.open().await);
    let key = key(&fresh("late"), "d");
    let old = take(&cut, &key).await;
    assert_eq!(cut.commit(key.slot(), old, put(counters(&key, 1))).await, CommitOutcome::Committed);
    let held = proxy.held();
    proxy.set(Gate::HoldRequests);
    assert_eq!(cut.commit(key.slot(), old, put(counters(&key, 2))).await, CommitOutcome::Unknown);
    proxy.holds_more_than(held).await;
    let new = take(&direct, &key).await;
    assert_eq!(direct.commit(key.slot(), new, put(counters(&key, 5))).await, CommitOutcome::Committed);
    // Now the late one arrives, and after it a claim on the same connection or another.
    proxy.set(Gate::Open);
    let newest = take(&cut, &key).await;
    assert!(newest > new);
    assert_eq!(counter(&direct, &key).await, Some(5));
    assert_eq!(
        cut.commit(key.slot(), old, put(counters(&key, 6))).await,
        CommitOutcome::Fenced { current: newest }
    );
}

fn points_of(device: &DeviceKey) -> PointsQuery {
    PointsQuery {
        device: device.clone(),
        keys: None,
        from: 0,
        to: i64::MAX,
        after: None,
        limit: 100,
        order: Order::Ascending,
    }
}

pub(crate) async fn an_append_without_an_answer_fails_and_can_be_repeated(lab: &Lab) {
    let (cut, proxy) = behind_proxy(lab, |_| {}).await;
    let device = key(&fresh("repeat"), "d");
    let points = vec![number("a", T0, 1.0), number("b", T0 + 1, 2.0)];
    proxy.set(Gate::HoldAnswers);
    let outcome = cut.append(vec![reading(&device, points.clone())]).await;
    assert!(matches!(outcome, Err(StoreError::Failed(_))), "{outcome:?}");
    proxy.set(Gate::Open);
    cut.append(vec![reading(&device, points.clone())]).await.unwrap();
    assert_eq!(cut.points(points_of(&device)).await.unwrap(), points);
}

pub(crate) async fn who_finds_no_turn_is_told_that_the_store_is_overloaded(lab: &Lab) {
    let (cut, proxy) = behind_proxy(lab, |options| {
        options.requests = 1;
        options.request_timeout = Duration::from_secs(20);
        options.wait = Duration::from_millis(50);
    })
    .await;
    let device = key(&fresh("overload"), "d");
    let append = |key: &str| cut.append(vec![reading(&device, vec![number(key, T0, 1.0)])]);
    // One after the other: with one turn for all, what an append does at once waits for itself.
    let other = super::samples::key(&fresh("overload"), "other");
    let epoch = take(&cut, &other).await;
    let held = proxy.held();
    proxy.set(Gate::HoldRequests);
    let stuck = cut.members();
    tokio::pin!(stuck);
    tokio::select! {
        outcome = &mut stuck => panic!("it has an answer: {outcome:?}"),
        () = proxy.holds_more_than(held) => {}
    }
    // Its turn is taken; other lanes are not.
    assert!(matches!(cut.latest(&device, None).await, Err(StoreError::Overloaded(_))));
    let before = cut.stats().overloaded;
    assert!(before >= 1);
    proxy.set(Gate::Open);
    stuck.await.unwrap();
    assert_eq!(cut.commit(other.slot(), epoch, put(counters(&other, 1))).await, CommitOutcome::Committed);
    assert!(cut.latest(&device, None).await.unwrap().is_empty());
    // What needs several turns gets them one by one, or says that it did not.
    loop {
        match append("t").await {
            Ok(()) => break,
            Err(StoreError::Overloaded(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(cut.points(points_of(&device)).await.unwrap().len(), 1);
}

fn attributes(key: &DeviceKey, bytes: usize) -> StateRow {
    let mut attributes = Attributes::empty(key.clone());
    attributes.client.insert("x".into(), Value::Text("x".repeat(bytes)));
    StateRow::Attributes(attributes)
}

pub(crate) async fn a_commit_that_is_too_great_changes_nothing(lab: &Lab) {
    let store = lab.open().await;
    let key = key(&fresh("great"), "d");
    let epoch = take(&store, &key).await;
    let changes = vec![Change::put(counters(&key, 1)), Change::put(attributes(&key, COMMIT_BYTES_MAX))];
    assert_eq!(store.commit(key.slot(), epoch, changes).await, CommitOutcome::Unknown);
    assert_eq!(counter(&store, &key).await, None);
    assert_eq!(store.commit(key.slot(), epoch, put(counters(&key, 1))).await, CommitOutcome::Committed);
}

/// Half of what the node takes in one piece, or all that the port promises: docs/cassandra.md says what that asks of
/// nodes.
async fn greatest_commit(lab: &Lab) -> usize {
    let setting = lab.setting("max_mutation_size").await.unwrap();
    let kibibytes: usize = setting.strip_suffix("KiB").unwrap().parse().unwrap();
    (kibibytes * 1024 / 2).min(COMMIT_BYTES_MAX)
}

pub(crate) async fn a_great_commit_goes_in(lab: &Lab) {
    const ROW: usize = 120_000;
    let store = lab.open().await;
    let o = fresh("greatest");
    let rows = greatest_commit(lab).await / (ROW + 500);
    assert!(rows >= 10);
    // All of one slot, as a commit is.
    let first = key(&o, "d0");
    let same_slot = (0..).map(|n| key(&o, &format!("d{n}"))).filter(|key| key.slot() == first.slot());
    let keys: Vec<DeviceKey> = same_slot.take(rows).collect();
    let epoch = take(&store, &first).await;
    let changes = keys.iter().map(|key| Change::put(attributes(key, ROW))).collect();
    assert_eq!(store.commit(first.slot(), epoch, changes).await, CommitOutcome::Committed);
    let rows = store.load(first.slot()).await.unwrap();
    let ours = |row: &StateRow| matches!(row, StateRow::Attributes(row) if row.key.organization == first.organization);
    assert_eq!(rows.iter().filter(|row| ours(row)).count(), keys.len());
    // And out again: others use this slot too.
    let changes = keys.into_iter().map(|key| Change::Delete(StateKey::Attributes(key))).collect();
    assert_eq!(store.commit(first.slot(), epoch, changes).await, CommitOutcome::Committed);
    assert!(!store.load(first.slot()).await.unwrap().iter().any(ours));
}
