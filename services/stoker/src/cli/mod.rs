//! The command line: what people and scripts do with a running platform, over its HTTP API.
//!
//! Answers go to standard output, as tables or as the API's own JSON; everything else goes to standard error.

mod alarm;
mod api;
mod command;
mod device;
mod event;
mod failure;
mod input;
mod list;
mod notification;
mod output;
mod status;
mod subscription;
mod table;
mod telemetry;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use api::Api;
use failure::Failure;
use output::Output;

/// What can be asked of a running platform.
#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// Devices: make, list, show, remove
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Device(With<device::Device>),
    /// Commands: send an order to a device and see what became of it
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Command(With<command::Command>),
    /// Alarms: what needs somebody
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Alarm(With<alarm::Alarm>),
    /// Subscriptions: who wants to know what
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Subscription(With<subscription::Subscription>),
    /// Events: what happened
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Event(With<event::Event>),
    /// Telemetry: what devices report
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Telemetry(With<telemetry::Telemetry>),
    /// Notifications: who was told, attempt by attempt
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Notification(With<notification::Notification>),
    /// How the platform stands
    Status(Globals),
}

/// A group of commands, and what holds for all of them.
#[derive(Debug, Args)]
pub(crate) struct With<C: Subcommand> {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: C,
}

/// Which platform, as whom, and how to show it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Globals {
    /// Where the platform's portal is
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "STOKER_SERVER",
        default_value = "http://127.0.0.1:8080"
    )]
    server: String,
    /// The administrator's token; better in STOKER_TOKEN, since arguments are seen by everybody on the machine. Without
    /// either, it is read from admin.token in the data directory
    #[arg(long, global = true, value_name = "TOKEN", env = "STOKER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The data directory in which admin.token is [default: $XDG_DATA_HOME/stoker or ~/.local/share/stoker]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Tables for people, or the API's JSON for scripts
    #[arg(long, short, global = true, value_name = "FORM", value_enum, default_value_t = Form::Table)]
    output: Form,
}

/// How answers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people
    Table,
    /// The API's own JSON, one document
    Json,
}

/// Does it. The exit code is 0 when it was done, 1 when it failed and 2 when it was asked for wrongly.
pub(crate) async fn run(client: Client) -> ExitCode {
    match perform(client).await {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

async fn perform(client: Client) -> Result<ExitCode, Failure> {
    match client {
        Client::Device(with) => {
            with.command.run(&Api::new(&with.globals)?, &Output::of(&with.globals)).await?
        }
        Client::Command(with) => {
            return with.command.run(&Api::new(&with.globals)?, &Output::of(&with.globals)).await;
        }
        Client::Alarm(with) => {
            with.command.run(&Api::new(&with.globals)?, &Output::of(&with.globals)).await?
        }
        Client::Subscription(with) => {
            with.command.run(&Api::new(&with.globals)?, &Output::of(&with.globals)).await?;
        }
        Client::Event(with) => {
            with.command.run(&Api::new(&with.globals)?, &Output::of(&with.globals)).await?
        }
        Client::Telemetry(with) => {
            with.command.run(&Api::new(&with.globals)?, &Output::of(&with.globals)).await?;
        }
        Client::Notification(with) => {
            with.command.run(&Api::new(&with.globals)?, &Output::of(&with.globals)).await?;
        }
        Client::Status(globals) => status::run(&Api::new(&globals)?, &Output::of(&globals)).await?,
    }
    Ok(ExitCode::SUCCESS)
}
