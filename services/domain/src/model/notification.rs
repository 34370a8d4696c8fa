//! Notifications: what one recipient is told about one step of one alarm, attempt by attempt.

use super::Millis;
use super::alarm::Alarm;
use super::ids::{AlarmId, DeviceKey, NotificationId, SubscriptionId};
use super::subscription::Channel;

/// How somebody is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelKind {
    /// A mail.
    Email,
    /// A signed HTTP POST.
    Webhook,
}

impl ChannelKind {
    /// The word used on every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
        }
    }
}

/// Which step of an alarm is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotificationStep {
    /// It was raised.
    Raised,
    /// It was cleared.
    Cleared,
}

impl NotificationStep {
    /// The word used on every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
        }
    }
}

/// Where a notification stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotificationState {
    /// Attempts go on.
    Pending,
    /// The next hop has taken it: a mail server said 250. Final unless a receipt follows.
    Sent,
    /// The recipient has it: a webhook answered 2xx.
    Delivered,
    /// Given up.
    Failed,
}

impl NotificationState {
    /// The word used on every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The state of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Sent, Self::Delivered, Self::Failed].into_iter().find(|s| s.as_str() == word)
    }
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptResult {
    /// The next hop has taken it.
    Sent,
    /// The recipient has it.
    Delivered,
    /// It may work later: refused for now, no answer, no connection.
    Retry,
    /// It will never work: refused for good, a forbidden address.
    Refused,
}

impl AttemptResult {
    /// The word used on every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Refused => "refused",
        }
    }
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When its result was known.
    pub at: Millis,
    /// How it went.
    pub result: AttemptResult,
    /// What the other side said, at most 512 bytes.
    pub detail: String,
}

/// What one recipient is told about one step of one alarm. Its id is the idempotency key: (alarm, step, recipient,
/// channel) has one for ever.
///
/// One that is a `test` tells of no alarm: it shows that the recipient can be reached. Its device, alarm and content are
/// made up for it ([`Subscription::stand_in`](super::Subscription::stand_in)), so that it goes the way that all others go.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// The idempotency key.
    pub id: NotificationId,
    /// Whose alarm.
    pub device: DeviceKey,
    /// Which alarm.
    pub alarm: AlarmId,
    /// Which step of it.
    pub step: NotificationStep,
    /// It tells of no alarm: somebody has asked for a test message.
    pub test: bool,
    /// The alarm as it was at that step: what is told, however often it is tried.
    pub content: Alarm,
    /// Who wanted it.
    pub subscription: SubscriptionId,
    /// Where to, as it was at that time.
    pub channel: Channel,
    /// Where it stands.
    pub state: NotificationState,
    /// When it was made.
    pub created_at: Millis,
    /// How many attempts have ended. `attempts` keeps only the newest.
    pub tried: u32,
    /// The newest attempts, oldest first, at most 32.
    pub attempts: Vec<Attempt>,
    /// When the next attempt is due; none while one is under way or when it has ended.
    pub next_attempt_at: Option<Millis>,
}

/// One attempt to be carried out: what a notifier gets from the bus.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationWork {
    /// What to deliver. Its `tried` tells which attempt this is.
    pub notification: Notification,
}
