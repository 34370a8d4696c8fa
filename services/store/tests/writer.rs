//! The writer: groups, bounds, lanes, and what happens when it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code)]
#[path = "support/disk.rs"]
mod disk;
#[allow(dead_code)]
#[path = "support/random.rs"]
mod random;
#[allow(dead_code)]
#[path = "support/samples.rs"]
mod samples;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use stoker_domain::ports::store::{Append, CommitOutcome, RegistryRow, Store, StoreError, SwapOutcome};
use stoker_domain::{Slot, SlotEpoch, Value};
use stoker_store::{EmbeddedOptions, EmbeddedStore, maintain};
use tokio::task::{JoinHandle, yield_now};

use disk::{Disk, Fault};
use samples::{T0, event, key, number, point, reading};

fn options() -> EmbeddedOptions {
    EmbeddedOptions { cache_bytes: 1 << 20, clock: Arc::new(|| T0), ..EmbeddedOptions::default() }
}

fn open(options: EmbeddedOptions) -> (Arc<EmbeddedStore>, Disk) {
    let disk = Disk::new(Vec::new());
    let store = EmbeddedStore::open_backend(Box::new(disk.clone()), options).unwrap();
    disk.arm(Fault::None);
    (Arc::new(store), disk)
}

fn append(store: &Arc<EmbeddedStore>, what: Append) -> JoinHandle<Result<(), StoreError>> {
    let store = store.clone();
    tokio::spawn(async move { store.append(vec![what]).await })
}

fn one(device: &str, ts: i64) -> Append {
    reading(&key("o", device), vec![number("t", ts, 1.0)])
}

/// Lets all tasks come as far as they can by themselves. Once is not enough: the runtime looks after its timers now and
/// then and begins with this task again.
async fn settle() {
    for _ in 0..8 {
        yield_now().await;
    }
}

/// Lets the writer take one reading and holds it before its flush.
async fn hold(store: &Arc<EmbeddedStore>, disk: &Disk) -> JoinHandle<Result<(), StoreError>> {
    disk.shut_gate();
    let held = append(store, one("held", T0));
    settle().await;
    disk.wait_at_gate();
    held
}

#[tokio::test]
async fn what_waits_shares_one_transaction() {
    let (store, disk) = open(options());
    let held = hold(&store, &disk).await;
    let waiting: Vec<_> = (0..100).map(|n| append(&store, one(&format!("d{}", n % 10), T0 + n))).collect();
    settle().await;
    disk.open_gate();
    held.await.unwrap().unwrap();
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
    let stats = store.stats();
    assert_eq!((stats.transactions, stats.requests, stats.points), (2, 101, 101));
    // Of each device one chunk and one row of newest points.
    assert_eq!(stats.rows, 2 + 20);
    assert_eq!(stats.group_size.count, 2);
    assert!(stats.fsync_us.count >= 2 && stats.bytes > 0);
    assert_eq!(stats.waiting, 0);
}

#[tokio::test]
async fn a_flood_of_readings_delays_no_commit() {
    let (store, disk) = open(EmbeddedOptions { group_items: 10, ..options() });
    let held = hold(&store, &disk).await;
    let ended = Arc::new(AtomicUsize::new(0));
    for n in 0..100 {
        let (store, ended) = (store.clone(), ended.clone());
        tokio::spawn(async move {
            store.append(vec![one("d", T0 + n)]).await.unwrap();
            ended.fetch_add(1, Ordering::SeqCst);
        });
    }
    settle().await;
    let (commit, ended_before) = (store.clone(), ended.clone());
    let commit = tokio::spawn(async move {
        let outcome = commit.commit(Slot(1), SlotEpoch(9), Vec::new()).await;
        (outcome, ended_before.load(Ordering::SeqCst))
    });
    settle().await;
    disk.open_gate();
    held.await.unwrap().unwrap();
    let (outcome, ended_before) = commit.await.unwrap();
    assert_eq!(outcome, CommitOutcome::Fenced { current: SlotEpoch(0) });
    assert!(ended_before < 100, "it did not wait for all of them");
    assert!(store.stats().group_size.count <= 11);
}

#[tokio::test]
async fn a_full_queue_sheds_the_newest_and_keeps_what_it_accepted() {
    let options = EmbeddedOptions { queue_items: 3, queue_wait: Duration::ZERO, ..options() };
    let (store, disk) = open(options);
    let held = hold(&store, &disk).await;
    let accepted = [append(&store, one("a", T0)), append(&store, one("b", T0))];
    settle().await;
    let error = store.append(vec![one("c", T0)]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Overloaded(why) if why.contains("queue")), "{error}");
    assert_eq!(store.stats().overloaded, 1);
    // The other lane has room of its own.
    let other = append(&store, Append::Event(event(&key("o", "a"), "e", T0, "fault")));
    settle().await;
    disk.open_gate();
    held.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    for accepted in accepted {
        accepted.await.unwrap().unwrap();
    }
    store.append(vec![one("c", T0)]).await.unwrap();
}

