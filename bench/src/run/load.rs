//! A fleet that reports, fails and obeys, who gives it orders, and what both have seen at the end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stoker_e2e::Services;
use stoker_sim::{FaultPlan, Ledger, Sim, SimConfig, SimError, SimStats, StatsSnapshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{SIM_SECRET, all_connected};
use crate::api::Api;
use crate::random::Random;
use crate::report::Report;
use crate::smtp::MailSink;
use crate::witness::{Orders, Watch, Witness, not_in_state};

/// Everything is as it should be within that time after an act, or it will never be.
pub(super) const BACK_WITHIN: Duration = Duration::from_secs(180);
/// How long a device has after our hand ended its session: shorter than by default, so that the run sees it pass.
pub(super) const GRACE: Duration = Duration::from_secs(40);
/// And a little more, for timers.
const GRACE_OVER: Duration = Duration::from_secs(50);
/// Commands run out after one of these.
const COMMAND_EXPIRES_S: [u32; 2] = [2, 20];
/// And have an end within this: a little more than the longer one.
const COMMANDS_END_WITHIN: Duration = Duration::from_secs(40);
/// Between two looks at those that have none yet.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// A device that waits longer for an answer dials again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long devices wait at the end for their last PUBACKs.
const DRAIN: Duration = Duration::from_secs(30);
/// From when fleet or watch were told to end until they have: what they wait for is bounded by less.
const ENDS_WITHIN: Duration = Duration::from_secs(120);
/// Devices that are asked for when a core was killed: of all slots some.
const ASKED: u32 = 128;

/// As long as the platform itself looks for an owner, and a little more.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// Until it is asked again after that.
const ASKED_AGAIN: Duration = Duration::from_millis(50);

/// What the devices are to do.
pub(super) struct Fleet {
    pub(super) devices: u32,
    pub(super) interval_s: f64,
    pub(super) connect_rate: u32,
    pub(super) faults: FaultPlan,
    pub(super) seed: u64,
}

impl Fleet {
    /// As the simulation takes it, with devices that connect to that address.
    pub(super) fn config(&self, mqtt: SocketAddr) -> Result<SimConfig> {
        let mut config = SimConfig::new(&format!("mqtt://{mqtt}"), self.devices, SIM_SECRET)?;
        config.interval =
            Duration::try_from_secs_f64(self.interval_s).context("--interval is out of range")?;
        config.device_time = true;
        config.connect_rate = self.connect_rate;
        config.faults = self.faults;
        config.seed = self.seed;
        config.answer_timeout = ANSWER_TIMEOUT;
        config.drain = DRAIN;
        config.ledger = true;
        config.validate()?;
        Ok(config)
    }
}

/// Both of them, at work.
pub(super) struct Load {
    pub(super) api: Api,
    pub(super) config: SimConfig,
    pub(super) stats: Arc<SimStats>,
    /// Whoever orders stops then.
    pub(super) orders_end: CancellationToken,
    ledger: Arc<Ledger>,
    fleet: JoinHandle<Result<StatsSnapshot, SimError>>,
    watch: JoinHandle<Result<Orders>>,
    fleet_end: CancellationToken,
    watch_end: CancellationToken,
    /// They end with the run, however that comes about.
    _ends: [DropGuard; 3],
}

/// What they have seen of a platform that nobody has mistreated.
pub(super) struct Rested {
    pub(super) ledger: Arc<Ledger>,
    pub(super) stats: StatsSnapshot,
    pub(super) orders: Orders,
    pub(super) not_offline: Vec<String>,
}

/// What they have seen.
pub(super) struct Ended {
    api: Api,
    config: SimConfig,
    ledger: Arc<Ledger>,
    stats: StatsSnapshot,
    orders: Orders,
    not_online: Vec<String>,
    not_offline: Vec<String>,
    not_offline_again: Vec<String>,
}

impl Load {
    /// Makes the devices and returns when all of them are connected; then so many commands a second are given.
    pub(super) async fn begin(
        api: &Api,
        config: &SimConfig,
        commands: f64,
        random: &mut Random,
    ) -> Result<Self> {
        let lines: Vec<String> = config.numbers().map(|number| config.import_line(number)).collect();
        api.import(&lines).await?;
        let sim = Sim::new(config.clone())?;
        let (stats, ledger) = (sim.stats(), sim.ledger().context("the simulation keeps no ledger")?);
        let [fleet_end, orders_end, watch_end] = [(); 3].map(|()| CancellationToken::new());
        let _ends = [&fleet_end, &orders_end, &watch_end].map(|end| end.clone().drop_guard());
        let fleet = tokio::spawn(sim.run(fleet_end.clone()));
        all_connected(&stats, config.devices, BACK_WITHIN).await?;
        let watch = Watch {
            api: api.clone(),
            devices: config.numbers().map(|number| config.device_id(number)).collect(),
            rate: commands,
            expires_in_s: COMMAND_EXPIRES_S,
            random: Random::new(random.next()),
        };
        let watch = tokio::spawn(watch.run(orders_end.clone(), watch_end.clone()));
        let (api, config) = (api.clone(), config.clone());
        Ok(Self { api, config, stats, orders_end, ledger, fleet, watch, fleet_end, watch_end, _ends })
    }

    /// Waits until all devices are connected.
    pub(super) async fn all_back(&self) -> Result<()> {
        all_connected(&self.stats, self.config.devices, BACK_WITHIN).await
    }

    /// Asks for something to be written about some of the devices until each has been answered once: how long the last one
    /// took, from now on.
    pub(super) async fn answered(&self) -> Result<Duration> {
        let begun = Instant::now();
        let mut asking = JoinSet::new();
        for number in self.config.numbers().take(usize::try_from(ASKED)?) {
            let (api, device) = (self.api.clone(), self.config.device_id(number));
            asking.spawn(async move {
                let path = format!("/devices/{device}/attributes");
                let asked = json!({"server": {"asked": 1}});
                let answer = || timeout(ANSWERED_WITHIN, api.patch::<Value>(&path, &asked));
                while !matches!(answer().await, Ok(Ok(_))) {
                    sleep(ASKED_AGAIN).await;
                }
            });
        }
        let count = asking.len();
        let all = async { while asking.join_next().await.is_some() {} };
        match timeout(BACK_WITHIN, all).await {
            Ok(()) => Ok(begun.elapsed()),
            Err(_) => bail!("not all of {count} devices were answered within {} s", BACK_WITHIN.as_secs()),
        }
    }

    /// Ends both once every command has an end; nothing happens to the devices any more when this returns.
    pub(super) async fn rest(self) -> Result<Rested> {
        self.orders_end.cancel();
        let Self { api, config, ledger, fleet, watch, fleet_end, watch_end, _ends, .. } = self;
        watch_end.cancel();
        let mut orders = timeout(ENDS_WITHIN, watch).await.context("who gives orders does not end")???;
        let by = Instant::now() + COMMANDS_END_WITHIN;
        while orders.seen.values().any(|command| !command.is_final()) && Instant::now() < by {
            sleep(LOOK_EVERY).await;
            orders.observe_open(&api).await;
        }
        fleet_end.cancel();
        let stats = timeout(ENDS_WITHIN, fleet).await.context("the fleet does not end")???;
        let not_offline = not_in_state(&api, &config, "offline", BACK_WITHIN).await?;
        Ok(Rested { ledger, stats, orders, not_offline })
    }

    /// Has everything come to rest, and looks who is said to be there; then all processes are killed and started once
    /// more, because what is judged is what one more start of all of them finds.
    pub(super) async fn finish(self, services: &mut Services) -> Result<Ended> {
        self.orders_end.cancel();
        self.all_back().await?;
        sleep(GRACE_OVER).await;
        self.all_back().await?;
        let Self { api, config, ledger, fleet, watch, fleet_end, watch_end, _ends, .. } = self;
        let not_online = not_in_state(&api, &config, "online", BACK_WITHIN).await?;
        fleet_end.cancel();
        let stats = timeout(ENDS_WITHIN, fleet).await.context("the fleet does not end")???;
        let not_offline = not_in_state(&api, &config, "offline", BACK_WITHIN).await?;
        watch_end.cancel();
        let mut orders = timeout(ENDS_WITHIN, watch).await.context("who gives orders does not end")???;
        for service in services.all() {
            service.kill9()?;
        }
        services.run().await?;
        let not_offline_again = not_in_state(&api, &config, "offline", BACK_WITHIN).await;
        orders.observe_all(&api).await;
        let not_offline_again = not_offline_again?;
        Ok(Ended { api, config, ledger, stats, orders, not_online, not_offline, not_offline_again })
    }
}

impl Ended {
    /// Holds what the platform says now against what it said, and to whom, before. Commands of `doubled` were carried out
    /// by doubles of the devices, by number.
    pub(super) async fn judge(
        &self,
        report: &mut Report,
        sink: &MailSink,
        doubled: &HashMap<u32, Vec<u64>>,
    ) -> Result<()> {
        let stats = &self.stats;
        report.count("sessions that were cut", stats.ended_by_server + stats.ended_by_timeout);
        report.count("readings acknowledged", stats.readings_acked);
        report.count("readings whose PUBACK was lost", stats.readings_unacked);
        report.count("fault events acknowledged", stats.events_acked);
        report.none("connected devices that are not shown as online", &self.not_online);
        report.none("devices that left and are not shown as offline", &self.not_offline);
        report.none("devices that are not shown as offline after a start", &self.not_offline_again);
        let Self { api, config, ledger, orders, .. } = self;
        let witness = Witness { api, config, ledger, mails: Some(&sink.accepted), doubled };
        witness.judge(report, stats, orders).await
    }
}
