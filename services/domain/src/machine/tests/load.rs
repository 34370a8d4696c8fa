//! What a new owner finds, and does again.

use super::*;

#[test]
fn what_was_not_confirmed_or_archived_is_asked_for_again() {
    let mut rig = Rig::new();
    rig.subscribe(vec![subscription("all", Match::default(), vec![mail("ann@example.org")])]);
    rig.fault("boiler-1", "E42", Severity::Major);
    rig.fault_over("boiler-1", "E42");
    let (command, _) = rig.command("boiler-1", 1);
    rig.pass(1_000);
    let alarm = rig.alarms()[0].id;
    let output = rig.take_over(0);
    assert_eq!(published(&output).len(), 2, "raised and cleared");
    assert_eq!(archives(&output), [StateKey::Command(command.id), StateKey::Alarm(alarm)]);
    assert_eq!(output.changes, []);
}

#[test]
fn an_attempt_under_way_gets_its_time_anew() {
    let mut rig = Rig::new();
    rig.subscribe(vec![subscription("all", Match::default(), vec![mail("ann@example.org")])]);
    rig.fault("boiler-1", "E42", Severity::Major);
    let id = rig.notifications()[0].id;
    rig.apply(Input::OutboxConfirmed { notification: id, attempt: 1 });
    assert_eq!(published(&rig.take_over(1_000_000)), [], "it is at a notifier");
    assert_eq!(rig.machine.next_due(), Some(rig.now + 120_000));
    assert_eq!(published(&rig.pass(120_000)), [(id, 1)]);
}

#[test]
fn what_ran_out_while_nobody_watched_is_fired_at_once() {
    let mut rig = Rig::new();
    let (command, _) = rig.command("boiler-1", 60);
    rig.take_over(1_000_000);
    rig.pass(0);
    assert_eq!(rig.now_of(command.id).outcome, Some(CommandOutcome::NeverSent));
}

#[test]
fn rows_whose_device_is_gone_are_removed() {
    let mut rig = Rig::new();
    rig.subscribe(vec![subscription("all", Match::default(), vec![mail("ann@example.org")])]);
    rig.open("boiler-1", "g1");
    rig.command("boiler-1", 60);
    rig.fault("boiler-1", "E42", Severity::Major);
    rig.rows.remove(&StateKey::Device(key("boiler-1")));
    let left: Vec<Change> = rig.rows.keys().cloned().map(Change::Delete).collect();
    assert_eq!(rig.take_over(0).changes, left);
    assert_eq!(rig.machine.counts(), Counts::default());
}

#[test]
fn rows_may_come_in_any_order() {
    let mut rig = Rig::new();
    rig.subscribe(vec![subscription("all", Match::default(), vec![mail("ann@example.org")])]);
    rig.open("boiler-1", "g1");
    rig.command("boiler-1", 60);
    rig.fault("boiler-1", "E42", Severity::Major);
    let ctx = Context { now: rig.now, settings: &rig.settings, subscriptions: &rig.subscriptions };
    let rows: Vec<StateRow> = rig.rows.values().rev().cloned().collect();
    let (machine, output) = SlotMachine::load(Slot(1), SlotEpoch(2), rows, None, &ctx);
    assert_eq!(output.changes, []);
    assert_eq!(machine.counts(), Counts { online: 0, ..rig.machine.counts() });
}
