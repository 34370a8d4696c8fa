//! What must hold after every step, whatever happened.

use std::collections::BTreeSet;

use stoker_domain::machine::{
    CommandReport, Effect, EventVerdict, Input, Output, PENDING_NOTIFICATIONS_MAX, Reply, SessionRefusal,
    SessionReport,
};
use stoker_domain::ports::bus::GatewayOrder;
use stoker_domain::ports::store::{Append, Change, StateKey, StateRow};
use stoker_domain::{
    Alarm, AlarmKind, AlarmState, Command, CommandOutcome, CommandState, DeviceKey, EndReason,
    NotificationState, NotificationStep, Presence, RECENT_EVENTS, Severity, Subscription,
};

use super::truth::Truth;
use super::{Step, World, store};

/// Checks an output against the rows before and after, and against what really happened until then.
pub(crate) fn output(world: &World, step: &Step<'_>) {
    each_row_is_changed_once(step);
    a_counted_event_carries_its_append(world, step);
    a_report_of_an_older_session_changes_nothing(world, step);
    sessions_only_get_newer(world, step);
    orders_go_to_the_newest_session(world, step);
    what_has_ended_is_taken_back(world, step);
    a_raised_alarm_is_told(world, step);
    a_report_of_another_attempt_changes_nothing(step);
    silence_is_the_devices_own(world, step);
    wills_wait_for_their_time(world, step);
}

/// Checks the machine as it is now.
pub(crate) fn state(world: &World) {
    super::compare::rows_are_complete(world);
    super::compare::due_times_follow_from_rows(world);
    every_telling_has_one_id(world);
    no_organization_hears_of_another(world);
    bounds_hold(world);
}

fn each_row_is_changed_once(step: &Step<'_>) {
    let keys: BTreeSet<StateKey> = step.output.changes.iter().map(Change::key).collect();
    assert_eq!(keys.len(), step.output.changes.len(), "{:?}", step.output.changes);
}

/// Invariant 1: what the answer relies on is in the output that carries it, and a repeated fault counts once.
fn a_counted_event_carries_its_append(world: &World, step: &Step<'_>) {
    let (Input::Event(event), Reply::Event(verdict)) = (step.input, &step.output.reply) else { return };
    let appended = step.output.history.contains(&Append::Event(event.clone()));
    let known = step.before.contains_key(&StateKey::Device(event.device.clone()));
    let mut seen = world.truth.counted.get(&event.device).is_some_and(|ids| ids.contains(&event.id));
    for staged in &world.staged {
        seen |= staged.counted.as_ref() == Some(&(event.device.clone(), event.id.clone()));
        // Made anew, a device has no past.
        seen &= staged.removed.as_ref() != Some(&event.device);
    }
    let seen = seen && event.kind.is_fault();
    match verdict {
        EventVerdict::Counted | EventVerdict::TooManyAlarms => {
            assert!(appended, "an event is answered that is not stored: {event:?}");
            assert!(known);
            assert!(!seen, "counted twice: {event:?}");
        }
        EventVerdict::Repeated => {
            assert!(seen, "taken for a repetition: {event:?}");
            assert!(step.output.changes.is_empty() && step.output.history.is_empty());
        }
        EventVerdict::UnknownDevice => assert!(!known && step.output.history.is_empty()),
    }
}

