//! Items of the feed, as JSON: the very JSON that the other routes give.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use stoker_domain::DeviceKey;
use stoker_domain::model::Reading;
use stoker_domain::ports::bus::Activity;
use stoker_proto::convert;

use crate::alarms::Alarm;
use crate::commands::Command;
use crate::devices::{Connection, Device};
use crate::events::Event;
use crate::json::raw;
use crate::problem::Problem;
use crate::telemetry::Latest;
use crate::time::Time;

/// What items there are.
pub(super) const KINDS: [&str; 7] =
    ["event", "alarm", "command", "connection", "telemetry", "device", "attributes"];

/// What is told to whoever names no types: what happens, and not what people note down about devices.
pub(super) const USUAL: [&str; 5] = ["event", "alarm", "command", "connection", "telemetry"];

/// A device without its connection, of which another item tells.
#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    organization: &'a str,
    model: Option<&'a str>,
    site: Option<&'a str>,
    tags: &'a [String],
    expected_interval_s: Option<u32>,
    created_at: Time,
}

impl<'a> Record<'a> {
    fn of(device: &'a Device) -> Self {
        Self {
            id: &device.id,
            organization: &device.organization,
            model: device.model.as_deref(),
            site: device.site.as_deref(),
            tags: &device.tags,
            expected_interval_s: device.expected_interval_s,
            created_at: device.created_at,
        }
    }
}

/// What begins the feed.
const HELLO: &str = "hello";
/// What says that something is missing.
const GAP: &str = "gap";

/// What `type` says in a frame.
pub(super) fn frames() -> impl Iterator<Item = &'static str> {
    KINDS.into_iter().chain([HELLO, GAP])
}

/// One item, ready to be sent to everybody.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: &'static str,
    pub(super) key: DeviceKey,
    pub(super) data: Box<RawValue>,
}

impl Item {
    /// As the feed shows it.
    pub(super) fn of(activity: &Activity) -> Result<Self, Problem> {
        let (kind, key, data) = match activity {
            Activity::Event(event) => {
                ("event", &event.device, json(&Event::from_wire(convert::event_to_wire(event.clone()))?)?)
            }
            Activity::Alarm(alarm) => {
                ("alarm", &alarm.device, json(&Alarm::from_wire(convert::alarm_to_wire(alarm.clone()))?)?)
            }
            Activity::Command(command) => {
                let shown = Command::from_wire(convert::command_to_wire(command.clone()))?;
                ("command", &command.device, json(&shown)?)
            }
            Activity::Connection(presence) => {
                let shown = Connection::from_wire(convert::presence_to_wire(presence))?;
                ("connection", &presence.key, json(&shown)?)
            }
            Activity::Telemetry(reading) => ("telemetry", &reading.device, newest(reading)?),
            Activity::Device(device) => {
                let shown = Device::from_wire(convert::device_to_wire(device, None))?;
                ("device", &device.key, json(&Record::of(&shown))?)
            }
            // They may be larger than all that else is told: whoever wants them reads them.
            Activity::Attributes(attributes) => ("attributes", &attributes.key, raw("null".to_owned())?),
        };
        Ok(Self { kind, key: key.clone(), data })
    }

    /// About what it takes in memory, as it is and in its frame.
    pub(super) fn weight(&self) -> usize {
        self.data.get().len() * 2
    }

    /// The frame.
    pub(super) fn frame(&self, position: &str) -> Result<String, Problem> {
        #[derive(Serialize)]
        struct Frame<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            position: &'a str,
            device: &'a str,
            data: &'a RawValue,
        }
        let device = self.key.device.as_str();
        text(&Frame { kind: self.kind, position, device, data: &self.data })
    }
}

/// A frame that says that something is missing.
pub(super) fn gap() -> Utf8Bytes {
    Utf8Bytes::from_static(r#"{"type":"gap"}"#)
}

/// A frame that begins the feed.
pub(super) fn hello(position: &str) -> Result<String, Problem> {
    text(&serde_json::json!({"type": HELLO, "position": position}))
}

fn text(frame: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(frame).map_err(crate::core::unreadable)
}

fn json(shown: &impl Serialize) -> Result<Box<RawValue>, Problem> {
    raw(text(shown)?)
}

/// The newest value of each key, as `/telemetry/latest` shows them.
fn newest(reading: &Reading) -> Result<Box<RawValue>, Problem> {
    let mut newest: BTreeMap<Arc<str>, Latest> = BTreeMap::new();
    for point in convert::reading_to_wire(reading.clone()).points {
        let latest = Latest::from_wire(point.ts, point.value)?;
        let key: Arc<str> = point.key.into();
        if newest.get(&key).is_none_or(|known| known.ts <= latest.ts) {
            newest.insert(key, latest);
        }
    }
    json(&newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_calls_itself_so() {
        let frame: serde_json::Value = serde_json::from_str(gap().as_str()).unwrap();
        assert_eq!(frame, serde_json::json!({"type": GAP}));
    }
}
