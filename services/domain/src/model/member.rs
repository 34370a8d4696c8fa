//! Members: the live processes.

use super::{MemberId, Millis};
use crate::ownership::SlotRange;

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberRole {
    /// Owns slots.
    Core,
    /// Ends device connections.
    Gateway,
    /// Delivers notifications.
    Notifier,
    /// Serves people.
    Portal,
}

impl MemberRole {
    /// The word for it, in interfaces and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Gateway => "gateway",
            Self::Notifier => "notifier",
            Self::Portal => "portal",
        }
    }
}

/// A member's own row: written by nobody else, once a second, so that the others see it change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Fresh and random at every start.
    pub id: MemberId,
    /// What it is there for.
    pub role: MemberRole,
    /// Where the other processes reach it, `host:port`; empty when nobody calls it.
    pub address: String,
    /// Its host or pod, for people.
    pub host: String,
    /// Its version, for people.
    pub version: String,
    /// The slots that it may own, of a core.
    pub slots: Option<SlotRange>,
    /// Connections that it holds, of a gateway.
    pub sessions: u64,
    /// It is about to end and takes nothing more.
    pub leaving: bool,
    /// When it started, by its own clock; for people.
    pub started_at: Millis,
    /// Differs from one write of the row to the next.
    pub beat: u64,
}
