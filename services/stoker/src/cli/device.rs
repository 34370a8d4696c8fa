//! `stoker device`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use reqwest::Body;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stoker_domain::{DeviceId, SiteId};

use super::api::{Api, not_json};
use super::failure::Failure;
use super::input;
use super::list::{self, Paging, query};
use super::output::Output;
use super::table::{ago, or_dash, time};

#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Make a device, and its token unless it brings one
    Add(Add),
    /// List devices
    List(List),
    /// Show one device
    Show {
        /// Its id
        #[arg(value_parser = input::device)]
        id: DeviceId,
    },
    /// Remove devices; what they reported stays until its time is up
    Remove {
        /// Their ids
        #[arg(required = true, value_name = "ID", value_parser = input::device)]
        ids: Vec<DeviceId>,
    },
    /// Make many devices, one JSON object a line
    Import {
        /// The file; - is standard input
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its id: 1 to 128 of A-Z a-z 0-9 . _ : -
    #[arg(value_parser = input::device)]
    id: DeviceId,
    /// What it is
    #[arg(long)]
    model: Option<String>,
    /// Where it stands
    #[arg(long, value_parser = input::site)]
    site: Option<SiteId>,
    /// A label; may be given again
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// It sends something at least this often; silence is raised after 1.5 times that
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
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
    #[arg(long)]
    tag: Option<String>,
    /// Only those with this text in their id or model
    #[arg(long, short = 'q', value_name = "TEXT")]
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

/// What became of an import.
#[derive(Debug, Deserialize)]
struct Imported {
    created: usize,
    tokens: Map<String, Value>,
    failed: Vec<FailedLine>,
}

#[derive(Debug, Deserialize)]
struct FailedLine {
    line: usize,
    id: Option<String>,
    problem: Reason,
}

#[derive(Debug, Deserialize)]
struct Reason {
    detail: String,
}

impl Device {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Add(add) => output.one(&api.post(api.url(&["devices"]), &add.body()?).await?, details),
            Self::List(list) => {
                let mut url = api.url(&["devices"]);
                let state = list.state.and_then(|state| state.to_possible_value());
                query(
                    &mut url,
                    &[
                        ("state", state.map(|state| state.get_name().to_owned())),
                        ("site", list.site.map(|site| site.to_string())),
                        ("tag", list.tag),
                        ("q", list.search),
                    ],
                );
                let listed = list::fetch(api, &url, list.paging).await?;
                let now = Timestamp::now();
                list::show(output, &listed, &HEADER, |device| row(device, now))
            }
            Self::Show { id } => output.one(&api.get(api.url(&["devices", id.as_str()])).await?, details),
            Self::Remove { ids } => {
                for id in ids {
                    api.delete(api.url(&["devices", id.as_str()])).await?;
                    output.done(&format!("removed {id}"))?;
                }
                Ok(())
            }
            Self::Import { file } => import(api, output, &file).await,
        }
    }
}

async fn import(api: &Api, output: &Output, file: &std::path::Path) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::failed(format!("failed to read {}: {error}", file.display()));
    let lines = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(failed)?
    } else {
        std::fs::read_to_string(file).map_err(failed)?
    };
    let answer = api.import(api.url(&["devices:import"]), Body::from(lines)).await?;
    let imported: Imported = serde_json::from_str(&answer).map_err(|_| not_json())?;
    if output.is_json() {
        output.print(&answer)?;
    } else {
        let mut rows = super::table::Rows::new(&["ID", "TOKEN (SHOWN THIS ONCE)"]);
        for (id, token) in &imported.tokens {
            rows.push(vec![id.clone(), token.as_str().unwrap_or_default().to_owned()]);
        }
        if !imported.tokens.is_empty() {
            output.rows(rows)?;
        }
        eprintln!("{} made, {} failed", imported.created, imported.failed.len());
    }
    for line in &imported.failed {
        let id = line.id.as_deref().map(|id| format!(" ({id})")).unwrap_or_default();
        eprintln!("line {}{}: {}", line.line, super::table::plain(&id), line.problem.detail);
    }
    match imported.failed.len() {
        0 => Ok(()),
        _ => Err(Failure::failed("not every line made a device")),
    }
}
