//! Events: immutable facts.

use super::Millis;
use super::alarm::Severity;
use super::ids::{DeviceKey, EventId};

/// What an event is about. Devices may use any word; only `fault` raises an alarm by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKind(pub String);

/// The kinds that have a meaning here, each with its constant, and all of them as a list that cannot miss one.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        impl EventKind {
            $($(#[$doc])* pub const $name: &'static str = $word;)*

            /// Every kind that the platform acts on or says itself. Devices may use others.
            pub const KNOWN: &'static [&'static str] = &[$(Self::$name),*];
        }
    };
}

kinds! {
    /// The kind that raises and clears alarms.
    FAULT = "fault",
    /// Said by the platform about payloads it could not take.
    PAYLOAD_REJECTED = "payload_rejected",
    /// A reply that came after its command had ended, or to a number that is not known.
    LATE_REPLY = "late_reply",
    /// A notification that was given up.
    NOTIFICATION_FAILED = "notification_failed",
}

impl EventKind {
    /// True for [`EventKind::FAULT`].
    #[must_use]
    pub fn is_fault(&self) -> bool {
        self.0 == Self::FAULT
    }
}

/// An immutable fact about a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Unique within its device; a repeated one counts once.
    pub id: EventId,
    /// Whose it is.
    pub device: DeviceKey,
    /// When it happened, by the device's or, failing that, the gateway's clock.
    pub ts: Millis,
    /// What it is about.
    pub kind: EventKind,
    /// Which of its kind, for instance `E42`.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// For a person.
    pub text: String,
    /// True when it ends what an earlier event of the same kind and code began.
    pub cleared: bool,
    /// Further data as compact JSON text.
    pub data: Option<String>,
}
