//! Each service in processes of its own, over Cassandra and RabbitMQ, behind HAProxy.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{Addresses, Options};
use crate::haproxy::{Front, HaProxy};
use crate::lab::variable;
use crate::ports::free;
use crate::services::Service;

const CORES: u8 = 3;
/// Of gateways, notifiers and portals.
const OTHERS: u8 = 2;
/// Read from a file by all portals.
const TOKEN: &str = "the-administrator-of-these-processes";
/// For all of them from nothing, tables and slots too, or after a kill, of which nobody knows that it was one until the
/// rows of the dead are old: many times what it takes.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// All doors are reached by HAProxy alone, which says where devices are.
const TRUSTING: [&str; 4] = [
    "STOKER__GATEWAY__MQTT__PROXY_PROTOCOL__TRUSTED_CIDRS",
    "STOKER__GATEWAY__MQTTS__PROXY_PROTOCOL__TRUSTED_CIDRS",
    "STOKER__GATEWAY__WS__PROXY_PROTOCOL__TRUSTED_CIDRS",
    "STOKER__GATEWAY__WSS__PROXY_PROTOCOL__TRUSTED_CIDRS",
];

/// Below those that the system gives to outgoing connections.
mod port {
    pub(super) const CLAIM: u16 = 20_001;
    pub(super) const CORE: u16 = 27_400;
    pub(super) const MQTT: u16 = 21_883;
    pub(super) const MQTTS: u16 = 28_883;
    pub(super) const WS: u16 = 28_083;
    pub(super) const WSS: u16 = 28_084;
    pub(super) const HTTP: u16 = 28_080;
    pub(super) const ADMIN: u16 = 29_090;
}

/// The processes, which run, or stand still between a kill and a restart, and what stands in front of them.
#[derive(Debug)]
pub(super) struct Several {
    services: Vec<Service>,
    /// Where the log of this start begins, of each.
    from: Vec<usize>,
    /// Whether the cores have been told to end.
    cores_told: bool,
    haproxy: HaProxy,
    addresses: Addresses,
    /// For asking whether they are ready.
    client: reqwest::Client,
    /// Says which keyspace and queues are theirs.
    named: PathBuf,
    /// Says to other tests that the network is taken.
    _network: TcpListener,
}

/// A network of addresses on loopback that no other test has: each process has an address of its own, so no port of one that
/// is down can be given to anybody else.
fn network() -> Result<(TcpListener, [u8; 3])> {
    let random = RandomState::new();
    for attempt in 0..1_000_u32 {
        let [a, b, ..] = random.hash_one(attempt).to_le_bytes();
        // 127.0.x.y is what everybody else uses.
        let network = [127, a & 0x7F | 0x40, b];
        let [first, second, third] = network;
        let address = SocketAddr::from((Ipv4Addr::new(first, second, third, 1), port::CLAIM));
        if let Ok(claim) = TcpListener::bind(address) {
            return Ok((claim, network));
        }
    }
    bail!("no network of 127.0.0.0/8 is free; several processes on addresses of their own need Linux")
}

/// What devices are shown: a certificate of ours, which they are told to trust.
fn certificate(data: &Path) -> Result<()> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names)?;
    fs::write(data.join("mqtts.crt"), made.cert.pem())?;
    Ok(fs::write(data.join("mqtts.key"), made.signing_key.serialize_pem())?)
}

