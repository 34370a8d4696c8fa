//! `soak`: separate processes over Cassandra and RabbitMQ under a fleet for long, some of them killed. Use cases hold
//! before, while and after that; memory stays what it is; and what was acknowledged is so.

mod cases;
mod memory;
mod plan;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use serde_json::json;
use stoker_e2e::Services;
use stoker_sim::FaultPlan;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::load::{Fleet, Load};
use super::several::{Processes, Role, Who, leave, prepare, restart_ended};
use crate::api::Api;
use crate::lab::Lab;
use crate::platform::Common;
use crate::random::{Random, fresh_seed};
use crate::report::{Report, grouped};
use crate::smtp::MailSink;
use cases::{Cases, Round};
use memory::{Memory, Pids, Watch};
use plan::{Kill, Plan};

/// Whether a process has ended by itself is looked at that often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A fault is repaired after that many seconds, on average.
const REPAIRED_AFTER_S: f64 = 30.0;
/// Between two kills there must be time to come back.
const BETWEEN_KILLS: Duration = Duration::from_secs(20);

/// Devices of a killed gateway know by then that they have to dial again: less than any killed process is away.
const NOTICED: Duration = Duration::from_secs(1);

/// Separate processes under a fleet for long: use cases stay green through kills, and memory stays flat
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// How long, beside the use cases before and after, and the comparison at the end
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_440))]
    minutes: u32,
    /// How many boilers
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    devices: u32,
    /// Seconds between two readings of one
    #[arg(long, default_value_t = 5.0)]
    interval: f64,
    /// How often a process is killed: a gateway, a core, a portal or notifier, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    kills: u32,
    /// Faults an hour and boiler, each repaired after half a minute or so
    #[arg(long, default_value_t = 6.0)]
    faults: f64,
    /// Commands a second, to all of them together
    #[arg(long, default_value_t = 5.0)]
    commands: f64,
    /// So many of them connect in a second at first; whoever is cut off dials again after 1 to 5 s
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connect_rate: u32,
    #[command(flatten)]
    processes: Processes,
    /// The program that tries the use cases
    #[arg(long, value_name = "FILE", default_value = "target/release/stoker-usecases")]
    usecases: PathBuf,
    /// Decides who is killed when, and what the fleet does [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    lab: Lab,
}

/// Who takes part.
struct Scene {
    load: Load,
    cases: Cases,
    pids: Pids,
    begun: Instant,
    length: Duration,
}

/// A kill, and how long after it all was as before.
struct Killed {
    kill: Kill,
    ready: Duration,
    connected: Duration,
    /// Only of a core: from the kill until devices of all slots were answered.
    answered: Option<Duration>,
}

/// All that happened to the processes.
#[derive(Default)]
struct Acts {
    killed: Vec<Killed>,
    ended_by_themselves: Vec<String>,
}

/// What came of all that was done.
struct Seen {
    acts: Acts,
    before: Round,
    during: Vec<Round>,
    after: Round,
    memory: Memory,
}

impl Soak {
    fn length(&self) -> Result<Duration> {
        let length = Duration::from_secs(u64::from(self.minutes) * 60);
        ensure!(
            length / self.kills.saturating_add(1) >= BETWEEN_KILLS,
            "--kills {} leaves less than {} s between two in {} min",
            self.kills,
            BETWEEN_KILLS.as_secs(),
            self.minutes
        );
        Ok(length)
    }

