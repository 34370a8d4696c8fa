//! How many readings a second a Cassandra cluster takes in through the store, and how long each append waits.
//!
//! ```text
//! STOKER_TEST_CASSANDRA=127.0.0.1:9042 cargo run --release -p stoker-store --example cassandra_rate -- \
//!     [devices] [keys] [seconds] [appends] [batch]
//! ```
//! So many appends are under way all the time, each with a batch of readings of `keys` numbers, of one device after the
//! other. It makes a keyspace of its own and drops it at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scylla::client::session_builder::SessionBuilder;
use scylla::statement::unprepared::Statement;
use stoker_domain::ports::store::{Append, Order, PointsQuery, Store, StoreError};
use stoker_domain::{DeviceId, DeviceKey, OrganizationId, Point, Reading, Value};
use stoker_store::{CassandraOptions, CassandraStore};

const T0: i64 = 1_750_000_000_000;

fn reading(device: &DeviceKey, keys: usize, ts: i64) -> Append {
    let point = |n: usize| Point {
        key: Arc::from(format!("t_sensor_{n}")),
        ts,
        value: Value::Number((ts % 1000) as f64 / 10.0 + n as f64),
    };
    Append::Reading(Reading { device: device.clone(), points: (0..keys).map(point).collect() })
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

async fn drop_keyspace(nodes: &[String], keyspace: &str) -> Result<(), Box<dyn std::error::Error>> {
    let session = Box::pin(SessionBuilder::new().known_nodes(nodes).build()).await?;
    let mut statement = Statement::new(format!("DROP KEYSPACE {keyspace}"));
    statement.set_request_timeout(Some(Duration::from_secs(120)));
    session.query_unpaged(statement, ()).await?;
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize, default: u64| args.get(n).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (devices, keys) = (number(0, 1_000), usize::try_from(number(1, 2))?);
    let (seconds, appends, batch) = (number(2, 10), number(3, 16), number(4, 50));
    let nodes: Vec<String> =
        std::env::var("STOKER_TEST_CASSANDRA")?.split(',').map(|node| node.trim().to_owned()).collect();
    let replicas = u8::try_from(nodes.len().min(3))?;
    let datacenter =
        std::env::var("STOKER_TEST_CASSANDRA_DATACENTER").unwrap_or_else(|_| "datacenter1".to_owned());
    let keyspace = format!("stoker_rate_{}", std::process::id());
    let options = CassandraOptions {
        replication_factor: replicas,
        ..CassandraOptions::new(nodes.clone(), keyspace.clone(), datacenter)
    };
    let store = Arc::new(Box::pin(CassandraStore::open(options)).await?);

    let devices: Vec<DeviceKey> = (0..devices)
        .map(|n| Ok(DeviceKey::new(OrganizationId::new("default")?, DeviceId::new(&format!("boiler-{n}"))?)))
        .collect::<Result<_, Box<dyn std::error::Error>>>()?;
    let (devices, next) = (Arc::new(devices), Arc::new(AtomicU64::new(0)));
    let one = move |n: u64, devices: &[DeviceKey]| {
        let count = devices.len() as u64;
        let device = devices.get(usize::try_from(n % count).unwrap_or_default());
        device.map(|device| reading(device, keys, T0 + (n / count).cast_signed()))
    };
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let end = start + Duration::from_secs(seconds);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..appends {
        let (store, devices, next) = (store.clone(), devices.clone(), next.clone());
        tasks.spawn(async move {
            let (mut waits, mut shed) = (Vec::new(), 0u64);
            while Instant::now() < end {
                let from = next.fetch_add(batch, Ordering::Relaxed);
                let readings: Vec<Append> = (from..from + batch).filter_map(|n| one(n, &devices)).collect();
                let begin = Instant::now();
                match store.append(readings).await {
                    Ok(()) => waits.push(begin.elapsed()),
                    Err(StoreError::Overloaded(_)) => shed += 1,
                    Err(error) => return Err(error),
                }
            }
            Ok((waits, shed))
        });
    }
    let (mut waits, mut shed) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (more, refused) = done??;
        waits.extend(more);
        shed += refused;
    }
    let (took, cpu) = (start.elapsed(), cpu_seconds() - cpu);
    waits.sort_unstable();
    let at = |q: f64| waits.get((waits.len() as f64 * q) as usize).copied().unwrap_or_default();
    let readings = waits.len() as u64 * batch;
    let stats = store.stats();
    println!(
        "{} devices, {keys} keys, {appends} appends of {batch} at once, {replicas} replicas: {:.0} readings/s, {:.0} \
         points/s; p50 {:?}, p99 {:?}; {shed} shed; {:.1} us of CPU each here",
        devices.len(),
        readings as f64 / took.as_secs_f64(),
        stats.points as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        cpu * 1e6 / readings.max(1) as f64,
    );
    println!(
        "{:.0} requests/s to the database, {:.2} a reading; {} failed, {} tried again by the driver",
        stats.requests as f64 / took.as_secs_f64(),
        stats.requests as f64 / readings.max(1) as f64,
        stats.failed,
        stats.driver_retries,
    );
    let device = devices.first().cloned().ok_or("no device")?;
    for (name, order) in [("newest", Order::Descending), ("oldest", Order::Ascending)] {
        let (from, to, limit) = (i64::MIN, i64::MAX, 100);
        let query = PointsQuery { device: device.clone(), keys: None, from, to, after: None, limit, order };
        let begin = Instant::now();
        let points = store.points(query).await?;
        println!("{} points, {name}: {:?}", points.len(), begin.elapsed());
    }
    let begin = Instant::now();
    println!("{} latest: {:?}", store.latest(&device, None).await?.len(), begin.elapsed());
    drop_keyspace(&nodes, &keyspace).await
}
