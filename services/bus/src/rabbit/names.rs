//! What things are called at the broker. `docs/rabbitmq.md` lists all of it.

use std::fmt;
use std::str::FromStr;

use stoker_domain::ports::bus::Activity;
use stoker_domain::{DeviceKey, MemberId, NotificationWork, OrganizationId, Slot};

use super::error::RabbitError;

/// What all names of one platform begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl Default for Prefix {
    fn default() -> Self {
        Self("stoker".into())
    }
}

impl FromStr for Prefix {
    type Err = RabbitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The form of an id, and short: with a member's id behind it a name stays below 255 bytes.
        let good = text.len() <= 64 && text.parse::<OrganizationId>().is_ok();
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(RabbitError::Prefix(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Prefix {
    pub(super) fn events(&self) -> String {
        format!("{self}.events")
    }

    pub(super) fn work(&self) -> String {
        format!("{self}.work")
    }

    pub(super) fn dead_exchange(&self) -> String {
        format!("{self}.dead")
    }

    pub(super) fn dead_letters(&self) -> String {
        format!("{self}.dead-letters")
    }

    pub(super) fn listeners(&self) -> String {
        format!("{self}.feed-listeners")
    }

    /// Another name each time: a queue whose connection was cut may live on until the broker notices.
    pub(super) fn gateway(&self, member: &MemberId, nonce: &str) -> String {
        format!("{self}.gateway.{member}.{nonce}")
    }

    pub(super) fn feed(&self, nonce: &str) -> String {
        format!("{self}.feed.{nonce}")
    }
}

/// All notification work.
pub(super) const ALL_WORK: &str = "work.#";
/// The whole live feed.
pub(super) const ALL_ACTIVITY: &str = "activity.#";
/// Where a publisher tells how far it has come.
pub(super) const BEACON: &str = "activity";

pub(super) fn work_key(work: &NotificationWork) -> String {
    let it = &work.notification;
    format!("work.{}.{}.{}", word(&it.device), it.channel.kind().as_str(), it.device.slot())
}

pub(super) fn gateway_key(member: &MemberId) -> String {
    format!("gateway.{member}")
}

pub(super) fn activity_key(activity: &Activity) -> String {
    let (kind, device) = match activity {
        Activity::Event(event) => ("event", &event.device),
        Activity::Alarm(alarm) => ("alarm", &alarm.device),
        Activity::Command(command) => ("command", &command.device),
        Activity::Connection(presence) => ("connection", &presence.key),
        Activity::Telemetry(reading) => ("telemetry", &reading.device),
        Activity::Device(device) => ("device", &device.key),
        Activity::Attributes(attributes) => ("attributes", &attributes.key),
    };
    let slot: Slot = device.slot();
    format!("activity.{}.{kind}.{slot}", word(device))
}

/// The organization as one word of a routing key. A dot would make it two, and `activity.acme.#` would be heard by
/// `acme` when `acme.eu` is meant; `%` occurs in no id.
fn word(device: &DeviceKey) -> String {
    device.organization.as_str().replace('.', "%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoker_domain::{Point, Reading, Value};

    fn telemetry(organization: &str) -> Activity {
        let device = DeviceKey::new(organization.parse().unwrap(), "boiler-7".parse().unwrap());
        let point = Point { key: "t".into(), ts: 1, value: Value::Integer(1) };
        Activity::Telemetry(Reading { device, points: vec![point] })
    }

    #[test]
    fn an_organization_is_one_word_of_a_routing_key() {
        let key = activity_key(&telemetry("acme.eu"));
        let words: Vec<&str> = key.split('.').collect();
        assert_eq!(words.len(), 4, "{key}");
        assert_eq!(words[..3], ["activity", "acme%eu", "telemetry"]);
        assert!(activity_key(&telemetry(&"a.".repeat(64))).len() < 255, "the longest one fits");
    }

    #[test]
    fn prefixes_are_short_ids() {
        for good in ["stoker", "a", "plant-1.test"] {
            assert!(good.parse::<Prefix>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "a#", &"x".repeat(65)] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
