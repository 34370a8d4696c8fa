//! Events and the alarms they raise.

use super::*;

#[test]
fn a_fault_raises_and_repeats_and_its_end_clears() {
    let mut rig = Rig::new();
    let output = rig.fault("boiler-1", "E42", Severity::Minor);
    assert_eq!(output.reply, Reply::Event(EventVerdict::Counted));
    assert_eq!(appended(&output).len(), 1);
    let raised = rig.active().remove(0);
    assert_eq!((raised.count, raised.severity, raised.raised_at), (1, Severity::Minor, START));
    rig.now += 1;
    rig.fault("boiler-1", "E42", Severity::Critical);
    let again = rig.active().remove(0);
    assert_eq!((again.id, again.count, again.severity), (raised.id, 2, Severity::Critical));
    assert_eq!(again.raised_at, START);
    let output = rig.fault_over("boiler-1", "E42");
    assert_eq!(archives(&output), [StateKey::Alarm(raised.id)]);
    assert_eq!(rig.active(), []);
    rig.fault("boiler-1", "E42", Severity::Minor);
    assert_ne!(rig.active()[0].id, raised.id, "a new raising");
}

#[test]
fn only_faults_raise_alarms_and_every_event_is_kept() {
    let mut rig = Rig::new();
    let mut event = rig.event("boiler-1", "E42", Severity::Critical, false);
    event.kind = EventKind("door_opened".to_owned());
    let output = rig.apply(Input::Event(event.clone()));
    assert_eq!((appended(&output), output.changes.len()), (vec![event], 0));
    assert_eq!(rig.alarms(), []);
}

#[test]
fn a_repeated_id_counts_once_also_over_a_take_over() {
    let mut rig = Rig::new();
    let event = rig.event("boiler-1", "E42", Severity::Major, false);
    rig.apply(Input::Event(event.clone()));
    let repeated = Output { reply: Reply::Event(EventVerdict::Repeated), ..nothing() };
    assert_eq!(rig.apply(Input::Event(event.clone())), repeated);
    rig.take_over(0);
    assert_eq!(rig.apply(Input::Event(event)), repeated);
    assert_eq!(rig.active()[0].count, 1);
}

#[test]
fn a_redelivered_end_does_not_end_what_was_raised_after_it() {
    let mut rig = Rig::new();
    let over = rig.event("boiler-1", "E42", Severity::Major, true);
    rig.apply(Input::Event(over.clone()));
    rig.fault("boiler-1", "E42", Severity::Major);
    rig.apply(Input::Event(over));
    assert_eq!(rig.active().len(), 1);
}

#[test]
fn an_event_of_an_unknown_device_is_not_kept() {
    let mut rig = Rig::new();
    let output = rig.fault("boiler-2", "E42", Severity::Major);
    assert_eq!(output, Output { reply: Reply::Event(EventVerdict::UnknownDevice), ..nothing() });
}

#[test]
fn the_first_who_takes_note_stands() {
    let mut rig = Rig::new();
    rig.fault("boiler-1", "E42", Severity::Major);
    let id = rig.active()[0].id;
    let note = |by: &str| {
        Input::AcknowledgeAlarm(AcknowledgeAlarm { id, by: by.to_owned(), note: Some("seen".to_owned()) })
    };
    rig.apply(note("ann"));
    let output = rig.apply(note("bob"));
    let Reply::Alarm(Ok(alarm)) = output.reply else { panic!("{output:?}") };
    assert_eq!(alarm.acknowledged.unwrap().by, "ann");
    assert_eq!(output.changes, []);
    rig.fault("boiler-1", "E42", Severity::Major);
    assert!(rig.active()[0].acknowledged.is_some(), "a repetition is known already");
}

#[test]
fn who_clears_by_hand_has_taken_note_and_the_device_may_raise_it_anew() {
    let mut rig = Rig::new();
    rig.fault("boiler-1", "E42", Severity::Major);
    let id = rig.active()[0].id;
    let clear = Input::ClearAlarm { id, by: "ann".to_owned() };
    let output = rig.apply(clear.clone());
    let Reply::Alarm(Ok(alarm)) = output.reply else { panic!("{output:?}") };
    assert_eq!((alarm.state, alarm.acknowledged.unwrap().by.as_str()), (AlarmState::Cleared, "ann"));
    assert_eq!(rig.apply(clear).changes, [], "cleared already");
    rig.fault("boiler-1", "E42", Severity::Major);
    assert_eq!(rig.active().len(), 1);
}

#[test]
fn a_cleared_alarm_leaves_when_it_is_in_history_and_not_before() {
    let mut rig = Rig::new();
    rig.fault("boiler-1", "E42", Severity::Major);
    let id = rig.active()[0].id;
    let archived = Input::Archived(vec![StateKey::Alarm(id)]);
    assert_eq!(rig.apply(archived.clone()), nothing(), "it is active");
    rig.fault_over("boiler-1", "E42");
    assert!(rig.machine.alarm(id).is_some());
    assert_eq!(rig.apply(archived).changes, [Change::Delete(StateKey::Alarm(id))]);
    assert!(rig.machine.alarm(id).is_none());
}

#[test]
fn a_note_taken_on_the_way_to_history_is_not_lost() {
    let mut rig = Rig::new();
    rig.fault("boiler-1", "E42", Severity::Major);
    rig.fault_over("boiler-1", "E42");
    let id = rig.alarms()[0].id;
    rig.apply(Input::AcknowledgeAlarm(AcknowledgeAlarm { id, by: "ann".to_owned(), note: None }));
    let archived = Input::Archived(vec![StateKey::Alarm(id)]);
    let output = rig.apply(archived.clone());
    assert_eq!((archives(&output), output.changes.len()), (vec![StateKey::Alarm(id)], 0), "once more");
    assert_eq!(rig.apply(archived).changes, [Change::Delete(StateKey::Alarm(id))]);
}
