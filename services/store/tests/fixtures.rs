//! Data directories that earlier versions wrote are opened, and hold what was put in them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/fixture.rs"]
mod fixture;
#[path = "support/samples.rs"]
mod samples;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use stoker_domain::ports::store::Store;
use stoker_store::{EmbeddedOptions, EmbeddedStore};

const DAY: i64 = 86_400_000;

fn options(days: i64) -> (EmbeddedOptions, Arc<AtomicI64>) {
    let day = Arc::new(AtomicI64::new(days));
    let clock = day.clone();
    let clock = Arc::new(move || samples::T0 + clock.load(Ordering::SeqCst) * DAY);
    (EmbeddedOptions { cache_bytes: 1 << 20, clock, ..EmbeddedOptions::default() }, day)
}

#[tokio::test]
async fn a_directory_of_format_1_holds_what_was_put_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let of_format_1 = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    for name in ["VERSION", "stoker.redb"] {
        fs::copy(of_format_1.join(name), dir.path().join(name)).unwrap();
    }
    let store = EmbeddedStore::open(dir.path(), options(3).0).unwrap();
    fixture::check(&store).await;
    // And it goes on: what is appended wins over what was there, and retention finds what it has to.
    let device = samples::key("default", "boiler-7");
    store
        .append(vec![samples::reading(&device, vec![samples::number("t_supply", samples::T0 + 1_000, 5.0)])])
        .await
        .unwrap();
    let latest = store.latest(&device, Some(vec!["t_supply".into()])).await.unwrap();
    assert_eq!(latest["t_supply"].value, stoker_domain::Value::Number(5.0));
    let report = store.purge(samples::T0 + 500 * DAY).await.unwrap();
    // Four days of telemetry with a chunk or two each, two events, two commands, an alarm, a notification.
    assert_eq!((report.days, report.rows), (4, 5 + 6));
    store.close().await;
}

#[tokio::test]
async fn this_version_writes_what_the_fixture_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (options, day) = options(0);
    let store = EmbeddedStore::open(dir.path(), options).unwrap();
    fixture::fill(&store, |to| day.store(to, Ordering::SeqCst)).await;
    fixture::check(&store).await;
}
