//! The bounds of a connection.

/// The bounds of a connection. What happens at each is said beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest packet taken from a client, in bytes with its header. A larger one ends the
    /// connection (MQTT 5: 0x95) from its header alone. MQTT 5 clients are told it in CONNACK.
    pub max_packet: u32,
    /// The largest CONNECT, in bytes: what somebody nobody knows yet can make us keep. A larger one
    /// ends the connection without a word.
    pub max_connect_packet: u32,
    /// How many QoS 1 and 2 publishes are taken in unacknowledged at once; at least 1. MQTT 5 clients
    /// are told it in CONNACK. 3.1.1 can't tell, so these are read no further until earlier ones are
    /// acknowledged ([`super::Session::wants_read`]).
    pub receive_max: u16,
    /// An MQTT 5 client that has more than this unacknowledged is closed with 0x93; no less than
    /// `receive_max`. Some send what they have without counting, and would do so again after each close.
    /// Of QoS 2 it is `receive_max` that counts: how many of these are unfinished is up to the client.
    pub receive_most: u16,
    /// The greatest topic alias an MQTT 5 client may set; above it: 0x94.
    pub topic_alias_max: u16,
    /// How many filters of one SUBSCRIBE are looked at; those behind get 0x97 (3.1.1: 0x80).
    pub max_filters_per_subscribe: usize,
    /// How many filters with a number (`…/request/7`) are kept; a new one above it gets 0x97
    /// (3.1.1: 0x80). Those with `+` cost nothing and are not counted.
    pub max_subscriptions: usize,
    /// How many QoS 1 deliveries are sent unacknowledged at once; at least 1. The client's receive
    /// maximum counts if it is less. Those above it are queued.
    pub max_outbound_in_flight: u16,
    /// How many deliveries wait behind those in flight; above it a delivery is refused as full.
    pub max_outbound_queue: usize,
    /// How many bytes of payload wait behind those in flight; above it a delivery is refused as full.
    pub max_outbound_queue_bytes: usize,
    /// The time for a whole CONNECT to come, in milliseconds; after it the connection is closed.
    pub connect_timeout_ms: u64,
    /// The longest keep-alive, in seconds; 0 means that every one is fine. A client that asks for more,
    /// or for none, gets this one: MQTT 5 clients are told in CONNACK. 3.1.1 has no way to tell, so
    /// a client that was promised nothing is cut after one and a half times of it.
    pub max_keep_alive_s: u16,
}

impl Default for Limits {
    /// 256 KiB packets; 32 unacknowledged publishes, so that what is sent beyond what can be stored waits with the
    /// devices, and 128 of those that do not count (clients come with windows of 20 to 100); 32 commands at once
    /// and 64 behind them; 10 s for a CONNECT.
    fn default() -> Self {
        Self {
            max_packet: 256 * 1024,
            // A client id, a user name, a password or signed token, and a will: 64 KiB is plenty.
            max_connect_packet: 64 * 1024,
            receive_max: 32,
            receive_most: 128,
            topic_alias_max: 16,
            max_filters_per_subscribe: 64,
            max_subscriptions: 64,
            max_outbound_in_flight: 32,
            max_outbound_queue: 64,
            max_outbound_queue_bytes: 256 * 1024,
            connect_timeout_ms: 10_000,
            max_keep_alive_s: 0,
        }
    }
}

impl Limits {
    /// The most bytes a connection keeps unread: one packet, and what one more read may bring while it
    /// is told not to read ([`super::Session::wants_read`]). Above it the connection is ended.
    pub fn max_backlog(&self) -> usize {
        const ONE_READ: usize = 64 * 1024;
        self.max_packet.max(self.max_connect_packet) as usize + ONE_READ
    }
}
