//! Sessions that gateways hold, and members.

use stoker_domain as domain;
use stoker_domain::machine::HeldSession;
use stoker_domain::model::{MemberId, SessionInfo, Will};

use super::{
    WireError, device_key, device_ref, epoch_from_wire, epoch_to_wire, event_from_wire, event_to_wire,
};
use crate::core::v1 as wire;

/// To the wire. The will's event names its device.
#[must_use]
pub fn will_to_wire(will: Will) -> wire::Will {
    wire::Will { event: Some(event_to_wire(will.event)), delay_ms: will.delay_ms }
}

/// From the wire.
///
/// # Errors
/// When its event is none.
pub fn will_from_wire(will: wire::Will) -> Result<Will, WireError> {
    Ok(Will { event: event_from_wire(will.event)?, delay_ms: will.delay_ms })
}

/// To the wire.
#[must_use]
pub fn held_session_to_wire(held: HeldSession) -> wire::AnnouncedSession {
    wire::AnnouncedSession {
        device: Some(device_ref(&held.device)),
        epoch: Some(epoch_to_wire(held.epoch)),
        address: held.session.address,
        protocol: held.session.protocol,
        will: held.session.will.map(will_to_wire),
        commands_wanted: held.commands_wanted,
    }
}

/// From the wire. Whoever announces a session holds it: `gateway`.
///
/// # Errors
/// When a part is missing or none.
pub fn held_session_from_wire(
    held: wire::AnnouncedSession,
    gateway: &MemberId,
) -> Result<HeldSession, WireError> {
    Ok(HeldSession {
        device: device_key(held.device.as_ref())?,
        epoch: epoch_from_wire(held.epoch)?,
        session: SessionInfo {
            gateway: gateway.clone(),
            address: held.address,
            protocol: held.protocol,
            will: held.will.map(will_from_wire).transpose()?,
        },
        commands_wanted: held.commands_wanted,
    })
}

/// To the wire.
#[must_use]
pub fn member_role_to_wire(role: domain::model::MemberRole) -> wire::MemberRole {
    match role {
        domain::model::MemberRole::Core => wire::MemberRole::Core,
        domain::model::MemberRole::Gateway => wire::MemberRole::Gateway,
        domain::model::MemberRole::Notifier => wire::MemberRole::Notifier,
        domain::model::MemberRole::Portal => wire::MemberRole::Portal,
    }
}

/// From the wire.
///
/// # Errors
/// When it is unspecified or newer than this version.
pub fn member_role_from_wire(role: i32) -> Result<domain::model::MemberRole, WireError> {
    Ok(match wire::MemberRole::try_from(role) {
        Ok(wire::MemberRole::Core) => domain::model::MemberRole::Core,
        Ok(wire::MemberRole::Gateway) => domain::model::MemberRole::Gateway,
        Ok(wire::MemberRole::Notifier) => domain::model::MemberRole::Notifier,
        Ok(wire::MemberRole::Portal) => domain::model::MemberRole::Portal,
        Ok(wire::MemberRole::Unspecified) | Err(_) => return Err(WireError::Unknown("member role")),
    })
}