impl Several {
    /// On a keyspace and queues of their own. None of them runs yet.
    pub(super) async fn new(directory: &Path, options: &Options) -> Result<Self> {
        if !options.flags.is_empty() {
            bail!("flags are for `stoker up`: this test is one for Platform::one");
        }
        let data = directory.join("data");
        fs::create_dir(&data)?;
        fs::write(data.join("admin.token"), TOKEN)?;
        certificate(&data)?;
        let (claim, network) = network()?;
        let name =
            format!("e2e_{}_{:08x}", std::process::id(), RandomState::new().hash_one(network) & 0xFFFF_FFFF);
        let named = directory.join("named.json");
        let names = json!({"cassandra": {"keyspace": name}, "bus": {"prefix": name}});
        fs::write(&named, names.to_string())?;
        let services = services(directory, options, network, &name)?;
        let addresses = Addresses {
            mqtt: free()?,
            mqtts: options.mqtts.then(free).transpose()?,
            ws: free()?,
            wss: options.wss.then(free).transpose()?,
            http: free()?,
            admin: services.last().context("nobody")?.admin,
        };
        let behind = |role: &str, port: u16| {
            let of_role = services.iter().filter(|service| service.name().starts_with(role));
            of_role
                .map(|one| (one.name().to_owned(), SocketAddr::new(one.admin.ip(), port), one.admin))
                .collect::<Vec<_>>()
        };
        let doors = [
            ("mqtt", Some(addresses.mqtt), "gateway", port::MQTT),
            ("mqtts", addresses.mqtts, "gateway", port::MQTTS),
            ("ws", Some(addresses.ws), "gateway", port::WS),
            ("wss", addresses.wss, "gateway", port::WSS),
            ("http", Some(addresses.http), "portal", port::HTTP),
        ];
        let fronts: Vec<Front> = doors
            .into_iter()
            .filter_map(|(name, address, role, port)| {
                let announces = role == "gateway";
                Some(Front { name, address: address?, announces, behind: behind(role, port) })
            })
            .collect();
        // Before those behind it, as it outlives them.
        let haproxy = HaProxy::start(&fronts, directory).await?;
        let from = vec![0; services.len()];
        // Each client reads the system's certificates anew.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        Ok(Self { services, from, cores_told: false, haproxy, addresses, client, named, _network: claim })
    }

    /// Starts all of them and waits until connections find them.
    pub(super) async fn run(&mut self) -> Result<Addresses> {
        self.cores_told = false;
        for (service, from) in self.services.iter_mut().zip(&mut self.from) {
            *from = service.log().len();
            service.start()?;
        }
        let by = Instant::now() + READY_WITHIN;
        for service in &mut self.services {
            let url = format!("http://{}/readyz", service.admin);
            loop {
                service.check_alive()?;
                let answer = self.client.get(&url).send().await;
                match answer {
                    Ok(answer) if answer.status().is_success() => break,
                    _ if Instant::now() < by => tokio::time::sleep(Duration::from_millis(50)).await,
                    Ok(answer) => bail!("{} is not ready: {}", service.name(), answer.text().await?),
                    Err(error) => return Err(error).with_context(|| format!("{} is mute", service.name())),
                }
            }
        }
        self.haproxy.all_ready().await?;
        Ok(self.addresses.clone())
    }

    pub(super) fn pids(&mut self) -> Result<Vec<u32>> {
        self.services.iter_mut().map(Service::pid).collect()
    }

    /// Those that a signal is for at once. Of an end the cores hear last, see [`Self::end_cores`].
    pub(super) fn meant_by(&mut self, signal: &str) -> Result<Vec<u32>> {
        let all = self.services.iter_mut();
        all.filter(|service| signal != "TERM" || !is_core(service)).map(Service::pid).collect()
    }

    /// Tells the cores to end once the others have, who report their ends to them: as the services of one process do it.
    pub(super) fn end_cores(&mut self) -> Result<()> {
        for service in self.services.iter_mut().filter(|service| !is_core(service)) {
            if service.process()?.try_wait()?.is_none() {
                return Ok(());
            }
        }
        if !self.cores_told {
            self.cores_told = true;
            self.services
                .iter_mut()
                .filter(|service| is_core(service))
                .try_for_each(|core| core.signal("TERM"))?;
        }
        Ok(())
    }

    pub(super) fn private_ports(&self) -> Vec<SocketAddr> {
        self.services.iter().map(|service| service.admin).collect()
    }

    /// How each of those that have ended did, if any has.
    pub(super) fn ends(&mut self) -> Result<Vec<ExitStatus>> {
        let mut ends = Vec::new();
        for service in &mut self.services {
            ends.extend(service.process()?.try_wait()?);
        }
        Ok(ends)
    }

    pub(super) fn count(&self) -> usize {
        self.services.len()
    }

    /// What all have logged, in this start or in all, by time. Each line is of the process whose name goes with it.
    pub(super) fn log(&self, all: bool) -> Vec<(&str, String)> {
        let mut lines = Vec::new();
        for (service, from) in self.services.iter().zip(&self.from) {
            let log = service.log();
            let log = log.get(if all { 0 } else { *from }..).unwrap_or_default();
            let mut time = String::new();
            for line in log.lines() {
                // What is no line of JSON belongs to the one before it.
                if let Some((_, rest)) = line.split_once("\"timestamp\":\"") {
                    time = rest.split('"').next().unwrap_or_default().to_owned();
                }
                lines.push((time.clone(), service.name(), line.to_owned()));
            }
        }
        lines.sort_by(|one, other| one.0.cmp(&other.0));
        lines.into_iter().map(|(_, name, line)| (name, line)).collect()
    }

