//! `stoker attribute`.

use std::collections::BTreeMap;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use stoker_domain::DeviceId;

use super::alarm::word;
use super::api::{Api, not_json};
use super::failure::Failure;
use super::input;
use super::output::Output;
use super::table::Rows;

const SHOW_EXAMPLES: &str = "\
Examples:
  stoker attribute show boiler-7
  stoker attribute show boiler-7 --scope client --output json";

const SET_EXAMPLES: &str = "\
Examples:
  stoker attribute set boiler-7 --scope shared setpoint=55 eco=true 'limits={\"max\":70}'
  stoker attribute set boiler-7 --scope server --text contract=gold";

const REMOVE_EXAMPLES: &str = "\
Examples:
  stoker attribute remove boiler-7 --scope server contract";

#[derive(Debug, Subcommand)]
pub(crate) enum Attribute {
    /// Show the attributes of a device: client ones are its own, shared ones it reads, server ones it never sees
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The device
        #[arg(value_parser = input::device)]
        device: DeviceId,
        /// Only those of this scope
        #[arg(long, value_enum)]
        scope: Option<Scope>,
    },
    /// Set attributes; the others stay as they are
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),
    /// Remove attributes
    #[command(alias = "delete", after_help = REMOVE_EXAMPLES)]
    Remove {
        /// The device
        #[arg(value_parser = input::device)]
        device: DeviceId,
        /// Of which scope
        #[arg(long, value_enum)]
        scope: Written,
        /// Their keys
        #[arg(required = true, value_name = "KEY", value_parser = input::key)]
        keys: Vec<String>,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["values", "texts"]))]
pub(crate) struct Set {
    /// The device
    #[arg(value_parser = input::device)]
    device: DeviceId,
    /// Whether the device is told (shared) or not (server)
    #[arg(long, value_enum)]
    scope: Written,
    /// A key and its value: a number, true, false, an object, an array, or a text in double quotes
    #[arg(value_name = "KEY=JSON", value_parser = input::attribute)]
    values: Vec<(String, String)>,
    /// A key and its value, which is taken as text and needs no double quotes; may be given again
    #[arg(long = "text", value_name = "KEY=TEXT", value_parser = input::text_attribute)]
    texts: Vec<(String, String)>,
}

/// Whose attributes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Scope {
    Client,
    Shared,
    Server,
}

/// Whose attributes people may write.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Written {
    Shared,
    Server,
}

const HEADER: [&str; 3] = ["SCOPE", "KEY", "VALUE"];

type Attributes = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

/// Shows all of an answer, or one scope of it.
fn show(output: &Output, answer: &str, scope: Option<String>) -> Result<(), Failure> {
    let mut attributes: Attributes = serde_json::from_str(answer).map_err(|_| not_json())?;
    if let Some(scope) = scope {
        attributes.retain(|name, _| *name == scope);
    }
    if output.is_json() {
        return output.print(&serde_json::to_string(&attributes).map_err(|_| not_json())?);
    }
    let mut rows = Rows::new(&HEADER);
    let mut empty = true;
    for (scope, values) in attributes {
        for (key, value) in values {
            empty = false;
            rows.push(vec![scope.clone(), key, value.get().to_owned()]);
        }
    }
    if empty {
        eprintln!("no attributes");
        return Ok(());
    }
    output.rows(&mut rows)
}

impl Set {
    /// The body of the request. Values stay letter by letter, so it is put together as text.
    pub(super) fn body(&self) -> Result<String, Failure> {
        let mut values = BTreeMap::new();
        for (key, value) in self.values.iter().chain(&self.texts) {
            if values.insert(key, value).is_some() {
                return Err(Failure::Use(format!("{key} is given more than once")));
            }
        }
        let pairs: Vec<_> =
            values.iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
        let scope = word(Some(self.scope)).unwrap_or_default();
        Ok(format!("{{\"{scope}\":{{{}}}}}", pairs.join(",")))
    }
}

impl Attribute {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        let url = |device: &DeviceId| api.url(&["devices", device.as_str(), "attributes"]);
        match self {
            Self::Show { device, scope } => show(output, &api.get(url(&device)).await?, word(scope)),
            Self::Set(set) => {
                let answer = api.patch_text(url(&set.device), set.body()?).await;
                let answer = answer.map_err(|failure| failure.about(set.device.as_str()))?;
                show(output, &answer, word(Some(set.scope)))
            }
            Self::Remove { device, scope, keys } => {
                let scope = word(Some(scope)).unwrap_or_default();
                let gone: Map<_, _> = keys.into_iter().map(|key| (key, Value::Null)).collect();
                let answer = api.patch(url(&device), &json!({ scope.clone(): gone })).await;
                let answer = answer.map_err(|failure| failure.about(device.as_str()))?;
                show(output, &answer, Some(scope))
            }
        }
    }
}
