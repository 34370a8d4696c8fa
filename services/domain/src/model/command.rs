//! Commands: an order and the ledger of its states.

use super::Millis;
use super::ids::{CommandId, DeviceKey};
use super::slot::SessionEpoch;

/// Where a command stands. States never go back; the last four are final, and a command reaches exactly one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandState {
    /// Written down.
    Queued,
    /// Written to the device's connection.
    Sent,
    /// The device's MQTT stack has acknowledged it.
    Delivered,
    /// The device replied.
    Succeeded,
    /// The device replied with an error, or refused it.
    Failed,
    /// Its time ran out; see [`CommandOutcome`].
    Expired,
    /// Somebody took it back.
    Cancelled,
}

impl CommandState {
    /// True for the last four.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Expired | Self::Cancelled)
    }

    /// The word used on every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        use CommandState::{Cancelled, Delivered, Expired, Failed, Queued, Sent, Succeeded};
        [Queued, Sent, Delivered, Succeeded, Failed, Expired, Cancelled]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// What is known of a command whose time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandOutcome {
    /// No gateway was ever handed it.
    NeverSent,
    /// A gateway was handed it, but nobody said that it arrived.
    Unknown,
    /// It arrived; no reply came.
    NoReply,
}

impl CommandOutcome {
    /// The word used on every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverSent => "never_sent",
            Self::Unknown => "unknown",
            Self::NoReply => "no_reply",
        }
    }
}

/// An order to a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// On the whole platform.
    pub id: CommandId,
    /// Whom it is for.
    pub device: DeviceKey,
    /// The number the device sees; grows per device, and stays the same when the command is sent again.
    pub number: u64,
    /// What to do.
    pub method: String,
    /// With what, as compact JSON text of at most 32 KiB.
    pub params: String,
    /// Where it stands.
    pub state: CommandState,
    /// What is known, once expired.
    pub outcome: Option<CommandOutcome>,
    /// The device's answer as compact JSON text.
    pub reply: Option<String>,
    /// Why it failed, where the device did not say it itself.
    pub detail: Option<String>,
    /// Whether the device had a session when the command was made.
    pub online: bool,
    /// The session whose gateway was last handed it and may have written it. None: nobody ever was, or the gateway
    /// said for sure that it wrote nothing.
    pub handed: Option<SessionEpoch>,
    /// When it was made.
    pub created_at: Millis,
    /// When it was first written to a connection.
    pub sent_at: Option<Millis>,
    /// When the device acknowledged it.
    pub delivered_at: Option<Millis>,
    /// When it reached its final state.
    pub ended_at: Option<Millis>,
    /// When its time runs out.
    pub expires_at: Millis,
}
