//! Sessions and wills.

use super::*;

fn will(delay_ms: u32) -> Option<Will> {
    let event = Event {
        id: EventId::new("will-1").unwrap(),
        device: key("boiler-1"),
        ts: START,
        kind: EventKind(EventKind::FAULT.to_owned()),
        code: "gone".to_owned(),
        severity: Severity::Critical,
        text: "gone".to_owned(),
        cleared: false,
        data: None,
    };
    Some(Will { event, delay_ms })
}

#[test]
fn an_unknown_device_gets_no_session() {
    let mut rig = Rig::new();
    let session =
        SessionInfo { gateway: gateway("g"), address: String::new(), protocol: String::new(), will: None };
    let output = rig.apply(Input::OpenSession(OpenSession {
        device: key("boiler-2"),
        proof: Proof::Certificate,
        session,
        arrival: 0,
    }));
    assert_eq!(output, Output { reply: Reply::Session(Err(SessionRefusal::NotAdmitted)), ..nothing() });
}

#[test]
fn only_what_is_in_force_lets_a_device_in() {
    let (old, new) = (Proof::Token(TokenHash([1; 32])), Proof::Token(TokenHash([2; 32])));
    let (right, wrong) = (Proof::Password("right".to_owned()), Proof::Password("wrong".to_owned()));
    let mut rig = Rig::new();
    let mut change = DevicePatch { token_hash: Some(Some(TokenHash([1; 32]))), ..patch("boiler-1") };
    let mut admitted = Vec::new();
    for token in [Some(TokenHash([2; 32])), None] {
        rig.apply(Input::PatchDevice(Box::new(change.clone())));
        change.token_hash = Some(token);
        change.password_hash = Some(Some("right".to_owned()));
        admitted.push([&old, &new, &right, &wrong, &Proof::Certificate].map(|proof| {
            let (address, protocol) = (String::new(), String::new());
            let session = SessionInfo { gateway: gateway("g"), address, protocol, will: None };
            let (device, proof) = (key("boiler-1"), proof.clone());
            let output = rig.apply(Input::OpenSession(OpenSession { device, proof, session, arrival: 0 }));
            match output.reply {
                Reply::Session(Ok(_)) => true,
                refused => {
                    assert_eq!(refused, Reply::Session(Err(SessionRefusal::NotAdmitted)));
                    assert!(output.changes.is_empty(), "{:?}", output.changes);
                    false
                }
            }
        }));
    }
    assert_eq!(admitted, [[true, false, false, false, true], [false, true, true, false, true]]);
}

#[test]
fn a_new_session_takes_the_old_one_over_and_closes_it_at_once() {
    let mut rig = Rig::new();
    let (first, output) = rig.open("boiler-1", "g1");
    assert_eq!(output.immediate, []);
    let before = rig.presence("boiler-1");
    let (second, output) = rig.open("boiler-1", "g2");
    assert!(second > first);
    assert_eq!(output.immediate, [Effect::close(&before, Slot(1), SlotEpoch(1), EndReason::TakenOver)]);
    let grant = SessionGrant { epoch: second, replaced: Some(Box::new(before)) };
    assert_eq!(output.reply, Reply::Session(Ok(grant)));
    assert_eq!(rig.presence("boiler-1").epoch, second);
}

#[test]
fn of_two_connects_at_one_gateway_the_later_stays_whichever_gets_here_first() {
    let mut rig = Rig::new();
    let open = |name: &str, arrival| {
        let (address, protocol) = ("192.0.2.1:1".to_owned(), "mqtt-5".to_owned());
        let session = SessionInfo { gateway: gateway(name), address, protocol, will: None };
        Input::OpenSession(OpenSession {
            device: key("boiler-1"),
            proof: Proof::Certificate,
            session,
            arrival,
        })
    };
    rig.apply(open("g1", 2));
    let newest = rig.presence("boiler-1");
    let superseded = Output { reply: Reply::Session(Err(SessionRefusal::Superseded)), ..nothing() };
    assert_eq!(rig.apply(open("g1", 1)), superseded);
    assert_eq!(rig.presence("boiler-1"), newest);
    rig.end("boiler-1", newest.epoch, EndReason::Cut);
    assert_eq!(rig.apply(open("g1", 1)), superseded, "also once it is over");
    for (name, arrival) in [("g1", 3), ("g2", 1), ("g1", 4), ("g1", 0)] {
        let output = rig.apply(open(name, arrival));
        assert!(matches!(output.reply, Reply::Session(Ok(_))), "{name} {arrival}: gateways count apart");
    }
}

