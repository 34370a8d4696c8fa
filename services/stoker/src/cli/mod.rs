//! The command line: what people and scripts do with a running platform, over its HTTP API.
//!
//! Answers go to standard output, as tables or as the API's own JSON; everything else goes to standard error.

mod alarm;
mod api;
mod attribute;
mod change;
mod command;
pub(crate) mod dead_letters;
mod device;
mod event;
mod failure;
mod import;
mod input;
mod list;
mod notification;
mod output;
mod remove;
mod status;
mod subscription;
mod table;
mod telemetry;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

pub(crate) use api::Api;
pub(crate) use failure::Failure;
use output::Output;

/// Where a platform is on the machine that it was started on.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// What can be asked of a running platform.
#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// Devices: make, list, show, change, remove
    #[command(alias = "devices", subcommand_required = true, arg_required_else_help = true)]
    Device(With<device::Device>),
    /// Attributes: what is known about a device, and what it is to know
    #[command(alias = "attributes", subcommand_required = true, arg_required_else_help = true)]
    Attribute(With<attribute::Attribute>),
    /// Telemetry: what devices report
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Telemetry(With<telemetry::Telemetry>),
    /// Commands: send an order to a device and see what became of it
    #[command(alias = "commands", subcommand_required = true, arg_required_else_help = true)]
    Command(With<command::Command>),
    /// Events: what happened
    #[command(alias = "events", subcommand_required = true, arg_required_else_help = true)]
    Event(With<event::Event>),
    /// Alarms: what needs somebody
    #[command(alias = "alarms", subcommand_required = true, arg_required_else_help = true)]
    Alarm(With<alarm::Alarm>),
    /// Subscriptions: who wants to know what
    #[command(alias = "subscriptions", subcommand_required = true, arg_required_else_help = true)]
    Subscription(With<subscription::Subscription>),
    /// Notifications: who was told, attempt by attempt
    #[command(alias = "notifications", subcommand_required = true, arg_required_else_help = true)]
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
#[command(next_help_heading = "Which platform, and how to show it")]
pub(crate) struct Globals {
    #[command(flatten)]
    platform: Platform,
    /// Tables for people, or the API's own JSON for scripts
    #[arg(long, short, global = true, value_name = "FORM", value_enum, default_value_t = Form::Table)]
    output: Form,
}

/// Which platform, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct Platform {
    /// Where the platform's portal is
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "STOKER_SERVER",
        hide_env_values = true,
        default_value = DEFAULT_SERVER
    )]
    server: String,
    /// The administrator's token; better in STOKER_TOKEN, since arguments are seen by everybody on the machine. Without
    /// either, it is read from admin.token in the data directory
    #[arg(long, global = true, value_name = "TOKEN", env = "STOKER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The data directory in which admin.token is [default: $XDG_DATA_HOME/stoker or ~/.local/share/stoker]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Platform {
    /// One that is known, as somebody who is known.
    pub(crate) fn at(server: String, token: String) -> Self {
        Self { server, token: Some(token), data_dir: None }
    }
}

/// How answers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Table,
    Json,
}

/// Does it. The exit code is 0 when it was done, 1 when it failed and 2 when it was asked for wrongly.
pub(crate) async fn run(client: Client) -> ExitCode {
    match perform(client).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

impl<C: Subcommand> With<C> {
    fn prepare(&self) -> Result<(Api, Output), Failure> {
        Ok((Api::new(&self.globals.platform)?, Output::of(&self.globals)))
    }
}

async fn perform(client: Client) -> Result<(), Failure> {
    let devices = "`stoker device list` shows the devices that there are";
    match client {
        Client::Device(with) => {
            let (api, output) = with.prepare()?;
            with.command.run(&api, &output).await.map_err(|failure| failure.hint_when("not_found", devices))
        }
        Client::Attribute(with) => {
            let (api, output) = with.prepare()?;
            with.command.run(&api, &output).await.map_err(|failure| failure.hint_when("not_found", devices))
        }
        Client::Telemetry(with) => {
            let (api, output) = with.prepare()?;
            with.command.run(&api, &output).await.map_err(|failure| failure.hint_when("not_found", devices))
        }
        Client::Command(with) => {
            let (api, output) = with.prepare()?;
            let hint =
                "`stoker device list` shows the devices, `stoker command list DEVICE` the commands of one";
            with.command.run(&api, &output).await.map_err(|failure| failure.hint_when("not_found", hint))
        }
        Client::Event(with) => {
            let (api, output) = with.prepare()?;
            with.command.run(&api, &output).await
        }
        Client::Alarm(with) => {
            let (api, output) = with.prepare()?;
            let hint = "`stoker alarm list` shows the alarms that there are";
            with.command.run(&api, &output).await.map_err(|failure| failure.hint_when("not_found", hint))
        }
        Client::Subscription(with) => {
            let (api, output) = with.prepare()?;
            let hint = "`stoker subscription list` shows the subscriptions that there are";
            with.command.run(&api, &output).await.map_err(|failure| failure.hint_when("not_found", hint))
        }
        Client::Notification(with) => {
            let (api, output) = with.prepare()?;
            with.command.run(&api, &output).await
        }
        Client::Status(globals) => status::run(&Api::new(&globals.platform)?, &Output::of(&globals)).await,
    }
}
