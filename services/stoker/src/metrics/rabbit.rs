//! The counters of the way to RabbitMQ.

use std::fmt;

use stoker_bus::{LaneSnapshot, RabbitBus};
use stoker_telemetry::metrics::collector::Collector;
use stoker_telemetry::metrics::encoding::DescriptorEncoder;

use super::{count, counter, gauge};

/// Its counters.
pub(super) struct Rabbit(pub(super) RabbitBus);

impl fmt::Debug for Rabbit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rabbit")
    }
}

impl Collector for Rabbit {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        let bus = self.0.snapshot();
        let connected = u64::from(bus.publishing_connected) + u64::from(bus.consuming_connected);
        gauge(to, "bus_connections", "Connections to the broker that work, of two", connected)?;
        gauge(to, "bus_blocked", "1 while the broker takes nothing from publishers", u64::from(bus.blocked))?;
        counter(to, "bus_reconnects", "Connections that were lost and made again", bus.reconnects)?;
        gauge(to, "bus_consumers", "Open consumers", count(bus.consumers))?;
        lane(to, "work", "notification work", &bus.work)?;
        lane(to, "orders", "orders to gateways", &bus.orders)?;
        counter(to, "bus_activities", "Items given to the live feed", bus.activities)?;
        counter(
            to,
            "bus_activities_dropped",
            "Items of it that were dropped before they were sent",
            bus.activities_dropped,
        )?;
        counter(to, "bus_unreadable", "Messages that could not be read", bus.unreadable)?;
        counter(to, "bus_work_stale", "Work that was dropped for its age", bus.stale_work)?;
        counter(to, "bus_work_redelivered", "Work that came again", bus.redelivered_work)?;
        counter(to, "bus_gateway_resumed", "Times that a gateway's queue was made anew", bus.gateway_resumed)
    }
}

fn lane(to: &mut DescriptorEncoder<'_>, name: &str, what: &str, lane: &LaneSnapshot) -> fmt::Result {
    let of = |part: &str| format!("bus_{name}_{part}");
    gauge(
        to,
        &of("under_way"),
        &format!("Messages of {what} that wait for their confirmation"),
        count(lane.under_way),
    )?;
    for (part, help, value) in [
        ("confirmed", "that the broker has", lane.confirmed),
        ("returned", "that nobody had a queue for", lane.returned),
        ("full", "that were refused because a queue was full", lane.full),
        ("unconfirmed", "of which nobody knows whether the broker has them", lane.unconfirmed),
        ("unavailable", "that were refused because there was no connection", lane.unavailable),
    ] {
        counter(to, &of(part), &format!("Messages of {what} {help}"), value)?;
    }
    Ok(())
}
