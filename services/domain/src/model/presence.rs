//! Presence: the newest session of a device, and what was known when it ended.

use super::Millis;
use super::event::Event;
use super::ids::{DeviceKey, MemberId};
use super::slot::SessionEpoch;

/// What the gateway knows of a connection when it asks for a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    /// The gateway that holds the connection.
    pub gateway: MemberId,
    /// The device's address as the gateway sees it, `ip:port`.
    pub address: String,
    /// `mqtt-3.1.1` or `mqtt-5`, with `+tls` or `+ws` where it is so.
    pub protocol: String,
    /// What the device asked to be said for it when it vanishes.
    pub will: Option<Will>,
}

/// A will, already checked to be a message that the device could have sent itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Will {
    /// The event to append. A will on another topic is taken in by the gateway and refused there.
    pub event: Event,
    /// Milliseconds to wait after the end of the session (MQTT 5 will delay).
    pub delay_ms: u32,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The device said goodbye.
    Disconnect,
    /// The device said goodbye and asked for its will (MQTT 5, 0x04).
    DisconnectWithWill,
    /// The transport was cut.
    Cut,
    /// Nothing came for one and a half times the keep-alive.
    KeepAlive,
    /// The device broke the protocol and was closed.
    ProtocolError,
    /// The device did not read what was sent to it.
    SlowReader,
    /// A newer session of the same device.
    TakenOver,
    /// We closed it: drain, shutdown, store unavailable.
    ByPlatform,
    /// We crashed holding it.
    PlatformCrash,
    /// The device was removed or its credential changed.
    Revoked,
}

impl EndReason {
    /// True when the session ended by our hand and so has a grace to come back.
    #[must_use]
    pub fn by_platform(self) -> bool {
        matches!(self, Self::ByPlatform | Self::PlatformCrash)
    }

    /// A stable word for API and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::DisconnectWithWill => "disconnect_with_will",
            Self::Cut => "cut",
            Self::KeepAlive => "keep_alive",
            Self::ProtocolError => "protocol_error",
            Self::SlowReader => "slow_reader",
            Self::TakenOver => "taken_over",
            Self::ByPlatform => "platform",
            Self::PlatformCrash => "platform_crash",
            Self::Revoked => "revoked",
        }
    }
}

/// The newest session of a device: under way, or how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Presence {
    /// Whose it is.
    pub key: DeviceKey,
    /// The session's epoch. Anything that names an older one changes nothing.
    pub epoch: SessionEpoch,
    /// The connection.
    pub session: SessionInfo,
    /// When the session was granted.
    pub opened_at: Millis,
    /// When and how it ended; none while it is under way.
    pub ended: Option<(Millis, EndReason)>,
    /// When silence is to be raised unless the device has come back; none when nothing is awaited.
    pub silence_due: Option<Millis>,
    /// When the will is to be said unless the device has come back.
    pub will_due: Option<Millis>,
}

/// The connection as people see it; `None` of a [`Presence`] is *never*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// A session is under way.
    Online,
    /// It has ended.
    Offline,
    /// There never was one.
    Never,
}

impl Connection {
    /// What people see of this presence.
    #[must_use]
    pub fn of(presence: Option<&Presence>) -> Self {
        match presence {
            None => Self::Never,
            Some(presence) if presence.ended.is_none() => Self::Online,
            Some(_) => Self::Offline,
        }
    }
}
