//! Every bound, and what happens at it.

use super::*;

#[test]
fn open_commands_are_bounded_and_ended_ones_make_room() {
    let mut rig = Rig::new();
    rig.settings.max_open_commands = 2;
    let (first, _) = rig.command("boiler-1", 60);
    rig.command("boiler-1", 60);
    let create = Input::CreateCommand(CreateCommand {
        device: key("boiler-1"),
        method: "write".to_owned(),
        params: "{}".to_owned(),
        expires_in_s: 60,
    });
    let refused = Reply::Command(Err(CommandRefusal::TooManyOpen { limit: 2 }));
    assert_eq!(rig.apply(create.clone()), Output { reply: refused, ..nothing() });
    rig.apply(Input::CancelCommand(first.id));
    assert!(matches!(rig.apply(create).reply, Reply::Command(Ok(row)) if row.number == 3));
}

#[test]
fn active_alarms_are_bounded_but_a_device_can_still_fall_silent() {
    let mut rig = Rig::new();
    rig.settings.max_active_alarms = 1;
    rig.fault("boiler-1", "E1", Severity::Major);
    let event = rig.event("boiler-1", "E2", Severity::Major, false);
    let output = rig.apply(Input::Event(event.clone()));
    assert_eq!(output.reply, Reply::Event(EventVerdict::TooManyAlarms));
    assert_eq!((appended(&output).len(), output.changes.len()), (1, 0), "a fact all the same");
    rig.fault("boiler-1", "E1", Severity::Major);
    assert_eq!(rig.active()[0].count, 2, "what is active may repeat");
    let (session, _) = rig.open("boiler-1", "g1");
    rig.end("boiler-1", session, EndReason::Cut);
    rig.pass(10_000);
    assert_eq!(rig.active().len(), 2);
    rig.fault_over("boiler-1", "E1");
    assert_eq!(
        rig.apply(Input::Event(event)).reply,
        Reply::Event(EventVerdict::Counted),
        "repeated, with room"
    );
}

#[test]
fn attributes_are_bounded_per_scope_and_refused_whole() {
    let mut rig = Rig::new();
    rig.settings.max_attributes = 1;
    let value = |names: &[&str]| -> BTreeMap<String, Option<Value>> {
        names.iter().map(|name| ((*name).to_owned(), Some(Value::Integer(1)))).collect()
    };
    let patch = |shared: &[&str], server: &[&str]| {
        Input::PatchAttributes(PatchAttributes {
            device: key("boiler-1"),
            client: BTreeMap::new(),
            shared: value(shared),
            server: value(server),
        })
    };
    let refused = Reply::Attributes(Err(DeviceRefusal::TooManyAttributes { limit: 1 }));
    assert_eq!(rig.apply(patch(&["a"], &["a", "b"])), Output { reply: refused, ..nothing() });
    assert!(matches!(rig.apply(patch(&["a"], &["b"])).reply, Reply::Attributes(Ok(_))));
}

#[test]
fn the_bytes_of_a_scope_are_bounded_and_what_is_too_large_may_get_smaller() {
    let mut rig = Rig::new();
    rig.settings.max_attribute_bytes = 16;
    let patch = |values: &[(&str, Option<&str>)]| {
        let value = |text: &str| Value::Text(text.to_owned());
        let client = values.iter().map(|(key, text)| ((*key).to_owned(), text.map(value))).collect();
        let (shared, server) = (BTreeMap::new(), BTreeMap::new());
        Input::PatchAttributes(PatchAttributes { device: key("boiler-1"), client, shared, server })
    };
    let refused = |limit| Reply::Attributes(Err(DeviceRefusal::AttributesTooLarge { limit }));
    assert!(matches!(rig.apply(patch(&[("a", Some("1234567"))])).reply, Reply::Attributes(Ok(_))));
    let one_more = rig.apply(patch(&[("b", Some("12345678"))]));
    assert_eq!(one_more, Output { reply: refused(16), ..nothing() });
    assert!(matches!(rig.apply(patch(&[("b", Some("1234567"))])).reply, Reply::Attributes(Ok(_))));
    rig.settings.max_attribute_bytes = 2;
    assert_eq!(rig.apply(patch(&[("a", Some("12345678"))])).reply, refused(2));
    assert!(matches!(rig.apply(patch(&[("a", Some("123456"))])).reply, Reply::Attributes(Ok(_))));
    assert!(matches!(rig.apply(patch(&[("a", None)])).reply, Reply::Attributes(Ok(_))));
}

