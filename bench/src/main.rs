//! `stoker-bench`: what Stoker costs, and what it holds when it is killed.
//!
//! Every sub-command starts a `stoker up` of its own (`history` and `soak`: separate processes over a lab; `rollout` is given a
//! platform on Kubernetes) on free ports and a fresh data directory or keyspace, loads it from outside by MQTT and HTTP, prints a table, and ends what it started. It fails when a *count* is wrong, never because of a time:
//! times belong to the machine they were measured on.

mod api;
mod checks;
mod delivery;
mod device;
mod disk;
mod generator;
mod histogram;
mod lab;
mod listeners;
mod mosquitto;
mod platform;
mod process;
mod random;
mod report;
mod run;
mod sink;
mod smtp;
mod template;
mod webhook;
mod witness;

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::platform::Common;
use crate::report::Report;

/// Benchmarks of Stoker, each with a platform of its own
#[derive(Debug, Parser)]
#[command(name = "stoker-bench", version, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Durable readings, QoS 1: how many, how fast, at what cost
    Readings(run::readings::Readings),
    /// Memory of connections on which nothing happens
    Idle(run::idle::Idle),
    /// From a fault to the mail or webhook about it
    Faults(run::faults::Faults),
    /// From a command to the device's answer
    Commands(run::commands::Commands),
    /// A simulated fleet over time: memory, and that nothing is lost
    Fleet(run::fleet::Fleet),
    /// Kill the platform again and again under load, and look whether it kept its promises
    Kill(run::kill::Kill),
    /// Cut listeners of the live feed off under load, and look whether each heard everything once when it came back
    Resumes(run::resumes::Resumes),
    /// Kill, freeze, cut and restart separate processes, Cassandra and RabbitMQ, and look whether they kept their promises
    History(run::history::History),
    /// Separate processes under a fleet for an hour, some of them killed: use cases stay green, and memory flat
    Soak(run::soak::Soak),
    /// Stoker and mosquitto in turns, by the same load: what each costs, and how fast each is
    Peer(run::peer::Peer),
    /// Separate processes, and beside them bare drivers that do the same
    Beside(run::beside::Beside),
    /// Twice the load that the platform can take: what it refuses, and what becomes of the rest
    Overload(run::overload::Overload),
    /// Roll out, scale, evict and renew a platform on Kubernetes under a fleet, and look whether anybody noticed
    Rollout(run::rollout::Rollout),
    /// How long a start takes
    Start(run::start::Start),
}

impl Command {
    async fn run(&self, common: &Common) -> Result<Report> {
        match self {
            Self::Readings(readings) => readings.run(common).await,
            Self::Idle(idle) => idle.run(common).await,
            Self::Faults(faults) => faults.run(common).await,
            Self::Commands(commands) => commands.run(common).await,
            Self::Fleet(fleet) => fleet.run(common).await,
            Self::Kill(kill) => kill.run(common).await,
            Self::Resumes(resumes) => resumes.run(common).await,
            Self::History(history) => history.run(common).await,
            Self::Soak(soak) => soak.run(common).await,
            Self::Peer(peer) => peer.run(common).await,
            Self::Beside(beside) => beside.run(common).await,
            Self::Overload(overload) => overload.run(common).await,
            Self::Rollout(rollout) => rollout.run(common).await,
            Self::Start(start) => start.run(common).await,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(&arguments) {
        Ok(report) => {
            if arguments.common.json {
                println!("{}", report.json());
            } else {
                print!("{report}");
            }
            if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<Report> {
    // One provider of cryptography in the process; with two, rustls would not know which.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return Err(anyhow!("a provider of cryptography was installed already"));
    }
    // Connections are files. Where the limit stays too low, opening them says so.
    rlimit::increase_nofile_limit(u64::MAX).context("failed to raise the limit of open files")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // A signal drops the run, and with it the platform that it started.
        tokio::select! {
            report = arguments.command.run(&arguments.common) => report,
            _ = terminate.recv() => Err(anyhow!("ended by SIGTERM")),
            _ = interrupt.recv() => Err(anyhow!("ended by SIGINT")),
        }
    })
}
