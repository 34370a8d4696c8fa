//! Two processes on one keyspace.

use std::time::Duration;

use stoker_domain::ports::store::{
    Append, Change, ClaimOutcome, CommitOutcome, Order, PointsQuery, StateRow, Store,
};
use stoker_domain::{DeviceCounters, DeviceKey, MemberRole, MemberRow, SlotEpoch};
use stoker_store::{CassandraOptions, CassandraStore};

use super::fresh;
use super::lab::Lab;
use super::samples::{T0, alarm, event, key, member, number, reading};
use super::slots::join_all;

pub(crate) fn counters(key: &DeviceKey, last_command: u64) -> StateRow {
    StateRow::Counters(DeviceCounters { key: key.clone(), last_command, recent_events: Vec::new() })
}

pub(crate) fn put(row: StateRow) -> Vec<Change> {
    vec![Change::put(row)]
}

/// Takes the device's slot over, whoever has it.
pub(crate) async fn take(store: &CassandraStore, key: &DeviceKey) -> SlotEpoch {
    loop {
        let seen = store.head(key.slot()).await.unwrap().epoch;
        let outcome = store.claim(key.slot(), &member("m"), seen).await.unwrap();
        if let ClaimOutcome::Claimed(epoch) = outcome {
            return epoch;
        }
    }
}

/// The device's counter, as it is in its slot.
pub(crate) async fn counter(store: &CassandraStore, key: &DeviceKey) -> Option<u64> {
    let rows = store.load(key.slot()).await.unwrap();
    rows.into_iter().find_map(|row| match row {
        StateRow::Counters(row) if row.key == *key => Some(row.last_command),
        _ => None,
    })
}

pub(crate) async fn of_two_processes_that_claim_at_once_one_wins(lab: &Lab) {
    let stores = [lab.open().await, lab.open().await];
    let slot = key(&fresh("claims"), "d").slot();
    let mut won = [0, 0];
    for round in 0..10 {
        let seen = stores[0].head(slot).await.unwrap().epoch;
        let owners = [member(&format!("a{round}")), member(&format!("b{round}"))];
        let claims =
            stores.iter().zip(&owners).map(|(store, owner)| store.claim(slot, owner, seen)).collect();
        let outcomes: Vec<_> = join_all(claims).await.into_iter().map(Result::unwrap).collect();
        let epoch = SlotEpoch(seen.0 + 1);
        let winners: Vec<usize> = (0..2).filter(|&n| outcomes[n] == ClaimOutcome::Claimed(epoch)).collect();
        let [winner] = winners[..] else { panic!("one winner: {outcomes:?}") };
        won[winner] += 1;
        let head = stores[1 - winner].head(slot).await.unwrap();
        assert_eq!((head.epoch, head.owner.as_ref()), (epoch, Some(&owners[winner])));
        assert_eq!(outcomes[1 - winner], ClaimOutcome::Refused(head));
    }
    assert_eq!(won[0] + won[1], 10);
}

pub(crate) async fn an_owner_that_was_replaced_changes_nothing(lab: &Lab) {
    let (old, new) = (lab.open().await, lab.open().await);
    let key = key(&fresh("replaced"), "d");
    let first = take(&old, &key).await;
    assert_eq!(old.commit(key.slot(), first, put(counters(&key, 1))).await, CommitOutcome::Committed);
    let second = take(&new, &key).await;
    // It wakes up and knows nothing of it.
    for outcome in [
        old.commit(key.slot(), first, put(counters(&key, 2))).await,
        old.release(key.slot(), first).await,
        old.commit(key.slot(), first, Vec::new()).await,
    ] {
        assert_eq!(outcome, CommitOutcome::Fenced { current: second });
    }
    assert_eq!(counter(&new, &key).await, Some(1));
    assert_eq!(new.commit(key.slot(), second, put(counters(&key, 3))).await, CommitOutcome::Committed);
    assert_eq!(counter(&old, &key).await, Some(3));
    let stats = old.stats();
    assert_eq!((stats.commits, stats.fenced, stats.unknown), (1, 3, 0));
}

