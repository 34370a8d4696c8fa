//! `stoker subscription`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stoker_domain::SubscriptionId;

use super::alarm::{Severity, word};
use super::api::Api;
use super::failure::Failure;
use super::input;
use super::list::{self, Paging};
use super::output::Output;
use super::table::time;

#[derive(Debug, Subcommand)]
pub(crate) enum Subscription {
    /// Have somebody told of alarms
    Add(Add),
    /// List subscriptions
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one subscription
    Show {
        /// Its id
        #[arg(value_parser = input::subscription)]
        id: SubscriptionId,
    },
    /// Remove subscriptions
    Remove {
        /// Their ids
        #[arg(required = true, value_name = "ID", value_parser = input::subscription)]
        ids: Vec<SubscriptionId>,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("deliver").required(true).multiple(true).args(["emails", "webhooks"]))]
pub(crate) struct Add {
    /// Its name, for people
    name: String,
    /// Only these devices; * stands for any run of characters; may be given again
    #[arg(long = "device", value_name = "PATTERN")]
    devices: Vec<String>,
    /// Only devices of these sites, likewise
    #[arg(long = "site", value_name = "PATTERN")]
    sites: Vec<String>,
    /// Only devices that have one of these tags
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only alarms of this severity or a worse one
    #[arg(long, value_enum)]
    min_severity: Option<Severity>,
    /// Send a mail to this address; may be given again
    #[arg(long = "email", value_name = "ADDRESS")]
    emails: Vec<String>,
    /// Call this URL; may be given again
    #[arg(long = "webhook", value_name = "URL", requires = "secret_file")]
    webhooks: Vec<String>,
    /// A file with the secret, at least 16 characters, by which receivers of webhooks know us; - is standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Add {
    /// The body of the request.
    pub(super) fn body(self) -> Result<Value, Failure> {
        let mut matching = Map::new();
        for (name, items) in [("devices", self.devices), ("sites", self.sites), ("tags", self.tags)] {
            if !items.is_empty() {
                matching.insert(name.to_owned(), json!(items));
            }
        }
        if let Some(severity) = word(self.min_severity) {
            matching.insert("min_severity".to_owned(), json!(severity));
        }
        let secret = self.secret_file.as_deref().map(input::secret).transpose()?;
        let emails = self.emails.into_iter().map(|to| json!({"channel": "email", "to": to}));
        let webhooks =
            self.webhooks.into_iter().map(|url| json!({"channel": "webhook", "url": url, "secret": secret}));
        let deliver: Vec<_> = emails.chain(webhooks).collect();
        Ok(json!({"name": self.name, "match": matching, "deliver": deliver}))
    }
}

/// The parts of a subscription that are shown.
#[derive(Debug, Deserialize)]
pub(super) struct View {
    id: String,
    name: String,
    #[serde(rename = "match")]
    matching: Match,
    deliver: Vec<Channel>,
    created_at: String,
}

#[derive(Debug, Deserialize)]
struct Match {
    devices: Option<Vec<String>>,
    sites: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    min_severity: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Channel {
    to: Option<String>,
    url: Option<String>,
}

impl View {
    fn conditions(&self) -> String {
        let list = |name: &str, items: Option<&Vec<String>>| {
            items.map(|items| format!("{name} {}", items.join(", ")))
        };
        let severity = self.matching.min_severity.as_ref().map(|severity| format!("{severity} or worse"));
        let all: Vec<_> = [
            list("devices", self.matching.devices.as_ref()),
            list("sites", self.matching.sites.as_ref()),
            list("tags", self.matching.tags.as_ref()),
            severity,
        ]
        .into_iter()
        .flatten()
        .collect();
        if all.is_empty() { "every alarm".to_owned() } else { all.join("; ") }
    }

    fn recipients(&self) -> String {
        let to = |channel: &Channel| channel.to.clone().or_else(|| channel.url.clone()).unwrap_or_default();
        self.deliver.iter().map(to).collect::<Vec<_>>().join(", ")
    }
}

pub(super) const HEADER: [&str; 4] = ["ID", "NAME", "WHICH ALARMS", "TO"];

pub(super) fn row(subscription: View) -> Vec<String> {
    let (conditions, recipients) = (subscription.conditions(), subscription.recipients());
    vec![subscription.id, subscription.name, conditions, recipients]
}

fn details(subscription: View) -> Vec<(&'static str, String)> {
    vec![
        ("Id", subscription.id.clone()),
        ("Name", subscription.name.clone()),
        ("Which alarms", subscription.conditions()),
        ("To", subscription.recipients()),
        ("Made", time(&subscription.created_at)),
    ]
}

impl Subscription {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Add(add) => {
                output.one(&api.post(api.url(&["subscriptions"]), &add.body()?).await?, details)
            }
            Self::List { paging } => {
                let listed = list::fetch(api, &api.url(&["subscriptions"]), paging).await?;
                list::show(output, &listed, &HEADER, row)
            }
            Self::Show { id } => {
                output.one(&api.get(api.url(&["subscriptions", id.as_str()])).await?, details)
            }
            Self::Remove { ids } => {
                for id in ids {
                    api.delete(api.url(&["subscriptions", id.as_str()])).await?;
                    output.done(&format!("removed {id}"))?;
                }
                Ok(())
            }
        }
    }
}
