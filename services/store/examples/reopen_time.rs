//! How long opening takes after a crash.
//!
//! ```text
//! cargo run --release -p stoker-store --example reopen_time -- fill DIR GIGABYTES   # writes on until it is killed
//! cargo run --release -p stoker-store --example reopen_time -- open DIR
//! ```
//! `fill` says `FULL` when the file has that size and goes on writing, so that `kill -9` meets it at work.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use stoker_domain::ports::store::{Append, Store};
use stoker_domain::{DeviceId, DeviceKey, OrganizationId, Point, Reading, Value};
use stoker_store::{EmbeddedOptions, EmbeddedStore};

const DEVICES: u64 = 500;

fn device(n: u64) -> Result<DeviceKey, Box<dyn std::error::Error>> {
    Ok(DeviceKey::new(OrganizationId::new("default")?, DeviceId::new(&format!("boiler-{n}"))?))
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut args = args.iter().map(String::as_str);
    let (mode, dir) = (args.next().unwrap_or_default(), args.next().ok_or("which directory?")?);
    let begin = Instant::now();
    let store = Arc::new(EmbeddedStore::open(Path::new(dir), EmbeddedOptions::default())?);
    println!("opened in {:?}", begin.elapsed());
    if mode == "open" {
        let begin = Instant::now();
        let latest = store.latest(&device(7)?, None).await?;
        println!("read {} newest points in {:?}", latest.len(), begin.elapsed());
        let begin = Instant::now();
        store.close().await;
        println!("closed in {:?}", begin.elapsed());
        return Ok(());
    }
    let gigabytes: u64 = args.next().ok_or("how many gigabytes?")?.parse()?;
    let file = Path::new(dir).join("stoker.redb");
    let mut tasks = Vec::new();
    for n in 0..DEVICES {
        let (store, device) = (store.clone(), device(n)?);
        tasks.push(tokio::spawn(async move {
            for ts in 0.. {
                let value = Value::Text(format!("{ts:01900}"));
                let points = vec![Point { key: Arc::from("log"), ts: 1_750_000_000_000 + ts, value }];
                let reading = Reading { device: device.clone(), points };
                store.append(vec![Append::Reading(reading)]).await?;
            }
            Ok::<_, stoker_domain::ports::store::StoreError>(())
        }));
    }
    let mut said = false;
    while !tasks.iter().any(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        if !said && std::fs::metadata(&file)?.len() >= gigabytes << 30 {
            println!("FULL after {:?}", begin.elapsed());
            said = true;
        }
    }
    Err("a writer ended".into())
}
