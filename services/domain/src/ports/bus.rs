//! The bus port: how processes tell each other things.
//!
//! Promises of every adapter:
//!
//! * a **durable** publish (notification work) is confirmed when the durable queue has it for good, or every durable
//!   consumer has acknowledged it; what was not acknowledged is delivered again, so consumers are idempotent;
//! * a publish to a **gateway** is returned when that gateway has no queue, and refused when its queue is full;
//! * a gateway whose queue had to be made anew is told so ([`GatewayItem::Resumed`]): what was confirmed before that
//!   and has not come may be lost, and the gateway announces its sessions again;
//! * the **live feed** is lossy: a consumer that is too slow loses messages and is told how many; the items of each publisher are
//!   numbered, so that who has heard of a publisher knows what it has missed, also while nobody listened;
//! * every queue is bounded; a publisher waits or is refused, memory does not grow.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::{
    Alarm, Attributes, Command, CommandId, Device, DeviceKey, Event, MemberId, Millis, NotificationWork,
    Presence, Reading, SessionEpoch, Slot, SlotEpoch,
};

/// Why something could not be published or consumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Nobody has a queue for it.
    #[error("nobody listens on {0}")]
    Returned(String),
    /// The queue is at its bound.
    #[error("the queue of {0} is full")]
    Full(String),
    /// The bus cannot be reached. Nothing was sent.
    #[error("the bus cannot be reached, nothing was sent: {0}")]
    Unavailable(String),
    /// Not known whether it arrived.
    #[error("no confirmation from the bus: {0}")]
    Unconfirmed(String),
    /// The bus is closing.
    #[error("the bus is closed")]
    Closed,
}

/// Something for one gateway. Carries the slot's epoch: receivers drop what is older than they have seen of that slot.
#[derive(Debug, Clone, PartialEq)]
pub struct ToGateway {
    /// The slot that says so.
    pub slot: Slot,
    /// Its epoch.
    pub epoch: SlotEpoch,
    /// For which session. A gateway that does not hold it says so.
    pub device: DeviceKey,
    /// Which session of that device.
    pub session: SessionEpoch,
    /// What to do.
    pub order: GatewayOrder,
}

/// What a gateway is asked to do with a session.
#[derive(Debug, Clone, PartialEq)]
pub enum GatewayOrder {
    /// Write a command to the device.
    Command {
        /// The ledger's id, for the reports that follow.
        id: CommandId,
        /// The number in the topic.
        number: u64,
        /// What to do.
        method: String,
        /// With what, as JSON text.
        params: String,
        /// Do not send it any more after this time.
        expires_at: Millis,
    },
    /// Do not write a command any more that is not written yet: it has ended. One that was written is left alone.
    Withdraw {
        /// The ledger's id.
        id: CommandId,
    },
    /// Tell the device that shared attributes have changed; the JSON object to send. Removed ones are null.
    Attributes {
        /// The payload.
        json: String,
    },
    /// Close the session: a newer one exists, or the device was removed.
    Close {
        /// Why.
        reason: crate::model::EndReason,
    },
}

/// An item of the live feed.
#[derive(Debug, Clone, PartialEq)]
pub enum Activity {
    /// Something happened.
    Event(Event),
    /// An alarm was raised, repeated, acknowledged or cleared.
    Alarm(Alarm),
    /// A command changed its state.
    Command(Command),
    /// A device came or went.
    Connection(Presence),
    /// A reading was stored.
    Telemetry(Reading),
    /// A device was made or changed.
    Device(Device),
    /// A device's attributes changed.
    Attributes(Attributes),
}

/// A message taken from the durable queue of notification work. Dropping it without [`WorkDelivery::ack`] gives it
/// back to the queue.
#[async_trait]
pub trait WorkDelivery: Send {
    /// What is to be delivered.
    fn work(&self) -> &NotificationWork;
    /// It is done with, for good.
    async fn ack(self: Box<Self>);
}

/// The durable queue of notification work, from a consumer's side.
#[async_trait]
pub trait WorkConsumer: Send {
    /// The next delivery; waits while `prefetch` of them are not acknowledged. `None` when the bus closes.
    async fn next(&mut self) -> Option<Box<dyn WorkDelivery>>;
}

/// What comes out of a gateway's queue.
#[derive(Debug, Clone, PartialEq)]
pub enum GatewayItem {
    /// A message.
    Message(ToGateway),
    /// The queue is a new one: the connection to the bus was lost. Messages published before this, and confirmed, may
    /// never come; all that is published from now on does.
    Resumed,
}

/// A gateway's exclusive queue.
#[async_trait]
pub trait GatewayConsumer: Send {
    /// The next item. `None` when the bus closes.
    async fn next(&mut self) -> Option<GatewayItem>;
}

/// How far a publisher of the live feed has come: this many items, in the order in which listeners get them. Numbers are
/// left out where something was lost, or was not published since nobody listened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPosition {
    /// Who publishes: a process, as long as it lives.
    pub publisher: Arc<str>,
    /// The number of its newest item, from 1 on; 0 when there is none.
    pub number: u64,
}

/// What comes out of a live feed.
#[derive(Debug, Clone, PartialEq)]
pub enum Feed {
    /// An item, and how far its publisher has come with it.
    Activity(FeedPosition, Arc<Activity>),
    /// A publisher has come this far: of each that there is when listening begins, and now and then.
    Reached(FeedPosition),
    /// So many items were lost because this consumer was too slow.
    Lost(u64),
}

/// A live feed.
#[async_trait]
pub trait FeedConsumer: Send {
    /// The next item. `None` when the bus closes.
    async fn next(&mut self) -> Option<Feed>;
}

/// The bus port.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Publishes an attempt durably; returns when it is confirmed.
    async fn publish_work(&self, work: NotificationWork) -> Result<(), BusError>;

    /// Publishes to one gateway; returns when its queue has it.
    async fn publish_to_gateway(&self, gateway: &MemberId, message: ToGateway) -> Result<(), BusError>;

    /// Publishes to the live feed; never waits.
    fn publish_activity(&self, activity: Activity);

    /// True when somebody listens to the live feed: an activity that nobody hears need not be made.
    fn feed_wanted(&self) -> bool;

    /// Joins the consumers of notification work.
    async fn consume_work(&self, prefetch: usize) -> Result<Box<dyn WorkConsumer>, BusError>;

    /// Opens the exclusive queue of a gateway; it goes with the consumer.
    async fn consume_gateway(&self, gateway: &MemberId) -> Result<Box<dyn GatewayConsumer>, BusError>;

    /// Listens to the live feed from now on.
    async fn consume_feed(&self) -> Result<Box<dyn FeedConsumer>, BusError>;

    /// Hears the live feed from now on, as long as somebody else listens: nothing is published for this one alone.
    async fn follow_feed(&self) -> Result<Box<dyn FeedConsumer>, BusError>;
}
