//! What several messages of the bus share.

use stoker_domain as domain;

use crate::bus::v1 as bus;
use crate::convert::{
    WireError, alarm_kind_from_wire, alarm_state_from_wire, alarm_to_wire, command_state_from_wire,
    device_key, id, outcome_from_wire, severity_from_wire,
};
use crate::core::v1 as wire;

pub(super) fn alarm_to_bus(mut alarm: domain::Alarm) -> bus::Alarm {
    let told = std::mem::take(&mut alarm.told);
    bus::Alarm {
        alarm: Some(alarm_to_wire(alarm)),
        told: told.into_iter().map(|id| id.as_str().to_owned()).collect(),
    }
}

pub(super) fn alarm_from_bus(alarm: Option<bus::Alarm>) -> Result<domain::Alarm, WireError> {
    let bus::Alarm { alarm, told } = alarm.ok_or(WireError::Missing("alarm"))?;
    let alarm = alarm.ok_or(WireError::Missing("alarm"))?;
    Ok(domain::Alarm {
        id: id("alarm id", &alarm.id)?,
        device: device_key(alarm.device.as_ref())?,
        kind: alarm_kind_from_wire(alarm.kind)?,
        code: alarm.code,
        severity: severity_from_wire(alarm.severity)?,
        text: alarm.text,
        state: alarm_state_from_wire(alarm.state)?,
        acknowledged: alarm.acknowledged.map(|ack| domain::Acknowledgement {
            at: ack.at,
            by: ack.by,
            note: ack.note,
        }),
        raised_at: alarm.raised_at,
        cleared_at: alarm.cleared_at,
        count: alarm.count,
        told: told.iter().map(|told| id("told", told)).collect::<Result<_, _>>()?,
    })
}

pub(super) fn command_from_wire(
    command: Option<wire::Command>,
    handed: Option<domain::SessionEpoch>,
) -> Result<domain::Command, WireError> {
    let command = command.ok_or(WireError::Missing("command"))?;
    Ok(domain::Command {
        id: id("command id", &command.id)?,
        device: device_key(command.device.as_ref())?,
        number: command.number,
        method: command.method,
        params: command.params,
        state: command_state_from_wire(command.state)?,
        outcome: command.outcome.map(outcome_from_wire).transpose()?,
        reply: command.reply,
        detail: command.detail,
        online: command.online,
        handed,
        created_at: command.created_at,
        sent_at: command.sent_at,
        delivered_at: command.delivered_at,
        ended_at: command.ended_at,
        expires_at: command.expires_at,
    })
}