#[test]
fn a_late_disconnect_changes_nothing() {
    let mut rig = Rig::new();
    let (first, _) = rig.open("boiler-1", "g1");
    let (second, _) = rig.open("boiler-1", "g2");
    assert_eq!(rig.end("boiler-1", first, EndReason::Cut), nothing());
    rig.end("boiler-1", second, EndReason::Disconnect);
    assert_eq!(rig.end("boiler-1", second, EndReason::Cut), nothing());
}

#[test]
fn epochs_grow_over_a_take_over_of_the_slot() {
    let mut rig = Rig::new();
    let (first, _) = rig.open("boiler-1", "g1");
    rig.take_over(0);
    let (second, _) = rig.open("boiler-1", "g1");
    assert!(second > first);
}

#[test]
fn a_session_presumed_lost_is_closed_elsewhere_but_not_where_the_device_is() {
    for (holder, closed) in [("g1", 0), ("g2", 1)] {
        let mut rig = Rig::new();
        rig.open("boiler-1", holder);
        rig.take_over(0);
        let (_, output) = rig.open("boiler-1", "g1");
        assert_eq!(output.immediate.len(), closed, "held by {holder}, opened at g1");
        assert!(matches!(&output.reply, Reply::Session(Ok(grant)) if grant.replaced.is_none()));
    }
}

#[test]
fn a_session_lost_with_its_owner_still_tells_how_it_ended() {
    let mut rig = Rig::new();
    rig.open("boiler-1", "g1");
    rig.take_over(0);
    // Granted by the first owner, and lost before it was written.
    let lost = SessionEpoch { slot: SlotEpoch(1), counter: 9 };
    rig.end("boiler-1", lost, EndReason::Disconnect);
    let presence = rig.presence("boiler-1");
    assert_eq!(presence.epoch, lost);
    assert_eq!((presence.ended, presence.silence_due), (Some((rig.now, EndReason::Disconnect)), None));
    rig.pass(1_000_000);
    assert_eq!(rig.active(), []);
}

#[test]
fn a_goodbye_corrects_the_guess_that_a_session_was_lost() {
    for (reason, counts) in [
        (EndReason::Disconnect, true),
        (EndReason::DisconnectWithWill, true),
        (EndReason::Cut, false),
        (EndReason::ByPlatform, false),
    ] {
        let mut rig = Rig::new();
        let (epoch, _) = rig.open("boiler-1", "g1");
        rig.take_over(0);
        let output = rig.end("boiler-1", epoch, reason);
        assert_eq!(output != nothing(), counts, "{reason:?}");
        assert_eq!(rig.presence("boiler-1").silence_due.is_none(), counts, "{reason:?}");
    }
}

#[test]
fn a_gateway_that_is_gone_takes_its_sessions_along_without_a_write() {
    let mut rig = Rig::new();
    rig.create("boiler-2");
    rig.open("boiler-1", "g1");
    rig.open("boiler-2", "g2");
    let output = rig.apply(Input::GatewayGone(gateway("g1")));
    assert_eq!(output.changes, []);
    assert_eq!(told(&output).len(), 1);
    assert_eq!(rig.presence("boiler-1").ended, Some((rig.now, EndReason::PlatformCrash)));
    assert_eq!(rig.presence("boiler-2").ended, None);
}

#[test]
fn who_is_cut_off_when_a_gateway_dies_has_the_grace_as_well() {
    let (mut rig, settings) = (Rig::new(), Settings::default());
    let epoch = rig.open("boiler-1", "g1").0;
    rig.end("boiler-1", epoch, EndReason::Cut);
    rig.pass(settings.silence_after_ms - 1);
    rig.apply(Input::GatewayGone(gateway("g2")));
    rig.pass(settings.silence_grace_ms - 1);
    assert_eq!(rig.active(), []);
    rig.pass(1);
    assert_eq!(rig.active().len(), 1, "it has not come back by any other");
    rig.apply(Input::GatewayGone(gateway("g3")));
    assert_eq!(rig.active().len(), 1, "nor is it back now");
    rig.pass(1_000);
    let epoch = rig.open("boiler-1", "g1").0;
    rig.end("boiler-1", epoch, EndReason::Cut);
    rig.pass(settings.silence_grace_ms - 1_001);
    assert_eq!(rig.active(), [], "it waits behind all that come back");
    rig.pass(1);
    assert_eq!(rig.active().len(), 1);
    let epoch = rig.open("boiler-1", "g1").0;
    rig.end("boiler-1", epoch, EndReason::Cut);
    rig.pass(settings.silence_after_ms);
    assert_eq!(rig.active().len(), 1, "that is over");
}

