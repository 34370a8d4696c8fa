//! The numbers of the bus in this process.

use std::fmt;

use stoker_bus::Snapshot;
use stoker_telemetry::Exposition;

use super::count;

pub(super) fn show(to: &mut Exposition<'_>, bus: &Snapshot) -> fmt::Result {
    to.gauge("bus_work_waiting", "Attempts that no notifier has yet", count(bus.work_waiting))?;
    to.gauge("bus_work_unacknowledged", "Attempts that a notifier has", count(bus.work_unacknowledged))?;
    to.gauge("bus_feed_consumers", "Listeners to the live feed", count(bus.feed_consumers))
}