/// Invariant 2: a late report changes nothing.
fn a_report_of_an_older_session_changes_nothing(world: &World, step: &Step<'_>) {
    let Input::Session(report) = step.input else { return };
    let (SessionReport::CommandsWanted { device, epoch, .. }
    | SessionReport::Ended { device, epoch, .. }
    | SessionReport::HandedOver { device, epoch, .. }) = report;
    let Some(StateRow::Presence(newest)) = step.before.get(&StateKey::Presence(device.clone())) else {
        return;
    };
    let over = world.truth.away.get(device);
    let moot = match report {
        SessionReport::CommandsWanted { .. } => *epoch != newest.epoch || over.is_some(),
        SessionReport::HandedOver { .. } => {
            *epoch < newest.epoch || (*epoch == newest.epoch && over.is_some())
        }
        SessionReport::Ended { reason, .. } => {
            let goodbye = matches!(reason, EndReason::Disconnect | EndReason::DisconnectWithWill);
            *epoch < newest.epoch
                || (*epoch == newest.epoch
                    && over.is_some_and(|away| away.reason != EndReason::PlatformCrash || !goodbye))
        }
    };
    if moot {
        let out = step.output;
        assert!(
            out.changes.is_empty()
                && out.after.is_empty()
                && out.immediate.is_empty()
                && out.history.is_empty(),
            "{report:?} over {newest:?} led to {out:?}"
        );
    }
}

/// Invariant 2: of two sessions the later one has the greater epoch, whatever was lost in between; and it is presence.
fn sessions_only_get_newer(world: &World, step: &Step<'_>) {
    let Input::OpenSession(open) = step.input else { return };
    let newest = world.truth.arrived_at.get(&open.device);
    let overtaken =
        newest.is_some_and(|(gateway, arrival)| *gateway == open.session.gateway && *arrival > open.arrival);
    let Reply::Session(Ok(grant)) = &step.output.reply else {
        let refused = Reply::Session(Err(SessionRefusal::Superseded));
        assert_eq!(step.output.reply == refused, overtaken, "{open:?} after {newest:?}");
        return assert!(step.output.changes.is_empty() && step.output.immediate.is_empty());
    };
    assert!(!overtaken, "{open:?} after {newest:?}");
    assert!(grant.epoch > world.truth.granted, "{} after {}", grant.epoch, world.truth.granted);
    let view = world.machine.device(&open.device).unwrap();
    let presence = view.presence.unwrap();
    assert_eq!((presence.epoch, presence.ended), (grant.epoch, None));
    assert_eq!((presence.silence_due, presence.will_due), (None, None), "the device is back");
    let still_silent = world
        .machine
        .alarms(&open.device.organization)
        .any(|alarm| alarm.device == open.device && alarm.kind == AlarmKind::Silence && active(alarm));
    assert!(!still_silent, "{:?} is back and called silent", open.device);
    let before = match step.before.get(&StateKey::Presence(open.device.clone())) {
        Some(StateRow::Presence(before)) if !world.truth.away.contains_key(&open.device) => Some(before),
        _ => None,
    };
    assert_eq!(grant.replaced.as_deref(), before);
    let closes = |before: &Presence| {
        step.output.immediate.iter().any(|effect| {
            matches!(effect, Effect::Gateway(dispatch) if dispatch.gateway == before.session.gateway
                && dispatch.message.session == before.epoch
                && dispatch.message.order == GatewayOrder::Close { reason: EndReason::TakenOver })
        })
    };
    assert!(before.is_none_or(closes), "the session that was taken over stays open");
}

/// Invariant 2: commands and attributes go to the session under way, and only to one that wants them; who is handed a
/// command is written down in the same commit.
fn orders_go_to_the_newest_session(world: &World, step: &Step<'_>) {
    for effect in &step.output.after {
        let Effect::Gateway(dispatch) = effect else { continue };
        let message = &dispatch.message;
        match &message.order {
            GatewayOrder::Close { .. } => {}
            GatewayOrder::Withdraw { id } => {
                let presence = world.machine.device(&message.device).unwrap().presence.unwrap();
                assert_eq!((message.session, &dispatch.gateway), (presence.epoch, &presence.session.gateway));
                let row = store::commands(step.after).find(|row| row.id == *id).unwrap();
                assert!(row.state.is_final() && row.handed == Some(message.session), "{row:?}");
            }
            GatewayOrder::Attributes { .. } => {
                let presence = world.machine.device(&message.device).unwrap().presence.unwrap();
                assert_eq!((message.session, None), (presence.epoch, presence.ended));
            }
            GatewayOrder::Command { id, .. } => {
                let presence = world.machine.device(&message.device).unwrap().presence.unwrap();
                assert_eq!((message.session, None), (presence.epoch, presence.ended));
                assert_eq!(dispatch.gateway, presence.session.gateway);
                let wants = match step.input {
                    Input::Session(SessionReport::CommandsWanted { wanted, .. }) => *wanted,
                    _ => world.truth.wants.contains(&message.session),
                };
                assert!(wants, "the device has not subscribed: {message:?}");
                let Some(StateRow::Command(row)) = step.after.get(&StateKey::Command(*id)) else {
                    panic!("handed out, but not written down: {id}");
                };
                assert_eq!(row.handed, Some(message.session));
                assert!(!row.state.is_final() && row.state != CommandState::Delivered, "{row:?}");
            }
        }
    }
}

