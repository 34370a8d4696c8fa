//! `stoker alarm`.

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use stoker_domain::{AlarmId, DeviceId};

use super::api::Api;
use super::failure::Failure;
use super::input;
use super::list::{self, Paging, query};
use super::output::Output;
use super::table::{ago, time};

const LIST_EXAMPLES: &str = "\
Examples:
  stoker alarm list --state active --severity critical
  stoker alarm list --device boiler-7 --all --output json";

const ACK_EXAMPLES: &str = "\
Examples:
  stoker alarm ack alm-0a-12-ff --note 'on my way'";

#[derive(Debug, Subcommand)]
pub(crate) enum Alarm {
    /// List alarms, newest first
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Show one alarm
    Show {
        /// Its id
        #[arg(value_parser = input::alarm)]
        id: AlarmId,
    },
    /// Acknowledge an alarm: somebody sees to it
    #[command(alias = "acknowledge", after_help = ACK_EXAMPLES)]
    Ack {
        /// Its id
        #[arg(value_parser = input::alarm)]
        id: AlarmId,
        /// What others should know
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Clear an alarm by hand; it is raised anew when its cause shows again
    Clear {
        /// Its id
        #[arg(value_parser = input::alarm)]
        id: AlarmId,
    },
}

/// Whether the cause still stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Active,
    Cleared,
}

/// How bad.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Severity {
    Warning,
    Minor,
    Major,
    Critical,
}

/// The word of a choice.
pub(super) fn word(choice: Option<impl ValueEnum>) -> Option<String> {
    choice.and_then(|choice| choice.to_possible_value()).map(|value| value.get_name().to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only active or only cleared ones
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only of this severity
    #[arg(long, value_enum)]
    severity: Option<Severity>,
    /// Only this device's
    #[arg(long, value_parser = input::device)]
    device: Option<DeviceId>,
    #[command(flatten)]
    paging: Paging,
}

/// The parts of an alarm that are shown.
#[derive(Debug, Deserialize)]
pub(super) struct View {
    id: String,
    device: String,
    kind: String,
    code: String,
    severity: String,
    text: String,
    state: String,
    acknowledged: Option<Acknowledged>,
    raised_at: String,
    cleared_at: Option<String>,
    count: u64,
}

#[derive(Debug, Deserialize)]
struct Acknowledged {
    at: String,
    by: String,
    note: Option<String>,
}

impl View {
    fn what(&self) -> String {
        if self.text == self.code { self.text.clone() } else { format!("{} ({})", self.text, self.code) }
    }
}

pub(super) const HEADER: [&str; 7] = ["ID", "DEVICE", "SEVERITY", "STATE", "ACK", "RAISED", "TEXT"];

pub(super) fn row(alarm: View, now: Timestamp) -> Vec<String> {
    let what = alarm.what();
    let acknowledged = if alarm.acknowledged.is_some() { "yes" } else { "-" }.to_owned();
    let raised = ago(&alarm.raised_at, now);
    vec![alarm.id, alarm.device, alarm.severity, alarm.state, acknowledged, raised, what]
}

fn details(alarm: View) -> Vec<(&'static str, String)> {
    let acknowledged = alarm.acknowledged.as_ref().map(|noted| {
        let note = noted.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        format!("by {} at {}{note}", noted.by, time(&noted.at))
    });
    vec![
        ("Id", alarm.id.clone()),
        ("Device", alarm.device.clone()),
        ("Severity", alarm.severity.clone()),
        ("Text", alarm.what()),
        ("Kind", alarm.kind.clone()),
        ("State", alarm.state.clone()),
        ("Raised", time(&alarm.raised_at)),
        ("Cleared", alarm.cleared_at.as_deref().map(time).unwrap_or_default()),
        ("Acknowledged", acknowledged.unwrap_or_default()),
        ("Reported", if alarm.count == 1 { "once".to_owned() } else { format!("{} times", alarm.count) }),
    ]
}

impl Alarm {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        let url = |id: AlarmId, verb: &[&str]| {
            let id = id.to_string();
            api.url(&[&["alarms", id.as_str()], verb].concat())
        };
        match self {
            Self::List(list) => {
                let mut url = api.url(&["alarms"]);
                let device = list.device.map(|device| device.to_string());
                query(
                    &mut url,
                    &[("state", word(list.state)), ("severity", word(list.severity)), ("device", device)],
                );
                let now = Timestamp::now();
                list::show(api, output, &url, list.paging, ("alarms", &HEADER), |view| row(view, now)).await
            }
            Self::Show { id } => output.one(&api.get(url(id, &[])).await?, details),
            Self::Ack { id, note } => {
                let body = note.map_or_else(|| json!({}), |note| json!({ "note": note }));
                output.one(&api.post(url(id, &["acknowledge"]), &body).await?, details)
            }
            Self::Clear { id } => output
                .one(&api.post(url(id, &["clear"]), &Value::Object(serde_json::Map::new())).await?, details),
        }
    }
}
