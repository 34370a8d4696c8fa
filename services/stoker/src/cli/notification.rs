//! `stoker notification`.

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Deserialize;
use stoker_domain::AlarmId;

use super::alarm::word;
use super::api::Api;
use super::failure::Failure;
use super::input;
use super::list::{self, Paging, query};
use super::output::Output;
use super::table::ago;

#[derive(Debug, Subcommand)]
pub(crate) enum Notification {
    /// List notifications, newest first
    List {
        /// Only about this alarm
        #[arg(long, value_parser = input::alarm)]
        alarm: Option<AlarmId>,
        /// Only those that stand so
        #[arg(long, value_enum)]
        state: Option<State>,
        #[command(flatten)]
        paging: Paging,
    },
}

/// How a notification stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum State {
    Pending,
    Sent,
    Delivered,
    Failed,
}

/// The parts of a notification that are shown.
#[derive(Debug, Deserialize)]
pub(super) struct View {
    alarm: String,
    step: String,
    to: String,
    state: String,
    attempts: Vec<Attempt>,
    created_at: String,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    result: String,
    detail: String,
}

pub(super) const HEADER: [&str; 6] = ["ALARM", "STEP", "TO", "STATE", "MADE", "LAST ATTEMPT"];

pub(super) fn row(notification: View, now: Timestamp) -> Vec<String> {
    let last = notification.attempts.last().map(|attempt| match attempt.detail.is_empty() {
        true => attempt.result.clone(),
        false => format!("{}: {}", attempt.result, attempt.detail),
    });
    vec![
        notification.alarm,
        notification.step,
        notification.to,
        notification.state,
        ago(&notification.created_at, now),
        super::table::or_dash(last),
    ]
}

impl Notification {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        let Self::List { alarm, state, paging } = self;
        let mut url = api.url(&["notifications"]);
        query(&mut url, &[("alarm", alarm.map(|alarm| alarm.to_string())), ("state", word(state))]);
        let listed = list::fetch(api, &url, paging).await?;
        let now = Timestamp::now();
        list::show(output, &listed, &HEADER, |notification| row(notification, now))
    }
}