/// Invariant 3: nobody is to be surprised by a command that has ended. Its gateway is asked not to write it any more.
fn what_has_ended_is_taken_back(world: &World, step: &Step<'_>) {
    for row in store::commands(step.after).filter(|row| row.state.is_final()) {
        let Some(StateRow::Command(before)) = step.before.get(&StateKey::Command(row.id)) else { continue };
        let (CommandState::Queued, Some(session)) = (before.state, before.handed) else { continue };
        let told = matches!(
            step.input,
            Input::Command(CommandReport::Refused { session: of, .. } | CommandReport::NotSent { session: of, .. })
                if *of == session
        );
        let presence = world.machine.device(&row.device).and_then(|view| view.presence);
        if told || presence.is_none_or(|presence| presence.epoch != session || presence.ended.is_some()) {
            continue;
        }
        let taken_back = step.output.after.iter().any(|effect| {
            matches!(effect, Effect::Gateway(dispatch) if dispatch.message.session == session
                && dispatch.message.order == GatewayOrder::Withdraw { id: row.id })
        });
        assert!(taken_back, "it may be written yet: {row:?}");
    }
}

/// Invariant 3, over everything that anybody was told or could read of a command.
pub(crate) fn a_command_ends_once_and_honestly(truth: &mut Truth, row: &Command) {
    let said = (row.state, row.outcome);
    if let Some(end) = truth.finals.get(&row.id) {
        assert_eq!(*end, said, "a second end: {row:?}");
    } else if row.state.is_final() {
        truth.finals.insert(row.id, said);
    }
    let furthest = truth.furthest.entry(row.id).or_insert(row.state);
    // Cancelled and the other final states are ordered after all open ones, which is all that matters here.
    assert!(row.state >= *furthest || furthest.is_final(), "went back from {furthest:?}: {row:?}");
    *furthest = row.state;
    let arrived = truth.arrived.contains(&row.id);
    let claims_arrival = row.delivered_at.is_some()
        || row.reply.is_some()
        || matches!(row.state, CommandState::Delivered | CommandState::Succeeded)
        || row.outcome == Some(CommandOutcome::NoReply);
    assert!(arrived || !claims_arrival, "nobody said that it arrived: {row:?}");
    let written = truth.written.contains(&row.id);
    if row.outcome == Some(CommandOutcome::NeverSent) {
        assert!(!written, "it was sent: {row:?}");
    }
    if row.state == CommandState::Failed && row.detail.as_deref() == Some("not subscribed") {
        assert!(!written, "it was sent, and may have been carried out: {row:?}");
    }
    assert!(row.sent_at.is_none() || written, "nobody sent it: {row:?}");
    assert_eq!(row.outcome.is_some(), row.state == CommandState::Expired);
    assert_eq!(row.ended_at.is_some(), row.state.is_final());
}

fn active(alarm: &Alarm) -> bool {
    alarm.state == AlarmState::Active
}

/// Whether a subscription of the world wants an alarm, by another way than the machine's.
fn wanted(subscription: &Subscription, alarm: &Alarm, site: Option<&str>, tags: &[String]) -> bool {
    assert!(subscription.organization == alarm.device.organization);
    match subscription.id.as_str() {
        "all" => true,
        "bad" => matches!(alarm.severity, Severity::Major | Severity::Critical),
        "boilers" => alarm.device.device.as_str().starts_with("boiler-") && site == Some("site-0"),
        "tagged" => tags.iter().any(|tag| tag == "hot"),
        other => panic!("{other}"),
    }
}

