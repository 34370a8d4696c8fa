//! A core's numbers.

use std::fmt;

use stoker_core::CoreSnapshot;
use stoker_telemetry::{Exposition, Labels, Of};

use super::count;

pub(super) fn show(to: &mut Exposition<'_>, core: &CoreSnapshot) -> fmt::Result {
    to.gauge("core_slots", "Slots that this process owns", count(core.slots))?;
    to.gauge("core_requests_waiting", "Requests that wait for its slots", count(core.waiting))?;
    let (turns_waiting, turns_at_once) = core.turns;
    to.gauge("core_commits_waiting", "Slots that wait for their turn to commit", count(turns_waiting))?;
    to.gauge("core_commits_limit", "Slots that may commit at once", count(turns_at_once))?;
    to.counter(
        "core_abandoned_requests",
        "Requests that nobody wanted any more when their turn came",
        core.abandoned,
    )?;
    let labels = core.answered.map(|(by, _)| [("answered", by)]);
    let counts: Vec<_> =
        labels.iter().zip(core.answered).map(|(labels, (_, count))| (labels as Labels<'_>, count)).collect();
    to.counters("core_owner_requests", "Requests that only the owner of their slot answers", &counts)?;
    to.histogram("core_append_seconds", "Time of an append to history", Of::Time, &core.append)?;
    to.histogram("core_commit_seconds", "Time of a commit of a slot", Of::Time, &core.commit)?;
    to.histogram("core_commit_changes", "Rows changed in one commit", Of::Sizes, &core.commit_changes)?;
    to.histograms(
        "core_bus_confirm_seconds",
        "Time from publishing to the confirmation of the bus",
        Of::Time,
        &[
            (&[("lane", "work")], core.work_confirmed.clone()),
            (&[("lane", "orders")], core.order_confirmed.clone()),
        ],
    )?;
    to.histogram(
        "core_notification_published_seconds",
        "Time from the making of a notification until the bus had its first attempt",
        Of::Time,
        &core.handed_on,
    )?;
    let labels: Vec<[(&str, &str); 1]> =
        core.commands.iter().map(|(state, ..)| [("state", state.as_str())]).collect();
    let labels = || labels.iter().map(|labels| labels as Labels<'_>);
    let counts = core.commands.iter().map(|(_, count, _)| *count);
    let counts: Vec<_> = labels().zip(counts).collect();
    to.counters("core_commands", "Commands that came into this state", &counts)?;
    let times: Vec<_> = labels().zip(core.commands.iter().map(|(.., after)| after.clone())).collect();
    to.histograms(
        "core_command_seconds",
        "Time from the making of a command until it came into this state",
        Of::Time,
        &times,
    )
}
