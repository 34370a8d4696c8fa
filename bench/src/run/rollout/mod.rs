//! `rollout`: a platform on a real Kubernetes is rolled out, scaled, evicted and renewed under a fleet, and nobody is to
//! notice: told from what the devices and those who gave them orders saw.

mod acts;
mod certificate;
mod fleet;
mod kube;
mod look;
mod moves;
mod node;
mod orders;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use parking_lot::Mutex;
use serde_json::json;
use stoker_sim::{Sim, SimConfig, StatsSnapshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::all_connected;
use crate::api::Api;
use crate::device::Login;
use crate::histogram::Histogram;
use crate::platform::Common;
use crate::random::{Random, fresh_seed};
use crate::report::Report;
use crate::smtp::MailSink;
use crate::witness::{Orders, Witness, not_in_state};
use acts::{Act, Hands, Part, Step, steps};
use certificate::Door;
use fleet::Eyes;
use kube::Kube;
use look::{Kind, Look};
use moves::{Moves, Order, Window};
use orders::Caller;

/// All devices are back within that time after an act, or they will never be.
const BACK_WITHIN: Duration = Duration::from_secs(120);
/// So soon the platform says of all connected devices in which pod they are.
const PLACED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What moves so long after an act was over still moved because of it.
const LINGER: Duration = Duration::from_secs(5);
/// How long devices wait at the end for their last PUBACKs.
const DRAIN: Duration = Duration::from_secs(30);
/// Devices that are connected by TLS while the certificate changes.
const BY_TLS: u32 = 16;
/// What is printed of each act.
const HEAD: [&str; 12] = [
    "s",
    "moved once",
    "moved more",
    "uncalled",
    "longest gap s",
    "dials failed",
    "orders",
    "answered",
    "p99 ms",
    "max ms",
    "readings acked",
    "false alarms",
];

/// Roll out, scale, evict and renew a platform on Kubernetes, and look whether anybody noticed
#[derive(Debug, Args)]
pub(crate) struct Rollout {
    /// The cluster
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// The program that speaks to it
    #[arg(long, value_name = "FILE", default_value = "kubectl")]
    kubectl: PathBuf,
    /// Where the platform is; nobody else may be using it
    #[arg(long)]
    namespace: String,
    /// Where the operator is
    #[arg(long, default_value = "stoker")]
    operator_namespace: String,
    /// What is done, in this order [default: all but kill and broker; certificate if there is a listener of protocol Mqtts]
    #[arg(long, value_enum, value_delimiter = ',')]
    acts: Vec<Act>,
    /// How many boilers
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    devices: u32,
    /// Seconds between two readings of one
    #[arg(long, default_value_t = 5.0)]
    interval: f64,
    /// Faults of one boiler in an hour: each is an alarm, and there may be no other
    #[arg(long, default_value_t = 1.0)]
    faults: f64,
    /// Commands a second, to all of them together
    #[arg(long, default_value_t = 10.0)]
    commands: f64,
    /// So many of them connect in a second at first
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connect_rate: u32,
    /// Seconds that an act may take
    #[arg(long, default_value_t = 300)]
    within: u64,
    /// What commands to devices that stay connected may take: 99 of 100 of them
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    p99: u64,
    /// Where devices connect [default: the Gateway's address, its first listener of protocol Mqtt]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// The platform's API [default: the Service of the Portal, by its address in the cluster]
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// Where the platform's mails arrive, as the Secret of its Notifier has it; without it no mail is looked at
    #[arg(long, value_name = "ADDRESS:PORT")]
    smtp_listen: Option<SocketAddr>,
    /// The folder of the lab, for `broker`, `kubelet` and `api-server`
    #[arg(long, env = "STOKER_TEST_LAB")]
    lab: Option<String>,
    /// Decides whose pods are evicted and who gets which order [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
}

/// What was seen of one act.
struct Line {
    step: Step,
    took: Duration,
    window: Window,
    moves: Moves,
    uncalled: Vec<u32>,
    /// Devices of which it was known which pod held them: only of these it can be told.
    placed: u64,
    dials_failed: u64,
    readings: u64,
    alarms: u64,
}

fn failed(stats: &StatsSnapshot) -> u64 {
    stats.connect_failures + stats.connects_refused
}

fn shown(fleet: &SimConfig, act: Step, devices: &[u32]) -> Vec<String> {
    devices.iter().map(|number| format!("{}, {act}", fleet.device_id(*number))).collect()
}

impl Rollout {
    fn acts(&self, has_door: bool) -> Result<Vec<Act>> {
        if self.acts.is_empty() {
            return Ok(Act::USUAL.into_iter().filter(|act| has_door || *act != Act::Certificate).collect());
        }
        ensure!(
            has_door || !self.acts.contains(&Act::Certificate),
            "the Gateway has no address, or no listener of protocol Mqtts: add one, or leave `certificate` out of --acts"
        );
        Ok(self.acts.clone())
    }

    /// Where devices connect, without and with TLS.
    fn doors(&self, look: &Look) -> Result<(String, Option<Door>)> {
        let gateway = look.first(Kind::Gateway)?;
        let listeners = gateway.spec["listeners"].as_array().cloned().unwrap_or_default();
        let port = |protocol: &str| {
            let of = listeners.iter().find(|listener| listener["protocol"] == protocol)?;
            Some((of["port"].as_u64()?, of["tlsSecretName"].as_str().unwrap_or_default().to_owned()))
        };
        let named = |port: u64| {
            let address = gateway.address.as_deref();
            address.map(|address| format!("{address}:{port}")).with_context(|| {
                format!("Gateway {} has no address: name where devices connect by --address", gateway.name)
            })
        };
        let plain = match (&self.address, port("Mqtt")) {
            (Some(given), _) => given.clone(),
            (None, Some((port, _))) => named(port)?,
            (None, None) => anyhow::bail!("Gateway {} has no listener of protocol Mqtt", gateway.name),
        };
        let hostname = gateway.spec["hostname"].as_str().unwrap_or_default().to_owned();
        let door = port("Mqtts")
            .and_then(|(port, secret)| Some(Door { address: named(port).ok()?, hostname, secret }));
        Ok((plain, door))
    }

    async fn api(&self, kube: &Kube, look: &Look) -> Result<Api> {
        let url = match &self.api {
            Some(url) => url.clone(),
            None => {
                let service = format!("{}-portal", look.first(Kind::Portal)?.name);
                let ip = kube.cluster_ip(&service).await?;
                if ip.contains(':') { format!("http://[{ip}]") } else { format!("http://{ip}") }
            }
        };
        Api::at(&url, kube.secret("stoker-admin", "token").await?.trim())
    }

    fn fleet(&self, address: &str, secret: &str, seed: u64) -> Result<SimConfig> {
        let mut config = SimConfig::new(&format!("mqtt://{address}"), self.devices, secret)?;
        config.interval = Duration::try_from_secs_f64(self.interval).context("--interval is out of range")?;
        // The platform may know the devices of a former run.
        config.id_prefix = format!("rollout-{}-", fresh_seed());
        config.device_time = true;
        config.connect_rate = self.connect_rate;
        config.faults.per_hour = self.faults;
        config.faults.mean_s = 10.0;
        config.seed = seed;
        config.drain = DRAIN;
        config.ledger = true;
        config.validate()?;
        Ok(config)
    }

    /// Runs it.
    pub(crate) async fn run(&self, _common: &Common) -> Result<Report> {
        let seed = self.seed.unwrap_or_else(fresh_seed);
        // A run that fails before its end is to be repeated, too.
        eprintln!("seed {seed}");
        let kube = Kube {
            kubectl: self.kubectl.clone(),
            kubeconfig: self.kubeconfig.clone(),
            namespace: self.namespace.clone(),
            operator_namespace: self.operator_namespace.clone(),
        };
        let look = kube.look().await?;
        let missing = look.unsettled();
        ensure!(
            missing.is_empty(),
            "the platform in {} is not at rest: {}",
            self.namespace,
            missing.join("; ")
        );
        let (address, door) = self.doors(&look)?;
        let planned = steps(&self.acts(door.is_some())?, look.first(Kind::Gateway)?.replicas());
        let operators = kube.operators().await?;
        ensure!(
            operators.iter().any(|(_, ready)| *ready),
            "no operator is ready in the namespace {}: name its own by --operator-namespace",
            self.operator_namespace
        );
        let api = self.api(&kube, &look).await?;
        let mut random = Random::new(seed);
        let within = Duration::from_secs(self.within);
        let mut hands = Hands::new(kube, &look, door, Random::new(random.next()), within);
        hands.lab.clone_from(&self.lab);
        let mut report = Report::new("a platform on Kubernetes, rolled out under a fleet");
        report.count("seed", seed);
        let secret = format!("{:016x}{:016x}", Random::new(fresh_seed()).next(), random.next());
        let config = self.fleet(&address, &secret, seed)?;
        let random = Random::new(random.next());
        self.under_a_fleet(&mut hands, &planned, api, config, random, &mut report).await?;
        Ok(report)
    }

    async fn under_a_fleet(
        &self,
        hands: &mut Hands,
        planned: &[Step],
        api: Api,
        config: SimConfig,
        random: Random,
        report: &mut Report,
    ) -> Result<()> {
        let sink = match self.smtp_listen {
            Some(address) => Some(MailSink::start_at(address).await?),
            None => None,
        };
        let mut lines: Vec<String> = config.numbers().map(|number| config.import_line(number)).collect();
        if planned.contains(&Step::Certificate) {
            let login = |number| {
                let id = format!("{}tls-{number}", config.id_prefix);
                Login { token: format!("token-of-{id}"), id }
            };
            hands.by_tls = (1..=BY_TLS).map(login).collect();
            lines.extend(hands.by_tls.iter().map(Login::import_line));
        }
        api.import(&lines).await?;
        if sink.is_some() {
            let matching = json!({ "devices": [format!("{}*", config.id_prefix)] });
            api.subscribe_to(matching, json!({ "channel": "email", "to": "night@example.org" })).await?;
        }
        let sim = Sim::new(config.clone())?;
        let (stats, ledger) = (sim.stats(), sim.ledger().context("the simulation keeps no ledger")?);
        let [fleet_end, orders_end] = [(); 2].map(|()| CancellationToken::new());
        // They end with this call, however that comes about.
        let _ends = [fleet_end.clone().drop_guard(), orders_end.clone().drop_guard()];
        let fleet = tokio::spawn(sim.run(fleet_end.clone()));
        all_connected(&stats, self.devices, BACK_WITHIN).await?;
        let done = Arc::new(Mutex::new(Vec::new()));
        let caller = Caller {
            api: api.clone(),
            config: config.clone(),
            rate: self.commands,
            random,
            done: Arc::clone(&done),
        };
        let caller = tokio::spawn(caller.run(orders_end.clone()));
        let eyes = Eyes { api: api.clone(), config: config.clone(), ledger, stats, orders: done };
        let (mut acted, mut broken) = (Vec::new(), Vec::new());
        for step in planned {
            match self.act(hands, *step, &eyes).await {
                Ok(line) => acted.push(line),
                Err(error) => {
                    broken.push(format!("{step}: {error:#}"));
                    break;
                }
            }
        }
        orders_end.cancel();
        let mut orders = caller.await??;
        let not_online = not_in_state(&api, &config, "online", BACK_WITHIN).await?;
        fleet_end.cancel();
        let stats = fleet.await??;
        let not_offline = not_in_state(&api, &config, "offline", BACK_WITHIN).await?;
        orders.observe_all(&api).await;
        report.none("acts that did not come to their end", &broken);
        report.none("connected devices that are not shown as online", &not_online);
        report.none("devices that left and are not shown as offline", &not_offline);
        self.describe(&acted, hands, &eyes, &stats, &orders, report);
        let (mails, doubled) = (sink.as_ref().map(|sink| &sink.accepted), &HashMap::new());
        let witness = Witness { api: &api, config: &config, ledger: &eyes.ledger, mails, doubled };
        witness.judge(report, &stats, &orders).await
    }

    /// In which of these pods each device is, as soon as the platform says so of all. Of those that it says nothing about, or
    /// something else, there is nothing in the end.
    async fn placed(&self, eyes: &Eyes, pods: &BTreeSet<String>) -> Result<HashMap<u32, String>> {
        let until = Instant::now() + PLACED_WITHIN;
        loop {
            let mut places = eyes.places().await?;
            let elsewhere: BTreeSet<String> =
                places.values().filter(|pod| !pods.contains(*pod)).cloned().collect();
            places.retain(|_, pod| pods.contains(pod));
            if places.len() >= usize::try_from(self.devices)? {
                return Ok(places);
            }
            if Instant::now() >= until {
                eprintln!(
                    "    of {} devices the pod is known; besides {pods:?} there are said to be {elsewhere:?}",
                    places.len()
                );
                return Ok(places);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Does one thing, and looks at what it did to the fleet.
    async fn act(&self, hands: &mut Hands, step: Step, eyes: &Eyes) -> Result<Line> {
        eprintln!("{:7.1} s  {step}", hands.begun.elapsed().as_secs_f64());
        let pods_of = |look: &Look| -> Result<BTreeSet<String>> {
            let pods = look.pods_of(look.first(Kind::Gateway)?);
            Ok(pods.into_iter().map(|pod| pod.name.clone()).collect())
        };
        let there = pods_of(&hands.settled().await?)?;
        let places = self.placed(eyes, &there).await?;
        let (from, before) = (Instant::now(), eyes.stats.snapshot());
        hands.act(step).await?;
        all_connected(&eyes.stats, self.devices, BACK_WITHIN).await?;
        let took = from.elapsed();
        sleep(LINGER).await;
        all_connected(&eyes.stats, self.devices, BACK_WITHIN).await?;
        let look = hands.settled().await?;
        let stats = eyes.stats.snapshot();
        let window = Window { from, to: Instant::now() };
        let fleet = eyes.sessions();
        let moves = moves::moves(&fleet, window);
        let there = pods_of(&look)?;
        let stays = |device: &&u32| places.get(device).is_some_and(|pod| there.contains(pod));
        let line = Line {
            step,
            took,
            window,
            // The pod of a process that was killed stays.
            uncalled: moves.moved.iter().filter(|_| step.is_planned()).filter(stays).copied().collect(),
            moves,
            placed: u64::try_from(places.len())?,
            dials_failed: failed(&stats) - failed(&before),
            readings: stats.readings_acked,
            alarms: eyes.false_alarms().await?,
        };
        let answers = moves::answers(&eyes.orders.lock(), &fleet, window);
        eprintln!(
            "{:7.1} s    {step}: {:.1} s, moved once {}, more than once {}, longest gap {:.1} s, orders {}, answered {}, \
             p99 of those that stayed {:.0} ms, readings {}, false alarms {}",
            hands.begun.elapsed().as_secs_f64(),
            took.as_secs_f64(),
            line.moves.once,
            line.moves.more.len(),
            line.moves.gap.as_secs_f64(),
            answers.asked,
            answers.answered,
            answers.stayed.quantile(0.99).as_secs_f64() * 1e3,
            line.readings,
            line.alarms,
        );
        Ok(line)
    }

    fn describe(
        &self,
        acted: &[Line],
        hands: &Hands,
        eyes: &Eyes,
        stats: &StatsSnapshot,
        seen: &Orders,
        report: &mut Report,
    ) {
        let (fleet, orders) = (eyes.sessions(), eyes.orders.lock().clone());
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let lines = acted.iter().map(|line| {
            let answers = moves::answers(&orders, &fleet, line.window);
            let numbers = vec![
                line.took.as_secs_f64(),
                line.moves.once as f64,
                line.moves.more.len() as f64,
                line.uncalled.len() as f64,
                line.moves.gap.as_secs_f64(),
                line.dials_failed as f64,
                answers.asked as f64,
                answers.answered as f64,
                ms(answers.stayed.quantile(0.99)),
                ms(answers.stayed.max()),
                line.readings as f64,
                line.alarms as f64,
            ];
            (line.step.to_string(), numbers)
        });
        let head = HEAD.iter().map(|&name| name.to_owned()).collect();
        report.named(
            "acts; gaps of devices, times of commands to devices that stayed connected",
            head,
            lines.collect(),
        );
        let (mut stayed, mut stayed_count) = (Histogram::default(), 0);
        for line in acted.iter().filter(|line| line.step.is_planned()) {
            let answers = moves::answers(&orders, &fleet, line.window);
            stayed.add(&answers.stayed);
            stayed_count += answers.stayed_count;
        }
        // Without RabbitMQ an order may run out; that its end is the truth is judged of all of them.
        let away = |order: &&Order| {
            acted.iter().any(|line| line.step == Step::Away(Part::Broker) && line.window.has(order.asked))
        };
        let to_answer: Vec<&Order> = orders.iter().filter(|order| !away(order)).collect();
        let count = |orders: usize| u64::try_from(orders).unwrap_or(u64::MAX);
        report.count("devices", self.devices.into());
        report.count("readings acknowledged", stats.readings_acked);
        report.count("readings whose PUBACK was lost", stats.readings_unacked);
        report.count("fault events acknowledged", stats.events_acked);
        report.count("commands to devices that stayed connected", stayed_count);
        report.times("their answers", &stayed);
        if let Some(took) = hands.certified {
            report.time("a new certificate was shown to all after", took);
        }
        let of = |pick: fn(&Line) -> &[u32]| -> Vec<String> {
            acted.iter().flat_map(|line| shown(&eyes.config, line.step, pick(line))).collect()
        };
        report.none("devices that moved more than once in an act", &of(|line| &line.moves.more));
        report.none("devices that moved although their gateway stayed", &of(|line| &line.uncalled));
        let placed = acted.iter().map(|line| line.placed).sum();
        let expected = u64::from(self.devices) * count(acted.len());
        report.exactly("devices of which the pod was known, over all acts", expected, placed);
        report.none("devices that lost their connection to a new certificate", &hands.lost);
        report.exactly("containers that had to be started again", hands.killed, hands.restarts());
        report.exactly(
            "accepted commands of which the end was waited for",
            count(seen.seen.len()),
            count(orders.len()),
        );
        report.exactly(
            "accepted commands that their device answered",
            count(to_answer.len()),
            count(to_answer.iter().filter(|order| order.succeeded).count()),
        );
        let p99 = stayed.quantile(0.99);
        report.promise(
            p99 <= Duration::from_millis(self.p99),
            format!(
                "99 of 100 commands to devices that stayed connected took {:.0} ms, not {} ms at most",
                ms(p99),
                self.p99
            ),
        );
    }
}