    /// At one moment, as far as there is one: none of them sees another's end for long.
    pub(super) fn kill9(&mut self) -> Result<()> {
        for service in &mut self.services {
            service.process()?.kill().context("failed to kill stoker")?;
        }
        self.services.iter_mut().try_for_each(Service::kill9)
    }

    /// Their ends have been waited for.
    pub(super) fn forget(&mut self) -> Result<()> {
        // What has ended takes no harm from a signal.
        self.services.iter_mut().try_for_each(Service::kill9)
    }
}

fn is_core(service: &Service) -> bool {
    service.name().starts_with("core-")
}

impl Drop for Several {
    fn drop(&mut self) {
        for service in &mut self.services {
            drop(service.process().map(Child::kill));
        }
        for service in &mut self.services {
            // It may not be running.
            drop(service.kill9());
        }
        crate::leftovers::remove(&self.named);
    }
}

/// Cores, gateways, notifiers, portals: each on an address of its own.
fn services(directory: &Path, options: &Options, network: [u8; 3], name: &str) -> Result<Vec<Service>> {
    let [first, second, third] = network;
    let at = |last: u8, port: u16| SocketAddr::from((Ipv4Addr::new(first, second, third, last), port));
    let cassandra = variable("STOKER_TEST_CASSANDRA")?;
    let cores: Vec<String> = (1..=CORES).map(|number| at(10 + number, port::CORE).to_string()).collect();
    let cores = cores.join(",");
    let data = directory.join("data");
    let file = |name: &str| data.join(name).display().to_string();
    let common = [
        ("STOKER__CASSANDRA__CONTACT_POINTS", cassandra.clone()),
        ("STOKER__CASSANDRA__KEYSPACE", name.to_owned()),
        // On three nodes as many replicas, so that one may go.
        ("STOKER__CASSANDRA__REPLICATION_FACTOR", cassandra.split(',').count().min(3).to_string()),
        ("STOKER__BUS__URL", variable("STOKER_TEST_AMQP")?),
        ("STOKER__BUS__PREFIX", name.to_owned()),
        ("STOKER__GATEWAY__CORES", cores.clone()),
        ("STOKER__NOTIFIER__CORES", cores.clone()),
        ("STOKER__PORTAL__CORES", cores),
        // As `stoker up` has it: the receivers of tests are on this machine.
        ("STOKER__NOTIFIER__WEBHOOK__ALLOW", "127.0.0.0/8,::1/128".to_owned()),
        ("STOKER__ADMIN__TOKEN_FILE", file("admin.token")),
    ];
    let mut services = Vec::new();
    let roles = [
        ("core", CORES, 10, port::CORE),
        ("gateway", OTHERS, 20, port::MQTT),
        ("notifier", OTHERS, 30, 0),
        ("portal", OTHERS, 40, port::HTTP),
    ];
    for (role, count, hosts, serves) in roles {
        for number in 1..=count {
            let host = hosts + number;
            let at = |port| at(host, port);
            let mut service = Service::at(role, usize::from(number), directory, at(serves), at(port::ADMIN));
            service.variables.extend(common.iter().cloned());
            if !options.log.is_empty() {
                service.variables.push(("RUST_LOG", options.log.clone()));
            }
            if role == "gateway" {
                service.variables.extend(TRUSTING.map(|name| (name, "127.0.0.0/8".to_owned())));
                service.variables.push(("STOKER__GATEWAY__WS__LISTEN", at(port::WS).to_string()));
                if options.mqtts {
                    service.variables.extend([
                        ("STOKER__GATEWAY__MQTTS__LISTEN", at(port::MQTTS).to_string()),
                        ("STOKER__GATEWAY__MQTTS__CERT", file("mqtts.crt")),
                        ("STOKER__GATEWAY__MQTTS__KEY", file("mqtts.key")),
                    ]);
                }
                if options.wss {
                    service.variables.extend([
                        ("STOKER__GATEWAY__WSS__LISTEN", at(port::WSS).to_string()),
                        ("STOKER__GATEWAY__WSS__CERT", file("mqtts.crt")),
                        ("STOKER__GATEWAY__WSS__KEY", file("mqtts.key")),
                    ]);
                }
            }
            services.push(service);
        }
    }
    Ok(services)
}
