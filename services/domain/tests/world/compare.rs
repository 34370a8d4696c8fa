//! Memory against rows: what a load would find is what the machine has.

use stoker_domain::machine::{Context, SlotMachine};
use stoker_domain::ports::store::{StateKey, StateRow};
use stoker_domain::{
    Alarm, Attributes, Command, Device, EndReason, Millis, Notification, NotificationState, Presence,
    SlotEpoch,
};

use super::{SLOT, World, store};

/// Everything that can be asked, in an order of its own.
#[derive(Debug, PartialEq)]
struct Snapshot {
    devices: Vec<(Device, Option<Presence>, Option<Attributes>)>,
    commands: Vec<Command>,
    alarms: Vec<Alarm>,
    notifications: Vec<Notification>,
    outbox: usize,
}

fn snapshot(machine: &SlotMachine, world: &World) -> Snapshot {
    let organizations = || world.subscriptions.0.keys();
    let views: Vec<_> = organizations().flat_map(|org| machine.devices_after(org, None)).collect();
    let commands = views.iter().flat_map(|view| machine.commands_of(&view.record.key)).cloned().collect();
    let devices = views
        .iter()
        .map(|view| (view.record.clone(), view.presence.map(|p| known(p, world)), view.attributes.cloned()))
        .collect();
    let mut alarms: Vec<Alarm> = organizations().flat_map(|org| machine.alarms(org)).cloned().collect();
    alarms.sort_by_key(|row| row.id);
    let mut notifications: Vec<Notification> =
        organizations().flat_map(|org| machine.notifications(org)).cloned().collect();
    notifications.sort_by_key(|row| row.id);
    Snapshot { devices, commands, alarms, notifications, outbox: machine.counts().outbox }
}

/// What of a presence a load must find again: all of it, but for the guess that a session was lost, and for due-times
/// from before the load, which the load has put off.
fn known(presence: &Presence, world: &World) -> Presence {
    let mut known = presence.clone();
    match known.ended {
        None | Some((_, EndReason::PlatformCrash)) => {
            known.ended = None;
            known.silence_due = None;
            known.will_due = None;
        }
        Some((at, _)) if at <= world.truth.loaded_at => {
            known.silence_due = known.silence_due.map(|_| 0);
            known.will_due = known.will_due.map(|_| 0);
        }
        Some(_) => {}
    }
    known
}

fn of_rows(world: &World) -> Snapshot {
    let rows = &world.shadow;
    let mut devices = Vec::new();
    let mut commands = Vec::new();
    let mut outbox = 0;
    for row in rows.values() {
        match row {
            StateRow::Device(device) => {
                let presence = match rows.get(&StateKey::Presence(device.key.clone())) {
                    Some(StateRow::Presence(row)) => Some(known(row, world)),
                    _ => None,
                };
                let attributes = match rows.get(&StateKey::Attributes(device.key.clone())) {
                    Some(StateRow::Attributes(row)) => Some(row.clone()),
                    _ => None,
                };
                devices.push((device.clone(), presence, attributes));
            }
            StateRow::Command(row) => commands.push(row.clone()),
            StateRow::Outbox(_) => outbox += 1,
            _ => {}
        }
    }
    commands.sort_by_key(|row| (row.device.clone(), std::cmp::Reverse(row.number)));
    Snapshot {
        devices,
        commands,
        alarms: store::alarms(rows).cloned().collect(),
        notifications: store::notifications(rows).cloned().collect(),
        outbox,
    }
}

/// Rows and memory say the same, and so does a machine that is loaded from these rows.
pub(crate) fn rows_are_complete(world: &World) {
    let live = snapshot(&world.machine, world);
    assert_eq!(live, of_rows(world), "memory and rows differ");
    let ctx = Context { now: world.now, settings: &world.settings, subscriptions: &world.subscriptions };
    let rows = world.shadow.values().cloned().collect();
    let (loaded, output) = SlotMachine::load(SLOT, SlotEpoch(world.epoch.0 + 1), rows, None, &ctx);
    assert_eq!(output.changes, []);
    let mut again = snapshot(&loaded, world);
    let mut live = live;
    // The load puts due-times off; what they are put off to is checked where they fire.
    for side in [&mut live, &mut again] {
        for presence in side.devices.iter_mut().filter_map(|(_, presence, _)| presence.as_mut()) {
            presence.silence_due = presence.silence_due.map(|_| 0);
            presence.will_due = presence.will_due.map(|_| 0);
        }
    }
    assert_eq!(live, again, "a load finds something else");
}

/// The next due-time is the least that follows from rows and presence, unless a device is to be looked at
/// or a command to be handed out again before.
pub(crate) fn due_times_follow_from_rows(world: &World) {
    let presences = world
        .subscriptions
        .0
        .keys()
        .flat_map(|organization| world.machine.devices_after(organization, None))
        .filter_map(|view| view.presence)
        .flat_map(|presence| [presence.silence_due, presence.will_due])
        .flatten();
    let commands =
        store::commands(&world.shadow).filter(|row| !row.state.is_final()).map(|row| row.expires_at);
    let notifications = store::notifications(&world.shadow)
        .filter(|row| row.state == NotificationState::Pending)
        .map(|row| row.next_attempt_at.unwrap_or_else(|| world.truth.hand_out_again[&row.id]));
    let least: Option<Millis> = presences.chain(commands).chain(notifications).min();
    let next = world.machine.next_due();
    if next != least {
        let next = next.unwrap_or_else(|| panic!("nothing is awaited, but {least:?} is"));
        assert!(least.is_none_or(|least| next < least), "{next} is awaited, but {least:?} comes first");
        let looks = !world.machine.due_intervals(next).is_empty();
        let came_back = store::commands(&world.shadow)
            .any(|row| !row.state.is_final() && world.truth.came_back.contains(&row.id));
        assert!(looks || came_back, "nothing is due at {next}");
    }
}
