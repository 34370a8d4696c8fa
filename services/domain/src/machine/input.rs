//! Everything that can happen to a slot.

use std::collections::BTreeMap;

use crate::model::{
    AlarmId, AttemptResult, CommandId, DeviceKey, EndReason, Event, Millis, NotificationId, OrganizationId,
    Proof, SessionEpoch, SessionInfo, SiteId, SubscriptionId, Tags, TokenHash, Value,
};

/// Everything that can happen to a slot. Each names devices of this slot only.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A gateway asks for a session.
    OpenSession(OpenSession),
    /// A gateway reports about a session it holds or held.
    Session(SessionReport),
    /// A gateway tells a new owner which sessions it holds. They go on; what is older than what is known is closed.
    Announce(Announce),
    /// The gateway with this id is taken for dead: whatever sessions it held are presumed lost, and whoever is awaited may have
    /// waited for it.
    GatewayGone(crate::model::MemberId),
    /// The gateway with this id has ended as it had said it would: sessions that it still held are presumed lost.
    GatewayLeft(crate::model::MemberId),
    /// A device's event. Faults raise and clear alarms. The output carries the event's append and its activity; an
    /// event of an unknown device, or a repeated fault, is not appended.
    Event(Event),
    /// A person makes a command.
    CreateCommand(CreateCommand),
    /// A person takes a command back.
    CancelCommand(CommandId),
    /// A gateway reports about a command.
    Command(CommandReport),
    /// A person acknowledges an alarm.
    AcknowledgeAlarm(AcknowledgeAlarm),
    /// A person clears an active alarm.
    ClearAlarm {
        /// Which.
        id: AlarmId,
        /// Who.
        by: String,
    },
    /// A person asks for a test message to all whom a subscription tells. The slot is that of its
    /// [`stand_in`](crate::model::Subscription::stand_in).
    TestSubscription {
        /// Whose.
        organization: OrganizationId,
        /// Which.
        id: SubscriptionId,
    },
    /// A notifier reports how an attempt went.
    Attempt {
        /// Of which notification.
        notification: NotificationId,
        /// Which attempt, from 1. A report about any but the one under way changes nothing.
        attempt: u32,
        /// How it went.
        result: AttemptResult,
        /// What the other side said.
        detail: String,
    },
    /// The bus has confirmed an outbox entry.
    OutboxConfirmed {
        /// Of which notification.
        notification: NotificationId,
        /// Which attempt.
        attempt: u32,
    },
    /// Ended rows are in history now; their state rows may go.
    Archived(Vec<crate::ports::store::StateKey>),
    /// A person makes a device.
    CreateDevice(Box<NewDevice>),
    /// A person changes a device.
    PatchDevice(Box<DevicePatch>),
    /// A person removes a device.
    RemoveDevice(DeviceKey),
    /// Somebody changes attributes.
    PatchAttributes(PatchAttributes),
    /// Time has passed: fire what is due, at most [`TICK_LIMIT`](super::TICK_LIMIT) of it. `last_seen` tells, for the
    /// devices that [`due_intervals`](super::SlotMachine::due_intervals) names for the very `now` of this tick, when a
    /// message of theirs last came, by the shell's memory.
    Tick {
        /// Times of last messages. A device that is missing has sent nothing that the shell remembers.
        last_seen: BTreeMap<DeviceKey, Millis>,
    },
}

impl Input {
    /// Whether nobody waits for what comes of it, while something that shares its commit is likely to follow within
    /// moments: that a command went out is followed by the device's answer, a session by the device's asking for commands.
    #[must_use]
    pub fn is_patient(&self) -> bool {
        matches!(
            self,
            Self::Command(CommandReport::Sent { .. } | CommandReport::Delivered { .. })
                | Self::OpenSession(_)
                | Self::OutboxConfirmed { .. }
                | Self::Archived(_)
        )
    }
}

/// A gateway asks for a session.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenSession {
    /// Whose.
    pub device: DeviceKey,
    /// What it has shown. Looked at here, where its record cannot change in between.
    pub proof: Proof,
    /// The connection.
    pub session: SessionInfo,
    /// Counts the CONNECTs of that gateway, from 1. Of two of one device the greater came later, whichever gets here
    /// first: credentials take different times to check. Zero: not told.
    pub arrival: u64,
}

/// Sessions that a gateway holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Announce {
    /// Which gateway.
    pub gateway: crate::model::MemberId,
    /// The sessions, each of a device of this slot.
    pub sessions: Vec<HeldSession>,
}

