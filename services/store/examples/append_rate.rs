//! How many readings a second the embedded store takes in, and how long each waits.
//!
//! ```text
//! cargo run --release -p stoker-store --example append_rate -- [devices] [keys] [seconds] [window] [dir]
//! ```
//! Each device is one appender that keeps `window` messages of `keys` numbers under way, each in an `append` of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stoker_domain::ports::store::{Append, Order, PointsQuery, Store};
use stoker_domain::{DeviceId, DeviceKey, OrganizationId, Point, Reading, Value};
use stoker_store::{EmbeddedOptions, EmbeddedStore};

fn reading(device: &DeviceKey, keys: usize, ts: i64) -> Reading {
    let point = |n: usize| Point {
        key: Arc::from(format!("t_sensor_{n}")),
        ts,
        value: Value::Number((ts % 1000) as f64 / 10.0 + n as f64),
    };
    Reading { device: device.clone(), points: (0..keys).map(point).collect() }
}

fn fsync_floor(dir: &std::path::Path) -> std::io::Result<Duration> {
    use std::io::Write;
    let path = dir.join("fsync-probe");
    let mut file = std::fs::File::create(&path)?;
    let start = Instant::now();
    for _ in 0..200 {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
    }
    let each = start.elapsed() / 200;
    std::fs::remove_file(path)?;
    Ok(each)
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize, default: u64| args.get(n).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (devices, keys) = (number(0, 50), usize::try_from(number(1, 2))?);
    let (seconds, window) = (number(2, 10), number(3, 1));
    let dir = args.get(4).map_or_else(|| std::env::temp_dir().join("stoker-append-rate"), PathBuf::from);
    std::fs::create_dir_all(&dir)?;
    println!("fsync of 4 KiB: {:?}", fsync_floor(&dir)?);

    let store = Arc::new(EmbeddedStore::open(&dir.join("data"), EmbeddedOptions::default())?);
    let done = Arc::new(AtomicU64::new(0));
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let end = start + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for n in 0..devices {
        let device = DeviceKey::new(OrganizationId::new("default")?, DeviceId::new(&format!("boiler-{n}"))?);
        let next = Arc::new(AtomicU64::new(0));
        for _ in 0..window {
            let (store, done, device, next) = (store.clone(), done.clone(), device.clone(), next.clone());
            tasks.push(tokio::spawn(async move {
                let mut waits = Vec::new();
                while Instant::now() < end {
                    let ts = 1_750_000_000_000 + next.fetch_add(1, Ordering::Relaxed).cast_signed();
                    let begin = Instant::now();
                    store.append(vec![Append::Reading(reading(&device, keys, ts))]).await?;
                    waits.push(begin.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, stoker_domain::ports::store::StoreError>(waits)
            }));
        }
    }
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await??);
    }
    let (took, cpu) = (start.elapsed(), cpu_seconds() - cpu);
    waits.sort_unstable();
    let at = |q: f64| waits.get((waits.len() as f64 * q) as usize).copied().unwrap_or_default();
    let total = done.load(Ordering::Relaxed);
    let stats = store.stats();
    println!(
        "{devices} devices x {window}, {keys} keys: {:.0} messages/s; p50 {:?}, p99 {:?}; {:.1} us of CPU each",
        total as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        cpu * 1e6 / total as f64,
    );
    println!(
        "{:.0} transactions/s of {:.0} messages; transaction p50 <= {} us, p99 <= {} us; fsync mean {} us; {} rows, {} MB",
        stats.transactions as f64 / took.as_secs_f64(),
        total as f64 / stats.transactions as f64,
        stats.commit_us.quantile(0.5),
        stats.commit_us.quantile(0.99),
        stats.fsync_us.sum / stats.fsync_us.count.max(1),
        stats.rows,
        stats.bytes >> 20,
    );
    let device = DeviceKey::new(OrganizationId::new("default")?, DeviceId::new("boiler-0")?);
    let middle = 1_750_000_000_000 + (total / devices / 2).cast_signed();
    for (name, order, from, to) in [
        ("newest", Order::Descending, 0, i64::MAX),
        ("oldest", Order::Ascending, 0, i64::MAX),
        ("back from the middle", Order::Descending, 0, middle),
        ("on from the middle", Order::Ascending, middle, i64::MAX),
    ] {
        let query =
            PointsQuery { device: device.clone(), keys: None, from, to, after: None, limit: 100, order };
        let begin = Instant::now();
        let points = store.points(query).await?;
        println!("{} points, {name}: {:?}", points.len(), begin.elapsed());
    }
    let begin = Instant::now();
    let latest = store.latest(&device, None).await?;
    println!("{} latest: {:?}", latest.len(), begin.elapsed());
    let (begin, before) = (Instant::now(), store.stats().transactions);
    let report = store.purge(store.now() + 40 * 86_400_000).await?;
    let steps = store.stats().transactions - before;
    println!("purged {} rows in {:?}, {steps} steps", report.rows, begin.elapsed());
    store.close().await;
    println!("file: {} MB", std::fs::metadata(dir.join("data/stoker.redb"))?.len() >> 20);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
