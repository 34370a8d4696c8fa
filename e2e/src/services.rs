//! The platform as processes of their own, over Cassandra and RabbitMQ: `stoker core`, `gateway`, `notifier`, `portal`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::Api;
use crate::cli::Cli;
use crate::haproxy::{Front, HaProxy};
use crate::lab::Lab;
use crate::metrics::Metrics;
use crate::platform::{binary, stoker};
use crate::ports::free;
use crate::wait::{WITHIN, eventually};

/// A first start makes the keyspace with all its tables, which several nodes have to agree on.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Lines of each log that a failed test shows.
const SHOWN: usize = 60;

/// One process of the platform, running or not.
#[derive(Debug)]
pub struct Service {
    role: &'static str,
    name: String,
    /// Another one than the test's.
    program: Option<PathBuf>,
    directory: PathBuf,
    log: PathBuf,
    process: Option<Child>,
    /// More of its environment.
    pub variables: Vec<(&'static str, String)>,
    /// Its own user id, where it has one.
    pub user: Option<u32>,
    /// Where it serves, the same over all starts.
    pub address: SocketAddr,
    /// Its private port, the same over all starts.
    pub admin: SocketAddr,
}

/// The platform in several processes. Ends with the test.
#[derive(Debug)]
pub struct Services {
    directory: TempDir,
    /// In front of gateways and portals, where there is one.
    front: Option<HaProxy>,
    /// Whoever looks into a failure has the files.
    quiet: bool,
    /// They own the slots.
    pub cores: Vec<Service>,
    /// Devices connect to them.
    pub gateways: Vec<Service>,
    /// They deliver notifications.
    pub notifiers: Vec<Service>,
    /// They serve people.
    pub portals: Vec<Service>,
}

/// User ids of one test's processes: another test that runs beside it has others.
fn first_user() -> u32 {
    100_000 + std::process::id() % 100_000 * 32
}

impl Service {
    fn new(role: &'static str, number: usize, directory: &Path) -> Result<Self> {
        Ok(Self::at(role, number, directory, free()?, free()?))
    }

    /// One that serves and has its private port there, and is configured by `stoker.yaml` of the directory.
    pub(crate) fn at(
        role: &'static str,
        number: usize,
        directory: &Path,
        address: SocketAddr,
        admin: SocketAddr,
    ) -> Self {
        let name = format!("{role}-{number}");
        let log = directory.join(format!("{name}.log"));
        let (directory, variables) = (directory.to_owned(), Vec::new());
        Self {
            role,
            name,
            program: None,
            directory,
            log,
            process: None,
            variables,
            user: None,
            address,
            admin,
        }
    }

