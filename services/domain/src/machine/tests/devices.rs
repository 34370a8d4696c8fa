//! Devices and their attributes.

use super::*;

fn shared(values: &[(&str, Option<Value>)]) -> PatchAttributes {
    PatchAttributes {
        device: key("boiler-1"),
        client: BTreeMap::new(),
        shared: values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        server: BTreeMap::new(),
    }
}

#[test]
fn a_device_is_made_once() {
    let mut rig = Rig::new();
    let output = rig.create("boiler-1");
    assert_eq!(output, Output { reply: Reply::Device(Err(DeviceRefusal::Exists)), ..nothing() });
}

#[test]
fn a_patch_counts_versions_and_writes_only_what_changes() {
    let mut rig = Rig::new();
    let change = DevicePatch { model: Some(Some("B-200".to_owned())), ..patch("boiler-1") };
    let output = rig.apply(Input::PatchDevice(Box::new(change.clone())));
    let Reply::Device(Ok(device)) = output.reply else { panic!("{output:?}") };
    assert_eq!((device.version, device.model.as_deref()), (2, Some("B-200")));
    let again = rig.apply(Input::PatchDevice(Box::new(change)));
    assert_eq!(again, Output { reply: Reply::Device(Ok(device)), ..nothing() });
    let unknown = rig.apply(Input::PatchDevice(Box::new(patch("boiler-2"))));
    assert_eq!(unknown.reply, Reply::Device(Err(DeviceRefusal::NotFound)));
}

#[test]
fn a_changed_credential_closes_the_session_once_it_is_in_force() {
    let mut rig = Rig::new();
    let (session, _) = rig.open("boiler-1", "g1");
    let change = DevicePatch { token_hash: Some(Some(TokenHash([1; 32]))), ..patch("boiler-1") };
    let output = rig.apply(Input::PatchDevice(Box::new(change)));
    assert_eq!(output.immediate, []);
    let close = GatewayOrder::Close { reason: EndReason::Revoked };
    assert_eq!(orders(&output), [(session, close.clone())]);
    assert_eq!(rig.presence("boiler-1").ended, Some((rig.now, EndReason::Revoked)));
    assert_eq!(rig.machine.next_due(), None, "nobody waits for it");
    assert_eq!(orders(&rig.take_over(0)), [(session, close)], "the gateway may not have heard");
}

#[test]
fn a_removed_device_takes_everything_along() {
    let mut rig = Rig::new();
    rig.create("boiler-2");
    rig.subscribe(vec![subscription("all", Match::default(), vec![mail("ann@example.org")])]);
    let untouched = rig.rows.clone();
    let (session, _) = rig.open("boiler-2", "g1");
    rig.wants("boiler-2", session, true);
    let (command, _) = rig.command("boiler-2", 60);
    rig.fault("boiler-2", "E42", Severity::Major);
    rig.apply(Input::PatchAttributes(PatchAttributes {
        device: key("boiler-2"),
        ..shared(&[("a", Some(Value::Boolean(true)))])
    }));
    let output = rig.apply(Input::RemoveDevice(key("boiler-2")));
    let record = StateRow::Device(match output.reply.clone() {
        Reply::Device(Ok(device)) => *device,
        other => panic!("{other:?}"),
    });
    assert_eq!(untouched.get(&StateKey::Device(key("boiler-2"))), Some(&record), "as it was");
    let mut rest = untouched;
    rest.remove(&StateKey::Device(key("boiler-2")));
    let removal = StateKey::Removal(key("boiler-2"));
    assert!(rig.rows.remove(&removal).is_some());
    assert_eq!(rig.rows, rest);
    assert_eq!(orders(&output), [(session, GatewayOrder::Close { reason: EndReason::Revoked })]);
    assert!(told(&output).iter().any(|activity| matches!(activity,
        Activity::Command(row) if row.id == command.id && row.state == CommandState::Cancelled)));
    assert_eq!(archives(&output), [], "its history goes too");
    assert_eq!(rig.machine.next_due(), None);
    rig.apply(Input::Archived(vec![removal]));
    rig.create("boiler-2");
    let (again, _) = rig.open("boiler-2", "g1");
    assert!(again > session);
    assert_eq!(rig.command("boiler-2", 60).0.number, 1);
}

