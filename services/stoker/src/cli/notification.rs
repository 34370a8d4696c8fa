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
use super::table::{ago, until};

const EXAMPLES: &str = "\
Examples:
  stoker notification list --state failed
  stoker notification list --alarm alm-0a-12-ff --output json";

#[derive(Debug, Subcommand)]
pub(crate) enum Notification {
    /// List notifications, newest first
    #[command(after_help = EXAMPLES)]
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
    alarm: Option<String>,
    step: String,
    to: String,
    state: String,
    attempts: Vec<Attempt>,
    created_at: String,
    next_attempt_at: Option<String>,
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
    let state = match (&notification.next_attempt_at, notification.attempts.is_empty()) {
        (Some(next), false) => format!("{}, again in {}", notification.state, until(next, now)),
        _ => notification.state,
    };
    vec![
        super::table::or_dash(notification.alarm),
        notification.step,
        notification.to,
        state,
        ago(&notification.created_at, now),
        super::table::or_dash(last),
    ]
}

impl Notification {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        let Self::List { alarm, state, paging } = self;
        let mut url = api.url(&["notifications"]);
        query(&mut url, &[("alarm", alarm.map(|alarm| alarm.to_string())), ("state", word(state))]);
        let now = Timestamp::now();
        list::show(api, output, &url, paging, ("notifications", &HEADER), |view| row(view, now)).await
    }
}
