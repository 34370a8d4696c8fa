//! The platform: `stoker up` as a process of its own, or its services as several.

mod one;
mod several;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use self::one::One;
use self::several::Several;
use crate::api::Api;
use crate::metrics::Metrics;
use crate::wait::WITHIN;

/// Lines of the log that a failed test shows.
const SHOWN: usize = 200;

/// How a platform is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The configuration file's text.
    pub config: String,
    /// Listen for MQTT over TLS, too.
    pub mqtts: bool,
    /// Listen for MQTT over WebSocket over TLS, too.
    pub wss: bool,
    /// More flags.
    pub flags: Vec<String>,
    /// What is logged, in the words of `RUST_LOG`; `info` if empty.
    pub log: String,
}

impl Options {
    /// With this configuration.
    #[must_use]
    pub fn config(text: &str) -> Self {
        Self { config: text.to_owned(), ..Self::default() }
    }

    /// Silence is raised after this many seconds, and this many after our own hand ended a session.
    #[must_use]
    pub fn silence(after_s: u32, grace_s: u32) -> Self {
        Self::config(&format!("silence: {{after: {after_s}s, grace: {grace_s}s}}\n"))
    }
}

/// In how many processes a platform runs.
#[derive(Debug)]
enum Runs {
    One(One),
    Several(Box<Several>),
}

/// Where a platform is reached.
#[derive(Debug, Clone)]
struct Addresses {
    mqtt: SocketAddr,
    mqtts: Option<SocketAddr>,
    ws: SocketAddr,
    wss: Option<SocketAddr>,
    http: SocketAddr,
    admin: SocketAddr,
}

/// Any port that is free.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A platform that runs, or stands still between a kill and a restart. Ends with the test.
#[derive(Debug)]
pub struct Platform {
    runs: Runs,
    options: Options,
    /// Where devices connect by TCP.
    pub mqtt: SocketAddr,
    /// Where devices connect by TLS, if they may.
    pub mqtts: Option<SocketAddr>,
    /// Where devices connect by WebSocket.
    pub ws: SocketAddr,
    /// Where devices connect by WebSocket over TLS, if they may.
    pub wss: Option<SocketAddr>,
    /// Where people come.
    pub http: SocketAddr,
    /// The private port; of several processes, that of one.
    pub admin: SocketAddr,
    /// The HTTP API, as the administrator.
    pub api: Api,
    /// Goes last.
    directory: TempDir,
}

/// The program under test: `STOKER_BIN`, or what was built beside this test.
///
/// # Errors
/// There is none.
pub(crate) fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("STOKER_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe().context("failed to find this test's own path")?;
            // Tests are in a folder of the one that programs are in; other programs stand beside it.
            let built = test.ancestors().skip(1).take(2).map(|folder| folder.join("stoker"));
            built.clone().find(|path| path.is_file()).or(built.last()).context("this test has no folder")?
        }
    };
    if !path.is_file() {
        bail!("{} is not there: build it by `cargo build -p stoker`, or set STOKER_BIN", path.display());
    }
    Ok(path)
}

