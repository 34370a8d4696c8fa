//! Commands: there and back by Stoker, and beside it what this takes at the least.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stoker_e2e::Services;
use stoker_sim::{Sim, SimConfig};
use tokio_util::sync::CancellationToken;

use super::bare::Bare;
use super::{Beside, median};
use crate::api::{Api, Command};
use crate::histogram::Histogram;
use crate::process;
use crate::report::Report;
use crate::run::{SIM_SECRET, all_connected};

/// Devices of one gateway, as the requirement counts them.
const DEVICES: u32 = 1_000;
/// Connecting takes seconds.
const CONNECTED_WITHIN: Duration = Duration::from_secs(120);
/// Conditional writes between an order and the answer that ends it, one after the other: that it is there, before anybody is
/// told, and how it ended, before anybody is told that.
const COMMITS: u32 = 2;

pub(super) async fn run(
    plan: &Beside,
    services: &mut Services,
    api: &Api,
    bare: &Arc<Bare>,
    report: &mut Report,
) -> Result<()> {
    let gateway = services.gateways.first_mut().context("there is no gateway")?;
    let (address, pid) = (gateway.address, gateway.pid()?);
    let mut config = SimConfig::new(&format!("mqtt://{address}"), DEVICES, SIM_SECRET)?;
    // They hold their connections, and answer.
    config.interval = Duration::from_secs(60);
    let lines: Vec<String> = config.numbers().map(|number| config.import_line(number)).collect();
    api.import(&lines).await?;
    let (sim, end) = (Sim::new(config.clone())?, CancellationToken::new());
    let (stats, _end) = (sim.stats(), end.clone().drop_guard());
    let fleet = tokio::spawn(sim.run(end.clone()));
    all_connected(&stats, DEVICES, CONNECTED_WITHIN).await?;
    let (mut whole, mut trips, mut commits) =
        (Histogram::default(), Histogram::default(), Histogram::default());
    let (mut ratios, mut succeeded) = (Vec::new(), 0);
    for turn in 0..plan.turns {
        let (mut ours, mut writes) = (Histogram::default(), Histogram::default());
        for number in 0..plan.commands {
            let device = config.device_id(1 + (turn * plan.commands + number) % DEVICES);
            let begun = Instant::now();
            let command = api.command(&device, "read_temperature", 60).await?;
            let ended: Command = api.get(&format!("/commands/{}?wait_s=60", command.id)).await?;
            ours.record(begun.elapsed());
            succeeded += u64::from(ended.state == "succeeded");
        }
        let round_trips = bare.round_trips(plan.commands).await?;
        for number in 0..plan.commands {
            let begun = Instant::now();
            bare.commit(number).await?;
            writes.record(begun.elapsed());
        }
        let least = round_trips.quantile(0.5) + writes.quantile(0.5) * COMMITS;
        ratios.push(ours.quantile(0.5).as_secs_f64() / least.as_secs_f64());
        whole.add(&ours);
        trips.add(&round_trips);
        commits.add(&writes);
    }
    report.times("commands: from the order to its end, by Stoker", &whole);
    report.times("commands: a bare round trip through RabbitMQ", &trips);
    report.times("commands: a bare conditional write", &commits);
    report.number("commands: Stoker to a round trip and two such writes, median", median(ratios), "");
    report.number("gateway with 1,000 devices: resident memory", process::memory(pid)?.0 as f64 / 1e3, "MB");
    report.exactly("commands succeeded", u64::from(plan.turns * plan.commands), succeeded);
    end.cancel();
    fleet.await??;
    Ok(())
}
