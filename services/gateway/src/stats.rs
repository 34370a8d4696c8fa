//! What a gateway counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use stoker_telemetry::{Histogram, HistogramSnapshot, LATENCY};

use crate::transport::Door;
use crate::uplink::Uplink;

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counters of a gateway, all since its start except where said otherwise.
        #[derive(Debug, Default)]
        pub struct GatewayStats {
            $(pub(crate) $name: AtomicU64,)+
            pub(crate) acknowledged: Acknowledged,
            pub(crate) uplink: OnceLock<Arc<Uplink>>,
        }

        /// The counters at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct StatsSnapshot {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl GatewayStats {
            /// The counters now.
            #[must_use]
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

stats! {
    /// Connections open now, whether their devices are known or not.
    connections,
    /// Of these, by TCP.
    connections_mqtt,
    /// By TLS.
    connections_mqtts,
    /// By WebSocket.
    connections_ws,
    /// By WebSocket over TLS.
    connections_wss,
    /// Sessions under way now.
    sessions,
    /// Connections that were taken.
    connections_taken,
    /// Connections that were closed at once, the gateway holding as many as it may.
    connections_refused,
    /// Handshakes, of TLS or WebSocket, that failed.
    handshakes_failed,
    /// Connections of balancers that began without a PROXY header, or with a wrong one.
    proxy_headers_refused,
    /// Credentials that were wrong.
    credentials_refused,
    /// Readings handed to core.
    readings,
    /// Readings stored.
    readings_stored,
    /// Readings dropped: with QoS 0, when core could not keep up or not store them.
    readings_dropped,
    /// Events, attributes and requests of devices.
    messages,
    /// Payloads that were not of their form.
    payloads_rejected,
    /// Messages on topics that devices do not have.
    topics_rejected,
    /// Commands written to devices.
    commands_sent,
}

/// The time from the arrival of a publish until it may be acknowledged, by what was published.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    pub(crate) readings: Histogram,
    pub(crate) messages: Histogram,
}

impl Default for Acknowledged {
    fn default() -> Self {
        Self { readings: Histogram::new(LATENCY), messages: Histogram::new(LATENCY) }
    }
}

impl GatewayStats {
    /// From the arrival of readings until they were stored, with whatever quality of service they came.
    #[must_use]
    pub fn readings_acknowledged(&self) -> HistogramSnapshot {
        self.acknowledged.readings.snapshot()
    }

    /// The same of events, attributes, requests and replies.
    #[must_use]
    pub fn messages_acknowledged(&self) -> HistogramSnapshot {
        self.acknowledged.messages.snapshot()
    }

    /// How many readings wait for core now, and how many bytes they weigh.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        self.uplink.get().map_or((0, 0), |uplink| uplink.waiting())
    }

    fn open(&self, door: Door) -> &AtomicU64 {
        match door {
            Door::Mqtt => &self.connections_mqtt,
            Door::Mqtts => &self.connections_mqtts,
            Door::Ws => &self.connections_ws,
            Door::Wss => &self.connections_wss,
        }
    }

    /// A connection was taken.
    pub(crate) fn opened(&self, door: Door) {
        up(&self.connections);
        up(&self.connections_taken);
        up(self.open(door));
    }

    /// A connection is gone.
    pub(crate) fn closed(&self, door: Door) {
        down(&self.connections);
        down(self.open(door));
    }
}

pub(crate) fn up(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn down(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
