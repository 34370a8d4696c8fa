//! Alarms: active, then cleared; acknowledged or not.

use super::Millis;
use super::ids::{AlarmId, DeviceKey, SubscriptionId};

/// How bad, from worst to mildest; `Ord` puts the worse above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth watching.
    Warning,
    /// To be mended some time.
    Minor,
    /// To be mended today. What a device means that names none.
    Major,
    /// To be mended now.
    Critical,
}

impl Severity {
    /// The word used on every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Warning => "warning",
        }
    }

    /// The severity of that word, in lower case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Critical, Self::Major, Self::Minor, Self::Warning].into_iter().find(|s| s.as_str() == word)
    }
}

/// What raised an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// The device said so.
    Fault,
    /// The device says nothing.
    Silence,
    /// A rule over its telemetry.
    Rule,
}

impl AlarmKind {
    /// The word used on every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Silence => "silence",
            Self::Rule => "rule",
        }
    }

    /// The kind of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Fault, Self::Silence, Self::Rule].into_iter().find(|k| k.as_str() == word)
    }
}

/// Whether the cause still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmState {
    /// It does.
    Active,
    /// It does not any more.
    Cleared,
}

/// Somebody has taken note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// When.
    pub at: Millis,
    /// Who.
    pub by: String,
    /// What they said.
    pub note: Option<String>,
}

/// One raising of an alarm; of a device, kind and code at most one is active.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// This raising.
    pub id: AlarmId,
    /// Whose it is.
    pub device: DeviceKey,
    /// What raised it.
    pub kind: AlarmKind,
    /// Which of its kind.
    pub code: String,
    /// How bad, by the newest event.
    pub severity: Severity,
    /// For a person, by the newest event.
    pub text: String,
    /// Whether the cause still stands.
    pub state: AlarmState,
    /// Who took note, the first time.
    pub acknowledged: Option<Acknowledgement>,
    /// When it was raised.
    pub raised_at: Millis,
    /// When it was cleared.
    pub cleared_at: Option<Millis>,
    /// How many events have said so.
    pub count: u64,
    /// The subscriptions that were told of the raising, so that they are told of the clearing too.
    pub told: Vec<SubscriptionId>,
}
