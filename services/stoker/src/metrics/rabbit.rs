//! The numbers of the way to RabbitMQ.

use std::fmt;

use stoker_bus::RabbitSnapshot;
use stoker_telemetry::{Exposition, Labels};

use super::count;

pub(super) fn show(to: &mut Exposition<'_>, bus: &RabbitSnapshot) -> fmt::Result {
    let connected = u64::from(bus.publishing_connected) + u64::from(bus.consuming_connected);
    to.gauge("bus_connections", "Connections to the broker that work, of two", connected)?;
    to.gauge("bus_blocked", "1 while the broker takes nothing from publishers", u64::from(bus.blocked))?;
    to.counter("bus_reconnects", "Connections that were lost and made again", bus.reconnects)?;
    to.gauge("bus_consumers", "Open consumers", count(bus.consumers))?;
    let lanes = [("work", &bus.work), ("orders", &bus.orders)];
    let under_way = lanes.map(|(name, lane)| ([("lane", name)], count(lane.under_way)));
    let under_way = under_way.each_ref().map(|(labels, count)| (labels as Labels<'_>, *count));
    to.gauges("bus_under_way", "Messages that wait for their confirmation", &under_way)?;
    let results: Vec<_> = lanes
        .into_iter()
        .flat_map(|(name, lane)| {
            [
                ("confirmed", lane.confirmed),
                ("returned", lane.returned),
                ("full", lane.full),
                ("unconfirmed", lane.unconfirmed),
                ("unavailable", lane.unavailable),
            ]
            .map(|(result, count)| ([("lane", name), ("result", result)], count))
        })
        .collect();
    let results: Vec<_> = results.iter().map(|(labels, count)| (labels as Labels<'_>, *count)).collect();
    to.counters("bus_publishes", "Messages published, by what became of them", &results)?;
    to.counter("bus_activities", "Items given to the live feed", bus.activities)?;
    to.counter(
        "bus_activities_dropped",
        "Items of it that were dropped before they were sent",
        bus.activities_dropped,
    )?;
    to.counter("bus_feed_lost", "Items of it that listeners here were told they lost", bus.feed_lost)?;
    to.counter("bus_unreadable", "Messages that could not be read", bus.unreadable)?;
    to.counter(
        "bus_dead_lettered",
        "Messages that were sent to the dead letters from here",
        bus.dead_lettered,
    )?;
    to.counter(
        "bus_acknowledgements_lost",
        "Acknowledgements of work that did not reach the broker",
        bus.lost_acknowledgements,
    )?;
    to.counter("bus_work_stale", "Work that was dropped for its age", bus.stale_work)?;
    to.counter("bus_work_redelivered", "Work that came again", bus.redelivered_work)?;
    to.counter("bus_gateway_resumed", "Times that a gateway's queue was made anew", bus.gateway_resumed)
}
