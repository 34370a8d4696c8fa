//! Enumerations, one to one.

use stoker_domain as domain;

use super::WireError;
use crate::core::v1 as wire;

macro_rules! enumeration {
    ($to:ident, $from:ident, $what:literal, $wire:ident, $domain:ident { $($wire_variant:ident => $domain_variant:ident),+ $(,)? }) => {
        /// To the wire.
        #[must_use]
        pub fn $to(value: domain::$domain) -> i32 {
            match value {
                $(domain::$domain::$domain_variant => wire::$wire::$wire_variant as i32,)+
            }
        }

        /// From the wire.
        ///
        /// # Errors
        /// [`WireError::Unknown`] when it is unspecified or newer than this version.
        pub fn $from(value: i32) -> Result<domain::$domain, WireError> {
            match wire::$wire::try_from(value) {
                $(Ok(wire::$wire::$wire_variant) => Ok(domain::$domain::$domain_variant),)+
                Ok(wire::$wire::Unspecified) | Err(_) => Err(WireError::Unknown($what)),
            }
        }
    };
}

enumeration!(severity_to_wire, severity_from_wire, "severity", Severity, Severity {
    Warning => Warning, Minor => Minor, Major => Major, Critical => Critical,
});
enumeration!(end_reason_to_wire, end_reason_from_wire, "end reason", EndReason, EndReason {
    Disconnect => Disconnect, DisconnectWithWill => DisconnectWithWill, Cut => Cut, KeepAlive => KeepAlive,
    ProtocolError => ProtocolError, SlowReader => SlowReader, TakenOver => TakenOver, ByPlatform => ByPlatform,
    PlatformCrash => PlatformCrash, Revoked => Revoked,
});
enumeration!(connection_to_wire, connection_from_wire, "connection state", ConnectionState, Connection {
    Never => Never, Online => Online, Offline => Offline,
});
enumeration!(command_state_to_wire, command_state_from_wire, "command state", CommandState, CommandState {
    Queued => Queued, Sent => Sent, Delivered => Delivered, Succeeded => Succeeded, Failed => Failed,
    Expired => Expired, Cancelled => Cancelled,
});
enumeration!(outcome_to_wire, outcome_from_wire, "command outcome", CommandOutcome, CommandOutcome {
    NeverSent => NeverSent, Unknown => Unknown, NoReply => NoReply,
});
enumeration!(alarm_kind_to_wire, alarm_kind_from_wire, "alarm kind", AlarmKind, AlarmKind {
    Fault => Fault, Silence => Silence, Rule => Rule,
});
enumeration!(alarm_state_to_wire, alarm_state_from_wire, "alarm state", AlarmState, AlarmState {
    Active => Active, Cleared => Cleared,
});
enumeration!(notification_state_to_wire, notification_state_from_wire, "notification state",
    NotificationState, NotificationState {
    Pending => Pending, Sent => Sent, Delivered => Delivered, Failed => Failed,
});
enumeration!(attempt_result_to_wire, attempt_result_from_wire, "attempt result", AttemptResult, AttemptResult {
    Sent => Sent, Delivered => Delivered, Retry => Retry, Refused => Refused,
});
enumeration!(step_to_wire, step_from_wire, "notification step", NotificationStep, NotificationStep {
    Raised => Raised, Cleared => Cleared,
});
