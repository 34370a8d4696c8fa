//! `history`: processes of their own over Cassandra and RabbitMQ, everything that can happen to them, and whether what they
//! had said before was so.

mod callers;
mod hands;
mod plan;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;
use stoker_e2e::{Network, Services};
use stoker_sim::{FaultPlan, Sim, SimConfig, SimStats};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{SIM_SECRET, all_connected};
use crate::api::Api;
use crate::histogram::Histogram;
use crate::lab::Lab;
use crate::platform::Common;
use crate::random::{Random, fresh_seed};
use crate::report::Report;
use crate::smtp::MailSink;
use crate::witness::{Watch, Witness, not_in_state};
use callers::{answered, doubles};
use hands::Hands;
use plan::{Act, Counts, Kind, Plan, Role, Who};

/// Between two acts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// So often the next act does not wait until all devices are back.
const HASTE_OF: u64 = 4;
/// Everything is as it should be within that time after an act, or it will never be.
const BACK_WITHIN: Duration = Duration::from_secs(180);
/// How long a device has after our hand ended its session: shorter than by default, so that the run sees it pass.
const GRACE: Duration = Duration::from_secs(40);
/// And a little more, for timers.
const GRACE_OVER: Duration = Duration::from_secs(50);
/// Commands run out after one of these.
const COMMAND_EXPIRES_S: [u32; 2] = [2, 20];
/// A device that waits longer for an answer dials again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Devices that are asked for when a core was killed: of all slots some.
const ASKED: u32 = 128;

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
    /// Cores, gateways, notifiers, portals
    #[arg(long, value_name = "N,N,N,N", value_delimiter = ',', default_values_t = [3, 2, 2, 2])]
    processes: Vec<usize>,
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
    fn counts(&self) -> Result<Counts> {
        let counts: [usize; 4] =
            self.processes.clone().try_into().ok().context("--processes takes four numbers")?;
        let [cores, gateways, notifiers, portals] = counts;
        ensure!(
            cores >= 2
                && gateways >= 1
                && notifiers >= 1
                && portals >= 1
                && counts.iter().sum::<usize>() <= 32,
            "--processes takes two cores or more, one or more of the others, and 32 in all at most"
        );
        Ok(Counts { cores, gateways, notifiers, portals, nodes: self.lab.cassandra.len() })
    }

    fn fleet(&self, mqtt: SocketAddr, seed: u64) -> Result<SimConfig> {
        let mut config = SimConfig::new(&format!("mqtt://{mqtt}"), self.devices, SIM_SECRET)?;
        config.interval = Duration::try_from_secs_f64(self.interval).context("--interval is out of range")?;
        config.device_time = true;
        config.connect_rate = self.connect_rate;
        config.faults = FaultPlan { per_hour: self.faults, mean_s: 5.0 };
        config.seed = seed;
        config.answer_timeout = ANSWER_TIMEOUT;
        config.drain = Duration::from_secs(30);
        config.ledger = true;
        config.validate()?;
        Ok(config)
    }

    /// Does all that is planned.
    async fn rounds(
        &self,
        hands: &mut Hands<'_>,
        plan: &mut Plan,
        random: &mut Random,
        api: &Api,
        stats: &SimStats,
    ) -> Result<Measured> {
        let (begun, mut measured) = (Instant::now(), Measured::default());
        let asked: Vec<String> =
            (1..=self.devices.min(ASKED)).map(|number| format!("boiler-{number}")).collect();
        for round in 1..=self.rounds {
            sleep(random.between(PAUSE.0, PAUSE.1)).await;
            let act = plan.next();
            eprintln!("{:7.1} s  {round:4}  {act}", begun.elapsed().as_secs_f64());
            let acted = Instant::now();
            match &act {
                Act::Kill(Who { role: Role::Core, .. }, _) => {
                    let (done, took) = tokio::join!(hands.act(&act), answered(api, &asked, BACK_WITHIN));
                    done?;
                    measured.answered.record(took?);
                }
                Act::Kill(Who { role: Role::Gateway, .. }, _) => {
                    hands.act(&act).await?;
                    all_connected(stats, self.devices, BACK_WITHIN).await?;
                    measured.back.record(acted.elapsed());
                }
                _ => hands.act(&act).await?,
            }
            let over = Instant::now();
            measured.ended_by_themselves.extend(hands.restart_ended()?);
            if random.below(HASTE_OF) > 0 {
                all_connected(stats, self.devices, BACK_WITHIN).await?;
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
        let counts = self.counts()?;
        let mut random = Random::new(seed);
        let sink = MailSink::start().await?;
        let config = json!({
            "cassandra": {"replication_factor": self.lab.replicas()},
            "notifier": {"email": {"smtp_url": sink.url(), "from": "Stoker <alarms@example.com>"}},
            "silence": {"after": "10s", "grace": format!("{}s", GRACE.as_secs())},
        });
        let processes = [counts.cores, counts.gateways, counts.notifiers, counts.portals];
        let mut services = Services::prepare_on(&self.lab.addresses(), processes, &config)?;
        services.program(&common.stoker)?;
        let files = services.keep_files();
        eprintln!("configuration and logs are in {}", files.display());
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
        let scene = Scene { api, sink, config: self.fleet(mqtt, seed)? };
        let plan = Plan::new(Random::new(random.next()), counts, kinds, frozen);
        self.mistreat(&mut hands, plan, &scene, random, &mut report).await?;
        report.exactly("panics in the logs", 0, services.panics());
        if report.holds() && !common.keep {
            services.remove_files();
        }
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
        let lines: Vec<String> = config.numbers().map(|number| config.import_line(number)).collect();
        api.import(&lines).await?;
        api.subscribe(json!({ "channel": "email", "to": "night@example.org" })).await?;
        let sim = Sim::new(config.clone())?;
        let (stats, ledger) = (sim.stats(), sim.ledger().context("the simulation keeps no ledger")?);
        let [fleet_end, orders_end, watch_end] = [(); 3].map(|()| CancellationToken::new());
        // They end with this call, however that comes about.
        let _ends =
            [fleet_end.clone().drop_guard(), watch_end.clone().drop_guard(), orders_end.clone().drop_guard()];
        let fleet = tokio::spawn(sim.run(fleet_end.clone()));
        all_connected(&stats, self.devices, BACK_WITHIN).await?;
        let watch = Watch {
            api: api.clone(),
            devices: config.numbers().map(|number| config.device_id(number)).collect(),
            rate: self.commands,
            expires_in_s: COMMAND_EXPIRES_S,
            random: Random::new(random.next()),
        };
        let watch = tokio::spawn(watch.run(orders_end.clone(), watch_end.clone()));
        let doubles = tokio::spawn(doubles(config.clone(), Random::new(random.next()), orders_end.clone()));
        let measured = self.rounds(hands, &mut plan, &mut random, api, &stats).await?;
        orders_end.cancel();
        let doubled: HashMap<u32, Vec<u64>> = doubles.await??;
        all_connected(&stats, self.devices, BACK_WITHIN).await?;
        sleep(GRACE_OVER).await;
        all_connected(&stats, self.devices, BACK_WITHIN).await?;
        let not_online = not_in_state(api, config, "online", BACK_WITHIN).await?;
        fleet_end.cancel();
        let stats = fleet.await??;
        let not_offline = not_in_state(api, config, "offline", BACK_WITHIN).await?;
        watch_end.cancel();
        let mut orders = watch.await??;
        // What is judged is what one more start of all of them finds.
        for service in hands.services.all() {
            service.kill9()?;
        }
        hands.services.run().await?;
        let no_answer = not_in_state(api, config, "offline", BACK_WITHIN).await;
        orders.observe_all(api).await;

        report.count("devices", self.devices.into());
        report.count("acts", self.rounds.into());
        report.count("packets lost on purpose", hands.lost);
        report.times("all devices answered after a core was killed", &measured.answered);
        report.times("all devices back after a gateway was killed", &measured.back);
        report.times("all devices connected after an act was over", &measured.recovered);
        report.time("the longest orderly end", hands.ends.iter().max().copied().unwrap_or_default());
        report.count("sessions that were cut", stats.ended_by_server + stats.ended_by_timeout);
        report.count("readings acknowledged", stats.readings_acked);
        report.count("readings whose PUBACK was lost", stats.readings_unacked);
        report.count("fault events acknowledged", stats.events_acked);
        report.none("processes that ended by themselves", &measured.ended_by_themselves);
        report.none("connected devices that are not shown as online", &not_online);
        report.none("devices that left and are not shown as offline", &not_offline);
        report.none("devices that are not shown as offline after a start", &no_answer?);
        let witness =
            Witness { api, config, ledger: &ledger, mails: Some(&sink.accepted), doubled: &doubled };
        witness.judge(report, &stats, &orders).await
    }
}