pub(crate) async fn what_one_process_appends_the_other_reads(lab: &Lab) {
    let (a, b) = (lab.open().await, lab.open().await);
    let device = key(&fresh("both"), "d");
    // The same event twice, by both: it counts once, and the first stays.
    let first = event(&device, "e", T0, "fault");
    for (store, ts) in [(&a, T0), (&b, T0 + 5), (&a, T0 + 7)] {
        let again = stoker_domain::Event { ts, ..first.clone() };
        store.append(vec![Append::Event(again), reading(&device, vec![number("t", ts, 1.0)])]).await.unwrap();
    }
    for store in [&a, &b] {
        let query = stoker_domain::ports::store::EventsQuery {
            organization: device.organization.clone(),
            device: None,
            kind: None,
            from: i64::MIN,
            to: i64::MAX,
            after: None,
            limit: 10,
        };
        assert_eq!(store.events(query).await.unwrap(), std::slice::from_ref(&first));
        let query = PointsQuery {
            device: device.clone(),
            keys: None,
            from: 0,
            to: i64::MAX,
            after: None,
            limit: 10,
            order: Order::Ascending,
        };
        assert_eq!(store.points(query).await.unwrap().len(), 3);
        assert_eq!(store.latest(&device, None).await.unwrap()["t"].ts, T0 + 7);
    }
}

pub(crate) async fn what_ended_later_replaces_what_a_fast_clock_wrote(lab: &Lab) {
    let store = lab.open().await;
    let device = key(&fresh("fast"), "d");
    let raised = alarm(&device, 1, 1, T0);
    store.append(vec![Append::Alarm(raised.clone())]).await.unwrap();
    // As a process would have written it whose clock was ahead by half a minute.
    let keyspace = &lab.options().keyspace;
    let session = lab.session().await;
    let id = raised.id.0;
    let key: Vec<u8> = [&[id.slot.0][..], &id.epoch.0.to_be_bytes(), &id.counter.to_be_bytes()].concat();
    let select =
        format!("SELECT value, WRITETIME(value) FROM {keyspace}.items WHERE kind = 'alarm' AND id = ?");
    let rows = session.query_unpaged(select, (&key,)).await.unwrap().into_rows_result().unwrap();
    let (value, stamp) = rows.single_row::<(Vec<u8>, i64)>().unwrap();
    let update =
        format!("UPDATE {keyspace}.items USING TIMESTAMP ? SET value = ? WHERE kind = 'alarm' AND id = ?");
    session.query_unpaged(update, (stamp + 30_000_000, value, &key)).await.unwrap();
    for count in [2, 3] {
        let later = stoker_domain::Alarm { count, ..raised.clone() };
        store.append(vec![Append::Alarm(later.clone())]).await.unwrap();
        assert_eq!(store.ended_alarm(raised.id).await.unwrap(), Some(later));
    }
}

pub(crate) async fn a_member_that_is_silent_is_listed_no_more(lab: &Lab) {
    let options = CassandraOptions { member_ttl: Duration::from_secs(2), ..lab.options() };
    let store = CassandraStore::open(options).await.unwrap();
    let ours = fresh("silent");
    let row = |id: &str, beat| MemberRow {
        id: member(&format!("{ours}-{id}")),
        role: MemberRole::Gateway,
        address: String::new(),
        host: String::new(),
        version: String::new(),
        slots: None,
        sessions: 0,
        leaving: false,
        started_at: T0,
        beat,
    };
    store.member_put(row("silent", 1)).await.unwrap();
    for beat in 0.. {
        store.member_put(row("lively", beat)).await.unwrap();
        let mut rows = store.members().await.unwrap();
        rows.retain(|row| row.id.as_str().starts_with(&ours));
        assert_eq!(rows.first(), Some(&row("lively", beat)));
        if rows.len() == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
}
