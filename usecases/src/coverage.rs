//! What of everything public the use cases touch, and what they do not: told by their steps, never by a list kept by hand.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stoker_protocol::topic::{DownTopic, UpTopic};

use crate::model::{Asks, Case, Method, Step, Story};
use crate::surface::{Item, Surface, numberless};

/// What the stories touch.
#[derive(Debug, Clone)]
pub struct Coverage {
    /// Everything that is public, each with the ids of the stories that touch it.
    pub items: Vec<(Item, BTreeSet<String>)>,
    /// Requests of cases that lead nowhere.
    pub missing: Vec<Missing>,
}

/// A request of a case to a route that there is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The id of the story.
    pub story: String,
    /// The name of the case.
    pub case: String,
    /// The request.
    pub request: String,
}

impl Coverage {
    /// What these stories touch of that surface.
    #[must_use]
    pub fn of(surface: &Surface, stories: &[Story]) -> Self {
        let mut touched: BTreeMap<&Item, BTreeSet<String>> = BTreeMap::new();
        let mut missing = Vec::new();
        for story in stories {
            for case in &story.cases {
                let (items, strays) = touches(surface, case);
                for item in items {
                    // What nobody serves cannot be touched.
                    if let Some(item) = surface.items.iter().find(|known| **known == item) {
                        touched.entry(item).or_default().insert(story.id.clone());
                    }
                }
                missing.extend(strays.into_iter().map(|request| Missing {
                    story: story.id.clone(),
                    case: case.name.clone(),
                    request,
                }));
            }
        }
        let by = |item: &Item| (item.clone(), touched.get(item).cloned().unwrap_or_default());
        Self { items: surface.items.iter().map(by).collect(), missing }
    }

    /// What no story touches.
    pub fn untouched(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|(_, by)| by.is_empty()).map(|(item, _)| item)
    }

    /// Whether everything is touched, and every request leads somewhere.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.untouched().next().is_none() && self.missing.is_empty()
    }

    /// How many of each family are touched, of how many, in the order of the surface.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, usize, usize)> {
        let mut counts: Vec<(&'static str, usize, usize)> = Vec::new();
        for (item, by) in &self.items {
            let touched = usize::from(!by.is_empty());
            match counts.iter_mut().find(|(family, ..)| *family == item.family()) {
                Some((_, sum, all)) => (*sum, *all) = (*sum + touched, *all + 1),
                None => counts.push((item.family(), touched, 1)),
            }
        }
        counts
    }
}

/// What a case touches, and its requests that lead nowhere.
fn touches(surface: &Surface, case: &Case) -> (Vec<Item>, Vec<String>) {
    let (mut items, mut strays) = (Vec::new(), Vec::new());
    let mut request = |method: &str, path: &str, items: &mut Vec<Item>| match surface.route(method, path) {
        Some(route) => items.push(route.clone()),
        None => strays.push(format!("{method} {path}")),
    };
    for (_, step) in case.steps() {
        match step {
            Step::Device(_) => request("POST", "/devices", &mut items),
            Step::Asks(asks) => {
                request(asks.method.as_str(), &asks.path, &mut items);
                items.extend(events(asks).into_iter().map(Item::Event));
            }
            Step::Listens(listens) => {
                request("GET", "/live", &mut items);
                if listens.refused.is_none() {
                    items.push(Item::Frame("hello".to_owned()));
                }
            }
            Step::Hears(hears) => {
                items.push(Item::Frame(hears.kind.clone()));
                let kind = hears.gives.as_ref().and_then(|gives| gives.pointer("/data/kind")?.as_str());
                if hears.kind == "event" {
                    items.extend(kind.map(|kind| Item::Event(kind.to_owned())));
                }
            }
            Step::Publishes(publishes) => {
                let topic = UpTopic::parse(&numbered(&publishes.topic));
                items.extend(topic.map(|topic| Item::Up(numberless(&topic.to_string()))));
            }
            Step::Receives(receives) => {
                let topic = DownTopic::parse(&numbered(&receives.topic));
                items.extend(topic.map(|topic| Item::Down(numberless(&topic.to_string()))));
            }
            _ => {}
        }
    }
    (items, strays)
}

