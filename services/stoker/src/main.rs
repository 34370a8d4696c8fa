//! `stoker`: the platform in one program.

mod cli;
mod config;
mod crash;
mod crash_mail;
mod data;
mod data_dir;
mod demo;
mod files;
mod https;
mod listen;
mod metrics;
mod outward;
mod parts;
mod process;
mod serve;
mod signals;
mod title;
mod up;
mod waiting;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use stoker_telemetry::{LogFormat, init_logs};

/// What blocks a thread may take so long to end when all else has.
const GOODBYE: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  stoker up --demo                                  the whole platform with twenty simulated boilers
  stoker device add boiler-7                        make a device and its token
  stoker telemetry latest boiler-7                  what it reported last
  stoker command send boiler-7 reboot --wait        give it an order and wait for its answer
  stoker alarm list --state active                  what needs somebody

Exit codes: 0 done, 1 failed, 2 wrong use. STOKER_SERVER and STOKER_TOKEN say which platform is asked, and as whom.";

const UP_EXAMPLES: &str = "\
Examples:
  stoker up --demo
  stoker up --data-dir /var/lib/stoker --config /etc/stoker.yaml
  stoker up --mqtt 0.0.0.0:1883 --http 127.0.0.1:9000";

const SERVE_EXAMPLES: &str = "\
Examples:
  stoker core --config stoker.yaml
  STOKER__BUS__URL=amqp://rabbitmq:5672 stoker gateway --config stoker.yaml

One file serves all of them: each reads what it needs. docs/services.md says what goes in it.";

const CONFIG_EXAMPLES: &str = "\
Examples:
  stoker config check stoker.yaml && stoker up --config stoker.yaml";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  stoker completion bash > ~/.local/share/bash-completion/completions/stoker
  stoker completion zsh > ~/.zfunc/_stoker
  stoker completion fish > ~/.config/fish/completions/stoker.fish";

/// Connects controllers to the people who look after them.
#[derive(Debug, Parser)]
#[command(name = "stoker", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole platform in one process
    #[command(after_help = UP_EXAMPLES)]
    Up(Box<up::Up>),
    /// Run the part that owns the devices' state, over Cassandra and RabbitMQ
    #[command(after_help = SERVE_EXAMPLES)]
    Core(serve::Serve),
    /// Run the part that devices connect to
    #[command(after_help = SERVE_EXAMPLES)]
    Gateway(serve::Serve),
    /// Run the part that delivers notifications
    #[command(after_help = SERVE_EXAMPLES)]
    Notifier(serve::Serve),
    /// Run the HTTP API and the console
    #[command(after_help = SERVE_EXAMPLES)]
    Portal(serve::Serve),
    /// Run simulated boilers against a platform
    Sim(demo::SimArguments),
    /// Carry everything from one store to another: from a try-out into services over Cassandra
    #[command(after_help = data::EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
    Data {
        #[command(subcommand)]
        command: data::Data,
    },
    /// Look after the bus over RabbitMQ
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Bus {
        #[command(subcommand)]
        command: BusCommand,
    },
    /// Look at the configuration
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print what makes a shell complete commands and options
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion {
        /// Which shell
        shell: Shell,
    },
    #[command(flatten)]
    Client(cli::Client),
}

#[derive(Debug, Subcommand)]
enum BusCommand {
    /// Messages that nobody could do anything with: look at them, send them back, drop them
    #[command(alias = "dead-letter", subcommand_required = true, arg_required_else_help = true)]
    DeadLetters {
        #[command(subcommand)]
        command: cli::dead_letters::DeadLetters,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file, with the environment over it, without starting anything
    #[command(after_help = CONFIG_EXAMPLES)]
    Check {
        /// The file
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    // Wrong use ends here, with 2.
    let arguments = Arguments::parse();
    // Services begin to log once they know their configuration.
    if !matches!(
        arguments.command,
        Command::Up(_) | Command::Core(_) | Command::Gateway(_) | Command::Notifier(_) | Command::Portal(_)
    ) {
        init_logs(LogFormat::Auto, process::LOGGED);
    }
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
            demo::said(&format!("{} is well-formed\n", file.display()))?;
        }
        Command::Completion { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "stoker", &mut text);
            demo::said(&String::from_utf8_lossy(&text))?;
        }
        Command::Up(up) => {
            let runtime = runtime()?;
            let done = runtime.block_on(Box::pin(up.run()));
            // A store that was being opened when a signal came is left as by a kill, which it survives.
            runtime.shutdown_timeout(GOODBYE);
            done?;
        }
        Command::Core(serve) => runtime()?.block_on(serve.run(stoker_link::Role::Core))?,
        Command::Gateway(serve) => runtime()?.block_on(serve.run(stoker_link::Role::Gateway))?,
        Command::Notifier(serve) => runtime()?.block_on(serve.run(stoker_link::Role::Notifier))?,
        Command::Portal(serve) => runtime()?.block_on(serve.run(stoker_link::Role::Portal))?,
        Command::Sim(sim) => runtime()?.block_on(Box::pin(sim.run()))?,
        Command::Data { command } => runtime()?.block_on(Box::pin(command.run()))?,
        Command::Bus { command: BusCommand::DeadLetters { command } } => {
            return Ok(runtime()?.block_on(Box::pin(cli::dead_letters::run(command))));
        }
        Command::Client(client) => return Ok(runtime()?.block_on(Box::pin(cli::run(client)))),
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
