//! What an input leads to.

use crate::model::{
    Alarm, Attributes, Command, Device, DeviceKey, EndReason, MemberId, NotificationId, Presence,
    SessionEpoch,
};
use crate::ports::bus::{Activity, ToGateway};
use crate::ports::store::{Append, Change, OutboxEntry, StateKey};

/// What an input leads to. The shell's order: `immediate` effects at once; `history` appended, then `changes`
/// committed; then `reply` given and `after` carried out.
///
/// The answer to an input that changes nothing may be given without a commit, but not before the commit of what was
/// applied earlier: it was made from that state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    /// To be done at once: nothing in it tells of state that is not written.
    pub immediate: Vec<Effect>,
    /// To be appended before the commit: facts that the commit relies on.
    pub history: Vec<Append>,
    /// To be committed.
    pub changes: Vec<Change>,
    /// To be done after the commit.
    pub after: Vec<Effect>,
    /// To be answered after the commit; a session's grant at once.
    pub reply: Reply,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell a gateway something.
    Gateway(Dispatch),
    /// Publish an attempt (what [`work`](super::SlotMachine::work) gives for it), then say
    /// [`OutboxConfirmed`](super::Input::OutboxConfirmed). It is asked for again while that is not said.
    Publish(OutboxEntry),
    /// Append an ended row to history, then say [`Archived`](super::Input::Archived). The shell goes on until it is
    /// done, or the machine no longer [`has`](super::SlotMachine::has) the row: its device was removed, and history of
    /// it would be nobody's. Only a load asks again.
    Archive(StateKey, Box<Append>),
    /// Remove the history of a device that was removed, then say [`Archived`](super::Input::Archived) with its
    /// [`Removal`](StateKey::Removal). The shell begins once no append of the device is under way, and goes on until it
    /// is done; only a load asks again.
    Forget(DeviceKey),
    /// Tell the live feed, and whoever waits for a command.
    Activity(Box<Activity>),
}

/// Something for a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// Which.
    pub gateway: MemberId,
    /// What.
    pub message: ToGateway,
}

/// The answer to an input. Refusals are answers, not errors of the machine.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Reply {
    /// Taken.
    #[default]
    Done,
    /// To `Session`: this owner does not know that session yet. Its gateway is to say so again once it has announced it.
    Unannounced,
    /// To `OpenSession`.
    Session(Result<SessionGrant, SessionRefusal>),
    /// To `Event`.
    Event(EventVerdict),
    /// To `CreateCommand` and `CancelCommand`.
    Command(Result<Box<Command>, CommandRefusal>),
    /// To `AcknowledgeAlarm` and `ClearAlarm`.
    Alarm(Result<Box<Alarm>, NotFound>),
    /// To `TestSubscription`: what was made, one for each recipient.
    Tested(Result<Vec<NotificationId>, TestRefusal>),
    /// To `CreateDevice`, `PatchDevice` and `RemoveDevice` (the record as it was).
    Device(Result<Box<Device>, DeviceRefusal>),
    /// To `PatchAttributes`.
    Attributes(Result<Box<Attributes>, DeviceRefusal>),
}

/// A session is granted.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionGrant {
    /// Its epoch, to be named in every report about it.
    pub epoch: SessionEpoch,
    /// The session it takes over, if one was under way.
    pub replaced: Option<Box<Presence>>,
}

/// Why a session is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRefusal {
    /// There is no such device, or what was shown lets nobody in any more.
    NotAdmitted,
    /// The same gateway has taken a later CONNECT of this device, and that was granted before.
    Superseded,
}

/// Nothing there has that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFound;

/// What an event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventVerdict {
    /// Taken; it counts.
    Counted,
    /// Its id was seen before; it changes nothing.
    Repeated,
    /// The device is not known (any more).
    UnknownDevice,
    /// It would raise an alarm, but the device has as many as it may.
    TooManyAlarms,
}

/// Why a command was not made or not taken back.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandRefusal {
    /// No such device or command here.
    NotFound,
    /// It has ended already, like this.
    Ended(Box<Command>),
    /// The device has as many open commands as it may.
    TooManyOpen {
        /// That limit.
        limit: usize,
    },
}

/// Why no test message was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestRefusal {
    /// There is no such subscription.
    NotFound,
    /// The one before was made less than [`TEST_EVERY_MS`](super::TEST_EVERY_MS) ago.
    TooSoon,
    /// As many as [`TESTS_MAX`](super::TESTS_MAX) are under way.
    TooMany,
}

/// Why a device was not made or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceRefusal {
    /// No such device.
    NotFound,
    /// There is one already.
    Exists,
    /// One of that id was removed, and what is known of it is not removed yet.
    BeingRemoved,
    /// The slot is full.
    SlotFull {
        /// The limit.
        limit: usize,
    },
    /// More attributes than a scope may have.
    TooManyAttributes {
        /// The limit.
        limit: usize,
    },
    /// More bytes of attributes than a scope may have.
    AttributesTooLarge {
        /// The limit, of keys and values together.
        limit: usize,
    },
}

impl Effect {
    /// Closes a session at its gateway.
    #[must_use]
    pub fn close(
        presence: &Presence,
        slot: crate::model::Slot,
        epoch: crate::model::SlotEpoch,
        reason: EndReason,
    ) -> Self {
        Self::Gateway(Dispatch {
            gateway: presence.session.gateway.clone(),
            message: ToGateway {
                slot,
                epoch,
                device: presence.key.clone(),
                session: presence.epoch,
                order: crate::ports::bus::GatewayOrder::Close { reason },
            },
        })
    }
}
