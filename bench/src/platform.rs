//! A platform of the run's own: started, killed, started again.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::random::{Random, fresh_seed};
use crate::report::Report;
use crate::{disk, process};

/// How long a start may take before it counts as failed.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long an orderly end may take.
const END_WITHIN: Duration = Duration::from_secs(30);
/// Ports are looked for below those that the system gives to outgoing connections (from 32768 on): while the platform
/// is down, a device that dials its port could otherwise be given that very port and reach itself.
const PORTS: (u64, u64) = (20_000, 32_000);

/// What all sub-commands take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The program to be measured
    #[arg(long, value_name = "FILE", global = true, default_value = "target/release/stoker")]
    pub(crate) stoker: PathBuf,
    /// Where data directories are made; it must lie on a disk
    #[arg(long, value_name = "DIR", global = true, default_value = "target/bench")]
    pub(crate) dir: PathBuf,
    /// Keep the data directory and the log, wherever they are
    #[arg(long, global = true)]
    pub(crate) keep: bool,
    /// Print one JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// `stoker up`, in a directory of its own.
pub(crate) struct Platform {
    program: PathBuf,
    /// Holds the data directory and the log.
    directory: TempDir,
    /// Whether to leave everything where it is although all went well.
    keep: bool,
    cleaned: bool,
    environment: Vec<(&'static str, String)>,
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: SocketAddr,
    admin: SocketAddr,
    running: Option<Running>,
}

struct Running {
    child: Child,
    begun: Instant,
    /// When it said that it was ready; closed when it ended.
    ready: mpsc::Receiver<Instant>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.running = None;
        if !self.cleaned {
            eprintln!("data directory and log are in {}", self.place().display());
        }
    }
}

/// Addresses of the loopback on which nobody listens.
pub(crate) fn free_ports<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut random = Random::new(fresh_seed());
    let mut held = Vec::with_capacity(N);
    // A run needs few of many ports: that all of these are taken means that something else is wrong.
    for _ in 0..1_000 {
        let port = PORTS.0 + random.below(PORTS.1 - PORTS.0);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port)?));
        if let Ok(listener) = TcpListener::bind(address) {
            held.push((address, listener));
        }
        if held.len() == N {
            break;
        }
    }
    let addresses: Vec<SocketAddr> = held.into_iter().map(|(address, _)| address).collect();
    <[SocketAddr; N]>::try_from(addresses)
        .map_err(|_| anyhow::anyhow!("no free ports between {} and {}", PORTS.0, PORTS.1))
}

impl Platform {
    /// A platform that is not started yet. `environment` is given to it beside its flags.
    ///
    /// # Errors
    /// The program is not there, or there is no place for its data on a disk.
    pub(crate) fn new(common: &Common, environment: Vec<(&'static str, String)>) -> Result<Self> {
        let shown = common.stoker.display();
        let program = fs::canonicalize(&common.stoker).with_context(|| {
            format!("there is no {shown}: build it by `cargo build --release -p stoker`, or give --stoker")
        })?;
        fs::create_dir_all(&common.dir)
            .with_context(|| format!("failed to make the directory {}", common.dir.display()))?;
        disk::check_on_disk(&common.dir)?;
        let mut directory = tempfile::Builder::new().prefix("run-").tempdir_in(&common.dir)?;
        // Until the run has gone well, somebody may want to look.
        directory.disable_cleanup(true);
        let [mqtt, http, admin] = free_ports()?;
        Ok(Self {
            program,
            directory,
            keep: common.keep,
            cleaned: false,
            environment,
            mqtt,
            http,
            admin,
            running: None,
        })
    }

    /// The directory that holds data directory and log.
    pub(crate) fn place(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.place().join("data")
    }

    fn log(&self) -> PathBuf {
        self.place().join("stoker.log")
    }

    /// Starts it without waiting for anything.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        self.running = None;
        let mut command = Command::new(&self.program);
        command.arg("up").arg("--data-dir").arg(self.data());
        for (flag, address) in [("--mqtt", self.mqtt), ("--http", self.http), ("--admin", self.admin)] {
            command.arg(flag).arg(address.to_string());
        }
        // None is measured, and two platforms may run at once.
        command.args(["--ws", "off"]);
        // Whoever has a platform of their own configured must not have it measured by accident.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STOKER_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let begun = Instant::now();
        let mut child =
            command.spawn().with_context(|| format!("failed to start {}", self.program.display()))?;
        let stderr = child.stderr.take();
        let (told, ready) = mpsc::channel(1);
        self.running = Some(Running { child, begun, ready });
        let stderr = stderr.context("the platform has no standard error")?;
        std::thread::Builder::new().name("log".to_owned()).spawn(move || keep_log(stderr, log, &told))?;
        Ok(())
    }

