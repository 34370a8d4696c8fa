//! `commands`: from a command to the device's answer, seen from HTTP.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::api::{Api, Command};
use crate::device::{Device, Incoming, Login, logins};
use crate::histogram::Histogram;
use crate::platform::{Common, Platform};
use crate::report::Report;

/// From a command to the device's answer
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Commands {
    /// How many commands
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) count: u32,
    /// Commands a second
    #[arg(long, default_value_t = 20.0)]
    pub(super) rate: f64,
    /// Devices that get them, in turns
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) devices: u32,
}

/// What became of commands.
#[derive(Default)]
pub(super) struct Ended {
    /// From the request to the answer that it is written down.
    queued: Histogram,
    /// From the request to when its end was seen.
    pub(super) ended: Histogram,
    /// How many ended how.
    pub(super) states: BTreeMap<String, u64>,
}

/// Does whatever it is told, at once, as long as the connection lasts.
async fn obey(mut device: Device) -> Result<()> {
    loop {
        if let Incoming::Order { number, packet_id } = device.next().await? {
            device.reply(number, packet_id).await?;
        }
    }
}

struct RoundTrip {
    /// Until the command was written down.
    queued: Duration,
    /// Until its end was seen.
    ended: Duration,
    command: Command,
}

async fn round_trip(api: Api, device: String) -> Result<RoundTrip> {
    let begun = Instant::now();
    let command = api.command(&device, "write_setpoint", 60).await?;
    let queued = begun.elapsed();
    let command: Command = api.get(&format!("/commands/{}?wait_s=60", command.id)).await?;
    Ok(RoundTrip { queued, ended: begun.elapsed(), command })
}

impl Commands {
    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        let mut report = Report::new("From a command to the device's answer, over HTTP");
        let mut platform = Platform::new(common, Vec::new())?;
        platform.start().await?;
        let logins = logins(self.devices);
        let lines: Vec<String> = logins.iter().map(Login::import_line).collect();
        platform.api()?.import(&lines).await?;
        let Ended { queued, ended, states } = self.order(&platform, &logins).await?;
        report.count("commands", self.count.into());
        report.number("commands made", self.rate, "/s");
        report.times("until written down", &queued);
        report.times("until succeeded", &ended);
        for (state, count) in &states {
            report.count(format!("state {state}"), *count);
        }
        let succeeded = states.get("succeeded").copied().unwrap_or_default();
        report.exactly("commands succeeded", self.count.into(), succeeded);
        platform.finish(&mut report)?;
        Ok(report)
    }

    /// Connects those devices, and orders.
    pub(super) async fn order(&self, platform: &Platform, logins: &[Login]) -> Result<Ended> {
        let api = platform.api()?;
        let mut devices = JoinSet::new();
        for login in logins {
            let mut device = Device::connect(platform.mqtt, None, login, 3_600).await?;
            device.subscribe().await?;
            devices.spawn(obey(device));
        }
        let mut round_trips = JoinSet::new();
        let start = Instant::now();
        for number in 0..self.count {
            sleep_until((start + Duration::from_secs_f64(f64::from(number) / self.rate)).into()).await;
            let login = logins.get(usize::try_from(number % self.devices)?).context("no device")?;
            round_trips.spawn(round_trip(api.clone(), login.id.clone()));
        }
        let mut all = Ended::default();
        while let Some(done) = round_trips.join_next().await {
            let done = done??;
            all.queued.record(done.queued);
            all.ended.record(done.ended);
            *all.states.entry(done.command.state).or_default() += 1;
        }
        if let Some(device) = devices.try_join_next() {
            device?.context("a device has lost its connection")?;
        }
        Ok(all)
    }
}
