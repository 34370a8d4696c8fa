//! `peer`: Stoker and mosquitto, measured in turns by the same load.

mod board;
mod commands;
mod console;
mod feed;
mod idle;
mod reads;
mod target;
mod uplink;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use self::board::{Board, put_between};
use self::target::{Setup, Who};
use super::commands::Commands;
use super::faults::Faults;
use crate::platform::Common;
use crate::process::Machine;
use crate::report::{Report, command_line};
use crate::{disk, mosquitto};

/// A paced load's figures: enough of them for a p99, in a few seconds.
const ORDERS: Commands = Commands { count: 500, rate: 50.0, devices: 50 };
const FAULTS: Faults = Faults { count: 300, rate: 20.0, devices: 50, webhook: false };
/// Events a second that all listeners are told.
const EVENTS: u32 = 10;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Memory of a connection on which nothing happens, CPU of a connect
    Idle,
    /// QoS 1 taken in, pipelined and one at a time
    Uplink,
    /// An order, and the device's reply
    Commands,
    /// One device, heard by many
    Feed,
    /// A fault, and the mail about it; Stoker alone
    Faults,
    /// Reading the API beside a load; Stoker alone
    Reads,
    /// The console's pages of a large fleet; Stoker alone
    Console,
}

impl Measure {
    /// Who can be measured by it, in turns.
    fn whose(self) -> &'static [Who] {
        match self {
            Self::Idle | Self::Uplink | Self::Commands | Self::Feed => &[Who::Stoker, Who::Mosquitto],
            Self::Faults | Self::Reads | Self::Console => &[Who::Stoker],
        }
    }

    /// A fleet takes long to make, and its pages are asked for often enough in one round.
    fn rounds(self, wished: u32) -> u32 {
        if self == Self::Console { 1 } else { wished }
    }
}

/// Stoker and mosquitto in turns, by the same load
#[derive(Debug, Args)]
pub(crate) struct Peer {
    /// How often each is measured; medians are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Measure only these, between commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    only: Vec<Measure>,
    /// Seconds of each measure that loads at a pace, or as fast as it goes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Idle connections; each is an open file, here and in the server
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Listeners of the feed
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    sockets: u32,
    /// Devices of the fleet that the console shows
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(50..=1_000_000))]
    fleet: u32,
    /// Requests of each of the console's pages
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: u32,
    /// Write the tables into this page, between its marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// The mosquitto to be measured
    #[arg(long, value_name = "FILE", default_value = "mosquitto")]
    mosquitto: PathBuf,
}

impl Peer {
    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        let mut report = Report::new("Stoker and mosquitto, MQTT 3.1.1 over TCP, in turns by the same load");
        let machine = Machine::here();
        let versions = [("Stoker", version_of(common)?), ("mosquitto", mosquitto::version(&self.mosquitto)?)];
        // A page that cannot be written is better known before minutes have passed.
        let page = self.write.as_ref().map(|path| {
            let text =
                fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
            put_between(&text, "")?;
            anyhow::Ok((path, text))
        });
        let page = page.transpose()?;
        let mut board = Board::default();
        let setup = Setup { common, mosquitto: &self.mosquitto };
        for measure in Measure::value_variants() {
            if self.only.is_empty() || self.only.contains(measure) {
                Box::pin(self.measure(*measure, &setup, &mut board, &mut report)).await?;
            }
        }
        for (name, version) in &versions {
            report.word(format!("version of {name}"), version);
        }
        report.count("rounds", self.rounds.into());
        fs::create_dir_all(&common.dir)?;
        let disk = disk::sync_times(&common.dir)?;
        report.times("disk: 4 KiB write + fdatasync", &disk);
        board.report(&mut report);
        if let Some((path, text)) = page {
            let synced = disk.quantile(0.5).as_secs_f64() * 1e3;
            let figures =
                format!("{}{}", heading(&machine, &versions, self.rounds, synced), board.markdown());
            fs::write(path, put_between(&text, &figures)?)
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
        Ok(report)
    }

    /// All rounds of one measure.
    async fn measure(
        &self,
        measure: Measure,
        setup: &Setup<'_>,
        board: &mut Board,
        report: &mut Report,
    ) -> Result<()> {
        for round in 1..=measure.rounds(self.rounds) {
            for who in measure.whose() {
                eprintln!("{measure:?} of {}, round {round}", who.name());
                Box::pin(self.once(measure, *who, setup, board, report)).await?;
            }
        }
        Ok(())
    }

    async fn once(
        &self,
        measure: Measure,
        who: Who,
        setup: &Setup<'_>,
        board: &mut Board,
        report: &mut Report,
    ) -> Result<()> {
        let seconds = Duration::from_secs(self.seconds.into());
        match measure {
            Measure::Idle => Box::pin(idle::measure(setup, who, self.connections, board, report)).await,
            Measure::Uplink => Box::pin(uplink::measure(setup, who, seconds, board, report)).await,
            Measure::Commands => {
                let count = ORDERS.count.min(ORDERS.rate as u32 * self.seconds * 2);
                let plan = Commands { count, ..ORDERS };
                Box::pin(commands::measure(setup, who, plan, board, report)).await
            }
            Measure::Feed => {
                let plan = feed::Plan { sockets: self.sockets, events: EVENTS, seconds: self.seconds * 2 };
                Box::pin(feed::measure(setup, who, plan, board, report)).await
            }
            Measure::Faults => {
                let count = FAULTS.count.min(FAULTS.rate as u32 * self.seconds * 3);
                let plan = Faults { count, ..FAULTS };
                Box::pin(reads::faults(setup, &plan, board, report)).await
            }
            Measure::Reads => Box::pin(reads::measure(setup, seconds, board, report)).await,
            Measure::Console => {
                let size = (self.fleet, self.requests);
                Box::pin(console::measure(setup, size, board, report)).await
            }
        }
    }
}

/// What `stoker --version` says.
fn version_of(common: &Common) -> Result<String> {
    let shown = common.stoker.display();
    let output = Command::new(fs::canonicalize(&common.stoker).with_context(|| {
        format!("there is no {shown}: build it by `cargo build --release -p stoker`, or give --stoker")
    })?)
    .arg("--version")
    .output()
    .with_context(|| format!("failed to start {shown}"))?;
    ensure!(output.status.success(), "`{shown} --version` failed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(said.split_whitespace().last().unwrap_or_default().to_owned())
}

/// What stands above the tables.
fn heading(machine: &Machine, versions: &[(&str, String)], rounds: u32, synced_ms: f64) -> String {
    let Machine { cores, cpu, memory_gb, kernel, load } = machine;
    let day = Timestamp::now().strftime("%Y-%m-%d");
    let versions: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    format!(
        "```\n$ {}\n```\n\n{day}; {}; {cores} cores ({cpu}), {memory_gb} GB, Linux {kernel}, load before {load}; a write and \
         `fdatasync` of 4 KiB: {synced_ms:.2} ms. Medians of {rounds} rounds (the console's pages: of one), in brackets the lowest and the highest.\n",
        command_line(),
        versions.join(", ")
    )
}
