//! Makes the fixture of a new format: `cargo run -p stoker-store --example make_fixture -- DIR`.
//!
//! Run once, when a format is final; a fixture that is committed is never made again.

#[allow(clippy::unwrap_used, dead_code)]
#[path = "../tests/support/fixture.rs"]
mod fixture;
#[allow(clippy::unwrap_used, dead_code)]
#[path = "../tests/support/samples.rs"]
mod samples;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use stoker_store::{EmbeddedOptions, EmbeddedStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("into which directory?")?);
    if dir.join("VERSION").exists() {
        return Err("there is a fixture already, and it is never made again".into());
    }
    let day = Arc::new(AtomicI64::new(0));
    let clock = day.clone();
    let clock = Arc::new(move || samples::T0 + clock.load(Ordering::SeqCst) * 86_400_000);
    let store = EmbeddedStore::open(&dir, EmbeddedOptions { clock, ..EmbeddedOptions::default() })?;
    fixture::fill(&store, |to| day.store(to, Ordering::SeqCst)).await;
    store.close().await;
    let mut database = redb::Database::open(dir.join("stoker.redb"))?;
    while database.compact()? {}
    drop(database);
    std::fs::remove_file(dir.join("stoker.lock"))?;
    println!("{} bytes", std::fs::metadata(dir.join("stoker.redb"))?.len());
    Ok(())
}