/// `stoker` with nothing of our environment that would configure it.
pub(crate) fn stoker(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("STOKER_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Whether platforms are to run in several processes.
fn several() -> Result<bool> {
    match std::env::var("STOKER_E2E_PLATFORM").as_deref() {
        Err(_) | Ok("one") => Ok(false),
        Ok("several") => Ok(true),
        Ok(other) => bail!("STOKER_E2E_PLATFORM is `one` or `several`, not {other:?}"),
    }
}

impl Platform {
    /// Starts a platform that holds nothing yet, and waits until it is ready: in one process on a fresh data directory, or in
    /// several over Cassandra and RabbitMQ, as `STOKER_E2E_PLATFORM` says.
    ///
    /// # Errors
    /// It does not start; what it said is in the error.
    pub async fn start(options: Options) -> Result<Self> {
        Self::begin(options, several()?).await
    }

    /// The same in one process, whatever `STOKER_E2E_PLATFORM` says, as the test is about what only that has.
    ///
    /// # Errors
    /// It does not start; what it said is in the error.
    pub async fn one(why: &str, options: Options) -> Result<Self> {
        println!("in one process: {why}");
        Self::begin(options, false).await
    }

    async fn begin(options: Options, several: bool) -> Result<Self> {
        let directory = tempfile::tempdir().context("failed to make a directory")?;
        fs::write(directory.path().join("stoker.yaml"), format!("{}\n", options.config))?;
        let runs = if several {
            Runs::Several(Box::new(Several::new(directory.path(), &options).await?))
        } else {
            Runs::One(One::new(directory.path()))
        };
        let mut platform = Self {
            runs,
            options,
            mqtt: NOWHERE,
            mqtts: None,
            ws: NOWHERE,
            wss: None,
            http: NOWHERE,
            admin: NOWHERE,
            api: Api::new("http://127.0.0.1:0", "")?,
            directory,
        };
        platform.run().await?;
        Ok(platform)
    }

    async fn run(&mut self) -> Result<()> {
        let Self { mqtt, mqtts, ws, wss, http, admin, .. } = *self;
        let at = match &mut self.runs {
            Runs::One(one) => {
                let before = Addresses { mqtt, mqtts, ws, wss, http, admin };
                one.start(self.directory.path(), &self.options, &before)?;
                let ready = self.log_line("ready after ").await?;
                One::addresses(&ready, &self.options)?
            }
            Runs::Several(several) => several.run().await?,
        };
        (self.mqtt, self.mqtts, self.ws, self.wss) = (at.mqtt, at.mqtts, at.ws, at.wss);
        (self.http, self.admin) = (at.http, at.admin);
        let token = fs::read_to_string(self.data_dir().join("admin.token")).context("no admin.token")?;
        self.api = Api::new(&format!("http://{}", self.http), token.trim())?;
        Ok(())
    }

    /// The first line of this start's log with that text, as soon as it is there.
    ///
    /// # Errors
    /// It does not come in time, or a process ends first.
    pub async fn log_line(&mut self, text: &str) -> Result<String> {
        let by = Instant::now() + WITHIN;
        loop {
            // Before the log is read, which has all that was said before the end.
            let ended = match &mut self.runs {
                Runs::One(one) => one.has_ended()?,
                Runs::Several(several) => several.ends()?.into_iter().next(),
            };
            if let Some(line) = self.log().lines().find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            if let Some(status) = ended {
                bail!("stoker has ended ({status}) without {text:?} in its log");
            }
            if Instant::now() > by {
                bail!("not within {} s: {text:?} in the log", WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What this start has logged so far; of several processes, the lines of all by their times.
    #[must_use]
    pub fn log(&self) -> String {
        match &self.runs {
            Runs::One(one) => one.log(false),
            Runs::Several(several) => {
                several.log(false).into_iter().map(|(_, line)| format!("{line}\n")).collect()
            }
        }
    }

    /// The data directory; of several processes, what stands in its place: the administrator's token and the certificate
    /// that devices are shown.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// True when it is one process, and what that keeps in memory goes with it.
    #[must_use]
    pub fn is_one(&self) -> bool {
        matches!(self.runs, Runs::One(_))
    }

    /// A place for the test's own files, gone with the platform.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// Changes the configuration for the next start.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn configure(&mut self, text: &str) -> Result<()> {
        self.options.config = text.to_owned();
        Ok(fs::write(self.directory.path().join("stoker.yaml"), format!("{text}\n"))?)
    }

    fn pids(&mut self) -> Result<Vec<u32>> {
        match &mut self.runs {
            Runs::One(one) => Ok(vec![one.pid()?]),
            Runs::Several(several) => several.pids(),
        }
    }

    /// Kills it by SIGKILL, every process of it: nothing of it runs when this returns.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill9(&mut self) -> Result<()> {
        match &mut self.runs {
            Runs::One(one) => one.kill9(),
            Runs::Several(several) => several.kill9(),
        }
    }

    /// Ends it as a service manager does, by SIGTERM, and returns how it ended: how the first did that ended badly, if one
    /// did.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.ended().await
    }

    /// Waits for the end of it, once it has been told to end.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let by = Instant::now() + WITHIN;
        loop {
            if let Runs::Several(several) = &mut self.runs {
                several.end_cores()?;
            }
            let (ends, all) = match &mut self.runs {
                Runs::One(one) => (Vec::from_iter(one.has_ended()?), 1),
                Runs::Several(several) => (several.ends()?, several.count()),
            };
            if let [first, ..] = &ends[..]
                && ends.len() == all
            {
                let bad = ends.iter().find(|status| !status.success());
                let status = *bad.unwrap_or(first);
                match &mut self.runs {
                    Runs::One(one) => one.forget(),
                    Runs::Several(several) => several.forget()?,
                }
                return Ok(status);
            }
            if Instant::now() > by {
                bail!("{} of {all} processes have not ended within {} s", all - ends.len(), WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a signal, such as `TERM`, `STOP`, `CONT`, to every process of it; of `TERM` the cores hear when the others have ended,
    /// which [`Self::ended`] waits for.
    ///
    /// # Errors
    /// It could not be sent.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        let pids = match &mut self.runs {
            Runs::One(one) => vec![one.pid()?],
            Runs::Several(several) => several.meant_by(name)?,
        };
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let sent =
            Command::new("kill").args(["-s", name]).args(&pids).status().context("failed to run kill")?;
        if !sent.success() {
            bail!("kill -s {name} {pids:?}: {sent}");
        }
        Ok(())
    }

    /// Starts it again on what it has stored and at the same addresses, after a kill or a termination.
    ///
    /// # Errors
    /// It still runs, or does not start.
    pub async fn restart(&mut self) -> Result<()> {
        self.run().await
    }

    /// The numbers of the private port, of all processes together.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn metrics(&self) -> Result<Metrics> {
        let ports = match &self.runs {
            Runs::One(_) => vec![self.admin],
            Runs::Several(several) => several.private_ports(),
        };
        let mut texts = Vec::new();
        for port in ports {
            texts.push(reqwest::get(format!("http://{port}/metrics")).await?.text().await?);
        }
        Ok(Metrics::sum(&texts))
    }

    /// The memory that it has in RAM, all processes together, in KiB, as Linux counts it.
    ///
    /// # Errors
    /// Linux does not say.
    pub fn memory_kib(&mut self) -> Result<u64> {
        let mut sum = 0;
        for pid in self.pids()? {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            let number = line.split_whitespace().next().context("no number")?;
            sum += number.parse::<u64>()?;
        }
        Ok(sum)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if let Runs::One(one) = &mut self.runs {
            // It may have ended by itself.
            drop(one.kill9());
        }
        // Shown by the test runner when the test has failed, and else not.
        let lines: Vec<String> = match &self.runs {
            Runs::One(one) => one.log(true).lines().map(str::to_owned).collect(),
            Runs::Several(several) => {
                several.log(true).into_iter().map(|(name, line)| format!("{name}: {line}")).collect()
            }
        };
        let left_out = lines.len().saturating_sub(SHOWN);
        println!("── the platform's log ({left_out} lines before these left out)");
        for line in lines.iter().skip(left_out) {
            println!("{line}");
        }
    }
}