    /// Starts it, on the same addresses as before.
    ///
    /// # Errors
    /// It still runs, or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("{} still runs", self.name);
        }
        let listen = match self.role {
            "core" => Some("STOKER__CORE__LISTEN"),
            "gateway" => Some("STOKER__GATEWAY__MQTT__LISTEN"),
            "portal" => Some("STOKER__PORTAL__LISTEN"),
            _ => None,
        };
        let file =
            || File::options().append(true).create(true).open(&self.log).context("failed to open a log");
        let program = self.program.clone().map_or_else(binary, Ok)?;
        let mut command = stoker(&program);
        command.arg(self.role).arg("--config").arg(self.directory.join("stoker.yaml"));
        command.env("STOKER__ADMIN__LISTEN", self.admin.to_string());
        if let Some(listen) = listen {
            command.env(listen, self.address.to_string());
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.stdout(file()?).stderr(file()?);
        self.process = Some(command.spawn().with_context(|| format!("failed to start {}", self.name))?);
        Ok(())
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It has ended, or does not say so in time.
    pub async fn ready(&mut self) -> Result<()> {
        let by = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.process()?.try_wait()? {
                bail!("{} has ended: {status}", self.name);
            }
            let answer = reqwest::get(format!("http://{}/readyz", self.admin)).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > by {
                bail!("{} is not ready within {} s", self.name, READY_WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn process(&mut self) -> Result<&mut Child> {
        let Self { process, name, .. } = self;
        process.as_mut().with_context(|| format!("{name} is not running"))
    }

    /// The code and the text that `/readyz` of its private port answers.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn readiness(&self) -> Result<(u16, String)> {
        let answer = reqwest::get(format!("http://{}/readyz", self.admin)).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// What its private port counts.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> Result<Metrics> {
        let answer = reqwest::get(format!("http://{}/metrics", self.admin)).await?;
        Ok(Metrics::sum(&[answer.error_for_status()?.text().await?]))
    }

    /// Kills it by SIGKILL: nothing of it runs when this returns.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill9(&mut self) -> Result<()> {
        self.process()?.kill()?;
        self.process()?.wait()?;
        self.process = None;
        Ok(())
    }

    /// Ends it as a service manager does, by SIGTERM, and returns how it ended.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let by = Instant::now() + WITHIN;
        loop {
            if let Some(status) = self.process()?.try_wait()? {
                self.process = None;
                return Ok(status);
            }
            if Instant::now() > by {
                bail!("{} has not ended within {} s", self.name, WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it is called: its role and its number, from 1 on.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    ///
    /// # Errors
    /// It is not running.
    pub fn pid(&mut self) -> Result<u32> {
        Ok(self.process()?.id())
    }

    /// Fails if it was started and has ended by itself.
    ///
    /// # Errors
    /// It has, and how.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.process()?.try_wait()? {
            Some(status) => bail!("{} has ended by itself: {status}", self.name),
            None => Ok(()),
        }
    }

    /// The logs of all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal, such as `STOP` or `CONT`.
    ///
    /// # Errors
    /// It could not be sent.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        let pid = self.process()?.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().context("failed to run kill")?;
        if !sent.success() {
            bail!("kill -s {name} {pid}: {sent}");
        }
        Ok(())
    }
}

impl Services {
    /// The administrator's, read from a file by all portals.
    pub const TOKEN: &str = "the-administrator-of-these-processes";

    /// Starts so many of each (cores, gateways, notifiers, portals) on a keyspace and queues of their own, with more
    /// configuration, and waits until all are ready.
    ///
    /// # Errors
    /// One does not start.
    pub async fn start(counts: [usize; 4], config: &Value) -> Result<Self> {
        let mut services = Self::prepare(counts, config)?;
        services.run().await?;
        Ok(services)
    }

    /// The same, where none runs yet.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn prepare(counts: [usize; 4], config: &Value) -> Result<Self> {
        Self::prepare_on(&Lab::of_variables()?, counts, config)
    }

    /// The same on that lab.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn prepare_on(lab: &Lab, counts: [usize; 4], config: &Value) -> Result<Self> {
        // The second test of a process finds it installed.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let directory = tempfile::tempdir().context("failed to make a directory")?;
        let path = directory.path();
        let several = |role, count| {
            (1..=count).map(|number| Service::new(role, number, path)).collect::<Result<Vec<_>>>()
        };
        let [cores, gateways, notifiers, portals] = counts;
        let services = Self {
            cores: several("core", cores)?,
            gateways: several("gateway", gateways)?,
            notifiers: several("notifier", notifiers)?,
            portals: several("portal", portals)?,
            directory,
            front: None,
            quiet: false,
        };
        services.configure(lab, config)?;
        Ok(services)
    }