/// Invariant 4: whoever wants to know has a notification in the same commit, and nobody else does.
fn a_raised_alarm_is_told(world: &World, step: &Step<'_>) {
    for alarm in store::alarms(step.after) {
        let before = store::alarm(step.before, alarm.id);
        let Some(StateRow::Device(device)) = step.after.get(&StateKey::Device(alarm.device.clone())) else {
            panic!("an alarm without its device: {alarm:?}");
        };
        let subscriptions = world.subscriptions.of(&alarm.device.organization);
        let raised = active(alarm) && before.is_none_or(|before| before.count != alarm.count);
        let cleared = !active(alarm) && before.is_none_or(active);
        let told_before = before.map_or(&[][..], |before| &before.told);
        for subscription in subscriptions {
            let site = device.site.as_ref().map(|site| site.as_str());
            let due = raised
                && wanted(subscription, alarm, site, &device.tags)
                && !told_before.contains(&subscription.id);
            let step_due = match (due, cleared && told_before.contains(&subscription.id)) {
                (true, _) => NotificationStep::Raised,
                (_, true) => NotificationStep::Cleared,
                _ => continue,
            };
            if step_due == NotificationStep::Raised {
                assert!(alarm.told.contains(&subscription.id), "{} is not in {alarm:?}", subscription.id);
            }
            for channel in &subscription.deliver {
                let telling = (alarm.id, step_due, channel.kind(), channel.to().to_owned());
                let made = store::notifications(step.after).any(|row| super::truth::telling(row) == telling)
                    || world.truth.ids.contains_key(&telling);
                assert!(made, "{} is not told of {alarm:?}", channel.to());
            }
        }
    }
    for row in store::notifications(step.after) {
        if !step.before.contains_key(&StateKey::Notification(row.id)) {
            let outbox = step.after.get(&StateKey::Outbox(row.id));
            assert!(outbox.is_some(), "made, but not on its way: {row:?}");
            let published =
                |effect: &Effect| matches!(effect, Effect::Publish(p) if p.notification == row.id);
            assert!(step.output.after.iter().any(published), "made, but not published: {row:?}");
            let subscription = world
                .subscriptions
                .of(&row.device.organization)
                .iter()
                .find(|subscription| subscription.id == row.subscription)
                .unwrap_or_else(|| panic!("nobody asked for {row:?}"));
            if row.test {
                continue;
            }
            let Some(StateRow::Device(device)) = step.after.get(&StateKey::Device(row.device.clone())) else {
                panic!("a notification without its device: {row:?}");
            };
            let site = device.site.as_ref().map(|site| site.as_str());
            let told = row.content.told.contains(&row.subscription);
            let asked = match row.step {
                NotificationStep::Raised => wanted(subscription, &row.content, site, &device.tags),
                NotificationStep::Cleared => true,
            };
            assert!(told && asked, "nobody asked for {row:?}");
        }
    }
}

/// A report of an attempt counts once, and only while that attempt is under way.
fn a_report_of_another_attempt_changes_nothing(step: &Step<'_>) {
    let Input::Attempt { notification, attempt, .. } = step.input else { return };
    let under_way = match step.before.get(&StateKey::Notification(*notification)) {
        Some(StateRow::Notification(row)) => {
            row.state == NotificationState::Pending
                && row.next_attempt_at.is_none()
                && row.tried + 1 == *attempt
        }
        _ => false,
    };
    assert_eq!(under_way, !step.output.changes.is_empty(), "{:?} of {:?}", step.input, step.before);
}

/// Invariant 4: (alarm, step, recipient, channel) has one idempotency key.
fn every_telling_has_one_id(world: &World) {
    for (telling, ids) in &world.truth.ids {
        assert_eq!(ids.len(), 1, "{telling:?} has {ids:?}");
    }
}

