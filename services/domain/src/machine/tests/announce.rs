//! Sessions that outlive their slot's owner.

use super::*;
use crate::ports::bus::ToGateway;

fn held(device: &str, epoch: SessionEpoch, commands_wanted: bool) -> HeldSession {
    let session = SessionInfo {
        gateway: gateway("g1"),
        address: "192.0.2.1:4711".to_owned(),
        protocol: "mqtt-5".to_owned(),
        will: None,
    };
    HeldSession { device: key(device), epoch, session, commands_wanted }
}

fn announce(rig: &mut Rig, sessions: Vec<HeldSession>) -> Output {
    rig.apply(Input::Announce(Announce { gateway: gateway("g1"), sessions }))
}

fn orders(effects: &[Effect]) -> Vec<&ToGateway> {
    let order = |effect| match effect {
        &Effect::Gateway(Dispatch { ref message, .. }) => Some(message),
        _ => None,
    };
    effects.iter().filter_map(order).collect()
}

#[test]
fn a_session_that_is_announced_goes_on_and_nobody_is_called_silent() {
    let mut rig = Rig::new();
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.take_over(1_000);
    assert!(rig.presence("boiler-1").ended.is_some(), "presumed lost");
    let output = announce(&mut rig, vec![held("boiler-1", epoch, false)]);
    assert_eq!(output.immediate, []);
    let presence = rig.presence("boiler-1");
    assert_eq!((presence.epoch, presence.ended, presence.silence_due), (epoch, None, None));
    rig.pass(1_000_000);
    assert_eq!(rig.active(), []);
}

#[test]
fn a_session_that_is_announced_after_its_silence_was_raised_ends_it() {
    let mut rig = Rig::new();
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.take_over(0);
    rig.pass(60_000);
    assert_eq!(rig.active().len(), 1);
    announce(&mut rig, vec![held("boiler-1", epoch, false)]);
    assert_eq!(rig.active(), []);
    rig.take_over(0);
    announce(&mut rig, vec![held("boiler-1", epoch, false)]);
    rig.pass(1_000_000);
    assert_eq!(rig.active(), [], "what was written says that it goes on");
}

#[test]
fn a_session_of_which_the_last_owner_wrote_nothing_is_taken_as_it_is() {
    let mut rig = Rig::new();
    rig.open("boiler-1", "g2");
    rig.take_over(0);
    let lost = SessionEpoch { slot: SlotEpoch(1), counter: 9 };
    let output = announce(&mut rig, vec![held("boiler-1", lost, true)]);
    assert_eq!(output.immediate, []);
    let presence = rig.presence("boiler-1");
    assert_eq!((presence.epoch, presence.ended), (lost, None));
    assert_eq!(presence.session.gateway, gateway("g1"));
}

#[test]
fn what_is_older_ended_or_of_nobody_is_closed() {
    let mut rig = Rig::new();
    rig.create("boiler-2");
    let (older, _) = rig.open("boiler-1", "g1");
    let (newest, _) = rig.open("boiler-1", "g2");
    let (ended, _) = rig.open("boiler-2", "g1");
    rig.end("boiler-2", ended, EndReason::Revoked);
    rig.take_over(0);
    let sessions = vec![
        held("boiler-1", older, true),
        held("boiler-2", ended, true),
        held("boiler-3", SessionEpoch { slot: SlotEpoch(1), counter: 1 }, true),
    ];
    let output = announce(&mut rig, sessions);
    let closed: Vec<_> = orders(&output.immediate)
        .into_iter()
        .map(|message| (message.device.device.as_str(), message.order.clone()))
        .collect();
    let close = |reason| GatewayOrder::Close { reason };
    assert_eq!(
        closed,
        [
            ("boiler-1", close(EndReason::TakenOver)),
            ("boiler-2", close(EndReason::Revoked)),
            ("boiler-3", close(EndReason::Revoked)),
        ]
    );
    assert_eq!(rig.presence("boiler-1").epoch, newest);
    assert_eq!(output.changes, []);
}

