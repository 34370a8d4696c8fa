//! `stoker device`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stoker_domain::{DeviceId, SiteId};

use super::alarm::word;
use super::api::Api;
use super::change::Change;
use super::failure::Failure;
use super::import::Import;
use super::input;
use super::list::{self, Paging, query};
use super::output::Output;
use super::remove;
use super::table::{ago, or_dash, time};

const ADD_EXAMPLES: &str = "\
Examples:
  stoker device add boiler-7
  stoker device add boiler-7 --model K200 --site north --tag heating --expected-interval-s 60
  stoker device add boiler-7 --own-token-file token.txt";

const LIST_EXAMPLES: &str = "\
Examples:
  stoker device list --state offline --site north
  stoker device list --all --output json | jq -r '.items[].id'";

const REMOVE_EXAMPLES: &str = "\
Examples:
  stoker device remove boiler-7 boiler-8";

#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Make a device, and its token unless it brings a credential
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// List devices, ordered by id
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Show one device
    Show {
        /// Its id
        #[arg(value_parser = input::device)]
        id: DeviceId,
    },
    Change(Change),
    /// Remove devices; what they reported stays until its time is up
    #[command(alias = "delete", after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Their ids
        #[arg(required = true, value_name = "ID", value_parser = input::device)]
        ids: Vec<DeviceId>,
    },
    Import(Import),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its id: 1 to 128 of A-Z a-z 0-9 . _ : -
    #[arg(value_parser = input::device)]
    id: DeviceId,
    /// What it is
    #[arg(long, value_parser = input::label)]
    model: Option<String>,
    /// Where it stands; an id like the device's
    #[arg(long, value_parser = input::site)]
    site: Option<SiteId>,
    /// A label; may be given again
    #[arg(long = "tag", value_name = "TAG", value_parser = input::label)]
    tags: Vec<String>,
    /// It sends something at least this often; silence is raised after 1.5 times that
    #[arg(long, value_name = "SECONDS", value_parser = input::interval)]
    expected_interval_s: Option<u32>,
    /// A file with the access token that the device has already; - is standard input
    #[arg(long, value_name = "FILE")]
    own_token_file: Option<PathBuf>,
    /// A file with the device's password; - is standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// How a device's connection stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Online,
    Offline,
    Never,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those whose connection stands so
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only those of this site
    #[arg(long, value_parser = input::site)]
    site: Option<SiteId>,
    /// Only those that have this tag
    #[arg(long, value_parser = input::label)]
    tag: Option<String>,
    /// Only those with this text in their id or model
    #[arg(long, short = 'q', value_name = "TEXT", value_parser = input::label)]
    search: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

/// The parts of a device that are shown.
#[derive(Debug, Deserialize)]
pub(super) struct View {
    id: String,
    model: Option<String>,
    site: Option<String>,
    tags: Vec<String>,
    expected_interval_s: Option<u32>,
    connection: Connection,
    created_at: String,
    token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Connection {
    state: String,
    since: String,
    gateway: Option<String>,
    address: Option<String>,
    protocol: Option<String>,
    reason: Option<String>,
}

pub(super) const HEADER: [&str; 6] = ["ID", "MODEL", "SITE", "TAGS", "STATE", "SINCE"];

pub(super) fn row(device: View, now: Timestamp) -> Vec<String> {
    let since = match device.connection.state.as_str() {
        "never" => "-".to_owned(),
        _ => ago(&device.connection.since, now),
    };
    vec![
        device.id,
        or_dash(device.model),
        or_dash(device.site),
        or_dash(Some(device.tags.join(", "))),
        device.connection.state,
        since,
    ]
}

fn details(device: View) -> Vec<(&'static str, String)> {
    let connection = device.connection;
    let since = match connection.state.as_str() {
        "never" => String::new(),
        _ => format!(" since {}", time(&connection.since)),
    };
    let reason = connection.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    vec![
        ("Id", device.id),
        ("Model", device.model.unwrap_or_default()),
        ("Site", device.site.unwrap_or_default()),
        ("Tags", device.tags.join(", ")),
        ("Expected", device.expected_interval_s.map(|s| format!("every {s} s")).unwrap_or_default()),
        ("Connection", format!("{}{since}{reason}", connection.state)),
        ("Gateway", connection.gateway.unwrap_or_default()),
        ("Address", connection.address.unwrap_or_default()),
        ("Protocol", connection.protocol.unwrap_or_default()),
        ("Made", time(&device.created_at)),
        ("Token", device.token.map(|token| format!("{token}  (shown this once)")).unwrap_or_default()),
    ]
}

impl Add {
    fn body(self) -> Result<Value, Failure> {
        let mut body = Map::new();
        body.insert("id".to_owned(), json!(self.id.as_str()));
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("model", self.model.map(Value::from));
        put("site", self.site.map(|site| json!(site.as_str())));
        put("tags", (!self.tags.is_empty()).then(|| json!(self.tags)));
        put("expected_interval_s", self.expected_interval_s.map(Value::from));
        put("token", self.own_token_file.as_deref().map(input::secret).transpose()?.map(Value::from));
        put("password", self.password_file.as_deref().map(input::secret).transpose()?.map(Value::from));
        Ok(Value::Object(body))
    }
}

impl Device {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Add(add) => {
                let id = add.id.clone();
                let made = api.post(api.url(&["devices"]), &add.body()?).await.map_err(|failure| {
                    let hint = format!("`stoker device change {id}` changes it");
                    failure.about(id.as_str()).hint_when("already_exists", hint)
                })?;
                output.one(&made, details)
            }
            Self::List(list) => {
                let mut url = api.url(&["devices"]);
                query(
                    &mut url,
                    &[
                        ("state", word(list.state)),
                        ("site", list.site.map(|site| site.to_string())),
                        ("tag", list.tag),
                        ("q", list.search),
                    ],
                );
                let now = Timestamp::now();
                list::show(api, output, &url, list.paging, ("devices", &HEADER), |view| row(view, now)).await
            }
            Self::Show { id } => output.one(&api.get(api.url(&["devices", id.as_str()])).await?, details),
            Self::Change(change) => {
                let url = api.url(&["devices", change.id().as_str()]);
                output.one(&api.patch(url, &change.body()?).await?, details)
            }
            Self::Remove { ids } => {
                let ids: Vec<_> = ids.iter().map(DeviceId::as_str).collect();
                remove::all(api, output, "devices", &ids).await
            }
            Self::Import(import) => import.run(api, output).await,
        }
    }
}
