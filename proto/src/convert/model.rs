//! Devices, values, events, commands, alarms, notifications.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use stoker_domain as domain;

use super::{
    WireError, alarm_kind_to_wire, alarm_state_to_wire, attempt_result_to_wire, command_state_to_wire,
    connection_to_wire, end_reason_to_wire, id, notification_state_to_wire, outcome_to_wire,
    severity_from_wire, severity_to_wire, step_to_wire,
};
use crate::core::v1 as wire;

/// To the wire.
#[must_use]
pub fn device_ref(key: &domain::DeviceKey) -> wire::DeviceRef {
    wire::DeviceRef {
        organization: key.organization.as_str().to_owned(),
        device: key.device.as_str().to_owned(),
    }
}

/// From the wire.
///
/// # Errors
/// When it is missing or no key.
pub fn device_key(device: Option<&wire::DeviceRef>) -> Result<domain::DeviceKey, WireError> {
    let device = device.ok_or(WireError::Missing("device"))?;
    Ok(domain::DeviceKey::new(id("organization", &device.organization)?, id("device", &device.device)?))
}

/// To the wire.
#[must_use]
pub fn value_to_wire(value: domain::Value) -> wire::Value {
    use wire::value::Kind;
    let kind = match value {
        domain::Value::Boolean(value) => Kind::Boolean(value),
        domain::Value::Integer(value) => Kind::Integer(value),
        domain::Value::Number(value) => Kind::Number(value),
        domain::Value::Text(value) => Kind::Text(value),
        domain::Value::Json(value) => Kind::Json(value),
    };
    wire::Value { kind: Some(kind) }
}

/// From the wire.
///
/// # Errors
/// When it is missing, or a number that is not finite.
pub fn value_from_wire(value: Option<wire::Value>) -> Result<domain::Value, WireError> {
    use wire::value::Kind;
    match value.and_then(|value| value.kind) {
        None => Err(WireError::Missing("value")),
        Some(Kind::Boolean(value)) => Ok(domain::Value::Boolean(value)),
        Some(Kind::Integer(value)) => Ok(domain::Value::Integer(value)),
        Some(Kind::Number(value)) if value.is_finite() => Ok(domain::Value::Number(value)),
        Some(Kind::Number(_)) => Err(WireError::Range("value")),
        Some(Kind::Text(value)) => Ok(domain::Value::Text(value)),
        Some(Kind::Json(value)) => Ok(domain::Value::Json(value)),
    }
}

/// To the wire.
#[must_use]
pub fn point_to_wire(point: domain::Point) -> wire::Point {
    wire::Point { key: point.key.as_ref().to_owned(), ts: point.ts, value: Some(value_to_wire(point.value)) }
}

/// From the wire.
///
/// # Errors
/// When its key is empty or its value none.
pub fn point_from_wire(point: wire::Point) -> Result<domain::Point, WireError> {
    if point.key.is_empty() {
        return Err(WireError::Missing("key"));
    }
    Ok(domain::Point { key: Arc::from(point.key), ts: point.ts, value: value_from_wire(point.value)? })
}

/// To the wire.
#[must_use]
pub fn reading_to_wire(reading: domain::Reading) -> wire::Reading {
    wire::Reading {
        device: Some(device_ref(&reading.device)),
        points: reading.points.into_iter().map(point_to_wire).collect(),
    }
}

/// From the wire.
///
/// # Errors
/// When it has no device, no point, or one of them is wrong.
pub fn reading_from_wire(reading: wire::Reading) -> Result<domain::Reading, WireError> {
    if reading.points.is_empty() {
        return Err(WireError::Missing("points"));
    }
    Ok(domain::Reading {
        device: device_key(reading.device.as_ref())?,
        points: reading.points.into_iter().map(point_from_wire).collect::<Result<_, _>>()?,
    })
}

/// To the wire.
#[must_use]
pub fn epoch_to_wire(epoch: domain::SessionEpoch) -> wire::SessionEpoch {
    wire::SessionEpoch { slot_epoch: epoch.slot.0, counter: epoch.counter }
}

/// From the wire.
///
/// # Errors
/// When it is missing.
pub fn epoch_from_wire(epoch: Option<wire::SessionEpoch>) -> Result<domain::SessionEpoch, WireError> {
    let epoch = epoch.ok_or(WireError::Missing("session epoch"))?;
    Ok(domain::SessionEpoch { slot: domain::SlotEpoch(epoch.slot_epoch), counter: epoch.counter })
}

/// To the wire.
#[must_use]
pub fn event_to_wire(event: domain::Event) -> wire::Event {
    wire::Event {
        id: event.id.as_str().to_owned(),
        device: Some(device_ref(&event.device)),
        ts: event.ts,
        kind: event.kind.0,
        code: event.code,
        severity: severity_to_wire(event.severity),
        text: event.text,
        cleared: event.cleared,
        data: event.data,
    }
}

