//! Items of the live feed.

use stoker_domain as domain;
use stoker_domain::ports::bus::Activity;

use super::parts::{alarm_from_bus, alarm_to_bus, command_from_wire};
use crate::bus::v1 as bus;
use crate::bus::v1::activity as item;
use crate::convert::{
    WireError, attributes_to_wire, command_to_wire, device_key, device_ref, end_reason_from_wire,
    end_reason_to_wire, epoch_from_wire, epoch_to_wire, event_from_wire, event_to_wire, id,
    reading_from_wire, reading_to_wire, values_from_wire,
};

/// To the bus. The hashes of a device's credentials stay behind.
#[must_use]
pub fn activity_to_bus(activity: Activity) -> bus::Activity {
    use item::Item;
    let item = match activity {
        Activity::Event(event) => Item::Event(event_to_wire(event)),
        Activity::Alarm(alarm) => Item::Alarm(alarm_to_bus(alarm)),
        Activity::Command(command) => {
            let handed = command.handed.map(epoch_to_wire);
            Item::Command(item::Command { command: Some(command_to_wire(command)), handed })
        }
        Activity::Connection(presence) => Item::Connection(connection_to_bus(presence)),
        Activity::Telemetry(reading) => Item::Telemetry(reading_to_wire(reading)),
        Activity::Device(device) => Item::Device(item::Device {
            key: Some(device_ref(&device.key)),
            model: device.model,
            site: device.site.map(|site| site.as_str().to_owned()),
            tags: device.tags,
            expected_interval_s: device.expected_interval_s,
            created_at: device.created_at,
            version: device.version,
        }),
        Activity::Attributes(attributes) => Item::Attributes(item::Attributes {
            device: Some(device_ref(&attributes.key)),
            attributes: Some(attributes_to_wire(&attributes)),
        }),
    };
    bus::Activity { item: Some(item) }
}

/// From the bus. A device comes without the hashes of its credentials.
///
/// # Errors
/// When a part of it is missing or none, or when it is an item that this version does not know.
pub fn activity_from_bus(activity: bus::Activity) -> Result<Activity, WireError> {
    use item::Item;
    Ok(match activity.item.ok_or(WireError::Unknown("item"))? {
        Item::Event(event) => Activity::Event(event_from_wire(Some(event))?),
        Item::Alarm(alarm) => Activity::Alarm(alarm_from_bus(Some(alarm))?),
        Item::Command(item::Command { command, handed }) => {
            let handed = handed.map(|epoch| epoch_from_wire(Some(epoch))).transpose()?;
            Activity::Command(command_from_wire(command, handed)?)
        }
        Item::Connection(connection) => Activity::Connection(connection_from_bus(connection)?),
        Item::Telemetry(reading) => Activity::Telemetry(reading_from_wire(reading)?),
        Item::Device(device) => Activity::Device(domain::Device {
            key: device_key(device.key.as_ref())?,
            model: device.model,
            site: device.site.map(|site| id("site", &site)).transpose()?,
            tags: device.tags,
            expected_interval_s: device.expected_interval_s,
            token_hash: None,
            password_hash: None,
            created_at: device.created_at,
            version: device.version,
        }),
        Item::Attributes(item::Attributes { device, attributes }) => {
            let attributes = attributes.ok_or(WireError::Missing("attributes"))?;
            Activity::Attributes(domain::Attributes {
                key: device_key(device.as_ref())?,
                client: values_from_wire(attributes.client)?,
                shared: values_from_wire(attributes.shared)?,
                server: values_from_wire(attributes.server)?,
            })
        }
    })
}

fn connection_to_bus(presence: domain::Presence) -> item::Connection {
    item::Connection {
        device: Some(device_ref(&presence.key)),
        epoch: Some(epoch_to_wire(presence.epoch)),
        gateway: presence.session.gateway.as_str().to_owned(),
        address: presence.session.address,
        protocol: presence.session.protocol,
        will: presence.session.will.map(|will| item::connection::Will {
            event: Some(event_to_wire(will.event)),
            delay_ms: will.delay_ms,
        }),
        opened_at: presence.opened_at,
        ended_at: presence.ended.map(|(at, _)| at),
        end_reason: presence.ended.map(|(_, reason)| end_reason_to_wire(reason)),
        silence_due: presence.silence_due,
        will_due: presence.will_due,
    }
}

fn connection_from_bus(connection: item::Connection) -> Result<domain::Presence, WireError> {
    let will = connection.will.map(|will| {
        Ok::<_, WireError>(domain::Will { event: event_from_wire(will.event)?, delay_ms: will.delay_ms })
    });
    let ended = match (connection.ended_at, connection.end_reason) {
        (Some(at), Some(reason)) => Some((at, end_reason_from_wire(reason)?)),
        (None, None) => None,
        _ => return Err(WireError::Missing("end of the session")),
    };
    Ok(domain::Presence {
        key: device_key(connection.device.as_ref())?,
        epoch: epoch_from_wire(connection.epoch)?,
        session: domain::SessionInfo {
            gateway: id("gateway", &connection.gateway)?,
            address: connection.address,
            protocol: connection.protocol,
            will: will.transpose()?,
        },
        opened_at: connection.opened_at,
        ended,
        silence_due: connection.silence_due,
        will_due: connection.will_due,
    })
}

#[cfg(test)]
#[path = "activity/tests.rs"]
mod tests;