#[test]
fn a_slot_takes_so_many_devices() {
    let mut rig = Rig::new();
    rig.settings.max_devices_per_slot = 2;
    rig.create("boiler-2");
    let full = Reply::Device(Err(DeviceRefusal::SlotFull { limit: 2 }));
    assert_eq!(rig.create("boiler-3"), Output { reply: full, ..nothing() });
    rig.apply(Input::RemoveDevice(key("boiler-2")));
    let full = Reply::Device(Err(DeviceRefusal::SlotFull { limit: 2 }));
    assert_eq!(rig.create("boiler-3").reply, full, "it is to be forgotten yet");
    rig.apply(Input::Archived(vec![StateKey::Removal(key("boiler-2"))]));
    assert!(matches!(rig.create("boiler-3").reply, Reply::Device(Ok(_))));
}

#[test]
fn only_the_newest_events_are_remembered() {
    let mut rig = Rig::new();
    let first = rig.event("boiler-1", "E1", Severity::Major, false);
    rig.apply(Input::Event(first.clone()));
    for _ in 1..RECENT_EVENTS {
        rig.fault("boiler-1", "E1", Severity::Major);
    }
    assert_eq!(rig.apply(Input::Event(first.clone())).reply, Reply::Event(EventVerdict::Repeated));
    rig.fault("boiler-1", "E1", Severity::Major);
    assert_eq!(rig.apply(Input::Event(first)).reply, Reply::Event(EventVerdict::Counted));
    let Some(StateRow::Counters(row)) = rig.rows.get(&StateKey::Counters(key("boiler-1"))) else {
        panic!("no counters");
    };
    assert_eq!(row.recent_events.len(), RECENT_EVENTS);
}

#[test]
fn one_tick_fires_so_much_and_the_next_goes_on_at_once() {
    let mut rig = Rig::new();
    for n in 0..TICK_LIMIT + 10 {
        let device = format!("pump-{n}");
        rig.create(&device);
        let (session, _) = rig.open(&device, "g1");
        rig.end(&device, session, EndReason::Cut);
    }
    rig.pass(10_000);
    assert_eq!(rig.active().len(), TICK_LIMIT);
    assert!(rig.machine.next_due().is_some_and(|due| due <= rig.now));
    rig.pass(0);
    assert_eq!(rig.active().len(), TICK_LIMIT + 10);
    assert_eq!(rig.machine.next_due(), None);
}

#[test]
fn a_tick_judges_only_the_devices_it_was_asked_about() {
    let mut rig = Rig::new();
    for n in 0..TICK_LIMIT + 10 {
        let device = format!("pump-{n}");
        rig.apply(Input::CreateDevice(Box::new(NewDevice {
            expected_interval_s: Some(10),
            ..new_device(&device)
        })));
        rig.open(&device, "g1");
    }
    rig.now += 15_000;
    while rig.machine.next_due().is_some_and(|due| due <= rig.now) {
        let asked = rig.machine.due_intervals(rig.now);
        assert!(asked.len() <= TICK_LIMIT);
        let last_seen = asked.into_iter().map(|key| (key, rig.now - 1)).collect();
        rig.apply(Input::Tick { last_seen });
    }
    assert_eq!(rig.active(), [], "each had just said something");
}
