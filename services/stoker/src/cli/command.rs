//! `stoker command`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use stoker_domain::{CommandId, DeviceId};

use super::alarm::word;
use super::api::{Api, not_json};
use super::failure::Failure;
use super::input::{self, Json};
use super::list::{self, Paging, query};
use super::output::Output;
use super::table::{ago, time};

/// The longest that the API waits at once.
const WAIT_S: u32 = 60;

const SEND_EXAMPLES: &str = "\
Examples:
  stoker command send boiler-7 write_setpoint '{\"value\":55}' --wait
  stoker command send boiler-7 reboot --expires-in-s 3600
  stoker command send boiler-7 configure - < parameters.json";

const SHOW_EXAMPLES: &str = "\
Examples:
  stoker command show cmd-0a-12-ff --wait";

const LIST_EXAMPLES: &str = "\
Examples:
  stoker command list boiler-7 --state expired";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Give an order to a device
    #[command(after_help = SEND_EXAMPLES)]
    Send(Send),
    /// Show one command
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its id
        #[arg(value_parser = input::command)]
        id: CommandId,
        /// Wait for it to end; exit with 1 unless it succeeded
        #[arg(long)]
        wait: bool,
    },
    /// List the commands of a device, newest first
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// The device
        #[arg(value_parser = input::device)]
        device: DeviceId,
        /// Only those that stand so
        #[arg(long, value_enum)]
        state: Option<State>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Take a command back
    Cancel {
        /// Its id
        #[arg(value_parser = input::command)]
        id: CommandId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The device
    #[arg(value_parser = input::device)]
    device: DeviceId,
    /// What to do, in the device's words
    #[arg(value_parser = input::label)]
    method: String,
    /// With what, as JSON [default: {}]; - reads it from standard input
    #[arg(value_name = "JSON", value_parser = input::json)]
    params: Option<Json>,
    /// Wait for it to end; exit with 1 unless it succeeded
    #[arg(long)]
    wait: bool,
    /// How long it may take before it expires [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = input::expiry)]
    expires_in_s: Option<u32>,
}

/// How a command stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum State {
    Queued,
    Sent,
    Delivered,
    Succeeded,
    Failed,
    Expired,
    Cancelled,
}

/// The parts of a command that are shown.
#[derive(Debug, Deserialize)]
pub(super) struct View {
    id: String,
    number: u64,
    device: String,
    method: String,
    params: Box<RawValue>,
    state: String,
    outcome: Option<String>,
    reply: Option<Box<RawValue>>,
    detail: Option<String>,
    online: bool,
    created_at: String,
    sent_at: Option<String>,
    delivered_at: Option<String>,
    ended_at: Option<String>,
    expires_at: String,
}

impl View {
    pub(super) fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }

    /// The state, with what is known of an expired one.
    fn standing(&self) -> String {
        match self.outcome.as_deref() {
            None => self.state.clone(),
            Some("never_sent") => format!("{}: never sent", self.state),
            Some("unknown") => format!("{}: sent, outcome unknown", self.state),
            Some("no_reply") => format!("{}: delivered, no reply", self.state),
            Some(other) => format!("{}: {other}", self.state),
        }
    }
}

pub(super) const HEADER: [&str; 5] = ["ID", "METHOD", "STATE", "MADE", "REPLY"];

pub(super) fn row(command: View, now: Timestamp) -> Vec<String> {
    let standing = command.standing();
    let reply = command.reply.map(|reply| reply.get().to_owned()).or(command.detail);
    vec![command.id, command.method, standing, ago(&command.created_at, now), super::table::or_dash(reply)]
}

fn details(command: View) -> Vec<(&'static str, String)> {
    let at = |time_of: Option<&String>| time_of.map(|text| time(text)).unwrap_or_default();
    vec![
        ("Id", command.id.clone()),
        ("Device", format!("{}, command number {}", command.device, command.number)),
        ("Method", command.method.clone()),
        ("Params", command.params.get().to_owned()),
        ("State", command.standing()),
        ("Reply", command.reply.as_ref().map(|reply| reply.get().to_owned()).unwrap_or_default()),
        ("Detail", command.detail.clone().unwrap_or_default()),
        (
            "Made",
            format!(
                "{}, device {}",
                time(&command.created_at),
                if command.online { "online" } else { "offline" }
            ),
        ),
        ("Sent", at(command.sent_at.as_ref())),
        ("Delivered", at(command.delivered_at.as_ref())),
        ("Ended", at(command.ended_at.as_ref())),
        ("Expires", if command.has_ended() { String::new() } else { time(&command.expires_at) }),
    ]
}

fn parse(json: &str) -> Result<View, Failure> {
    serde_json::from_str(json).map_err(|_| not_json())
}

/// Waits until it has ended. Its expiry, which the platform keeps, bounds how long that takes.
async fn wait(api: &Api, id: &str) -> Result<String, Failure> {
    loop {
        let mut url = api.url(&["commands", id]);
        query(&mut url, &[("wait_s", Some(WAIT_S.to_string()))]);
        let answer = api.wait(url, Duration::from_secs(WAIT_S.into())).await?;
        if parse(&answer)?.has_ended() {
            return Ok(answer);
        }
    }
}

/// Shows how it ended; only success is success.
async fn ended(api: &Api, output: &Output, id: &str) -> Result<(), Failure> {
    let answer = wait(api, id).await.map_err(|failure| {
        failure.and_hint(format!("the command is {id}: `stoker command show {id} --wait` goes on waiting"))
    })?;
    output.one(&answer, details)?;
    let command = parse(&answer)?;
    match command.state.as_str() {
        "succeeded" => Ok(()),
        _ => Err(Failure::failed(format!("the command did not succeed: {}", command.standing()))),
    }
}

impl Send {
    /// The body of the request. The parameters stay letter by letter, so it is put together as text.
    pub(super) fn body(&self, params: Option<String>) -> String {
        let mut body = format!("{{\"method\":{}", serde_json::Value::from(self.method.as_str()));
        if let Some(params) = params {
            body.push_str(",\"params\":");
            body.push_str(&params);
        }
        if let Some(seconds) = self.expires_in_s {
            body.push_str(&format!(",\"expires_in_s\":{seconds}"));
        }
        body.push('}');
        body
    }
}

impl Command {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Send(mut send) => {
                let params = send.params.take().map(Json::read).transpose()?;
                let url = api.url(&["devices", send.device.as_str(), "commands"]);
                let made = api.post_text(url, send.body(params)).await?;
                if send.wait {
                    return ended(api, output, &parse(&made)?.id).await;
                }
                output.one(&made, details)
            }
            Self::Show { id, wait: true } => ended(api, output, &id.to_string()).await,
            Self::Show { id, wait: false } => {
                output.one(&api.get(api.url(&["commands", &id.to_string()])).await?, details)
            }
            Self::List { device, state, paging } => {
                let mut url = api.url(&["devices", device.as_str(), "commands"]);
                query(&mut url, &[("state", word(state))]);
                let now = Timestamp::now();
                list::show(api, output, &url, paging, ("commands", &HEADER), |view| row(view, now)).await
            }
            Self::Cancel { id } => {
                let url = api.url(&["commands", &id.to_string(), "cancel"]);
                output.one(&api.post(url, &serde_json::json!({})).await?, details)
            }
        }
    }
}