#[tokio::test]
async fn bytes_count_against_the_queue_and_one_request_always_fits() {
    let options = EmbeddedOptions { queue_bytes: 10_000, queue_wait: Duration::ZERO, ..options() };
    let (store, disk) = open(options);
    let large = || reading(&key("o", "l"), vec![point("log", T0, Value::Text("x".repeat(30_000)))]);
    store.append(vec![large()]).await.unwrap();
    let held = hold(&store, &disk).await;
    assert!(matches!(store.append(vec![large()]).await, Err(StoreError::Overloaded(_))));
    disk.open_gate();
    held.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_commit_that_finds_no_room_waits_until_there_is_some() {
    let options = EmbeddedOptions { queue_items: 1, queue_wait: Duration::ZERO, ..options() };
    let (store, disk) = open(options);
    let held = hold(&store, &disk).await;
    let other = append(&store, Append::Event(event(&key("o", "a"), "e", T0, "fault")));
    let commit = {
        let store = store.clone();
        tokio::spawn(async move { store.commit(Slot(1), SlotEpoch(1), Vec::new()).await })
    };
    settle().await;
    assert!(!commit.is_finished(), "to a slot's owner \"unknown\" would be the end");
    disk.open_gate();
    held.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    assert_eq!(commit.await.unwrap(), CommitOutcome::Fenced { current: SlotEpoch(0) });
}

#[tokio::test]
async fn a_panic_of_the_writer_fails_everybody_loudly() {
    let armed = Arc::new(AtomicBool::new(false));
    let trap = armed.clone();
    let clock = Arc::new(move || if trap.load(Ordering::SeqCst) { panic!("the clock broke") } else { T0 });
    let (store, _disk) = open(EmbeddedOptions { clock, ..options() });
    store.append(vec![one("a", T0)]).await.unwrap();
    assert!(store.healthy());
    armed.store(true, Ordering::SeqCst);
    let error = store.append(vec![one("a", T0)]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Failed(why) if why.contains("the clock broke")), "{error}");
    assert!(store.failed().await.contains("the writer panicked: the clock broke"));
    assert!(!store.healthy());
    assert!(matches!(store.append(vec![one("a", T0)]).await, Err(StoreError::Failed(_))));
    assert!(matches!(store.head(Slot(1)).await, Err(StoreError::Failed(_))));
    assert!(matches!(store.purge(T0).await, Err(StoreError::Failed(_))));
    assert!(matches!(store.forget_device(&key("o", "a")).await, Err(StoreError::Failed(_))));
    assert_eq!(store.commit(Slot(1), SlotEpoch(1), Vec::new()).await, CommitOutcome::Unknown);
    let row = RegistryRow::Setting { name: "n".into(), value: Vec::new() };
    assert!(matches!(store.registry_put(row, None).await, Err(StoreError::Failed(_))));
}

#[tokio::test]
async fn a_disk_that_goes_fails_what_is_under_way_and_what_waits() {
    let (store, disk) = open(options());
    let held = hold(&store, &disk).await;
    let waiting = append(&store, one("a", T0));
    let commit = {
        let store = store.clone();
        tokio::spawn(async move { store.commit(Slot(1), SlotEpoch(1), Vec::new()).await })
    };
    settle().await;
    disk.power_off();
    assert!(matches!(held.await.unwrap(), Err(StoreError::Failed(_))));
    assert!(matches!(waiting.await.unwrap(), Err(StoreError::Failed(_))));
    assert_eq!(commit.await.unwrap(), CommitOutcome::Unknown);
    assert!(store.failed().await.contains("the power is off"));
}

#[tokio::test]
async fn closing_finishes_what_waits_and_refuses_what_comes_later() {
    let (store, disk) = open(options());
    let held = hold(&store, &disk).await;
    let waiting: Vec<_> = (0..20).map(|n| append(&store, one("a", T0 + n))).collect();
    settle().await;
    let closing = {
        let store = store.clone();
        tokio::spawn(async move { store.close().await })
    };
    settle().await;
    let late = store.append(vec![one("a", T0)]).await.unwrap_err();
    assert!(matches!(&late, StoreError::Failed(why) if why == "the store is closed"), "{late}");
    disk.open_gate();
    held.await.unwrap().unwrap();
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
    closing.await.unwrap();
    assert!(matches!(store.head(Slot(1)).await, Err(StoreError::Failed(_))));
    assert!(store.healthy(), "closing is no failure");
    store.close().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_work_done() {
    let (store, disk) = open(options());
    let held = hold(&store, &disk).await;
    let gone = append(&store, one("a", T0));
    settle().await;
    gone.abort();
    disk.open_gate();
    held.await.unwrap().unwrap();
    store.append(vec![one("b", T0)]).await.unwrap();
    assert_eq!(store.latest(&key("o", "a"), None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn maintenance_purges_at_once_and_ends_when_told() {
    let time = Arc::new(std::sync::atomic::AtomicI64::new(T0));
    let clock = time.clone();
    let clock = Arc::new(move || clock.load(Ordering::SeqCst));
    let (store, _disk) = open(EmbeddedOptions { clock, ..options() });
    store.append(vec![one("a", T0)]).await.unwrap();
    time.store(T0 + 40 * 86_400_000, Ordering::SeqCst);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(maintain(store.clone(), Duration::from_secs(3_600), async {
        let _ = stopped.await;
    }));
    // Its first purge stands before this one in the queue.
    settle().await;
    assert_eq!(store.purge(T0 + 40 * 86_400_000).await.unwrap().rows, 0);
    assert!(store.latest(&key("o", "a"), None).await.unwrap().is_empty());
    assert_eq!(store.stats().removed, 1);
    stop.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(
        store.registry_put(RegistryRow::Setting { name: "n".into(), value: Vec::new() }, None).await.unwrap(),
        SwapOutcome::Swapped(1)
    );
}
