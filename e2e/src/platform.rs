//! The platform: `stoker up` as a process of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

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

/// A platform that runs, or stands still between a kill and a restart. Ends with the test.
#[derive(Debug)]
pub struct Platform {
    directory: TempDir,
    options: Options,
    process: Option<Child>,
    /// The logs of all starts, in one file.
    log: PathBuf,
    /// Where the log of this start begins.
    from: usize,
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
    /// The private port.
    pub admin: SocketAddr,
    /// The HTTP API, as the administrator.
    pub api: Api,
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
            let built = test.ancestors().nth(2).context("this test stands in no target directory")?;
            built.join("stoker")
        }
    };
    if !path.is_file() {
        bail!("{} is not there: build it by `cargo build -p stoker`, or set STOKER_BIN", path.display());
    }
    Ok(path)
}

/// `stoker` with nothing of our environment that would configure it.
pub(crate) fn stoker() -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("STOKER_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    Ok(command)
}

fn spawn(
    data: &Path,
    config: &Path,
    options: &Options,
    addresses: &[String; 6],
    log: &Path,
) -> Result<Child> {
    let [mqtt, mqtts, ws, wss, http, admin] = addresses;
    let file = || File::options().append(true).create(true).open(log).context("failed to open the log");
    let mut command = stoker()?;
    command.arg("up").arg("--data-dir").arg(data).arg("--config").arg(config);
    command.args(["--mqtt", mqtt, "--ws", ws, "--http", http, "--admin", admin]);
    if options.mqtts {
        command.args(["--mqtts", mqtts]);
    }
    if options.wss {
        command.args(["--wss", wss]);
    }
    if !options.log.is_empty() {
        command.env("RUST_LOG", &options.log);
    }
    command.args(&options.flags).stdout(file()?).stderr(file()?);
    command.spawn().context("failed to start stoker")
}

impl Platform {
    /// Starts a platform on a fresh data directory and free ports, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start; what it said is in the error.
    pub async fn start(options: Options) -> Result<Self> {
        let directory = tempfile::tempdir().context("failed to make a directory")?;
        let log = directory.path().join("log");
        fs::write(directory.path().join("stoker.yaml"), format!("{}\n", options.config))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut platform = Self {
            process: None,
            directory,
            options,
            log,
            from: 0,
            mqtt: nowhere,
            mqtts: None,
            ws: nowhere,
            wss: None,
            http: nowhere,
            admin: nowhere,
            api: Api::new("http://127.0.0.1:0", "")?,
        };
        platform.run([nowhere; 6].map(|address| address.to_string())).await?;
        Ok(platform)
    }

    async fn run(&mut self, addresses: [String; 6]) -> Result<()> {
        self.from = fs::read(&self.log).map_or(0, |log| log.len());
        let config = self.directory.path().join("stoker.yaml");
        let data = self.data_dir();
        self.process = Some(spawn(&data, &config, &self.options, &addresses, &self.log)?);
        let ready = self.log_line("ready after ").await?;
        let after = |word: &str| -> Result<SocketAddr> {
            let (_, rest) = ready.split_once(word).with_context(|| format!("no {word:?} in {ready:?}"))?;
            let end = rest.find([',', ' ', '"', '/']).unwrap_or(rest.len());
            rest.get(..end).unwrap_or_default().parse().with_context(|| format!("no address in {ready:?}"))
        };
        self.mqtt = after("mqtt://")?;
        self.mqtts = self.options.mqtts.then(|| after("mqtts://")).transpose()?;
        self.ws = after(" ws://")?;
        self.wss = self.options.wss.then(|| after("wss://")).transpose()?;
        self.http = after("console http://")?;
        self.admin = after("private port ")?;
        let token = fs::read_to_string(self.data_dir().join("admin.token")).context("no admin.token")?;
        self.api = Api::new(&format!("http://{}", self.http), token.trim())?;
        Ok(())
    }

    /// The first line of this start's log with that text, as soon as it is there.
    ///
    /// # Errors
    /// It does not come in time, or the process ends first.
    pub async fn log_line(&mut self, text: &str) -> Result<String> {
        let by = Instant::now() + WITHIN;
        loop {
            let ended = match &mut self.process {
                Some(process) => process.try_wait().context("failed to look after stoker")?,
                None => bail!("the platform is not running"),
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

    /// What this start has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.from..).unwrap_or_default()).into_owned()
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
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

    fn process(&mut self) -> Result<&mut Child> {
        self.process.as_mut().context("the platform is not running")
    }

    /// Its process id.
    ///
    /// # Errors
    /// It is not running.
    pub fn pid(&mut self) -> Result<u32> {
        Ok(self.process()?.id())
    }

    /// Kills it by SIGKILL: nothing of it runs when this returns.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill9(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the platform is not running")?;
        process.kill().context("failed to kill stoker")?;
        process.wait().context("failed to wait for stoker")?;
        Ok(())
    }

    /// Ends it as a service manager does, by SIGTERM, and returns how it ended.
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
            if let Some(status) = self.process()?.try_wait().context("failed to wait for stoker")? {
                self.process = None;
                return Ok(status);
            }
            if Instant::now() > by {
                bail!("stoker has not ended within {} s", WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a signal, such as `TERM`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// It could not be sent.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        let pid = self.pid()?.to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().context("failed to run kill")?;
        if !sent.success() {
            bail!("kill -s {name} {pid}: {sent}");
        }
        Ok(())
    }

    /// Starts it again on the same data directory and the same ports, after a kill or a termination.
    ///
    /// # Errors
    /// It still runs, or does not start.
    pub async fn restart(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the platform still runs");
        }
        let [mqtts, wss] = [self.mqtts, self.wss]
            .map(|address| address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))));
        let addresses = [self.mqtt, mqtts, self.ws, wss, self.http, self.admin];
        self.run(addresses.map(|address| address.to_string())).await
    }

    /// The numbers of the private port.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> Result<Metrics> {
        let text = reqwest::get(format!("http://{}/metrics", self.admin)).await?.text().await?;
        Ok(Metrics::parse(&text))
    }

    /// The memory that it has in RAM, in KiB, as Linux counts it.
    ///
    /// # Errors
    /// Linux does not say.
    pub fn memory_kib(&mut self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let number = line.split_whitespace().next().context("no number")?;
        Ok(number.parse()?)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            drop(process.kill());
            drop(process.wait());
        }
        // Shown by the test runner when the test has failed, and else not.
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let left_out = lines.len().saturating_sub(SHOWN);
        println!("── the platform's log ({left_out} lines before these left out)");
        for line in lines.iter().skip(left_out) {
            println!("{line}");
        }
    }
}
