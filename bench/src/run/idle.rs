//! `idle`: what a connection costs on which nothing happens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{per, percent, settled};
use crate::device::{COMMANDS, Device, Login, logins};
use crate::platform::{Common, Platform};
use crate::process;
use crate::report::Report;

/// Devices that connect at the same time.
const CONNECTING: usize = 128;
/// Connections from one address of the loopback: the system has 28,000 ports for each.
const PER_ADDRESS: usize = 4_000;
/// Nobody pings while it is measured.
const KEEP_ALIVE: u16 = 7_200;
/// How long memory may take to come to rest.
pub(super) const SETTLE: Duration = Duration::from_secs(60);

/// Memory of connections on which nothing happens
#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// How many; each is an open file, here and in the platform
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// How long to watch the processor once all are connected
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// The address that connection `index` comes from.
fn source(index: usize) -> IpAddr {
    let host = u8::try_from(2 + index / PER_ADDRESS % 250).unwrap_or(2);
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, host))
}

/// Connects all of them, each with one subscription of its own.
pub(super) async fn connect_all(
    address: SocketAddr,
    logins: &[Login],
    filter: impl Fn(&Login) -> String,
) -> Result<Vec<Device>> {
    let room = Arc::new(Semaphore::new(CONNECTING));
    let mut tasks = JoinSet::new();
    for (index, login) in logins.iter().cloned().enumerate() {
        let (room, filter) = (Arc::clone(&room), filter(&login));
        tasks.spawn(async move {
            let _permit = room.acquire_owned().await?;
            let mut device = Device::connect(address, Some(source(index)), &login, KEEP_ALIVE).await?;
            device.subscribe_to(&filter).await?;
            anyhow::Ok(device)
        });
    }
    let mut devices = Vec::with_capacity(logins.len());
    while let Some(device) = tasks.join_next().await {
        devices.push(device??);
    }
    Ok(devices)
}

/// Refuses more connections than there may be.
pub(super) fn check_files(connections: u32) -> Result<()> {
    let (files, _) = rlimit::Resource::NOFILE.get()?;
    ensure!(
        files > u64::from(connections) + 600,
        "a process may open {files} files: too few for {connections} connections"
    );
    Ok(())
}

impl Idle {
    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        check_files(self.connections)?;
        let mut report = Report::new("Idle connections with one subscription, MQTT 3.1.1, TCP");
        let mut platform = Platform::new(common, Vec::new())?;
        platform.start().await?;
        let api = platform.api()?;
        let pid = platform.pid()?;
        let empty = settled(pid, SETTLE).await?;
        let logins = logins(self.connections);
        let lines: Vec<String> = logins.iter().map(Login::import_line).collect();
        let begun = Instant::now();
        api.import(&lines).await?;
        let imported = begun.elapsed();
        let registered = settled(pid, SETTLE).await?;
        let (cpu, begun) = (process::cpu(pid)?, Instant::now());
        let devices = connect_all(platform.mqtt, &logins, |_| COMMANDS.to_owned()).await?;
        let took = begun.elapsed();
        let connected = settled(pid, SETTLE).await?;
        let spent = process::cpu(pid)?.saturating_sub(cpu);
        let (all, _) = process::memory(pid)?;
        let (cpu, begun) = (process::cpu(pid)?, Instant::now());
        sleep(Duration::try_from_secs_f64(self.seconds)?).await;
        let idle = percent((process::cpu(pid)? - cpu).as_secs_f64(), begun.elapsed().as_secs_f64());
        let mut online = 0;
        api.each("/devices", "", |device: Value| {
            let state = device.pointer("/connection/state").and_then(Value::as_str);
            online += u64::from(state == Some("online"));
        })
        .await?;
        let count = u64::from(self.connections);
        report.count("connections", count);
        report.number("memory, empty", empty as f64 / 1e3, "MB");
        report.number("memory, devices registered", registered as f64 / 1e3, "MB");
        report.number("memory, devices connected", connected as f64 / 1e3, "MB");
        report.number("resident memory, files included", all as f64 / 1e3, "MB");
        let growth = connected.saturating_sub(registered);
        report.number("memory per connection", per(growth as f64, count), "kB");
        let growth = registered.saturating_sub(empty);
        report.number("memory per registered device", per(growth as f64, count), "kB");
        report.number("devices imported", count as f64 / imported.as_secs_f64(), "/s");
        report.number("connected and subscribed", count as f64 / took.as_secs_f64(), "/s");
        report.number("CPU per connection", per(spent.as_secs_f64() * 1e6, count), "µs");
        report.number("CPU while idle, of one core", idle, "%");
        report.exactly("devices online", count, online);
        drop(devices);
        platform.finish(&mut report)?;
        Ok(report)
    }
}