    fn fleet(&self, seed: u64) -> Fleet {
        Fleet {
            devices: self.devices,
            interval_s: self.interval,
            connect_rate: self.connect_rate,
            faults: FaultPlan { per_hour: self.faults, mean_s: REPAIRED_AFTER_S },
            seed,
        }
    }

    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        let seed = self.seed.unwrap_or_else(fresh_seed);
        // A run that fails before its end is to be repeated, too.
        eprintln!("seed {seed}");
        let (counts, length) = (self.processes.counts()?, self.length()?);
        let program = cases::program(&self.usecases)?;
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random, length, self.kills, counts);
        let sink = MailSink::start().await?;
        let mut services = prepare(common, &self.lab, counts, &sink)?;
        let files = services.keep_files().to_owned();
        services.run().await?;
        let (mqtt, http) = services.balance().await?;
        let (api, config) = (Api::new(http, Services::TOKEN)?, self.fleet(seed).config(mqtt)?);
        // Use cases have devices and alarms of their own, which the mails are not to be about.
        let ours = json!({ "devices": [format!("{}*", config.id_prefix)] });
        api.subscribe_to(ours, json!({ "channel": "email", "to": "night@example.org" })).await?;
        let pids = Pids::default();
        pids.set(&mut services);
        let watch = Watch::begin(pids.clone());
        let load = Load::begin(&api, &config, self.commands, &mut random).await?;
        let cases = Cases::new(program, &files, mqtt, http);
        let before = cases.round("before", Duration::ZERO, false).await?;
        if let Some(failed) = before.failed.first() {
            bail!("{} use cases fail before anything is killed, such as {failed}", before.failed.len());
        }
        let scene = Scene { load, cases, pids, begun: Instant::now(), length };
        let over = CancellationToken::new();
        let done = async {
            let done = tokio::try_join!(scene.kills(&mut services, &plan.kills), scene.rounds(&plan.rounds))?;
            over.cancel();
            Ok::<_, anyhow::Error>(done)
        };
        let ((mut acts, during), ()) = tokio::try_join!(done, scene.minutes(&over))?;
        scene.load.all_back().await?;
        let after = scene.cases.round("after", scene.begun.elapsed(), false).await?;
        acts.ended_by_themselves.extend(restart_ended(&mut services)?);
        let seen = Seen { acts, before, during, after, memory: watch.end().await? };
        eprintln!("comparing what was acknowledged with what there is");
        let ended = scene.load.finish(&mut services).await?;

        let mut report = Report::new("separate processes under a fleet, for long");
        report.count("seed", seed);
        report.count("minutes", self.minutes.into());
        report.count("devices", self.devices.into());
        report.count("kills", self.kills.into());
        seen.judge(&mut report);
        ended.judge(&mut report, &sink, &HashMap::new()).await?;
        leave(&mut services, common, &mut report);
        Ok(report)
    }
}

impl Scene {
    /// Kills one after the other, and stays until the time is over; starts again who has ended by itself.
    async fn kills(&self, services: &mut Services, kills: &[Kill]) -> Result<Acts> {
        let mut acts = Acts::default();
        for kill in kills {
            self.until(kill.at, services, &mut acts).await?;
            eprintln!("{:7.1} s  {kill}", self.begun.elapsed().as_secs_f64());
            acts.killed.push(self.kill(services, *kill).await?);
        }
        self.until(self.length, services, &mut acts).await?;
        Ok(acts)
    }

    /// Waits until then, and looks whether all processes are there meanwhile.
    async fn until(&self, at: Duration, services: &mut Services, acts: &mut Acts) -> Result<()> {
        loop {
            let ended = restart_ended(services)?;
            if !ended.is_empty() {
                eprintln!("{}", ended.join("; "));
                self.pids.set(services);
                acts.ended_by_themselves.extend(ended);
            }
            let left = at.saturating_sub(self.begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(LOOK_EVERY)).await;
        }
    }

    /// Returns when all is as before.
    async fn kill(&self, services: &mut Services, kill: Kill) -> Result<Killed> {
        let acted = Instant::now();
        let Kill { who, away, .. } = kill;
        let asked = async {
            match who {
                Who { role: Role::Core, .. } => self.load.answered().await.map(Some),
                _ => Ok(None),
            }
        };
        let started = async {
            who.of(services)?.kill9()?;
            sleep(away).await;
            who.of(services)?.start()?;
            self.pids.set(services);
            who.of(services)?.ready().await?;
            Ok::<_, anyhow::Error>(acted.elapsed())
        };
        let back = async {
            sleep(NOTICED).await;
            self.load.all_back().await?;
            Ok::<_, anyhow::Error>(acted.elapsed())
        };
        let (ready, answered, connected) = tokio::try_join!(started, asked, back)?;
        // Also of those that were moved by the start of the process.
        self.load.all_back().await?;
        Ok(Killed { kill, ready, connected, answered })
    }