/// A topic with a number in place of what is not known yet.
fn numbered(topic: &str) -> String {
    match topic.rsplit_once('/') {
        Some((family, last)) if last == "*" || last.starts_with('{') => format!("{family}/0"),
        _ => topic.to_owned(),
    }
}

/// The kinds of events that a request sees: to publish one is not yet to see what becomes of it.
fn events(asks: &Asks) -> Vec<String> {
    let (path, query) = asks.path.split_once('?').unwrap_or((&asks.path, ""));
    if asks.method != Method::Get || path != "/events" {
        return Vec::new();
    }
    let items = asks.more.gives.as_ref().map(|gives| &gives["items"]);
    // That there are none says nothing of the kind.
    let none = items.is_none_or(|items| items.as_array().is_some_and(Vec::is_empty));
    if none {
        return Vec::new();
    }
    let asked = query.split('&').filter_map(|parameter| parameter.strip_prefix("kind="));
    let given = items.and_then(Value::as_array).into_iter().flatten();
    let given = given.filter_map(|item| item["kind"].as_str());
    asked.chain(given).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{read, read_all, shipped};
    use crate::surface::Route;

    fn item(text: &str, coverage: &Coverage) -> BTreeSet<String> {
        coverage.items.iter().find(|(item, _)| item.to_string() == text).unwrap().1.clone()
    }

    /// The check that `summary --check` does.
    #[test]
    fn the_stories_of_the_project_touch_everything() {
        let coverage = Coverage::of(&Surface::derive().unwrap(), &read_all(&shipped()).unwrap());
        assert_eq!(coverage.missing, []);
        assert_eq!(coverage.untouched().collect::<Vec<_>>(), Vec::<&Item>::new());
        assert!(coverage.is_whole());
    }

    #[test]
    fn a_route_that_is_added_is_not_touched() {
        let mut surface = Surface::derive().unwrap();
        let route = Route { method: "GET".to_owned(), path: "/devices/{id}/certificates".to_owned() };
        surface.items.push(Item::Route(route.clone()));
        surface.items.push(Item::Event("battery_low".to_owned()));
        let coverage = Coverage::of(&surface, &read_all(&shipped()).unwrap());
        let untouched: Vec<&Item> = coverage.untouched().collect();
        assert_eq!(untouched, [&Item::Route(route), &Item::Event("battery_low".to_owned())]);
        assert!(!coverage.is_whole());
    }

    #[test]
    fn steps_touch_what_they_name_and_no_more() {
        let story = read(
            "a.yaml",
            r#"
story: A
text: a
cases:
  - case: a
    given:
      - device: boiler
      - connects: boiler
    when:
      - publishes: boiler
        topic: v1/devices/me/events
        payload: {kind: fault, code: E1}
      - publishes: boiler
        topic: v1/devices/me/rpc/response/{boiler}
        payload: {}
    then:
      - get: /events?kind=late_reply
        gives: {items: []}
      - get: /events?device={boiler}&kind=payload_rejected
        gives: {items: [{}]}
      - get: /nowhere
"#,
        )
        .unwrap();
        let coverage = Coverage::of(&Surface::derive().unwrap(), &[story]);
        let by = BTreeSet::from(["a".to_owned()]);
        for touched in [
            "POST /devices",
            "GET /events",
            "payload_rejected",
            "v1/devices/me/rpc/response/{n}",
            "v1/devices/me/events",
        ] {
            assert_eq!(item(touched, &coverage), by, "{touched}");
        }
        for other in ["fault", "late_reply", "GET /devices", "v1/devices/me/telemetry"] {
            assert_eq!(item(other, &coverage), BTreeSet::new(), "{other}");
        }
        assert_eq!(coverage.missing[0].request, "GET /nowhere");
    }
}