/// From the wire.
///
/// # Errors
/// When a part of it is missing or none.
pub fn event_from_wire(event: Option<wire::Event>) -> Result<domain::Event, WireError> {
    let event = event.ok_or(WireError::Missing("event"))?;
    if event.kind.is_empty() {
        return Err(WireError::Missing("kind"));
    }
    Ok(domain::Event {
        id: id("event id", &event.id)?,
        device: device_key(event.device.as_ref())?,
        ts: event.ts,
        kind: domain::EventKind(event.kind),
        code: event.code,
        severity: severity_from_wire(event.severity)?,
        text: event.text,
        cleared: event.cleared,
        data: event.data,
    })
}

/// To the wire: a connection as people see it.
#[must_use]
pub fn presence_to_wire(presence: &domain::Presence) -> wire::Connection {
    wire::Connection {
        state: connection_to_wire(domain::Connection::of(Some(presence))),
        since: presence.ended.map_or(presence.opened_at, |(at, _)| at),
        gateway: Some(presence.session.gateway.as_str().to_owned()),
        address: Some(presence.session.address.clone()),
        protocol: Some(presence.session.protocol.clone()),
        reason: presence.ended.map(|(_, reason)| end_reason_to_wire(reason)),
    }
}

/// To the wire: a device as people see it.
#[must_use]
pub fn device_to_wire(device: &domain::Device, presence: Option<&domain::Presence>) -> wire::Device {
    wire::Device {
        key: Some(device_ref(&device.key)),
        model: device.model.clone(),
        site: device.site.as_ref().map(|site| site.as_str().to_owned()),
        tags: device.tags.clone(),
        expected_interval_s: device.expected_interval_s,
        connection: Some(match presence {
            Some(presence) => presence_to_wire(presence),
            None => wire::Connection {
                state: connection_to_wire(domain::Connection::of(None)),
                since: device.created_at,
                ..wire::Connection::default()
            },
        }),
        created_at: device.created_at,
        version: device.version,
    }
}

/// To the wire.
#[must_use]
pub fn values_to_wire(values: &BTreeMap<String, domain::Value>) -> HashMap<String, wire::Value> {
    values.iter().map(|(key, value)| (key.clone(), value_to_wire(value.clone()))).collect()
}

/// From the wire.
///
/// # Errors
/// When a key is empty or a value none.
pub fn values_from_wire(
    values: HashMap<String, wire::Value>,
) -> Result<BTreeMap<String, domain::Value>, WireError> {
    values
        .into_iter()
        .map(|(key, value)| {
            if key.is_empty() {
                Err(WireError::Missing("key"))
            } else {
                Ok((key, value_from_wire(Some(value))?))
            }
        })
        .collect()
}

/// To the wire.
#[must_use]
pub fn attributes_to_wire(attributes: &domain::Attributes) -> wire::Attributes {
    wire::Attributes {
        client: values_to_wire(&attributes.client),
        shared: values_to_wire(&attributes.shared),
        server: values_to_wire(&attributes.server),
    }
}

/// To the wire.
#[must_use]
pub fn command_to_wire(command: domain::Command) -> wire::Command {
    wire::Command {
        id: command.id.to_string(),
        device: Some(device_ref(&command.device)),
        number: command.number,
        method: command.method,
        params: command.params,
        state: command_state_to_wire(command.state),
        outcome: command.outcome.map(outcome_to_wire),
        reply: command.reply,
        detail: command.detail,
        online: command.online,
        created_at: command.created_at,
        sent_at: command.sent_at,
        delivered_at: command.delivered_at,
        ended_at: command.ended_at,
        expires_at: command.expires_at,
    }
}

/// To the wire.
#[must_use]
pub fn alarm_to_wire(alarm: domain::Alarm) -> wire::Alarm {
    wire::Alarm {
        id: alarm.id.to_string(),
        device: Some(device_ref(&alarm.device)),
        kind: alarm_kind_to_wire(alarm.kind),
        code: alarm.code,
        severity: severity_to_wire(alarm.severity),
        text: alarm.text,
        state: alarm_state_to_wire(alarm.state),
        acknowledged: alarm.acknowledged.map(|ack| wire::Acknowledgement {
            at: ack.at,
            by: ack.by,
            note: ack.note,
        }),
        raised_at: alarm.raised_at,
        cleared_at: alarm.cleared_at,
        count: alarm.count,
    }
}

/// To the wire. The channel's secret stays behind.
#[must_use]
pub fn notification_to_wire(notification: domain::Notification) -> wire::Notification {
    wire::Notification {
        id: notification.id.to_string(),
        device: Some(device_ref(&notification.device)),
        alarm: notification.alarm.to_string(),
        subscription: notification.subscription.as_str().to_owned(),
        channel: notification.channel.kind().as_str().to_owned(),
        to: notification.channel.to().to_owned(),
        state: notification_state_to_wire(notification.state),
        attempts: notification
            .attempts
            .into_iter()
            .map(|attempt| wire::Attempt {
                at: attempt.at,
                result: attempt_result_to_wire(attempt.result),
                detail: attempt.detail,
            })
            .collect(),
        created_at: notification.created_at,
        step: step_to_wire(notification.step),
        test: notification.test,
        next_attempt_at: notification.next_attempt_at,
    }
}
