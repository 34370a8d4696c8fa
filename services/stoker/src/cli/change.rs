//! `stoker device change`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use stoker_domain::{DeviceId, SiteId};

use super::failure::Failure;
use super::input;

const EXAMPLES: &str = "\
Examples:
  stoker device change boiler-7 --site south --tag heating --tag leased
  stoker device change boiler-7 --no-expected-interval
  stoker device change boiler-7 --renew-token
  stoker device change boiler-7 --password-file - < password.txt";

/// Change a device; what is not named stays as it is
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Change {
    /// Its id
    #[arg(value_parser = input::device)]
    id: DeviceId,
    /// What it is
    #[arg(long, value_parser = input::label, conflicts_with = "no_model")]
    model: Option<String>,
    /// Forget what it is
    #[arg(long)]
    no_model: bool,
    /// Where it stands
    #[arg(long, value_parser = input::site, conflicts_with = "no_site")]
    site: Option<SiteId>,
    /// Forget where it stands
    #[arg(long)]
    no_site: bool,
    /// A label in place of all that it had; may be given again
    #[arg(long = "tag", value_name = "TAG", value_parser = input::label, conflicts_with = "no_tags")]
    tags: Vec<String>,
    /// Take all labels away
    #[arg(long)]
    no_tags: bool,
    /// It sends something at least this often; silence is raised after 1.5 times that
    #[arg(long, value_name = "SECONDS", value_parser = input::interval, conflicts_with = "no_expected_interval")]
    expected_interval_s: Option<u32>,
    /// Expect nothing at any interval
    #[arg(long)]
    no_expected_interval: bool,
    /// Make a new access token and show it, once; a connection made by the old one is closed
    #[arg(long, conflicts_with_all = ["own_token_file", "no_token"])]
    renew_token: bool,
    /// A file with an access token that the device has already; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "no_token")]
    own_token_file: Option<PathBuf>,
    /// Take the access token away
    #[arg(long)]
    no_token: bool,
    /// A file with a new password; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    password_file: Option<PathBuf>,
    /// Take the password away
    #[arg(long)]
    no_password: bool,
}

impl Change {
    pub(super) fn id(&self) -> &DeviceId {
        &self.id
    }

    /// The body of the request.
    pub(super) fn body(self) -> Result<Value, Failure> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>, emptied: bool| match value {
            Some(value) => drop(body.insert(name.to_owned(), value)),
            None if emptied => drop(body.insert(name.to_owned(), Value::Null)),
            None => {}
        };
        let secret = |file: Option<PathBuf>| file.as_deref().map(input::secret).transpose();
        put("model", self.model.map(Value::from), self.no_model);
        put("site", self.site.map(|site| json!(site.as_str())), self.no_site);
        put("tags", (!self.tags.is_empty()).then(|| json!(self.tags)), self.no_tags);
        put("expected_interval_s", self.expected_interval_s.map(Value::from), self.no_expected_interval);
        put("token", secret(self.own_token_file)?.map(Value::from), self.no_token);
        put("password", secret(self.password_file)?.map(Value::from), self.no_password);
        put("renew_token", self.renew_token.then_some(Value::Bool(true)), false);
        if body.is_empty() {
            return Err(Failure::Use("name what is to change, such as --site north".to_owned()));
        }
        Ok(Value::Object(body))
    }
}
