//! `stoker subscription`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stoker_domain::SubscriptionId;

use super::alarm::{Severity, word};
use super::api::Api;
use super::failure::Failure;
use super::input;
use super::list::{self, Paging};
use super::output::Output;
use super::remove;
use super::table::time;

const ADD_EXAMPLES: &str = "\
Examples:
  stoker subscription add 'night shift' --email night@example.com --min-severity major
  stoker subscription add tickets --webhook https://example.com/hook --secret-file secret.txt --device 'boiler-*'";

const CHANGE_EXAMPLES: &str = "\
Examples:
  stoker subscription change sub-71910afba70d6c6b --site north --site south --min-severity critical
  stoker subscription change sub-71910afba70d6c6b --email day@example.com --email night@example.com
  stoker subscription change sub-71910afba70d6c6b --every-alarm";

#[derive(Debug, Subcommand)]
pub(crate) enum Subscription {
    /// Have somebody told of alarms
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// List subscriptions, ordered by id
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
    /// Change a subscription; what is not named stays as it is
    #[command(after_help = CHANGE_EXAMPLES)]
    Change(Change),
    /// Send a test message to everybody whom a subscription tells
    Test {
        /// Its id
        #[arg(value_parser = input::subscription)]
        id: SubscriptionId,
    },
    /// Remove subscriptions: they tell of nothing new, and what is on its way already is still tried
    #[command(alias = "delete")]
    Remove {
        /// Their ids
        #[arg(required = true, value_name = "ID", value_parser = input::subscription)]
        ids: Vec<SubscriptionId>,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("deliver").required(true).multiple(true).args(["emails", "webhooks"]))]
pub(crate) struct Add {
    /// Its name, for people
    #[arg(value_parser = input::label)]
    name: String,
    #[command(flatten)]
    matching: Matching,
    #[command(flatten)]
    delivery: Delivery,
}

#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Its id
    #[arg(value_parser = input::subscription)]
    id: SubscriptionId,
    /// Its name, for people
    #[arg(long, value_parser = input::label)]
    name: Option<String>,
    /// Drop all conditions
    #[arg(long, conflicts_with_all = ["devices", "sites", "tags", "min_severity"])]
    every_alarm: bool,
    #[command(flatten)]
    matching: Matching,
    #[command(flatten)]
    delivery: Delivery,
}

/// Which alarms. In a change these take the place of all conditions that there were.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which alarms (a change replaces all conditions)")]
struct Matching {
    /// Only these devices; * stands for any run of characters; may be given again
    #[arg(long = "device", value_name = "PATTERN")]
    devices: Vec<String>,
    /// Only devices of these sites, likewise
    #[arg(long = "site", value_name = "PATTERN")]
    sites: Vec<String>,
    /// Only devices that have one of these tags
    #[arg(long = "tag", value_name = "TAG", value_parser = input::label)]
    tags: Vec<String>,
    /// Only alarms of this severity or a worse one
    #[arg(long, value_enum, value_name = "SEVERITY")]
    min_severity: Option<Severity>,
}

impl Matching {
    fn body(self) -> Map<String, Value> {
        let mut matching = Map::new();
        for (name, items) in [("devices", self.devices), ("sites", self.sites), ("tags", self.tags)] {
            if !items.is_empty() {
                matching.insert(name.to_owned(), json!(items));
            }
        }
        if let Some(severity) = word(self.min_severity) {
            matching.insert("min_severity".to_owned(), json!(severity));
        }
        matching
    }
}

/// Who is told. In a change these take the place of all recipients that there were.
#[derive(Debug, Args)]
#[command(next_help_heading = "Who is told (a change replaces all recipients)")]
struct Delivery {
    /// Send a mail to this address; may be given again
    #[arg(long = "email", value_name = "ADDRESS")]
    emails: Vec<String>,
    /// Call this URL; may be given again
    #[arg(long = "webhook", value_name = "URL")]
    webhooks: Vec<String>,
    /// A file with the secret, at least 16 characters, by which receivers of webhooks know us; - is standard input. A
    /// change may leave it out: a URL keeps the secret that it had
    #[arg(long, value_name = "FILE", requires = "webhooks")]
    secret_file: Option<PathBuf>,
}

impl Delivery {
    fn body(self) -> Result<Vec<Value>, Failure> {
        let secret = self.secret_file.as_deref().map(input::secret).transpose()?;
        let emails = self.emails.into_iter().map(|to| json!({"channel": "email", "to": to}));
        let webhooks = self.webhooks.into_iter().map(|url| match &secret {
            Some(secret) => json!({"channel": "webhook", "url": url, "secret": secret}),
            None => json!({"channel": "webhook", "url": url}),
        });
        Ok(emails.chain(webhooks).collect())
    }
}

impl Add {
    /// The body of the request.
    pub(super) fn body(self) -> Result<Value, Failure> {
        if !self.delivery.webhooks.is_empty() && self.delivery.secret_file.is_none() {
            let what = "a webhook needs a secret, by which its receiver knows us: --secret-file FILE";
            return Err(Failure::Use(what.to_owned()));
        }
        Ok(json!({"name": self.name, "match": self.matching.body(), "deliver": self.delivery.body()?}))
    }
}

impl Change {
    /// The body of the request.
    pub(super) fn body(self) -> Result<Value, Failure> {
        let mut body = Map::new();
        if let Some(name) = self.name {
            body.insert("name".to_owned(), json!(name));
        }
        let matching = self.matching.body();
        if self.every_alarm || !matching.is_empty() {
            body.insert("match".to_owned(), Value::Object(matching));
        }
        let deliver = self.delivery.body()?;
        if !deliver.is_empty() {
            body.insert("deliver".to_owned(), Value::Array(deliver));
        }
        if body.is_empty() {
            let what = "name what is to change, such as --min-severity critical";
            return Err(Failure::Use(what.to_owned()));
        }
        Ok(Value::Object(body))
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

/// What was made by a test.
#[derive(Debug, Deserialize)]
struct Tested {
    notifications: Vec<String>,
}

fn tested(tested: Tested) -> Vec<(&'static str, String)> {
    vec![
        ("Notifications", tested.notifications.join(", ")),
        ("How it goes", "stoker notification list".to_owned()),
    ]
}

impl Subscription {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Add(add) => {
                output.one(&api.post(api.url(&["subscriptions"]), &add.body()?).await?, details)
            }
            Self::List { paging } => {
                let url = api.url(&["subscriptions"]);
                list::show(api, output, &url, paging, ("subscriptions", &HEADER), row).await
            }
            Self::Show { id } => {
                output.one(&api.get(api.url(&["subscriptions", id.as_str()])).await?, details)
            }
            Self::Change(change) => {
                let url = api.url(&["subscriptions", change.id.as_str()]);
                let without_secret =
                    !change.delivery.webhooks.is_empty() && change.delivery.secret_file.is_none();
                let answer = api.patch(url, &change.body()?).await;
                let answer = answer.map_err(|failure| match without_secret {
                    true => failure
                        .hint_when("invalid_request", "a URL that is new here needs --secret-file FILE"),
                    false => failure,
                })?;
                output.one(&answer, details)
            }
            Self::Test { id } => {
                let url = api.url(&["subscriptions", id.as_str(), "test"]);
                output.one(&api.post(url, &json!({})).await?, tested)
            }
            Self::Remove { ids } => {
                let ids: Vec<_> = ids.iter().map(SubscriptionId::as_str).collect();
                remove::all(api, output, "subscriptions", &ids).await
            }
        }
    }
}