/// Invariant 5: silence is raised about devices that are away by themselves for long enough, that had their grace if
/// it was our doing, and that could have come back.
fn silence_is_the_devices_own(world: &World, step: &Step<'_>) {
    let (truth, settings) = (&world.truth, &world.settings);
    for alarm in store::alarms(step.after) {
        let new = store::alarm(step.before, alarm.id).is_none();
        if alarm.kind != AlarmKind::Silence || !new {
            continue;
        }
        let after_load = step.now >= truth.loaded_at + settings.silence_grace_ms;
        let away = truth.away.get(&alarm.device);
        if alarm.text.starts_with("no connection since") {
            let away = away.unwrap_or_else(|| panic!("it is here: {alarm:?}"));
            assert!(away.unexplained() || away.by_our_hand(), "it said goodbye: {away:?}");
            let grace = settings.silence_grace_ms;
            let excused = truth.part_gone_at.map_or(0, |gone_at| gone_at + grace);
            let own = if away.by_our_hand() { grace } else { settings.silence_after_ms };
            assert!(step.now >= excused.max(away.since + own), "too early: {away:?} at {}", step.now);
            assert!(after_load || away.since >= truth.loaded_at, "our downtime is no silence: {alarm:?}");
        } else {
            let Some(StateRow::Device(device)) = step.after.get(&StateKey::Device(alarm.device.clone()))
            else {
                panic!("{alarm:?}");
            };
            let patience = i64::from(device.expected_interval_s.unwrap()) * 1_500;
            let from = truth.counts_from[&alarm.device];
            let from = from.max(world.last_seen.get(&alarm.device).copied().unwrap_or(from));
            assert!(step.now >= from + patience, "too early: {} at {}", from + patience, step.now);
        }
    }
}

/// Wills belong to the newest session, and to one that ended without a goodbye; by our hand they have the grace.
fn wills_wait_for_their_time(world: &World, step: &Step<'_>) {
    for item in &step.output.history {
        let Append::Event(event) = item else { continue };
        let Some((device, epoch)) = world.truth.wills.get(&event.id) else { continue };
        let Some(StateRow::Presence(presence)) = step.after.get(&StateKey::Presence(device.clone())) else {
            panic!("{event:?}");
        };
        assert_eq!(presence.epoch, *epoch, "not the newest session's will");
        let grace = world.settings.silence_grace_ms;
        let (since, reason) = presence.ended.expect("a will of a session under way");
        assert!(!matches!(reason, EndReason::Disconnect | EndReason::Revoked));
        if matches!(reason, EndReason::ByPlatform | EndReason::PlatformCrash | EndReason::TakenOver) {
            let from = since.max(world.truth.part_gone_at.unwrap_or(since));
            assert!(step.now >= from + grace, "the device has time to come back");
        }
    }
}

/// Invariant 7.
fn no_organization_hears_of_another(world: &World) {
    for organization in world.subscriptions.0.keys() {
        for row in world.machine.notifications(organization) {
            assert_eq!(row.device.organization, *organization);
            let to = row.channel.to();
            assert!(to.contains(organization.as_str()), "{to} hears of {:?}", row.device);
        }
        assert!(world.machine.alarms(organization).all(|row| row.device.organization == *organization));
        let devices = world.machine.devices_after(organization, None);
        assert!(devices.map(|view| &view.record.key).all(|key| key.organization == *organization));
    }
}

