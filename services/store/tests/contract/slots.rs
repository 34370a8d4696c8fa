use stoker_domain::ports::store::{Change, ClaimOutcome, CommitOutcome, SlotHead, StateKey, StateRow, Store};
use stoker_domain::{DeviceCounters, DeviceKey, Slot, SlotEpoch};

use super::samples::{bare_state_rows, device, key, member, state_rows};
use super::{Subject, fresh};

/// Takes a slot over, whoever has it.
async fn take(store: &dyn Store, slot: Slot, owner: &str) -> SlotEpoch {
    loop {
        let seen = store.head(slot).await.unwrap().epoch;
        if let ClaimOutcome::Claimed(epoch) = store.claim(slot, &member(owner), seen).await.unwrap() {
            return epoch;
        }
    }
}

async fn rows_of(store: &dyn Store, key: &DeviceKey) -> Vec<StateRow> {
    let mut rows = store.load(key.slot()).await.unwrap();
    rows.retain(|row| match row {
        StateRow::Device(row) => row.key == *key,
        StateRow::Presence(row) => row.key == *key,
        StateRow::Attributes(row) => row.key == *key,
        StateRow::Counters(row) => row.key == *key,
        StateRow::Command(row) => row.device == *key,
        StateRow::Alarm(row) => row.device == *key,
        StateRow::Notification(row) => row.device == *key,
        StateRow::Outbox(_) => true,
        StateRow::Removal(row) => row.device == *key,
    });
    rows.sort_by_key(StateRow::key);
    rows
}

fn puts(rows: &[StateRow]) -> Vec<Change> {
    rows.iter().cloned().map(Change::put).collect()
}

fn counters(key: &DeviceKey, last_command: u64) -> StateRow {
    StateRow::Counters(DeviceCounters { key: key.clone(), last_command, recent_events: Vec::new() })
}

pub(crate) async fn a_claim_counts_the_epoch_up_and_names_the_owner(subject: &dyn Subject) {
    let (store, slot) = (subject.store(), Slot(7));
    let before = store.head(slot).await.unwrap();
    let epoch = SlotEpoch(before.epoch.0 + 1);
    let outcome = store.claim(slot, &member("one"), before.epoch).await.unwrap();
    assert_eq!(outcome, ClaimOutcome::Claimed(epoch));
    let head = SlotHead { epoch, owner: Some(member("one")) };
    assert_eq!(store.head(slot).await.unwrap(), head);
    let outcome = store.claim(slot, &member("two"), before.epoch).await.unwrap();
    assert_eq!(outcome, ClaimOutcome::Refused(head.clone()));
    let outcome = store.claim(slot, &member("two"), SlotEpoch(epoch.0 + 5)).await.unwrap();
    assert_eq!(outcome, ClaimOutcome::Refused(head.clone()), "an epoch of the future is none either");
    assert_eq!(store.head(slot).await.unwrap(), head);
}