#[test]
fn a_gateway_that_ends_in_order_excuses_nobody_but_its_own() {
    let (mut rig, settings) = (Rig::new(), Settings::default());
    rig.create("boiler-2");
    let epoch = rig.open("boiler-1", "g1").0;
    rig.open("boiler-2", "g2");
    rig.end("boiler-1", epoch, EndReason::Cut);
    assert_eq!(rig.apply(Input::GatewayLeft(gateway("g2"))).changes, []);
    assert_eq!(rig.presence("boiler-2").ended, Some((rig.now, EndReason::PlatformCrash)));
    rig.pass(settings.silence_after_ms);
    assert_eq!(rig.active().len(), 1, "it was cut off, and not by us");
    rig.pass(settings.silence_grace_ms - settings.silence_after_ms - 1);
    assert_eq!(rig.active().len(), 1);
    rig.pass(1);
    assert_eq!(rig.active().len(), 2, "nor has the other come back in its time");
}

#[test]
fn who_was_lost_before_has_the_grace_of_the_gateway_that_dies_then_for_its_will_as_well() {
    let (mut rig, grace) = (Rig::new(), Settings::default().silence_grace_ms);
    rig.open_with("boiler-1", "g1", will(0));
    rig.take_over(0);
    rig.pass(20_000);
    assert_eq!(rig.apply(Input::GatewayGone(gateway("g2"))).changes, [], "a presumption is not written down");
    rig.pass(grace - 1);
    assert_eq!(rig.active(), []);
    rig.pass(1);
    assert_eq!(rig.active().len(), 2, "its silence, and what its will tells");
}

#[test]
fn a_will_is_said_at_once_when_the_device_vanishes_and_after_its_delay_where_it_has_one() {
    for reason in [EndReason::Cut, EndReason::KeepAlive, EndReason::DisconnectWithWill] {
        let mut rig = Rig::new();
        let (epoch, _) = rig.open_with("boiler-1", "g1", will(0));
        rig.now += 5_000;
        let said = appended(&rig.end("boiler-1", epoch, reason));
        assert_eq!(said.iter().map(|event| event.ts).collect::<Vec<_>>(), [rig.now], "the time it is said");
        assert_eq!(rig.active().len(), 1, "a will that is a fault raises its alarm");

        let mut rig = Rig::new();
        let (epoch, _) = rig.open_with("boiler-1", "g1", will(5_000));
        assert_eq!(appended(&rig.end("boiler-1", epoch, reason)), []);
        assert_eq!(appended(&rig.pass(4_999)), []);
        assert_eq!(appended(&rig.pass(1)).len(), 1);
        assert_eq!(appended(&rig.pass(100_000)), [], "it is said once");
    }
}

#[test]
fn a_will_waits_for_the_grace_when_we_ended_the_session() {
    for reason in [EndReason::ByPlatform, EndReason::PlatformCrash, EndReason::TakenOver] {
        let mut rig = Rig::new();
        let (epoch, _) = rig.open_with("boiler-1", "g1", will(0));
        assert_eq!(appended(&rig.end("boiler-1", epoch, reason)), []);
        assert_eq!(appended(&rig.pass(59_999)), []);
        assert_eq!(appended(&rig.pass(1)).len(), 1, "{reason:?}");
    }
}

#[test]
fn a_will_is_dropped_by_a_goodbye_and_by_the_devices_return() {
    let mut rig = Rig::new();
    let (epoch, _) = rig.open_with("boiler-1", "g1", will(0));
    rig.end("boiler-1", epoch, EndReason::Disconnect);
    assert_eq!(appended(&rig.pass(1_000_000)), []);

    let mut rig = Rig::new();
    let (epoch, _) = rig.open_with("boiler-1", "g1", will(0));
    rig.end("boiler-1", epoch, EndReason::ByPlatform);
    rig.open("boiler-1", "g2");
    assert_eq!(appended(&rig.pass(1_000_000)), []);

    let mut rig = Rig::new();
    rig.open_with("boiler-1", "g1", will(0));
    let (_, output) = rig.open("boiler-1", "g2");
    assert_eq!(appended(&output), [], "taken over by itself, the device is here");
}