#[test]
fn what_was_handed_to_the_session_and_not_delivered_is_handed_to_it_again_in_order() {
    let mut rig = Rig::new();
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.wants("boiler-1", epoch, true);
    let (first, _) = rig.command("boiler-1", 60);
    let (delivered, _) = rig.command("boiler-1", 60);
    let (third, _) = rig.command("boiler-1", 60);
    rig.report(CommandReport::Sent { id: first.id, session: epoch });
    rig.report(CommandReport::Delivered { id: delivered.id, session: epoch });
    rig.take_over(0);
    let (fourth, output) = rig.command("boiler-1", 60);
    assert_eq!(orders(&output.after).len(), 0, "nobody is known to take it");
    let output = announce(&mut rig, vec![held("boiler-1", epoch, true)]);
    let handed: Vec<_> = orders(&output.after)
        .into_iter()
        .map(|message| match &message.order {
            GatewayOrder::Command { id, .. } => (*id, message.session),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(handed, [first.id, third.id, fourth.id].map(|id| (id, epoch)));
    assert_eq!(announce(&mut rig, vec![held("boiler-1", epoch, false)]).after, [], "it takes none any more");
}

#[test]
fn an_announcement_that_was_overtaken_by_the_end_of_its_session_brings_nobody_back() {
    let mut rig = Rig::new();
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.take_over(0);
    rig.end("boiler-1", epoch, EndReason::Cut);
    let output = announce(&mut rig, vec![held("boiler-1", epoch, true)]);
    assert_eq!(orders(&output.immediate).len(), 1, "it is closed, should it be there");
    assert!(rig.presence("boiler-1").ended.is_some());
    rig.pass(1_000_000);
    assert_eq!(rig.active().len(), 1, "it is missed");
}

#[test]
fn that_a_session_takes_commands_is_said_again_until_the_session_is_known() {
    for lost_with_its_owner in [false, true] {
        let mut rig = Rig::new();
        let (mut epoch, _) = rig.open("boiler-1", "g1");
        rig.take_over(0);
        if lost_with_its_owner {
            epoch.counter += 1;
        }
        let wanted = || SessionReport::CommandsWanted { device: key("boiler-1"), epoch, wanted: true };
        assert_eq!(rig.apply(Input::Session(wanted())).reply, Reply::Unannounced);
        // Collected before the device subscribed.
        announce(&mut rig, vec![held("boiler-1", epoch, false)]);
        assert_eq!(rig.apply(Input::Session(wanted())).reply, Reply::Done);
        announce(&mut rig, vec![held("boiler-1", epoch, false)]);
        let (_, output) = rig.command("boiler-1", 60);
        assert_eq!(orders(&output.after).len(), 1, "it is handed out");
        rig.end("boiler-1", epoch, EndReason::Cut);
        assert_eq!(rig.apply(Input::Session(wanted())).reply, Reply::Done, "nobody needs to know");
    }
}

#[test]
fn attributes_that_changed_while_nobody_knew_where_the_device_was_reach_it() {
    let mut rig = Rig::new();
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.take_over(0);
    let shared = [("eco".to_owned(), Some(Value::Boolean(true)))].into();
    let patch = PatchAttributes { device: key("boiler-1"), client: [].into(), shared, server: [].into() };
    let output = rig.apply(Input::PatchAttributes(patch));
    assert_eq!(orders(&output.after).len(), 0);
    let output = announce(&mut rig, vec![held("boiler-1", epoch, false)]);
    let told: Vec<_> = orders(&output.after).into_iter().map(|message| message.order.clone()).collect();
    assert_eq!(told, [GatewayOrder::Attributes { json: "{\"eco\":true}".to_owned() }]);
    assert_eq!(announce(&mut rig, vec![held("boiler-1", epoch, false)]).after, [], "once");
}

#[test]
fn the_announcement_of_a_session_that_is_known_writes_nothing() {
    let mut rig = Rig::new();
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.take_over(0);
    assert_eq!(announce(&mut rig, vec![held("boiler-1", epoch, false)]).changes, []);
    rig.take_over(0);
    assert!(rig.presence("boiler-1").ended.is_some());
    rig.pass(60_000);
    assert_ne!(
        announce(&mut rig, vec![held("boiler-1", epoch, false)]).changes,
        [],
        "its absence was written down"
    );
}

#[test]
fn a_command_that_was_handed_out_twice_is_not_called_never_sent_for_one_word_about_one_of_them() {
    let mut rig = Rig::new();
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.wants("boiler-1", epoch, true);
    let (command, _) = rig.command("boiler-1", 60);
    announce(&mut rig, vec![held("boiler-1", epoch, true)]);
    rig.report(CommandReport::NotSent {
        id: command.id,
        session: epoch,
        never: false,
        detail: String::new(),
    });
    rig.end("boiler-1", epoch, EndReason::Disconnect);
    rig.pass(61_000);
    let outcome = rig.machine.command(command.id).and_then(|command| command.outcome);
    assert_eq!(outcome, Some(CommandOutcome::Unknown));
}
