//! What the private port shows, read from each part's own counters when it is asked for.

mod cassandra;
mod rabbit;

use std::fmt;
use std::sync::Arc;

use stoker_bus::{InProcessBus, RabbitBus};
use stoker_gateway::GatewayStats;
use stoker_notifier::NotifierStats;
use stoker_store::{CassandraStore, EmbeddedStore};
use stoker_telemetry::metrics::collector::Collector;
use stoker_telemetry::metrics::encoding::{DescriptorEncoder, EncodeMetric};
use stoker_telemetry::metrics::metrics::counter::ConstCounter;
use stoker_telemetry::metrics::metrics::gauge::ConstGauge;
use stoker_telemetry::metrics::metrics::info::Info;
use stoker_telemetry::metrics::registry::Registry;

/// What a process shows: the counters of its parts.
pub(crate) struct Metrics(Registry);

impl Metrics {
    /// Which version runs, and nothing else yet.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("stoker");
        registry.register("build", "What runs", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        Self(registry)
    }

    fn with(mut self, part: impl Collector) -> Self {
        self.0.register_collector(Box::new(part));
        self
    }

    /// With a gateway's.
    pub(crate) fn gateway(self, stats: Arc<GatewayStats>) -> Self {
        self.with(Gateway(stats))
    }

    /// With the embedded store's.
    pub(crate) fn embedded_store(self, store: Arc<EmbeddedStore>) -> Self {
        self.with(Embedded(store))
    }

    /// With those of the store on Cassandra.
    pub(crate) fn cassandra(self, store: Arc<CassandraStore>) -> Self {
        self.with(cassandra::Cassandra(store))
    }

    /// With those of the bus in this process.
    pub(crate) fn in_process_bus(self, bus: Arc<InProcessBus>) -> Self {
        self.with(InProcess(bus))
    }

    /// With those of the way to RabbitMQ.
    pub(crate) fn rabbit(self, bus: RabbitBus) -> Self {
        self.with(rabbit::Rabbit(bus))
    }

    /// With a notifier's.
    pub(crate) fn notifier(self, stats: Arc<NotifierStats>) -> Self {
        self.with(Notifier(stats))
    }

    /// All of them.
    pub(crate) fn registry(self) -> Registry {
        self.0
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// A gateway's counters.
struct Gateway(Arc<GatewayStats>);

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gateway")
    }
}

impl Collector for Gateway {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        let gateway = self.0.snapshot();
        gauge(to, "gateway_connections", "Connections open now", gateway.connections)?;
        for (transport, open) in [
            ("mqtt", gateway.connections_mqtt),
            ("mqtts", gateway.connections_mqtts),
            ("ws", gateway.connections_ws),
            ("wss", gateway.connections_wss),
        ] {
            gauge(
                to,
                &format!("gateway_connections_{transport}"),
                "Connections open now, by transport",
                open,
            )?;
        }
        gauge(to, "gateway_sessions", "Sessions under way now", gateway.sessions)?;
        counter(to, "gateway_connections_taken", "Connections taken", gateway.connections_taken)?;
        counter(
            to,
            "gateway_connections_refused",
            "Connections refused at the bound",
            gateway.connections_refused,
        )?;
        counter(
            to,
            "gateway_handshakes_failed",
            "Handshakes, of TLS or WebSocket, that failed",
            gateway.handshakes_failed,
        )?;
        counter(to, "gateway_credentials_refused", "Wrong credentials", gateway.credentials_refused)?;
        counter(to, "gateway_readings", "Readings handed to core", gateway.readings)?;
        counter(to, "gateway_readings_stored", "Readings stored", gateway.readings_stored)?;
        counter(
            to,
            "gateway_readings_dropped",
            "QoS 0 readings that were not stored",
            gateway.readings_dropped,
        )?;
        counter(
            to,
            "gateway_reading_stored_microseconds",
            "Time from the arrival of readings to their storing, summed",
            gateway.stored_micros,
        )?;
        counter(
            to,
            "gateway_messages",
            "Events, attributes, requests and replies of devices",
            gateway.messages,
        )?;
        counter(
            to,
            "gateway_payloads_rejected",
            "Payloads that were not of their form",
            gateway.payloads_rejected,
        )?;
        counter(
            to,
            "gateway_topics_rejected",
            "Messages on topics devices do not have",
            gateway.topics_rejected,
        )?;
        counter(to, "gateway_commands_sent", "Commands written to devices", gateway.commands_sent)?;
        Ok(())
    }
}

/// The embedded store's counters.
struct Embedded(Arc<EmbeddedStore>);

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Embedded")
    }
}

impl Collector for Embedded {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        let store = self.0.stats();
        counter(to, "store_transactions", "Durable transactions", store.transactions)?;
        counter(to, "store_requests", "Requests answered by the writer", store.requests)?;
        counter(to, "store_slot_commits", "Commits of slots that went in", store.commits)?;
        counter(to, "store_slot_commits_fenced", "Commits of slots that were refused", store.fenced)?;
        counter(to, "store_rows", "Rows written", store.rows)?;
        counter(to, "store_points", "Points of telemetry written", store.points)?;
        counter(to, "store_bytes", "Bytes of rows written", store.bytes)?;
        counter(to, "store_overloaded", "Requests refused for want of room", store.overloaded)?;
        counter(to, "store_reads", "Reads carried out", store.reads)?;
        gauge(to, "store_waiting", "Requests that wait for the writer", store.waiting)?;
        gauge(to, "store_last_commit_microseconds", "Time of the last transaction", store.last_commit_us)?;
        Ok(())
    }
}

/// The counters of the bus in this process.
struct InProcess(Arc<InProcessBus>);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl Collector for InProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        let bus = self.0.snapshot();
        gauge(to, "bus_work_waiting", "Attempts that no notifier has yet", count(bus.work_waiting))?;
        gauge(to, "bus_work_unacknowledged", "Attempts that a notifier has", count(bus.work_unacknowledged))?;
        Ok(())
    }
}

/// A notifier's counters.
struct Notifier(Arc<NotifierStats>);

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}

impl Collector for Notifier {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        let notifier = self.0.snapshot();
        gauge(to, "notifier_held", "Attempts taken and not settled", notifier.held)?;
        counter(
            to,
            "notifier_report_failures",
            "Reports that had to be tried again",
            notifier.report_failures,
        )?;
        for channel in notifier.channels {
            for (result, attempts) in channel.attempts {
                let name = format!("notifier_{}_attempts_{}", channel.channel.as_str(), result.as_str());
                counter(to, &name, "Attempts by channel and result", attempts)?;
            }
        }
        Ok(())
    }
}
