//! A gateway's numbers.

use std::fmt;

use stoker_gateway::GatewayStats;
use stoker_telemetry::{Exposition, Of};

use super::count;

pub(super) fn show(to: &mut Exposition<'_>, stats: &GatewayStats) -> fmt::Result {
    let gateway = stats.snapshot();
    to.gauges(
        "gateway_connections",
        "Connections open now",
        &[
            (&[("transport", "mqtt")], gateway.connections_mqtt),
            (&[("transport", "mqtts")], gateway.connections_mqtts),
            (&[("transport", "ws")], gateway.connections_ws),
            (&[("transport", "wss")], gateway.connections_wss),
        ],
    )?;
    to.gauge("gateway_sessions", "Sessions under way now", gateway.sessions)?;
    to.counter("gateway_connections_taken", "Connections taken", gateway.connections_taken)?;
    to.counter(
        "gateway_connections_refused",
        "Connections refused at the bound",
        gateway.connections_refused,
    )?;
    to.counter(
        "gateway_handshakes_failed",
        "Handshakes, of TLS or WebSocket, that failed",
        gateway.handshakes_failed,
    )?;
    to.counter(
        "gateway_proxy_headers_refused",
        "Connections of balancers closed for want of a right PROXY header",
        gateway.proxy_headers_refused,
    )?;
    to.counter("gateway_credentials_refused", "Wrong credentials", gateway.credentials_refused)?;
    to.counter("gateway_readings", "Readings handed to core", gateway.readings)?;
    to.counter("gateway_readings_stored", "Readings stored", gateway.readings_stored)?;
    to.counter("gateway_readings_dropped", "QoS 0 readings that were not stored", gateway.readings_dropped)?;
    to.counter("gateway_messages", "Events, attributes, requests and replies of devices", gateway.messages)?;
    to.counter(
        "gateway_payloads_rejected",
        "Payloads that were not of their form",
        gateway.payloads_rejected,
    )?;
    to.counter("gateway_topics_rejected", "Messages on topics devices do not have", gateway.topics_rejected)?;
    to.counter("gateway_commands_sent", "Commands written to devices", gateway.commands_sent)?;
    to.histograms(
        "gateway_puback_seconds",
        "Time from the arrival of a publish until it may be acknowledged",
        Of::Time,
        &[
            (&[("lane", "readings")], stats.readings_acknowledged()),
            (&[("lane", "messages")], stats.messages_acknowledged()),
        ],
    )?;
    let (readings, bytes) = stats.waiting();
    to.gauge("gateway_readings_waiting", "Readings that wait for core", count(readings))?;
    to.gauge("gateway_readings_waiting_bytes", "What they weigh in memory", count(bytes))
}
