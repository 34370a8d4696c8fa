//! Steps in words, for people.

use std::fmt;

use serde_json::Value;

use crate::model::{Asks, Caller, Connects, MakeDevice, Step};

/// A payload or body on one line: a text as it goes.
struct Said<'a>(&'a Value);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => write!(f, "{text:?}"),
            json => write!(f, "{json}"),
        }
    }
}

/// What is expected, as stories spell it, and the matchers in words.
struct Wanted<'a>(&'a Value);

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &[Value], f: &mut fmt::Formatter<'_>| {
            f.write_str("[")?;
            for (index, item) in items.iter().enumerate() {
                write!(f, "{}{}", if index == 0 { "" } else { ", " }, Wanted(item))?;
            }
            f.write_str("]")
        };
        match self.0 {
            Value::Array(items) => list(items, f),
            Value::Object(members) => {
                match members.iter().next().map(|(key, value)| (key.as_str(), value)) {
                    Some(("$present", there)) => {
                        return f.write_str(if *there == Value::Bool(true) {
                            "something"
                        } else {
                            "nothing"
                        });
                    }
                    Some(("$like", pattern)) => return write!(f, "like {pattern}"),
                    Some(("$at_least", number)) => return write!(f, "at least {number}"),
                    Some(("$contains", Value::Array(items))) => {
                        f.write_str("among others ")?;
                        return list(items, f);
                    }
                    Some(("$one_of", Value::Array(items))) => {
                        f.write_str("one of ")?;
                        return list(items, f);
                    }
                    _ => {}
                }
                f.write_str("{")?;
                for (index, (key, value)) in members.iter().enumerate() {
                    write!(f, "{}{key}: {}", if index == 0 { "" } else { ", " }, Wanted(value))?;
                }
                f.write_str("}")
            }
            other => write!(f, "{other}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => made(device, f),
            Self::Connects(connects) => connected(connects, f),
            Self::Subscribes(step) => {
                write!(f, "{} subscribes to {} with QoS {}", step.name, step.to, step.qos)?;
                match step.answered {
                    Some(code) if code != step.qos => write!(f, ", which is answered by {code:#04x}"),
                    _ => Ok(()),
                }
            }
            Self::Publishes(step) => {
                let qos = if step.qos == 1 { String::new() } else { format!(" with QoS {}", step.qos) };
                write!(f, "{} publishes {} to {}{qos}", step.name, Said(&step.payload), step.topic)?;
                match (step.qos, step.answered) {
                    (0, _) => Ok(()),
                    (_, 0) => f.write_str(", which is acknowledged"),
                    (_, code) => write!(f, ", which is answered by {code:#04x}"),
                }
            }
            Self::Receives(step) => {
                write!(f, "{} receives ", step.name)?;
                match &step.payload {
                    Some(payload) => write!(f, "{} on {}", Wanted(payload), step.topic),
                    None => write!(f, "a message on {}", step.topic),
                }
            }
            Self::Disconnects(step) => write!(f, "{} says goodbye", step.name),
            Self::Cut(step) => write!(f, "{} is cut off without a word", step.name),
            Self::Closed(step) => {
                write!(f, "the connection of {} is closed by the platform", step.name)?;
                step.code.map_or(Ok(()), |code| write!(f, " with {code:#04x}"))
            }
            Self::Asks(asks) => asked(asks, f),
            Self::Listens(step) => {
                let who = caller(step.caller);
                write!(f, "{who}{} listens to the live feed", step.name)?;
                if !step.with.is_empty() {
                    write!(f, " with {}", step.with)?;
                }
                step.refused.map_or(Ok(()), |status| write!(f, " and is refused with {status}"))
            }
            Self::Hears(step) => {
                write!(f, "{} hears {}", step.name, step.kind)?;
                step.gives.as_ref().map_or(Ok(()), |gives| write!(f, " {}", Wanted(gives)))
            }
            Self::Receiver(step) => {
                write!(f, "a receiver of webhooks {}", step.name)?;
                if !step.answering.is_empty() {
                    write!(f, " that answers {:?}", step.answering)?;
                }
                Ok(())
            }
            Self::Told(step) => write!(f, "{} is told {}", step.name, Wanted(&step.gives)),
        }
    }
}

fn caller(caller: Caller) -> &'static str {
    match caller {
        Caller::Administrator => "",
        Caller::Nobody => "without a token ",
        Caller::Stranger => "with a token of nobody's ",
    }
}

fn made(device: &MakeDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "a device {}", device.name)?;
    if !device.with.is_empty() {
        write!(f, " with {}", Value::Object(device.with.clone()))?;
    }
    Ok(())
}

fn connected(connects: &Connects, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{} connects", connects.name)?;
    if let Some(device) = &connects.device {
        write!(f, " as {device}")?;
    }
    if connects.version == 4 {
        f.write_str(" by MQTT 3.1.1")?;
    }
    if let Some(user) = &connects.user {
        write!(f, " with the user name {user}")?;
    }
    if connects.password.is_some() {
        f.write_str(" with a password")?;
    }
    if let Some(will) = &connects.will {
        write!(f, " with the will {} on {}", Said(&will.payload), will.topic)?;
    }
    if connects.answered != 0 {
        write!(f, ", which is answered by {:#04x}", connects.answered)?;
    }
    Ok(())
}

fn asked(asks: &Asks, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let more = &asks.more;
    write!(f, "{}{} {}", caller(more.caller), asks.method.as_str(), asks.path)?;
    if let Some(body) = &more.body {
        write!(f, " with {}", Said(body))?;
    }
    if let Some(lines) = &more.lines {
        write!(f, " with {} lines", lines.len())?;
    }
    if more.eventually {
        f.write_str(" eventually")?;
    }
    if let Some(status) = more.answers {
        write!(f, " answers {status}")?;
        if more.gives.is_some() {
            f.write_str(" and")?;
        }
    }
    more.gives.as_ref().map_or(Ok(()), |gives| write!(f, " gives {}", Wanted(gives)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expectations_are_told_in_words() {
        let wanted = json!({
            "items": {"$contains": [{"code": "E42", "at": {"$present": true}}]},
            "next": {"$present": false}, "key": {"$like": "ntf-*"}, "n": {"$at_least": 2}, "of": {"$one_of": [1, null]},
        });
        assert_eq!(
            Wanted(&wanted).to_string(),
            "{items: among others [{at: something, code: \"E42\"}], key: like \"ntf-*\", n: at least 2, next: nothing, of: one of [1, null]}"
        );
    }
}
