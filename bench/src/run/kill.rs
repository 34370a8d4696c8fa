//! `kill`: a platform that dies without warning, again and again, and the promises that it has made before.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use stoker_sim::{FaultPlan, Sim, SimConfig};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{SIM_SECRET, all_connected};
use crate::histogram::Histogram;
use crate::platform::{Common, Platform};
use crate::random::{Random, fresh_seed};
use crate::report::Report;
use crate::smtp::MailSink;
use crate::witness::{Watch, Witness};

/// How long the platform may work between two kills.
const UP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// How long it is away.
const DOWN: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(1_500));
/// A start that is killed, too, gets so long.
const HALF_STARTED: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(300));
/// Every fourth start is one of those.
const HALF_STARTED_OF: u64 = 4;
/// The platform is told to give devices less time to come back than by default, so that the run sees it pass: a device
/// that it has lost track of would be called silent after that.
const GRACE: Duration = Duration::from_secs(15);
/// And a little more, for timers.
const GRACE_OVER: Duration = Duration::from_secs(20);
/// Commands run out after one of these, well before the grace is over: some while the platform is away.
const COMMAND_EXPIRES_S: [u32; 2] = [1, 10];
/// All devices are back within that time after the last start.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// As many faults as the model allows, and short ones: about a raising and a clearing of each boiler in 15 s.
const FAULTS: FaultPlan = FaultPlan { per_hour: 360.0, mean_s: 5.0 };

/// Kill the platform under load
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// How often
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// How many boilers
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    devices: u32,
    /// Seconds between two readings of one
    #[arg(long, default_value_t = 0.5)]
    interval: f64,
    /// Commands a second, to all of them together
    #[arg(long, default_value_t = 20.0)]
    commands: f64,
    /// Decides when it is killed and what the fleet does [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
}

impl Kill {
    fn config(&self, platform: &Platform, seed: u64) -> Result<SimConfig> {
        let mut config = SimConfig::new(&format!("mqtt://{}", platform.mqtt), self.devices, SIM_SECRET)?;
        config.interval = Duration::try_from_secs_f64(self.interval).context("--interval is out of range")?;
        config.device_time = true;
        config.faults = FAULTS;
        config.seed = seed;
        // Eager, so that little of a round is spent on coming back.
        config.backoff = (Duration::from_millis(200), Duration::from_secs(2));
        config.drain = Duration::from_secs(30);
        config.ledger = true;
        config.validate()?;
        Ok(config)
    }

    /// Kills it and brings it back, so often. Times from `exec` to ready, and starts that were killed, too.
    async fn rounds(&self, platform: &mut Platform, random: &mut Random) -> Result<(Histogram, u64)> {
        let (mut ready, mut half_started) = (Histogram::default(), 0);
        for _ in 0..self.rounds {
            sleep(random.between(UP.0, UP.1)).await;
            platform.check_alive()?;
            platform.kill();
            sleep(random.between(DOWN.0, DOWN.1)).await;
            if random.below(HALF_STARTED_OF) == 0 {
                platform.spawn()?;
                sleep(random.between(HALF_STARTED.0, HALF_STARTED.1)).await;
                platform.kill();
                half_started += 1;
            }
            ready.record(platform.start().await?);
        }
        Ok((ready, half_started))
    }

    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        let seed = self.seed.unwrap_or_else(fresh_seed);
        // A run that fails before its end is to be repeated, too.
        eprintln!("seed {seed}");
        let mut random = Random::new(seed);
        let mut report = Report::new("kill -9 under load");
        let sink = MailSink::start().await?;
        let mut environment = sink.environment();
        environment.push(("STOKER__SILENCE__GRACE", format!("{}s", GRACE.as_secs())));
        let mut platform = Platform::new(common, environment)?;
        platform.start().await?;
        let api = platform.api()?;
        let config = self.config(&platform, seed)?;
        let lines: Vec<String> = config.numbers().map(|number| config.import_line(number)).collect();
        api.import(&lines).await?;
        api.subscribe(json!({ "channel": "email", "to": "night@example.org" })).await?;

        let sim = Sim::new(config.clone())?;
        let (stats, ledger) = (sim.stats(), sim.ledger().context("the simulation keeps no ledger")?);
        let (fleet_end, orders_end, watch_end) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        // They end with this call, however that comes about.
        let _ends = [fleet_end.clone().drop_guard(), watch_end.clone().drop_guard()];
        let fleet = tokio::spawn(sim.run(fleet_end.clone()));
        let watch = Watch {
            api: api.clone(),
            devices: config.numbers().map(|number| config.device_id(number)).collect(),
            rate: self.commands,
            expires_in_s: COMMAND_EXPIRES_S,
            random: Random::new(random.next()),
        };
        let watch = tokio::spawn(watch.run(orders_end.clone(), watch_end.clone()));
        all_connected(&stats, self.devices, BACK_WITHIN).await?;
        let (ready, half_started) = self.rounds(&mut platform, &mut random).await?;
        orders_end.cancel();
        all_connected(&stats, self.devices, BACK_WITHIN).await?;
        sleep(GRACE_OVER).await;
        all_connected(&stats, self.devices, BACK_WITHIN).await?;
        fleet_end.cancel();
        let stats = fleet.await??;
        watch_end.cancel();
        let mut orders = watch.await??;
        // What is judged is what one more start finds.
        platform.kill();
        platform.start().await?;
        orders.observe_all(&api).await;

        report.count("seed", seed);
        report.count("devices", self.devices.into());
        report.count("kills", u64::from(self.rounds) + half_started + 1);
        report.count("of these while it was starting", half_started);
        report.times("ready again", &ready);
        report.count("sessions that were cut", stats.ended_by_server + stats.ended_by_timeout);
        report.count("readings acknowledged", stats.readings_acked);
        report.count("readings whose PUBACK was lost", stats.readings_unacked);
        report.count("fault events acknowledged", stats.events_acked);
        let (mails, doubled) = (&sink.accepted, &HashMap::new());
        let witness = Witness { api: &api, config: &config, ledger: &ledger, mails: Some(mails), doubled };
        witness.judge(&mut report, &stats, &orders).await?;
        platform.finish(&mut report)?;
        Ok(report)
    }
}
