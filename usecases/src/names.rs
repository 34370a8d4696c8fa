//! Names in braces: what an earlier step has made or kept, put where a later one needs it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::expect;
use crate::model::{Case, Step};

/// In every case: a word that no other case of any run has, to make ids of.
pub(crate) const CASE: &str = "case";

/// What names stand for.
pub(crate) type Known = BTreeMap<String, Value>;

/// The first name in braces at or after a place, with the places of its braces.
fn next(text: &str, from: usize) -> Option<(usize, usize, &str)> {
    let mut at = from;
    while let Some(open) = text.get(at..)?.find('{').map(|found| at + found) {
        let inside = &text[open + 1..];
        let end =
            inside.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.'));
        let end = end.unwrap_or(inside.len());
        let begins = inside.starts_with(|c: char| c.is_ascii_lowercase());
        if begins && inside[end..].starts_with('}') {
            return Some((open, open + 1 + end, &inside[..end]));
        }
        at = open + 1;
    }
    None
}

/// The text with names replaced.
///
/// # Errors
/// A name that is not known.
pub(crate) fn fill(text: &str, known: &Known) -> Result<String, String> {
    let (mut filled, mut from) = (String::new(), 0);
    while let Some((open, close, name)) = next(text, from) {
        filled.push_str(&text[from..open]);
        match known.get(name).ok_or_else(|| unknown(name))? {
            Value::String(value) => filled.push_str(value),
            other => filled.push_str(&other.to_string()),
        }
        from = close + 1;
    }
    filled.push_str(&text[from..]);
    Ok(filled)
}

/// The JSON with names replaced in all its texts. A text that is one name and no more becomes what that stands for.
///
/// # Errors
/// A name that is not known.
pub(crate) fn fill_all(json: &Value, known: &Known) -> Result<Value, String> {
    Ok(match json {
        Value::String(text) => match next(text, 0) {
            Some((0, close, name)) if close + 1 == text.len() => {
                known.get(name).ok_or_else(|| unknown(name))?.clone()
            }
            _ => Value::String(fill(text, known)?),
        },
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| fill_all(item, known)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| Ok((fill(key, known)?, fill_all(value, known)?)));
            Value::Object(members.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn unknown(name: &str) -> String {
    format!("{{{name}}} is made or kept by no step before this one")
}

/// Whether every name that a step uses was made before, and what is expected can be understood.
///
/// # Errors
/// What is wrong, with the step's number.
pub(crate) fn check(case: &Case) -> Result<(), String> {
    let mut known = Known::from([(CASE.to_owned(), Value::from("a"))]);
    let mut connections = BTreeSet::new();
    for (index, (_, step)) in case.steps().enumerate() {
        one(step, &mut known, &mut connections).map_err(|what| format!("step {}: {what}", index + 1))?;
    }
    Ok(())
}

fn plain(name: &str) -> Result<(), String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(word) && name.len() <= 32 {
        return Ok(());
    }
    Err(format!("a name has 1 to 32 of a-z 0-9 _ and begins with a letter: {name:?}"))
}

/// Remembers a name, for the check only.
fn make(name: &str, known: &mut Known) {
    known.insert(name.to_owned(), Value::from("a"));
}

fn one(step: &Step, known: &mut Known, connections: &mut BTreeSet<String>) -> Result<(), String> {
    let there = |name: &str, connections: &BTreeSet<String>| {
        let is = connections.contains(name);
        is.then_some(()).ok_or_else(|| format!("no step before has made or connected {name:?}"))
    };
    let (mut expected, mut keep): (Option<&Value>, _) = (None, None);
    match step {
        Step::Device(device) => {
            plain(&device.name)?;
            fill_all(&Value::Object(device.with.clone()), known)?;
            make(&device.name, known);
            make(&format!("{}.token", device.name), known);
        }
        Step::Connects(connects) => {
            plain(&connects.name)?;
            let device = connects.device.as_ref().unwrap_or(&connects.name);
            if connects.user.is_none() && !known.contains_key(&format!("{device}.token")) {
                return Err(format!("no step before has made the device {device:?}"));
            }
            if ![4, 5].contains(&connects.version) {
                return Err("version is 4 (MQTT 3.1.1) or 5".to_owned());
            }
            for text in connects.user.iter().chain(&connects.password) {
                fill(text, known)?;
            }
            if let Some(will) = &connects.will {
                fill(&will.topic, known)?;
                fill_all(&will.payload, known)?;
            }
            connections.insert(connects.name.clone());
        }
        Step::Subscribes(subscribes) => {
            there(&subscribes.name, connections)?;
            fill(&subscribes.to, known)?;
        }
        Step::Publishes(publishes) => {
            there(&publishes.name, connections)?;
            fill(&publishes.topic, known)?;
            fill_all(&publishes.payload, known)?;
        }
        Step::Receives(receives) => {
            there(&receives.name, connections)?;
            fill(&receives.topic, known)?;
            (expected, keep) = (receives.payload.as_ref(), Some(&receives.keep));
        }
        Step::Disconnects(disconnects) => there(&disconnects.name, connections)?,
        Step::Cut(cut) => there(&cut.name, connections)?,
        Step::Closed(closed) => there(&closed.name, connections)?,
        Step::Asks(asks) => {
            if !asks.path.starts_with('/') {
                return Err(format!("a path begins with a slash: {:?}", asks.path));
            }
            fill(&asks.path, known)?;
            for json in asks.more.body.iter().chain(asks.more.lines.iter().flatten()) {
                fill_all(json, known)?;
            }
            if asks.more.body.is_some() && asks.more.lines.is_some() {
                return Err("a request has either a body or lines".to_owned());
            }
            (expected, keep) = (asks.more.gives.as_ref(), Some(&asks.more.keep));
        }
        Step::Listens(listens) => {
            plain(&listens.name)?;
            fill(&listens.with, known)?;
            make(&format!("{}.position", listens.name), known);
            connections.insert(listens.name.clone());
        }
        Step::Hears(hears) => {
            there(&hears.name, connections)?;
            (expected, keep) = (hears.gives.as_ref(), Some(&hears.keep));
        }
        Step::Receiver(receiver) => {
            plain(&receiver.name)?;
            make(&receiver.name, known);
            connections.insert(receiver.name.clone());
        }
        Step::Told(told) => {
            there(&told.name, connections)?;
            (expected, keep) = (Some(&told.gives), Some(&told.keep));
        }
    }
    if let Some(expected) = expected {
        fill_all(expected, known)?;
        expect::check(expected)?;
    }
    for (name, pointer) in keep.into_iter().flatten() {
        plain(name)?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(format!(
                "{name} is kept from a JSON pointer, which begins with a slash: {pointer:?}"
            ));
        }
        make(name, known);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_become_what_they_stand_for() {
        let known = Known::from([("boiler".to_owned(), json!("uc-1-boiler")), ("n".to_owned(), json!(7))]);
        assert_eq!(fill("/devices/{boiler}/x?n={n}", &known).unwrap(), "/devices/uc-1-boiler/x?n=7");
        assert_eq!(fill_all(&json!({"a": ["{n}", "no {n}"]}), &known).unwrap(), json!({"a": [7, "no 7"]}));
        for plain in ["{\"broken", "{}", "{Not a name}", "{ n }", "a } {"] {
            assert_eq!(fill(plain, &known).unwrap(), plain);
        }
        assert!(fill("{pump}", &known).unwrap_err().contains("{pump}"));
    }
}