    /// The configuration of all of them.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("stoker.yaml")
    }

    /// Has this program started, and not the one that was built beside the test.
    ///
    /// # Errors
    /// It is not there.
    pub fn program(&mut self, path: &Path) -> Result<()> {
        let path = fs::canonicalize(path).with_context(|| format!("{} is not there", path.display()))?;
        for service in self.all() {
            service.program = Some(path.clone());
        }
        Ok(())
    }

    /// Keeps configuration and logs, and shows nothing of them at the end. Returns where they are.
    pub fn keep_files(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.quiet = true;
        self.directory.path()
    }

    /// Has configuration and logs removed at the end all the same.
    pub fn remove_files(&mut self) {
        self.directory.disable_cleanup(false);
    }

    /// How many lines of the logs tell of a panic: each is a task that died.
    pub fn panics(&mut self) -> u64 {
        let logs = self.all().map(|service| service.log());
        logs.map(|log| log.lines().filter(|line| line.contains("panicked")).count() as u64).sum()
    }

    /// Gives each process a user id of its own, by which the kernel can tell them apart; returns all of them. Before any is
    /// started.
    ///
    /// # Errors
    /// Their files cannot be made readable for them.
    pub fn part_users(&mut self) -> Result<Vec<u32>> {
        fs::set_permissions(self.directory.path(), fs::Permissions::from_mode(0o755))?;
        let (mut next, mut users) = (first_user(), Vec::new());
        for service in self.all() {
            service.user = Some(next);
            users.push(next);
            next += 1;
        }
        Ok(users)
    }

    /// One address each for devices and for people, with all gateways and all portals behind them.
    ///
    /// # Errors
    /// HAProxy is not installed or does not start.
    pub async fn balance(&mut self) -> Result<(SocketAddr, SocketAddr)> {
        let behind = |services: &[Service]| {
            services.iter().map(|one| (one.name.clone(), one.address, one.admin)).collect::<Vec<_>>()
        };
        let fronts = [
            Front { name: "mqtt", address: free()?, announces: false, behind: behind(&self.gateways) },
            Front { name: "http", address: free()?, announces: false, behind: behind(&self.portals) },
        ];
        self.front = Some(HaProxy::start(&fronts, self.directory.path()).await?);
        let [mqtt, http] = fronts.map(|front| front.address);
        Ok((mqtt, http))
    }

    /// Starts all of them and waits until they are ready.
    ///
    /// # Errors
    /// One does not start.
    pub async fn run(&mut self) -> Result<()> {
        self.begin()?;
        self.all_ready().await
    }

    /// Starts all of them.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn begin(&mut self) -> Result<()> {
        self.all().try_for_each(Service::start)
    }

    /// Waits until all of them are ready.
    ///
    /// # Errors
    /// One has ended, or is not ready in time.
    pub async fn all_ready(&mut self) -> Result<()> {
        for service in self.all() {
            service.ready().await?;
        }
        Ok(())
    }

    fn configure(&self, lab: &Lab, more: &Value) -> Result<()> {
        let path = self.directory.path();
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let name = format!("e2e_{}_{:x}", std::process::id(), nanos & 0xFFFF_FFFF);
        // Past what stands between the lab and these services, if anything does.
        lab.write(&self.config())?;
        let cores: Vec<String> = self.cores.iter().map(|core| core.address.to_string()).collect();
        let token = path.join("admin.token");
        fs::write(&token, Self::TOKEN)?;
        let mut config = json!({
            "cassandra": {"contact_points": lab.cassandra, "keyspace": name, "replication_factor": 1},
            "bus": {"url": lab.amqp, "prefix": name},
            "gateway": {"cores": cores},
            "portal": {"cores": cores},
            "notifier": {"cores": cores, "webhook": {"allow": ["127.0.0.0/8"]}},
            "admin": {"token_file": token},
        });
        for (section, keys) in more.as_object().into_iter().flatten() {
            for (key, value) in keys.as_object().into_iter().flatten() {
                config[section][key] = value.clone();
            }
        }
        // JSON is YAML, too.
        Ok(fs::write(path.join("stoker.yaml"), config.to_string())?)
    }

    /// Every process: cores, gateways, notifiers, portals.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Service> {
        let Self { cores, gateways, notifiers, portals, .. } = self;
        cores.iter_mut().chain(gateways).chain(notifiers).chain(portals)
    }

    /// The HTTP API at one of the portals, as the administrator.
    ///
    /// # Errors
    /// The client could not be made.
    pub fn api(&self, portal: usize) -> Result<Api> {
        let portal = self.portals.get(portal).context("there is no such portal")?;
        Api::new(&format!("http://{}", portal.address), Self::TOKEN)
    }

    /// The command line, asking the first portal as the administrator.
    ///
    /// # Errors
    /// There is no portal.
    pub fn cli(&self) -> Result<Cli> {
        let portal = self.portals.first().context("there is no portal")?;
        Ok(Cli::at(format!("http://{}", portal.address), self.directory.path()))
    }

    /// Waits until the cores own all slots and every device that is there is in that state.
    ///
    /// # Errors
    /// It does not come to this in time.
    pub async fn settled(&self, online: u64) -> Result<()> {
        let api = self.api(0)?;
        eventually(&format!("all slots are owned and {online} devices are online"), || async {
            let Ok(status) = api.get("/status").await else { return Ok(None) };
            let settled = status.status == 200 && status.body["devices_online"] == online;
            Ok(settled.then_some(()))
        })
        .await
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let quiet = self.quiet;
        for service in self.all() {
            if let Some(mut process) = service.process.take() {
                // It may have ended by itself.
                drop(process.kill());
                drop(process.wait());
            }
            if quiet {
                continue;
            }
            // Shown by the test runner when the test has failed, and else not.
            let log = fs::read_to_string(&service.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let left_out = lines.len().saturating_sub(SHOWN);
            println!("── the log of {} ({left_out} lines before these left out)", service.name);
            for line in lines.iter().skip(left_out) {
                println!("{line}");
            }
        }
        crate::leftovers::remove(&self.config());
    }
}
