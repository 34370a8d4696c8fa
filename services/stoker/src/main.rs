//! `stoker`: the platform in one program.

mod cli;
mod config;
mod data_dir;
mod demo;
mod files;
mod signals;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stoker_telemetry::{LogFormat, init_logs};

/// Connects controllers to the people who look after them.
#[derive(Debug, Parser)]
#[command(name = "stoker", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole platform in one process
    Up(Box<up::Up>),
    /// Run simulated boilers against a platform
    Sim(demo::SimArguments),
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    #[command(flatten)]
    Client(cli::Client),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file without starting anything
    Check {
        /// The file
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    // Wrong use ends here, with 2.
    let arguments = Arguments::parse();
    init_logs(LogFormat::Auto, "info");
    // One provider of cryptography in the process; with two, rustls would not know which.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::warn!("a provider of cryptography was installed already");
    }
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Config { command: ConfigCommand::Check { file } } => {
            config::Configuration::read(Some(&file))?;
            println!("{} is well-formed", file.display());
        }
        Command::Up(up) => runtime()?.block_on(Box::pin(up.run()))?,
        Command::Sim(sim) => runtime()?.block_on(Box::pin(sim.run()))?,
        Command::Client(client) => return Ok(runtime()?.block_on(Box::pin(cli::run(client)))),
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