/// A session that a gateway holds.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldSession {
    /// Whose.
    pub device: DeviceKey,
    /// Which, as an earlier owner granted it.
    pub epoch: SessionEpoch,
    /// The connection.
    pub session: SessionInfo,
    /// The device takes commands over it.
    pub commands_wanted: bool,
}

/// What a gateway says about a session. An epoch older than the newest changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionReport {
    /// The device can take commands now: it has subscribed.
    CommandsWanted {
        /// Whose.
        device: DeviceKey,
        /// Which session.
        epoch: SessionEpoch,
        /// True after SUBSCRIBE, false after UNSUBSCRIBE.
        wanted: bool,
    },
    /// The session is over.
    Ended {
        /// Whose.
        device: DeviceKey,
        /// Which session.
        epoch: SessionEpoch,
        /// How.
        reason: EndReason,
    },
    /// The session is over by our hand, and its device is expected at another gateway within a time of its own.
    HandedOver {
        /// Whose.
        device: DeviceKey,
        /// Which session.
        epoch: SessionEpoch,
        /// How long it has to come back before anybody is told, in place of
        /// [`Settings::silence_grace_ms`](crate::settings::Settings::silence_grace_ms).
        grace_ms: Millis,
    },
}

/// A person makes a command; its form and limits are checked already.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateCommand {
    /// Whom it is for.
    pub device: DeviceKey,
    /// What to do.
    pub method: String,
    /// With what, as compact JSON text.
    pub params: String,
    /// How long it is worth trying.
    pub expires_in_s: u32,
}

/// What a gateway says about a command it was handed.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandReport {
    /// Written to the connection.
    Sent {
        /// Which.
        id: CommandId,
        /// By which session.
        session: SessionEpoch,
    },
    /// The device's MQTT stack acknowledged it.
    Delivered {
        /// Which.
        id: CommandId,
        /// By which session.
        session: SessionEpoch,
    },
    /// The device's MQTT stack refused it.
    Refused {
        /// Which.
        id: CommandId,
        /// By which session.
        session: SessionEpoch,
        /// Why, for a person.
        detail: String,
    },
    /// Surely not written: the gateway does not hold that session, the device is not subscribed, or the bus returned
    /// it.
    NotSent {
        /// Which.
        id: CommandId,
        /// By which session.
        session: SessionEpoch,
        /// True when it cannot be written at all, ever (it exceeds the device's maximum packet size): it fails.
        never: bool,
        /// Why, for a person.
        detail: String,
    },
    /// The device replied, over whatever session.
    Replied {
        /// Whose.
        device: DeviceKey,
        /// The number from the topic.
        number: u64,
        /// The reply as compact JSON text.
        reply: String,
        /// True when it is an object with the key `error`.
        failed: bool,
        /// The gateway's time, for the event that a late reply becomes.
        at: Millis,
    },
}

/// A person acknowledges an alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct AcknowledgeAlarm {
    /// Which.
    pub id: AlarmId,
    /// Who.
    pub by: String,
    /// What they say.
    pub note: Option<String>,
}

/// A person makes a device; its form is checked, its token row written already.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDevice {
    /// Organization and id.
    pub key: DeviceKey,
    /// What it is.
    pub model: Option<String>,
    /// Where it stands.
    pub site: Option<SiteId>,
    /// Free labels.
    pub tags: Tags,
    /// How often it should send.
    pub expected_interval_s: Option<u32>,
    /// Its access token.
    pub token_hash: Option<TokenHash>,
    /// Its password.
    pub password_hash: Option<String>,
}

/// A person changes a device. `None` leaves a field; `Some(None)` empties it.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicePatch {
    /// Which.
    pub key: DeviceKey,
    /// What it is.
    pub model: Option<Option<String>>,
    /// Where it stands.
    pub site: Option<Option<SiteId>>,
    /// Free labels.
    pub tags: Option<Tags>,
    /// How often it should send.
    pub expected_interval_s: Option<Option<u32>>,
    /// Its access token; its session is closed when it changes.
    pub token_hash: Option<Option<TokenHash>>,
    /// Its password; its session is closed when it changes.
    pub password_hash: Option<Option<String>>,
}

/// Somebody changes attributes: values to set, `None` to remove.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchAttributes {
    /// Whose.
    pub device: DeviceKey,
    /// The client scope.
    pub client: BTreeMap<String, Option<Value>>,
    /// The shared scope; the device is told.
    pub shared: BTreeMap<String, Option<Value>>,
    /// The server scope.
    pub server: BTreeMap<String, Option<Value>>,
}