#[test]
fn no_device_is_made_while_an_earlier_one_of_that_id_is_to_be_forgotten() {
    let mut rig = Rig::new();
    rig.create("boiler-2");
    let (removal, forget) = (StateKey::Removal(key("boiler-2")), Effect::Forget(key("boiler-2")));
    let output = rig.apply(Input::RemoveDevice(key("boiler-2")));
    assert!(output.changes.iter().any(|change| change.key() == removal), "in the same commit");
    assert!(output.after.contains(&forget));
    let refused = Reply::Device(Err(DeviceRefusal::BeingRemoved));
    assert_eq!(rig.create("boiler-2"), Output { reply: refused.clone(), ..nothing() });

    assert!(rig.take_over(0).after.contains(&forget), "the last owner may not have got round to it");
    assert_eq!(rig.create("boiler-2").reply, refused);
    let output = rig.apply(Input::Archived(vec![removal.clone()]));
    assert_eq!(output.changes, [Change::Delete(removal.clone())]);
    assert_eq!(rig.apply(Input::Archived(vec![removal])), nothing(), "said twice");
    assert!(matches!(rig.create("boiler-2").reply, Reply::Device(Ok(_))));
    assert!(!rig.take_over(0).after.contains(&forget));
}

#[test]
fn shared_attributes_are_told_to_the_session_with_only_what_changed() {
    let mut rig = Rig::new();
    let (session, _) = rig.open("boiler-1", "g1");
    let values = shared(&[
        ("a\"b", Some(Value::Integer(1))),
        ("j", Some(Value::Json("{\"big\":12345678901234567890}".to_owned()))),
        ("n", Some(Value::Number(0.5))),
        ("t", Some(Value::Text("x\ny".to_owned()))),
    ]);
    let output = rig.apply(Input::PatchAttributes(values.clone()));
    let json = "{\"a\\\"b\":1,\"j\":{\"big\":12345678901234567890},\"n\":0.5,\"t\":\"x\\ny\"}".to_owned();
    assert_eq!(orders(&output), [(session, GatewayOrder::Attributes { json })]);
    assert_eq!(rig.apply(Input::PatchAttributes(values)).changes, [], "no change, no write");
    let output = rig.apply(Input::PatchAttributes(shared(&[
        ("j", None),
        ("n", Some(Value::Number(0.5))),
        ("unknown", None),
        ("b", Some(Value::Boolean(false))),
    ])));
    let json = "{\"b\":false,\"j\":null}".to_owned();
    assert_eq!(orders(&output), [(session, GatewayOrder::Attributes { json })]);
}

#[test]
fn other_scopes_are_kept_and_not_told_to_the_device() {
    let mut rig = Rig::new();
    rig.open("boiler-1", "g1");
    let value = BTreeMap::from([("k".to_owned(), Some(Value::Integer(1)))]);
    let patch = PatchAttributes {
        client: value.clone(),
        server: value,
        shared: BTreeMap::new(),
        device: key("boiler-1"),
    };
    let output = rig.apply(Input::PatchAttributes(patch));
    assert_eq!(orders(&output), []);
    let Reply::Attributes(Ok(attributes)) = output.reply else { panic!("{output:?}") };
    assert_eq!((attributes.client.len(), attributes.shared.len(), attributes.server.len()), (1, 0, 1));
    let unknown = PatchAttributes { device: key("boiler-2"), ..shared(&[]) };
    let output = rig.apply(Input::PatchAttributes(unknown));
    assert_eq!(output.reply, Reply::Attributes(Err(DeviceRefusal::NotFound)));
}

#[test]
fn devices_are_listed_by_id_within_their_organization() {
    let mut rig = Rig::new();
    for device in ["a", "c", "b"] {
        rig.create(device);
    }
    let other = DeviceKey::new(OrganizationId::new("other").unwrap(), DeviceId::new("aa").unwrap());
    rig.apply(Input::CreateDevice(Box::new(NewDevice { key: other, ..new_device("x") })));
    let list = |after: Option<&str>| -> Vec<String> {
        let after = after.map(|after| DeviceId::new(after).unwrap());
        rig.machine
            .devices_after(&organization(), after.as_ref())
            .map(|view| view.record.key.device.to_string())
            .collect()
    };
    assert_eq!(list(None), ["a", "b", "boiler-1", "c"]);
    assert_eq!(list(Some("b")), ["boiler-1", "c"]);
    assert_eq!(list(Some("bb")), ["boiler-1", "c"], "also after one that is gone");
}
