//! What goes between the machine and its shell.

use std::fmt;

use bytes::Bytes;

use crate::codec::{Qos, ReasonCode, Version};
use crate::topic::{DeviceFilter, DownTopic, UpTopic};

/// What a call has brought about. It belongs to the shell, which can use one for all its connections:
/// after each call it writes `transmit`, handles `events`, and closes if told so.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes to write to the peer, in this order, behind those of earlier calls. Calls append.
    pub transmit: Vec<u8>,
    /// What happened, in this order. Calls append.
    pub events: Vec<Event>,
    /// Close the transport once `transmit` is written. [`Event::Ended`] stands in `events` too.
    pub close: bool,
}

impl Output {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { transmit: Vec::new(), events: Vec::new(), close: false }
    }

    /// Empties it for the next call and keeps its memory.
    pub fn clear(&mut self) {
        self.transmit.clear();
        self.events.clear();
        self.close = false;
    }
}

/// What happened on a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A client wants to connect: answer by `accept` or `refuse`. Comes first, and once.
    Connect(Box<ConnectRequest>),
    /// A message on a topic of the device API.
    Publish(InboundPublish),
    /// A message on another topic was dropped, and refused where MQTT has words for it (5: 0x87).
    RejectedTopic {
        /// The first 128 bytes of the topic name at most; empty if an alias stood for it.
        topic: Box<str>,
        /// The QoS it was published with.
        qos: Qos,
    },
    /// The client subscribed, or subscribed again; the SUBACK is in `transmit`.
    Subscribed {
        /// What it wants.
        filter: DeviceFilter,
        /// At most QoS 1.
        qos: Qos,
    },
    /// The client unsubscribed what it was subscribed to.
    Unsubscribed(DeviceFilter),
    /// A delivery that was queued is in `transmit` now.
    DeliverySent {
        /// That of the delivery.
        id: u64,
        /// QoS 1: deliveries of QoS 0 are never queued.
        qos: Qos,
    },
    /// A QoS 1 delivery was acknowledged by the client.
    Delivered {
        /// That of the delivery.
        id: u64,
    },
    /// A QoS 1 delivery was refused by the client's PUBACK. Only with MQTT 5.
    DeliveryRefused {
        /// That of the delivery.
        id: u64,
        /// 0x80 and above.
        reason: ReasonCode,
    },
    /// A delivery that was queued was never sent: its time had passed before its turn came.
    DeliveryExpired {
        /// That of the delivery.
        id: u64,
    },
    /// The connection is over. Comes last, and once. Deliveries neither acknowledged nor refused
    /// stay so: those sent may have arrived, those still queued were never sent.
    Ended(EndReason),
}

/// Names a publish until it is answered by `publish_done`.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub struct PublishToken(pub(crate) u32);

/// A message from the device.
#[derive(Debug, PartialEq, Eq)]
pub struct InboundPublish {
    /// Answer to this by `publish_done`; none with QoS 0, which nobody waits for.
    pub token: Option<PublishToken>,
    /// What it is about.
    pub topic: UpTopic,
    /// Any bytes: nobody has looked at them. A copy of its own: keeping it keeps nothing else.
    pub payload: Bytes,
    /// The QoS it was published with.
    pub qos: Qos,
    /// Whether the client says that it may have sent it before.
    pub dup: bool,
}

/// What a client that connects says about itself. Nothing of it has been believed yet.
#[derive(PartialEq, Eq)]
pub struct ConnectRequest {
    /// The version it speaks.
    pub version: Version,
    /// Empty when the server shall choose ([`Accept::assigned_client_id`]).
    pub client_id: String,
    /// Clean start (5) or clean session (3.1.1). No session outlives its connection either way.
    pub clean_start: bool,
    /// The user name.
    pub user_name: Option<String>,
    /// The password, any bytes.
    pub password: Option<Bytes>,
    /// What the client asked for, in seconds; 0 means none.
    pub keep_alive_s: u16,
    /// What to publish if the session ends without a goodbye ([`EndReason::will`]).
    pub will: Option<Box<Will>>,
}

impl fmt::Debug for ConnectRequest {
    /// Leaves out what a secret may stand in: access tokens come as the user name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("user_name", &self.user_name.as_ref().map(|_| "…"))
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("keep_alive_s", &self.keep_alive_s)
            .field("will", &self.will)
            .finish()
    }
}

/// What to publish if a session ends without a goodbye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// None when it is not a topic of the device API: to be counted and dropped, like a publish. Only
    /// with 3.1.1; MQTT 5 has a word for it (CONNACK 0x90), and such a client doesn't get here.
    pub topic: Option<UpTopic>,
    /// Any bytes: nobody has looked at them.
    pub payload: Bytes,
    /// The QoS of the publish.
    pub qos: Qos,
    /// How long to wait for the client to come back first, in seconds; 0 with 3.1.1.
    pub delay_s: u32,
}

/// The answer to a client that may connect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accept<'a> {
    /// The client identifier for a client that sent none; MQTT 5 clients are told. Not empty.
    pub assigned_client_id: &'a str,
}

