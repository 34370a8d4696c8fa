//! What every adapter of the store port promises.
//!
//! Each promise is a function in a module below; `promises.rs` lists them. This is the embedded store; the tests of
//! another adapter include the same modules and run through the same list.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod ended;
mod events;
mod isolation;
mod members;
mod promises;
mod registry;
mod retention;
#[path = "../support/samples.rs"]
mod samples;
mod slots;
mod telemetry;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use stoker_domain::Millis;
use stoker_domain::ports::store::Store;
use stoker_store::{EmbeddedOptions, EmbeddedStore};

use promises::{Subject, for_each_promise, fresh};
use retention::{Timed, for_each_promise_about_time};

struct Embedded {
    store: EmbeddedStore,
    time: Arc<AtomicI64>,
    _dir: tempfile::TempDir,
}

impl Embedded {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let time = Arc::new(AtomicI64::new(samples::T0));
        let clock = time.clone();
        let options = EmbeddedOptions {
            cache_bytes: 4 << 20,
            clock: Arc::new(move || clock.load(Ordering::SeqCst)),
            ..EmbeddedOptions::default()
        };
        Self { store: EmbeddedStore::open(dir.path(), options).unwrap(), time, _dir: dir }
    }
}

impl Subject for Embedded {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn set_time(&self, now: Millis) {
        self.time.store(now, Ordering::SeqCst);
    }
}

#[async_trait]
impl Timed for Embedded {
    async fn purge(&self, now: Millis) {
        self.store.purge(now).await.unwrap();
    }
}

macro_rules! run {
    ($($module:ident::$promise:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let subject = super::Embedded::new();
            super::$module::$promise(&subject).await;
        }
    )+};
}

mod embedded {
    super::for_each_promise!(run);
    super::for_each_promise_about_time!(run);
}