    /// Starts it and waits until it is ready: how long that took from `exec` on.
    pub(crate) async fn start(&mut self) -> Result<Duration> {
        self.spawn()?;
        self.ready().await
    }

    /// Waits until it is ready: how long that took from `exec` on.
    pub(crate) async fn ready(&mut self) -> Result<Duration> {
        let log = self.log();
        let Some(running) = &mut self.running else { bail!("the platform was not started") };
        match timeout(START_WITHIN, running.ready.recv()).await {
            Ok(Some(at)) => Ok(at.saturating_duration_since(running.begun)),
            Ok(None) => {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(5).collect();
                bail!("the platform ended before it was ready; its last lines, newest first: {last:#?}")
            }
            Err(_) => bail!("the platform was not ready within {} s", START_WITHIN.as_secs()),
        }
    }

    /// When the process that runs now was started.
    pub(crate) fn begun(&self) -> Result<Instant> {
        Ok(self.running.as_ref().context("the platform does not run")?.begun)
    }

    /// The process that runs now.
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.running.as_ref().context("the platform does not run")?.child.id())
    }

    /// `kill -9`: it gets no chance to do anything more.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// SIGTERM, and how long it took to end.
    pub(crate) async fn end(&mut self) -> Result<Duration> {
        let Some(running) = &mut self.running else { bail!("the platform does not run") };
        let pid = rustix::process::Pid::from_child(&running.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .context("failed to signal the platform")?;
        let asked = Instant::now();
        while running.child.try_wait()?.is_none() {
            if asked.elapsed() > END_WITHIN {
                bail!("the platform did not end within {} s of SIGTERM", END_WITHIN.as_secs());
            }
            sleep(Duration::from_millis(2)).await;
        }
        self.running = None;
        Ok(asked.elapsed())
    }

    /// Fails when it has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        let Some(running) = &mut self.running else { bail!("the platform does not run") };
        if let Some(status) = running.child.try_wait()? {
            bail!("the platform ended by itself ({status})");
        }
        Ok(())
    }

    /// Ends it at the end of a run, with what holds for every run: it is still there, and no task of it died.
    pub(crate) fn finish(mut self, report: &mut Report) -> Result<()> {
        self.check_alive()?;
        self.kill();
        report.exactly("panics in the log", 0, self.panics()?);
        if report.holds() && !self.keep {
            self.directory.disable_cleanup(false);
            self.cleaned = true;
        }
        Ok(())
    }

    /// The administrator's token.
    pub(crate) fn token(&self) -> Result<String> {
        let file = self.data().join("admin.token");
        let token =
            fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        Ok(token.trim().to_owned())
    }

    /// Its API.
    pub(crate) fn api(&self) -> Result<Api> {
        Api::new(self.http, &self.token()?)
    }

    /// A counter of the private port, by its whole name.
    pub(crate) async fn counter(&self, name: &str) -> Result<u64> {
        let text = reqwest::get(format!("http://{}/metrics", self.admin)).await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.and_then(|value| value.trim().parse().ok());
        value.with_context(|| format!("the platform has no counter {name}"))
    }

    /// Bytes of its store.
    pub(crate) fn bytes(&self) -> Result<u64> {
        process::bytes_of(&self.data())
    }

    /// Panics in the log of all its starts: each is a task that died.
    fn panics(&self) -> Result<u64> {
        let log = File::open(self.log()).context("failed to open the log")?;
        let mut panics = 0;
        for line in BufReader::new(log).split(b'\n') {
            let line = line?;
            panics += u64::from(line.windows(8).any(|part| part == b"panicked"));
        }
        Ok(panics)
    }
}

/// Keeps every line, and tells when the one came that says that the platform is ready.
fn keep_log(stderr: ChildStderr, mut log: File, told: &mpsc::Sender<Instant>) {
    for line in BufReader::new(stderr).split(b'\n') {
        let Ok(mut line) = line else { return };
        if line.windows(12).any(|part| part == b"ready after ") {
            // Nobody may wait for it, and one line is enough.
            let _ = told.try_send(Instant::now());
        }
        line.push(b'\n');
        // A log that can't be kept must not stop the platform, which would block on its own standard error.
        let _ = log.write_all(&line);
    }
}
