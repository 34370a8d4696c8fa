//! `stoker event`.

use clap::Subcommand;
use serde::Deserialize;
use stoker_domain::DeviceId;

use super::api::Api;
use super::failure::Failure;
use super::input;
use super::list::{self, Paging, query};
use super::output::Output;
use super::table::time;

const EXAMPLES: &str = "\
Examples:
  stoker event list --device boiler-7 --from 2h
  stoker event list --kind fault --from 2026-11-21 --to 2026-11-22 --all --output json";

#[derive(Debug, Subcommand)]
pub(crate) enum Event {
    /// List events, newest first
    #[command(after_help = EXAMPLES)]
    List {
        /// Only this device's
        #[arg(long, value_parser = input::device)]
        device: Option<DeviceId>,
        /// Only of this kind, such as fault
        #[arg(long, value_parser = input::label)]
        kind: Option<String>,
        /// From this time on: RFC 3339, a date, milliseconds since the epoch, or how long ago (15m, 2h, 7d)
        #[arg(long, value_name = "TIME", value_parser = input::moment)]
        from: Option<String>,
        /// Up to this time, likewise
        #[arg(long, value_name = "TIME", value_parser = input::moment)]
        to: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
}

/// The parts of an event that are shown.
#[derive(Debug, Deserialize)]
pub(super) struct View {
    device: String,
    ts: String,
    kind: String,
    code: String,
    severity: String,
    text: String,
    cleared: bool,
}

pub(super) const HEADER: [&str; 5] = ["TIME", "DEVICE", "KIND", "SEVERITY", "TEXT"];

pub(super) fn row(event: View) -> Vec<String> {
    // The platform's own events have one code a kind.
    let said = [&event.text, &event.kind].contains(&&event.code);
    let what = if said { event.text } else { format!("{} ({})", event.text, event.code) };
    let severity = if event.cleared { "cleared".to_owned() } else { event.severity };
    vec![time(&event.ts), event.device, event.kind, severity, what]
}

impl Event {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        let Self::List { device, kind, from, to, paging } = self;
        let mut url = api.url(&["events"]);
        let device = device.map(|device| device.to_string());
        query(&mut url, &[("device", device), ("kind", kind), ("from", from), ("to", to)]);
        list::show(api, output, &url, paging, ("events", &HEADER), row).await
    }
}
