//! `history`: processes of their own over Cassandra and RabbitMQ, everything that can happen to them, and whether what they
//! had said before was so.

mod callers;
mod hands;
mod plan;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::json;
use stoker_e2e::{Network, Services};
use stoker_sim::{FaultPlan, SimConfig};
use tokio::time::sleep;

use super::load::{Fleet, Load};
use super::several::{Processes, Role, Who, leave, prepare, restart_ended};
use crate::api::Api;
use crate::histogram::Histogram;
use crate::lab::Lab;
use crate::platform::Common;
use crate::random::{Random, fresh_seed};
use crate::report::Report;
use crate::smtp::MailSink;
use callers::doubles;
use hands::Hands;
use plan::{Act, Counts, Kind, Plan};

/// Between two acts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// So often the next act does not wait until all devices are back.
const HASTE_OF: u64 = 4;

/// Mistreat separate processes over Cassandra and RabbitMQ, and look whether all that was acknowledged is so
#[derive(Debug, Args)]
pub(crate) struct History {
    /// How many things are done to them, one after the other; each kind comes once before any comes again
    #[arg(long, default_value_t = 17, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// How many boilers
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    devices: u32,
    /// Seconds between two readings of one
    #[arg(long, default_value_t = 1.0)]
    interval: f64,
    /// So many of them connect in a second at first; whoever is cut off dials again after 1 to 5 s
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connect_rate: u32,
    /// Commands a second, to all of them together
    #[arg(long, default_value_t = 10.0)]
    commands: f64,
    /// Faults an hour and boiler
    #[arg(long, default_value_t = 60.0)]
    faults: f64,
    #[command(flatten)]
    processes: Processes,
    /// Seconds that a process stands still
    #[arg(long, default_value_t = 20)]
    frozen: u64,
    /// Only these kinds
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Decides what is done when, and what the fleet does [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    lab: Lab,
}

/// Who takes part.
struct Scene {
    api: Api,
    sink: MailSink,
    config: SimConfig,
}

/// What was measured.
#[derive(Default)]
struct Measured {
    answered: Histogram,
    back: Histogram,
    recovered: Histogram,
    ended_by_themselves: Vec<String>,
}

impl History {
    fn fleet(&self, seed: u64) -> Fleet {
        Fleet {
            devices: self.devices,
            interval_s: self.interval,
            connect_rate: self.connect_rate,
            faults: FaultPlan { per_hour: self.faults, mean_s: 5.0 },
            seed,
        }
    }

    /// Does all that is planned.
    async fn rounds(
        &self,
        hands: &mut Hands<'_>,
        plan: &mut Plan,
        random: &mut Random,
        load: &Load,
    ) -> Result<Measured> {
        let (begun, mut measured) = (Instant::now(), Measured::default());
        for round in 1..=self.rounds {
            sleep(random.between(PAUSE.0, PAUSE.1)).await;
            let act = plan.next();
            eprintln!("{:7.1} s  {round:4}  {act}", begun.elapsed().as_secs_f64());
            let acted = Instant::now();
            match &act {
                Act::Kill(Who { role: Role::Core, .. }, _) => {
                    let (done, took) = tokio::join!(hands.act(&act), load.answered());
                    done?;
                    measured.answered.record(took?);
                }
                Act::Kill(Who { role: Role::Gateway, .. }, _) => {
                    hands.act(&act).await?;
                    load.all_back().await?;
                    measured.back.record(acted.elapsed());
                }
                _ => hands.act(&act).await?,
            }
            let over = Instant::now();
            measured.ended_by_themselves.extend(restart_ended(hands.services)?);
            if random.below(HASTE_OF) > 0 {
                load.all_back().await?;
                measured.recovered.record(over.elapsed());
            }
        }
        Ok(measured)
    }

    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        let seed = self.seed.unwrap_or_else(fresh_seed);
        // A run that fails before its end is to be repeated, too.
        eprintln!("seed {seed}");
        let processes = self.processes.counts()?;
        let [cores, gateways, notifiers, portals] = processes;
        let counts = Counts { cores, gateways, notifiers, portals, nodes: self.lab.cassandra.len() };
        let mut random = Random::new(seed);
        let sink = MailSink::start().await?;
        let mut services = prepare(common, &self.lab, processes, &sink)?;
        let users = services.part_users()?;
        let network = Network::new(&format!("stoker_{}", std::process::id()), &users)?;
        services.run().await?;
        let (mqtt, http) = services.balance().await?;
        let api = Api::new(http, Services::TOKEN)?;
        let mut hands = Hands { services: &mut services, network, lab: &self.lab, lost: 0, ends: Vec::new() };
        let mut report = Report::new("separate processes, mistreated");
        report.count("seed", seed);
        let kinds = if self.only.is_empty() { Kind::value_variants() } else { self.only.as_slice() };
        let frozen = Duration::from_secs(self.frozen);
        let scene = Scene { api, sink, config: self.fleet(seed).config(mqtt)? };
        let plan = Plan::new(Random::new(random.next()), counts, kinds, frozen);
        self.mistreat(&mut hands, plan, &scene, random, &mut report).await?;
        leave(&mut services, common, &mut report);
        Ok(report)
    }

    async fn mistreat(
        &self,
        hands: &mut Hands<'_>,
        mut plan: Plan,
        scene: &Scene,
        mut random: Random,
        report: &mut Report,
    ) -> Result<()> {
        let Scene { api, sink, config } = scene;
        api.subscribe(json!({ "channel": "email", "to": "night@example.org" })).await?;
        let load = Load::begin(api, config, self.commands, &mut random).await?;
        let doubles =
            tokio::spawn(doubles(config.clone(), Random::new(random.next()), load.orders_end.clone()));
        let measured = self.rounds(hands, &mut plan, &mut random, &load).await?;
        load.orders_end.cancel();
        let doubled: HashMap<u32, Vec<u64>> = doubles.await??;
        let ended = load.finish(hands.services).await?;

        report.count("devices", self.devices.into());
        report.count("acts", self.rounds.into());
        report.count("packets lost on purpose", hands.lost);
        report.times("all devices answered after a core was killed", &measured.answered);
        report.times("all devices back after a gateway was killed", &measured.back);
        report.times("all devices connected after an act was over", &measured.recovered);
        report.time("the longest orderly end", hands.ends.iter().max().copied().unwrap_or_default());
        report.none("processes that ended by themselves", &measured.ended_by_themselves);
        ended.judge(report, sink, &doubled).await
    }
}