/// Invariant 8, as far as a slot's state goes.
fn bounds_hold(world: &World) {
    let settings = &world.settings;
    let devices = world.machine.counts().devices;
    assert!(devices <= settings.max_devices_per_slot);
    for row in world.shadow.values() {
        match row {
            StateRow::Device(device) => {
                let key = &device.key;
                let open = world.machine.commands_of(key).filter(|row| !row.state.is_final()).count();
                assert!(open <= settings.max_open_commands, "{open} open commands");
                let faults = store::alarms(&world.shadow)
                    .filter(|row| row.device == *key && row.kind == AlarmKind::Fault && active(row))
                    .count();
                assert!(faults <= settings.max_active_alarms, "{faults} active alarms");
                let silences = store::alarms(&world.shadow)
                    .filter(|row| row.device == *key && row.kind == AlarmKind::Silence && active(row))
                    .count();
                assert!(silences <= 1, "one silence per device");
                let pending = store::notifications(&world.shadow)
                    .filter(|row| row.device == *key && row.state == NotificationState::Pending)
                    .count();
                assert!(pending <= PENDING_NOTIFICATIONS_MAX);
            }
            StateRow::Attributes(row) => {
                for scope in [&row.client, &row.shared, &row.server] {
                    assert!(scope.len() <= settings.max_attributes);
                }
            }
            StateRow::Counters(row) => assert!(row.recent_events.len() <= RECENT_EVENTS),
            StateRow::Notification(row) => {
                assert!(row.attempts.len() <= 32);
                assert!(row.attempts.iter().all(|attempt| attempt.detail.len() <= 512));
            }
            StateRow::Presence(_)
            | StateRow::Command(_)
            | StateRow::Alarm(_)
            | StateRow::Outbox(_)
            | StateRow::Removal(_) => {}
        }
    }
}

/// Long after the last crash everything that was promised is kept.
pub(crate) fn settled(world: &World) {
    everything_told_gets_out(world);
    let counts = world.machine.counts();
    let open = counts.commands_queued + counts.commands_sent + counts.commands_delivered;
    assert_eq!((open, counts.not_archived), (0, 0), "something never ended: {counts:?}");
    assert_eq!((counts.notifications_pending, counts.outbox), (0, 0), "something is stuck: {counts:?}");
    let to_be_forgotten = world.shadow.values().find(|row| matches!(row, StateRow::Removal(_)));
    assert_eq!(to_be_forgotten, None, "something is never forgotten");
    for (id, (state, outcome)) in &world.truth.finals {
        if let Some(row) = world.store.commands.get(id) {
            assert_eq!((row.state, row.outcome), (*state, *outcome), "history says something else");
        }
    }
    for view in devices(world) {
        every_absence_is_noticed(world, &view.0, view.1);
    }
}

/// Invariant 4: what the last owner may not have got round to.
pub(crate) fn everything_unconfirmed_goes_out_again(rows: &store::Rows, output: &Output) {
    for row in rows.values() {
        if let StateRow::Outbox(item) = row {
            assert!(output.after.contains(&Effect::Publish(*item)), "{item:?} stays behind");
        }
        if let StateRow::Removal(row) = row {
            assert!(output.after.contains(&Effect::Forget(row.device.clone())), "{row:?} stays behind");
        }
    }
}

/// Invariant 4: at least once, over crashes.
fn everything_told_gets_out(world: &World) {
    for id in world.truth.owed.keys() {
        assert!(world.truth.published.contains(id), "{id} never went out");
        assert!(world.store.notifications.contains_key(id), "{id} is not in history");
    }
}

fn devices(world: &World) -> Vec<(DeviceKey, Option<&Presence>)> {
    world
        .subscriptions
        .0
        .keys()
        .flat_map(|organization| world.machine.devices_after(organization, None))
        .map(|view| (view.record.key.clone(), view.presence))
        .collect()
}

/// The other half of invariant 5: who does not come back is missed.
fn every_absence_is_noticed(world: &World, key: &DeviceKey, presence: Option<&Presence>) {
    let Some(away) = world.truth.away.get(key) else { return };
    assert!(presence.is_some_and(|presence| presence.ended.is_some()));
    if away.unexplained() || away.by_our_hand() {
        let missed = world
            .machine
            .alarms(&key.organization)
            .any(|alarm| alarm.device == *key && alarm.kind == AlarmKind::Silence && active(alarm));
        assert!(missed || world.truth.waved_off.contains(key), "nobody misses {key}: {away:?}");
    }
}