    /// Tries the use cases again and again. One more try is allowed to a case: it may have met a kill.
    async fn rounds(&self, rounds: &[Duration]) -> Result<Vec<Round>> {
        let mut tried = Vec::new();
        for (number, at) in (1..).zip(rounds) {
            sleep_until((self.begun + *at).into()).await;
            let since = self.begun.elapsed();
            // One that took very long has used up the time of others.
            if since >= self.length {
                break;
            }
            tried.push(self.cases.round(&format!("during {number}"), since, true).await?);
        }
        Ok(tried)
    }

    /// Says every minute how it goes.
    async fn minutes(&self, over: &CancellationToken) -> Result<()> {
        let mut ticks = interval(Duration::from_secs(60));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while over.run_until_cancelled(ticks.tick()).await.is_some() {
            let stats = self.load.stats.snapshot();
            eprintln!(
                "{:5.1} min  {} of {} connected; acknowledged: {} readings, {} fault events; {} commands answered; {:.0} MB in all processes",
                self.begun.elapsed().as_secs_f64() / 60.0,
                grouped(stats.connected),
                grouped(self.load.config.devices.into()),
                grouped(stats.readings_acked),
                grouped(stats.events_acked),
                grouped(stats.commands_answered),
                self.pids.total_kb() as f64 / 1e3,
            );
        }
        Ok(())
    }
}

impl Seen {
    fn judge(self, report: &mut Report) {
        let Self { acts, before, during, after, memory } = self;
        let minutes = |time: Duration| time.as_secs_f64() / 60.0;
        let seconds = |time: Duration| time.as_secs_f64();
        let killed = acts.killed.iter().map(|Killed { kill, ready, connected, answered }| {
            let answered = answered.map_or(f64::NAN, seconds);
            let numbers =
                vec![minutes(kill.at), seconds(kill.away), seconds(*ready), seconds(*connected), answered];
            (kill.who.to_string(), numbers)
        });
        let head = ["at min", "away s", "ready s", "all back s", "answered s"];
        report.named("kills", head.map(ToOwned::to_owned).into(), killed.collect());
        let of = |round: &Round| {
            let failed = round.failed.len() as f64;
            let counts = [round.held as f64, round.retried as f64, failed];
            let numbers = [minutes(round.at)].into_iter().chain(counts).chain([seconds(round.took)]);
            (round.name.clone(), numbers.collect())
        };
        let rounds = [&before].into_iter().chain(&during).chain([&after]).map(of).collect();
        let head = ["at min", "held", "held again", "failed", "took s"];
        report.named("use cases", head.map(ToOwned::to_owned).into(), rounds);
        memory.judge(report);
        report.exactly("use cases that hold before any kill", before.cases(), before.held);
        let cases = during.iter().map(Round::cases).sum();
        let held = during.iter().map(|round| round.held + round.retried).sum();
        report.exactly("use cases that hold during the run, at the second try at the latest", cases, held);
        report.exactly("use cases that hold after it", after.cases(), after.held);
        for (round, failed) in [&after].into_iter().chain(&during).flat_map(|round| {
            round.failed.iter().take(crate::report::EXAMPLES).map(move |failed| (round, failed))
        }) {
            eprintln!("use case, {}: {failed}", round.name);
        }
        report.none("processes that ended by themselves", &acts.ended_by_themselves);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(held: u64, retried: u64, failed: usize) -> Round {
        Round {
            held,
            retried,
            failed: vec!["fail: a fault is an alarm".to_owned(); failed],
            ..Round::default()
        }
    }

    fn judged(before: Round, during: Vec<Round>, after: Round) -> bool {
        let mut report = Report::new("x");
        Seen { acts: Acts::default(), before, during, after, memory: Memory::default() }.judge(&mut report);
        report.holds()
    }

    #[test]
    fn a_second_try_is_allowed_during_the_run_and_neither_before_nor_after() {
        assert!(judged(round(9, 0, 0), vec![round(9, 0, 0), round(7, 2, 0)], round(9, 0, 0)));
        assert!(!judged(round(9, 0, 0), vec![round(9, 0, 0), round(7, 1, 1)], round(9, 0, 0)));
        assert!(!judged(round(8, 1, 0), Vec::new(), round(9, 0, 0)));
        assert!(!judged(round(9, 0, 0), Vec::new(), round(8, 0, 1)));
    }
}