pub(crate) async fn of_claims_at_once_one_wins(subject: &dyn Subject) {
    let (store, slot) = (subject.store(), Slot(8));
    for _ in 0..5 {
        let seen = store.head(slot).await.unwrap().epoch;
        let owners: Vec<_> = (0..8).map(|n| member(&format!("m{n}"))).collect();
        let claims: Vec<_> = owners.iter().map(|owner| store.claim(slot, owner, seen)).collect();
        let mut winners = Vec::new();
        for (owner, outcome) in owners.iter().zip(join_all(claims).await) {
            if outcome.unwrap() == ClaimOutcome::Claimed(SlotEpoch(seen.0 + 1)) {
                winners.push(owner.clone());
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(store.head(slot).await.unwrap().owner, winners.pop());
    }
}

/// Runs futures at once and gives their results in order.
pub(crate) async fn join_all<F: Future + Send>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(results.iter_mut().filter_map(Option::take).collect())
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}

pub(crate) async fn a_commit_of_an_older_epoch_is_fenced_and_changes_nothing(subject: &dyn Subject) {
    let (store, key) = (subject.store(), key(&fresh("fence"), "d"));
    let slot = key.slot();
    let zero = store.commit(slot, SlotEpoch(0), puts(&[counters(&key, 9)])).await;
    assert!(matches!(zero, CommitOutcome::Fenced { .. }), "nobody owns a slot by epoch zero");
    let old = take(store, slot, "old").await;
    assert_eq!(store.commit(slot, old, puts(&[counters(&key, 1)])).await, CommitOutcome::Committed);
    let new = take(store, slot, "new").await;
    let late = vec![Change::put(counters(&key, 2)), Change::put(StateRow::Device(device(&key)))];
    assert_eq!(store.commit(slot, old, late).await, CommitOutcome::Fenced { current: new });
    let gone = vec![Change::Delete(StateKey::Counters(key.clone()))];
    assert_eq!(store.commit(slot, old, gone).await, CommitOutcome::Fenced { current: new });
    assert_eq!(rows_of(store, &key).await, [counters(&key, 1)]);
    assert_eq!(store.commit(slot, new, Vec::new()).await, CommitOutcome::Committed);
}

pub(crate) async fn every_kind_of_row_comes_back_as_it_was_written(subject: &dyn Subject) {
    let store = subject.store();
    for rows in [state_rows as fn(&DeviceKey) -> Vec<StateRow>, bare_state_rows] {
        let key = key(&fresh("kinds"), "d");
        let epoch = take(store, key.slot(), "owner").await;
        let mut rows = rows(&key);
        assert_eq!(store.commit(key.slot(), epoch, puts(&rows)).await, CommitOutcome::Committed);
        rows.sort_by_key(StateRow::key);
        assert_eq!(rows_of(store, &key).await, rows);
        let removals = rows.iter().map(|row| Change::Delete(row.key())).collect();
        assert_eq!(store.commit(key.slot(), epoch, removals).await, CommitOutcome::Committed);
        assert_eq!(rows_of(store, &key).await, []);
    }
}

pub(crate) async fn a_put_replaces_and_a_delete_removes(subject: &dyn Subject) {
    let (store, key) = (subject.store(), key(&fresh("put"), "d"));
    let epoch = take(store, key.slot(), "owner").await;
    // Within one commit the later change holds.
    let changes = vec![
        Change::put(counters(&key, 1)),
        Change::put(counters(&key, 2)),
        Change::put(StateRow::Device(device(&key))),
        Change::Delete(StateKey::Device(key.clone())),
        Change::Delete(StateKey::Presence(key.clone())),
    ];
    assert_eq!(store.commit(key.slot(), epoch, changes).await, CommitOutcome::Committed);
    assert_eq!(rows_of(store, &key).await, [counters(&key, 2)]);
    store.commit(key.slot(), epoch, puts(&[counters(&key, 3)])).await;
    assert_eq!(rows_of(store, &key).await, [counters(&key, 3)]);
}

pub(crate) async fn slots_share_no_rows(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("slots"));
    let keys: Vec<DeviceKey> = (0..20).map(|n| key(&o, &format!("d{n}"))).collect();
    for key in &keys {
        let epoch = take(store, key.slot(), "owner").await;
        store.commit(key.slot(), epoch, puts(&[counters(key, 1)])).await;
    }
    for slot in Slot::all() {
        let mut rows: Vec<StateRow> = store.load(slot).await.unwrap();
        rows.retain(|row| matches!(row, StateRow::Counters(row) if row.key.organization.as_str() == o));
        let mut expected: Vec<StateRow> =
            keys.iter().filter(|key| key.slot() == slot).map(|key| counters(key, 1)).collect();
        rows.sort_by_key(StateRow::key);
        expected.sort_by_key(StateRow::key);
        assert_eq!(rows, expected, "slot {slot}");
    }
}

pub(crate) async fn commits_at_once_are_each_whole(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("whole"));
    // Twenty slots; in every second one the owner has lost it.
    let mut keys: Vec<DeviceKey> = (0..400).map(|n| key(&o, &format!("d{n}"))).collect();
    keys.sort_by_key(DeviceKey::slot);
    keys.dedup_by_key(|key| key.slot());
    keys.truncate(20);
    let mut commits = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        let epoch = take(store, key.slot(), "first").await;
        if n % 2 == 1 {
            take(store, key.slot(), "second").await;
        }
        commits.push((key, epoch));
    }
    let outcomes = join_all(
        commits
            .iter()
            .map(|(key, epoch)| {
                store.commit(key.slot(), *epoch, puts(&[counters(key, 1), StateRow::Device(device(key))]))
            })
            .collect(),
    )
    .await;
    for (n, (outcome, key)) in outcomes.into_iter().zip(&keys).enumerate() {
        let rows = rows_of(store, key).await;
        if n % 2 == 0 {
            assert_eq!(outcome, CommitOutcome::Committed);
            assert_eq!(rows.len(), 2);
        } else {
            assert!(matches!(outcome, CommitOutcome::Fenced { .. }));
            assert_eq!(rows, []);
        }
    }
}

pub(crate) async fn a_released_slot_has_no_owner_and_keeps_its_epoch(subject: &dyn Subject) {
    let (store, key) = (subject.store(), key(&fresh("release"), "d"));
    let slot = key.slot();
    let first = take(store, slot, "first").await;
    assert_eq!(store.commit(slot, first, puts(&[counters(&key, 1)])).await, CommitOutcome::Committed);
    let zero = store.release(slot, SlotEpoch(0)).await;
    assert_eq!(zero, CommitOutcome::Fenced { current: first }, "nobody owns a slot by epoch zero");
    let second = take(store, slot, "second").await;
    assert_eq!(store.release(slot, first).await, CommitOutcome::Fenced { current: second });
    assert_eq!(store.head(slot).await.unwrap().owner, Some(member("second")));
    for _ in 0..2 {
        assert_eq!(store.release(slot, second).await, CommitOutcome::Committed);
        assert_eq!(store.head(slot).await.unwrap(), SlotHead { epoch: second, owner: None });
    }
    assert_eq!(rows_of(store, &key).await, [counters(&key, 1)]);
    let third = take(store, slot, "third").await;
    assert_eq!(third, SlotEpoch(second.0 + 1));
    assert_eq!(store.release(slot, second).await, CommitOutcome::Fenced { current: third });
    assert_eq!(store.head(slot).await.unwrap().owner, Some(member("third")));
}
