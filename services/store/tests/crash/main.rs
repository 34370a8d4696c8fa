//! Power loss at any write and flushes that fail, over many random histories.
//!
//! A history is replayed by its seed: `STOKER_SEED=17 cargo test -p stoker-store --test crash`. Several callers ask at
//! once; a gate in the disk holds the writer until all of a round wait, so what shares a transaction depends on the
//! seed and on nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/disk.rs"]
mod disk;
mod model;
#[path = "../support/random.rs"]
mod random;
#[allow(dead_code)]
#[path = "../support/samples.rs"]
mod samples;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use stoker_store::{EmbeddedOptions, EmbeddedStore};

use disk::{Disk, Fault};
use model::{Ask, Model, ask};
use random::Random;

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        cache_bytes: 1 << 20,
        clock: Arc::new(|| samples::T0),
        // Small groups and pages of lists, so that one history has many transactions.
        group_items: 4,
        ..EmbeddedOptions::default()
    }
}

fn open(disk: &Disk) -> EmbeddedStore {
    EmbeddedStore::open_backend(Box::new(disk.clone()), options()).unwrap()
}

/// A fresh store's bytes, made once.
fn fresh_image() -> Vec<u8> {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE
        .get_or_init(|| {
            let disk = Disk::new(Vec::new());
            drop(open(&disk));
            disk.image()
        })
        .clone()
}

/// Lets all callers come as far as they can by themselves. Once is not enough: the runtime looks after its timers now and
/// then and begins with this task again.
async fn settle() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

/// Lets several callers ask at once until the disk fails or `rounds` are over.
async fn live(store: Arc<EmbeddedStore>, disk: &Disk, model: &mut Model, random: &mut Random, rounds: u64) {
    for _ in 0..rounds {
        disk.shut_gate();
        let mut callers = Vec::new();
        // The first is alone in its transaction, which waits at the gate while the others line up.
        for n in 0..1 + random.below(7) {
            let (number, what) = model.make_up(random);
            let store = store.clone();
            callers.push((number, tokio::spawn(async move { ask(&*store, number, what).await })));
            if n == 0 {
                settle().await;
                disk.wait_at_gate();
            }
        }
        settle().await;
        disk.open_gate();
        for (number, caller) in callers {
            let answer = caller.await.unwrap();
            model.answered(number, &answer);
        }
        if disk.has_failed() {
            break;
        }
    }
}

fn run(seed: u64, fault_of: impl Fn(&mut Random) -> Fault) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut random = Random::new(seed);
        let mut model = Model::default();
        let disk = Disk::new(fresh_image());
        let store = Arc::new(open(&disk));
        disk.arm(fault_of(&mut random));
        live(store.clone(), &disk, &mut model, &mut random, 12).await;
        if disk.has_failed() {
            let (number, what) = (u64::MAX, Ask::Reading(0));
            let late = ask(&*store, number, what).await;
            assert!(!late.acknowledges(), "a failed store acknowledges nothing any more");
            assert!(store.failure().is_some_and(|why| !why.is_empty()), "and says that it has failed");
        }
        disk.power_off();
        drop(store);

        // Opened again, it lives on: another crash, at any moment, and a last look.
        let mut second = Disk::new(disk.after_power_loss(&mut random));
        if random.below(4) == 0 {
            // Not at once: the power goes while it is opened, too.
            second.arm(Fault::CrashAtWrite(1 + random.below(6)));
            drop(EmbeddedStore::open_backend(Box::new(second.clone()), options()));
            second.power_off();
            second = Disk::new(second.after_power_loss(&mut random));
        }
        let store = Arc::new(open(&second));
        model.check(&*store).await;
        live(store.clone(), &second, &mut model, &mut random, 2).await;
        assert_eq!(store.failure(), None);
        second.power_off();
        drop(store);
        let third = Disk::new(second.after_power_loss(&mut random));
        let store = open(&third);
        model.check(&store).await;
        store.close().await;
    });
}

/// Runs seeds on all cores and says which one failed.
fn run_seeds(count: u64, fault_of: impl Fn(&mut Random) -> Fault + Sync) {
    if let Some(seed) = std::env::var("STOKER_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed, fault_of);
    }
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).max(2) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed, &fault_of))) {
                        eprintln!("replay with STOKER_SEED={seed}");
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}

/// How many writes and flushes a history has at most, so that faults fall anywhere within.
fn size_of_a_history() -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let disk = Disk::new(fresh_image());
        let store = Arc::new(open(&disk));
        disk.arm(Fault::None);
        live(store.clone(), &disk, &mut Model::default(), &mut Random::new(0), 12).await;
        let counts = disk.counts();
        disk.power_off();
        drop(store);
        counts
    })
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_goes() {
    let (writes, flushes) = size_of_a_history();
    run_seeds(1_000, |random| match random.below(8) {
        0 => Fault::CrashAtFlush(1 + random.below(flushes)),
        // The power goes when all is quiet.
        1 => Fault::None,
        _ => Fault::CrashAtWrite(1 + random.below(writes)),
    });
}

#[test]
fn a_flush_that_fails_is_never_acknowledged_and_ends_the_store() {
    let (_, flushes) = size_of_a_history();
    run_seeds(200, |random| Fault::FailFlush(1 + random.below(flushes)));
}
