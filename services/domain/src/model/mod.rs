//! The nouns of the platform. Plain data: no row, wire or HTTP traits; adapters convert.

mod alarm;
mod command;
mod device;
mod event;
mod ids;
mod member;
mod notification;
mod presence;
mod slot;
mod subscription;
mod value;

pub use alarm::{Acknowledgement, Alarm, AlarmKind, AlarmState, Severity};
pub use command::{Command, CommandOutcome, CommandState};
pub use device::{Attributes, Device, DeviceCounters, Proof, RECENT_EVENTS, Tags, TokenHash};
pub use event::{Event, EventKind};
pub use ids::{
    AlarmId, CommandId, DeviceId, DeviceKey, EventId, IdError, MemberId, MintedId, NotificationId,
    OrganizationId, SiteId, SubscriptionId,
};
pub use member::{MemberRole, MemberRow};
pub use notification::{
    Attempt, AttemptResult, ChannelKind, Notification, NotificationState, NotificationStep, NotificationWork,
};
pub use presence::{Connection, EndReason, Presence, SessionInfo, Will};
pub use slot::{SLOT_COUNT, SLOT_HASH_NAME, SessionEpoch, Slot, SlotEpoch};
pub use subscription::{Channel, Match, Subscription, Subscriptions, pattern_matches};
pub use value::{LatestValue, Point, Reading, Value};

/// Milliseconds since the Unix epoch, UTC.
pub type Millis = i64;
