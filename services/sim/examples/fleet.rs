//! A fleet against any MQTT server, with a line of counts each second:
//! `cargo run --release -p stoker-sim --example fleet -- mqtt://127.0.0.1 10000 10 30`
//! (address, devices, seconds between readings, seconds to run).

use std::time::Duration;

use stoker_sim::{Sim, SimConfig};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "mqtt://127.0.0.1:1883".to_owned());
    let mut number = |default: f64| args.next().map_or(Ok(default), |arg| arg.parse::<f64>());
    let (devices, interval, lasts) = (number(1_000.0)?, number(10.0)?, number(30.0)?);
    let mut config = SimConfig::new(&url, devices as u32, "secret")?;
    config.interval = Duration::from_secs_f64(interval);
    let sim = Sim::new(config)?;
    let (stats, shutdown) = (sim.stats(), CancellationToken::new());
    let running = tokio::spawn(sim.run(shutdown.clone()));
    let mut before = stats.snapshot();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for second in 0..=lasts as u64 {
        ticks.tick().await;
        let now = stats.snapshot();
        let latency = now.latency.since(&before.latency);
        println!(
            "{second:>4} s: {} connected, {} acknowledged/s, p50 {:?}, p99 {:?}",
            now.connected,
            now.readings_acked - before.readings_acked,
            latency.quantile(0.5),
            latency.quantile(0.99),
        );
        before = now;
    }
    shutdown.cancel();
    println!("{:#?}", running.await??);
    Ok(())
}
