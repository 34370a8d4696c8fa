//! Everything that is public and that a use case can touch, read from what serves it: nothing of it is written down here.

use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;
use stoker_domain::EventKind;
use stoker_protocol::topic::{DownTopic, UpTopic};

/// Below it stand all paths of the API.
const API: &str = "/api/v1";
/// What else an item of a path may be in OpenAPI is no operation.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// A method and a path; parameters stand in braces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The path, behind `/api/v1`.
    pub path: String,
    /// The method, as HTTP spells it.
    pub method: String,
}

/// One thing that is public.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A route of the HTTP API.
    Route(Route),
    /// A kind of event that the platform acts on or says itself.
    Event(String),
    /// What `type` says in a frame of the live feed.
    Frame(String),
    /// A topic that devices publish to.
    Up(String),
    /// A topic that devices are told on.
    Down(String),
}

impl Item {
    /// What it is, in the plural.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self {
            Self::Route(_) => "routes",
            Self::Event(_) => "event kinds",
            Self::Frame(_) => "live frames",
            Self::Up(_) => "topics up",
            Self::Down(_) => "topics down",
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(route) => write!(f, "{} {}", route.method, route.path),
            Self::Event(name) | Self::Frame(name) | Self::Up(name) | Self::Down(name) => f.write_str(name),
        }
    }
}

/// Everything that is public.
#[derive(Debug, Clone, Default)]
pub struct Surface {
    /// In the order in which it is shown.
    pub items: Vec<Item>,
}

impl Surface {
    /// That of the platform as it is built with this program.
    ///
    /// # Errors
    /// The API's description cannot be read.
    pub fn derive() -> Result<Self> {
        let portal = stoker_portal::surface()?;
        let description: Value =
            serde_json::from_slice(&portal.description).context("the API's description is no JSON")?;
        let mut items: Vec<Item> = routes(&description)?.into_iter().map(Item::Route).collect();
        for path in portal.beside {
            let path = path.strip_prefix(API).unwrap_or(path).to_owned();
            items.push(Item::Route(Route { method: "GET".to_owned(), path }));
        }
        items.sort();
        items.extend(EventKind::KNOWN.iter().map(|kind| Item::Event((*kind).to_owned())));
        items.extend(portal.frames.into_iter().map(|frame| Item::Frame(frame.to_owned())));
        items.extend(UpTopic::each(0).iter().map(|topic| Item::Up(numberless(&topic.to_string()))));
        items.extend(DownTopic::each(0).iter().map(|topic| Item::Down(numberless(&topic.to_string()))));
        Ok(Self { items })
    }

    /// The route that a request goes to. Names in braces are values that are not known yet.
    #[must_use]
    pub fn route(&self, method: &str, path: &str) -> Option<&Item> {
        let path = path.split('?').next().unwrap_or_default();
        let fits = |route: &Route| route.method == method && parameters(&route.path, path).is_some();
        let routes = self.items.iter().filter(|item| matches!(item, Item::Route(route) if fits(route)));
        // A route that says a level outright is meant before one that has a parameter there.
        routes.min_by_key(|item| match item {
            Item::Route(route) => parameters(&route.path, path),
            _ => None,
        })
    }
}

/// How many parameters a route takes of this path, if it leads there.
fn parameters(route: &str, path: &str) -> Option<usize> {
    let (levels, there): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
    let fits = |(level, there): (&&str, &&str)| {
        let parameter = level.starts_with('{') && !there.is_empty();
        (parameter || level == there).then_some(usize::from(parameter))
    };
    (levels.len() == there.len()).then(|| levels.iter().zip(&there).map(fits).sum::<Option<usize>>())?
}

fn routes(description: &Value) -> Result<Vec<Route>> {
    let paths = description["paths"].as_object().context("the API's description has no paths")?;
    let of = |(path, item): (&String, &Value)| {
        let there = METHODS.iter().filter(|method| item[**method].is_object());
        there.map(|method| Route { path: path.clone(), method: method.to_uppercase() }).collect::<Vec<_>>()
    };
    Ok(paths.iter().flat_map(of).collect())
}

/// A topic with `{n}` in place of its number.
pub(crate) fn numberless(topic: &str) -> String {
    match topic.rsplit_once('/') {
        Some((family, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{family}/{{n}}")
        }
        _ => topic.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_all_there() {
        let surface = Surface::derive().unwrap();
        let there: Vec<String> = surface.items.iter().map(ToString::to_string).collect();
        for expected in [
            "GET /devices/{id}/telemetry/latest",
            "POST /devices:import",
            "GET /live",
            "GET /openapi.json",
            "payload_rejected",
            "gap",
            "v1/devices/me/rpc/request/{n}",
        ] {
            assert!(there.contains(&expected.to_owned()), "{expected} is not in {there:#?}");
        }
    }

    #[test]
    fn a_request_finds_its_route() {
        let surface = Surface::derive().unwrap();
        let found = |method, path| surface.route(method, path).map(ToString::to_string);
        for (method, path, expected) in [
            ("GET", "/devices?limit=1", Some("GET /devices")),
            ("GET", "/devices/{boiler}", Some("GET /devices/{id}")),
            ("GET", "/devices/a/telemetry/latest?keys=a/b", Some("GET /devices/{id}/telemetry/latest")),
            ("POST", "/devices:import", Some("POST /devices:import")),
            ("DELETE", "/devices", None),
            ("GET", "/devices/", None),
            ("GET", "/devices/a/b", None),
        ] {
            assert_eq!(found(method, path).as_deref(), expected, "{method} {path}");
        }
    }
}
