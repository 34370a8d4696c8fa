//! `stoker telemetry`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;
use stoker_domain::DeviceId;

use super::alarm::word;
use super::api::{Api, not_json};
use super::failure::Failure;
use super::input;
use super::list::{self, Paging, query};
use super::output::Output;
use super::table::{Rows, millis};

const LATEST_EXAMPLES: &str = "\
Examples:
  stoker telemetry latest boiler-7
  stoker telemetry latest boiler-7 --keys t_supply,t_return";

const LIST_EXAMPLES: &str = "\
Examples:
  stoker telemetry list boiler-7 --keys t_supply --from 15m --order asc
  stoker telemetry list boiler-7 --from 2026-11-21 --to 2026-11-22 --all --output json";

#[derive(Debug, Subcommand)]
pub(crate) enum Telemetry {
    /// Show the newest value of every key
    #[command(after_help = LATEST_EXAMPLES)]
    Latest {
        /// The device
        #[arg(value_parser = input::device)]
        device: DeviceId,
        /// Only these keys, between commas
        #[arg(long, value_name = "KEY,…")]
        keys: Option<String>,
    },
    /// List what a device reported
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
}

/// By time.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    Asc,
    Desc,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The device
    #[arg(value_parser = input::device)]
    device: DeviceId,
    /// Only these keys, between commas
    #[arg(long, value_name = "KEY,…")]
    keys: Option<String>,
    /// From this time on: RFC 3339, a date, milliseconds since the epoch, or how long ago (15m, 2h, 7d)
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    from: Option<String>,
    /// Up to this time, likewise
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    to: Option<String>,
    /// Oldest or newest first [default: desc]
    #[arg(long, value_enum)]
    order: Option<Order>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Deserialize)]
pub(super) struct Point {
    key: String,
    ts: i64,
    value: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
struct Latest {
    ts: i64,
    value: Box<RawValue>,
}

pub(super) const HEADER: [&str; 3] = ["TIME", "KEY", "VALUE"];

pub(super) fn row(point: Point) -> Vec<String> {
    vec![millis(point.ts), point.key, point.value.get().to_owned()]
}

impl Telemetry {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Latest { device, keys } => {
                let mut url = api.url(&["devices", device.as_str(), "telemetry", "latest"]);
                query(&mut url, &[("keys", keys)]);
                let answer = api.get(url).await?;
                if output.is_json() {
                    return output.print(&answer);
                }
                let latest: BTreeMap<String, Latest> =
                    serde_json::from_str(&answer).map_err(|_| not_json())?;
                if latest.is_empty() {
                    eprintln!("no telemetry");
                    return Ok(());
                }
                let mut rows = Rows::new(&["KEY", "VALUE", "TIME"]);
                for (key, latest) in latest {
                    rows.push(vec![key, latest.value.get().to_owned(), millis(latest.ts)]);
                }
                output.rows(&mut rows)
            }
            Self::List(list) => {
                let mut url = api.url(&["devices", list.device.as_str(), "telemetry"]);
                query(
                    &mut url,
                    &[("keys", list.keys), ("from", list.from), ("to", list.to), ("order", word(list.order))],
                );
                list::show(api, output, &url, list.paging, ("telemetry", &HEADER), row).await
            }
        }
    }
}
