//! All services in one process: `stoker up`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use anyhow::{Context, Result, bail};

use super::{Addresses, NOWHERE, Options, binary, stoker};

/// The process, which runs, or stands still between a kill and a restart.
#[derive(Debug)]
pub(super) struct One {
    process: Option<Child>,
    /// The logs of all starts, in one file.
    log: PathBuf,
    /// Where the log of this start begins.
    from: usize,
}

impl One {
    pub(super) fn new(directory: &Path) -> Self {
        Self { process: None, log: directory.join("log"), from: 0 }
    }

    /// Starts it there; port 0 is any that is free.
    pub(super) fn start(&mut self, directory: &Path, options: &Options, at: &Addresses) -> Result<()> {
        if self.process.is_some() {
            bail!("the platform still runs");
        }
        self.from = fs::read(&self.log).map_or(0, |log| log.len());
        let file =
            || File::options().append(true).create(true).open(&self.log).context("failed to open the log");
        let mut command = stoker(&binary()?);
        command.arg("up").arg("--data-dir").arg(directory.join("data"));
        command.arg("--config").arg(directory.join("stoker.yaml"));
        let doors = [
            ("--mqtt", Some(at.mqtt)),
            ("--ws", Some(at.ws)),
            ("--http", Some(at.http)),
            ("--admin", Some(at.admin)),
        ];
        let secure = [
            ("--mqtts", options.mqtts.then_some(at.mqtts.unwrap_or(NOWHERE))),
            ("--wss", options.wss.then_some(at.wss.unwrap_or(NOWHERE))),
        ];
        for (flag, address) in doors.into_iter().chain(secure) {
            if let Some(address) = address {
                command.args([flag, &address.to_string()]);
            }
        }
        if !options.log.is_empty() {
            command.env("RUST_LOG", &options.log);
        }
        command.args(&options.flags).stdout(file()?).stderr(file()?);
        self.process = Some(command.spawn().context("failed to start stoker")?);
        Ok(())
    }

    /// Where it listens, by what it says when it is ready.
    pub(super) fn addresses(ready: &str, options: &Options) -> Result<Addresses> {
        let after = |word: &str| -> Result<SocketAddr> {
            let (_, rest) = ready.split_once(word).with_context(|| format!("no {word:?} in {ready:?}"))?;
            let end = rest.find([',', ' ', '"', '/']).unwrap_or(rest.len());
            rest.get(..end).unwrap_or_default().parse().with_context(|| format!("no address in {ready:?}"))
        };
        Ok(Addresses {
            mqtt: after("mqtt://")?,
            mqtts: options.mqtts.then(|| after("mqtts://")).transpose()?,
            ws: after(" ws://")?,
            wss: options.wss.then(|| after("wss://")).transpose()?,
            http: after("console http://").or_else(|_| after("console https://"))?,
            admin: after("private port ")?,
        })
    }

    fn process(&mut self) -> Result<&mut Child> {
        self.process.as_mut().context("the platform is not running")
    }

    pub(super) fn pid(&mut self) -> Result<u32> {
        Ok(self.process()?.id())
    }

    pub(super) fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process()?.try_wait().context("failed to look after stoker")
    }

    /// What it has logged, in this start or in all.
    pub(super) fn log(&self, all: bool) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let from = if all { 0 } else { self.from };
        String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned()
    }

    pub(super) fn kill9(&mut self) -> Result<()> {
        self.process()?.kill().context("failed to kill stoker")?;
        self.process()?.wait().context("failed to wait for stoker")?;
        self.process = None;
        Ok(())
    }

    /// Its end has been waited for.
    pub(super) fn forget(&mut self) {
        self.process = None;
    }
}