/// Why a client may not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The credentials are wrong, or allow nothing: 0x87 (3.1.1: 5).
    NotAuthorized,
    /// The client identifier is not taken: 0x85 (3.1.1: 2).
    ClientIdNotValid,
    /// Something the platform needs is not there: 0x88 (3.1.1: 3).
    Unavailable,
    /// Too much to do, try again later: 0x89 (3.1.1: 3).
    Busy,
    /// Locked out: 0x8A (3.1.1: 5).
    Banned,
    /// A bound of the organization was reached: 0x97 (3.1.1: 3).
    QuotaExceeded,
    /// Connections come too fast: 0x9F (3.1.1: 3).
    ConnectionRateExceeded,
}

impl Refusal {
    /// What the client is told. 3.1.1 has fewer words.
    pub(crate) const fn reason(self, version: Version) -> ReasonCode {
        match (self, version) {
            (Self::NotAuthorized, _) | (Self::Banned, Version::V311) => ReasonCode::NotAuthorized,
            (Self::ClientIdNotValid, _) => ReasonCode::ClientIdentifierNotValid,
            (Self::Banned, Version::V5) => ReasonCode::Banned,
            (Self::Unavailable, _) | (_, Version::V311) => ReasonCode::ServerUnavailable,
            (Self::Busy, Version::V5) => ReasonCode::ServerBusy,
            (Self::QuotaExceeded, Version::V5) => ReasonCode::QuotaExceeded,
            (Self::ConnectionRateExceeded, Version::V5) => ReasonCode::ConnectionRateExceeded,
        }
    }
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublishOutcome {
    /// It is stored: PUBACK or PUBREC.
    Stored,
    /// The payload is not of its form: 0x99. 3.1.1 is acknowledged.
    PayloadInvalid,
    /// The device may not do this: 0x87. 3.1.1 is acknowledged.
    NotAuthorized,
    /// A bound of the device or its organization was reached: 0x97. 3.1.1 is acknowledged.
    QuotaExceeded,
    /// It may not be stored. Nothing is acknowledged and the connection ends (0x89), so that the
    /// device sends it again: an error in a PUBACK would end the message for it.
    StoreUnavailable,
}

/// Something to be published to the device.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The caller's own number for it, which events about it carry.
    pub id: u64,
    /// Where to.
    pub topic: DownTopic,
    /// Any bytes.
    pub payload: Bytes,
    /// When it is of no more use, in milliseconds of the clock that is passed in. MQTT 5 clients are
    /// told the seconds left.
    pub expires_at_ms: Option<u64>,
}

/// What became of a delivery at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliverOutcome {
    /// It is in `transmit`. With QoS 1 [`Event::Delivered`] or [`Event::DeliveryRefused`] follows.
    Sent {
        /// At most QoS 1.
        qos: Qos,
    },
    /// It waits for earlier ones to be acknowledged; [`Event::DeliverySent`] or
    /// [`Event::DeliveryExpired`] follows.
    Queued,
    /// The device isn't subscribed to it, or isn't connected.
    NotSubscribed,
    /// Too many wait already.
    Full,
    /// It is larger than the client takes, or than a packet may be.
    TooLarge,
    /// Its time has passed.
    Expired,
}

/// Why we end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerReason {
    /// A newer session of the same device: 0x8E.
    TakenOver,
    /// This process goes down or moves its devices away: 0x8B.
    ShuttingDown,
    /// What came can't be stored at the moment: 0x89.
    StoreUnavailable,
    /// The device's credentials are no longer good: 0x87.
    NotAuthorized,
    /// The device sends more than it may: 0x96.
    RateTooHigh,
    /// The device was removed, or somebody cut the session: 0x98.
    Administrative,
}

impl ServerReason {
    pub(crate) const fn reason(self) -> ReasonCode {
        match self {
            Self::TakenOver => ReasonCode::SessionTakenOver,
            Self::ShuttingDown => ReasonCode::ServerShuttingDown,
            Self::StoreUnavailable => ReasonCode::ServerBusy,
            Self::NotAuthorized => ReasonCode::NotAuthorized,
            Self::RateTooHigh => ReasonCode::MessageRateTooHigh,
            Self::Administrative => ReasonCode::AdministrativeAction,
        }
    }
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client said goodbye. `will`: it wants its will published all the same (MQTT 5: any reason
    /// code but 0).
    ClientDisconnect {
        /// Whether the will is to be published.
        will: bool,
    },
    /// The transport was cut.
    TransportClosed,
    /// No whole CONNECT came in time.
    ConnectTimeout,
    /// No packet came within one and a half times the keep-alive.
    KeepAliveTimeout,
    /// The client did what MQTT doesn't allow, or more than it may.
    ProtocolError {
        /// What it was told with MQTT 5.
        reason: ReasonCode,
        /// What it is about, in lower case, for people.
        about: &'static str,
    },
    /// It was not allowed to connect.
    Refused(Refusal),
    /// We ended it.
    Shut(ServerReason),
}

/// What is to be done with the will of a session that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WillFate {
    /// Forget it.
    Drop,
    /// Publish it, after the delay it asks for.
    Publish,
    /// We ended the session: publish it unless the device comes back within the grace.
    AfterGrace,
}

impl EndReason {
    /// What is to be done with the will, if there was one and the client had been accepted.
    pub const fn will(self) -> WillFate {
        match self {
            Self::ClientDisconnect { will: false } | Self::ConnectTimeout | Self::Refused(_) => {
                WillFate::Drop
            }
            Self::ClientDisconnect { will: true }
            | Self::TransportClosed
            | Self::KeepAliveTimeout
            | Self::ProtocolError { .. } => WillFate::Publish,
            Self::Shut(_) => WillFate::AfterGrace,
        }
    }
}
