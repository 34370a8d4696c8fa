//! Silence, by the end of a session and by an expected interval.

use super::*;

fn with_interval(interval_s: u32) -> Rig {
    let mut rig = Rig::new();
    rig.expect_every("boiler-1", Some(interval_s));
    rig
}

impl Rig {
    fn expect_every(&mut self, device: &str, interval_s: Option<u32>) -> Output {
        let patch = DevicePatch { expected_interval_s: Some(interval_s), ..patch(device) };
        self.apply(Input::PatchDevice(Box::new(patch)))
    }
}

#[test]
fn silence_comes_as_long_after_the_end_as_its_reason_says() {
    for (reason, after) in [
        (EndReason::Cut, Some(10_000)),
        (EndReason::KeepAlive, Some(10_000)),
        (EndReason::ProtocolError, Some(10_000)),
        (EndReason::SlowReader, Some(10_000)),
        (EndReason::ByPlatform, Some(60_000)),
        (EndReason::PlatformCrash, Some(60_000)),
        (EndReason::TakenOver, Some(60_000)),
        (EndReason::Disconnect, None),
        (EndReason::DisconnectWithWill, None),
        (EndReason::Revoked, None),
    ] {
        let mut rig = Rig::new();
        let (epoch, _) = rig.open("boiler-1", "g1");
        rig.end("boiler-1", epoch, reason);
        assert_eq!(rig.machine.next_due(), after.map(|after| START + after), "{reason:?}");
        if let Some(after) = after {
            rig.pass(after - 1);
            assert_eq!(rig.active(), []);
            rig.pass(1);
            assert_eq!(rig.active().len(), 1, "{reason:?}");
        }
    }
}

#[test]
fn a_silence_alarm_says_since_when_and_why() {
    let mut rig = Rig::new();
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.end("boiler-1", epoch, EndReason::KeepAlive);
    rig.pass(10_000);
    let alarm = rig.active().remove(0);
    assert_eq!((alarm.kind, alarm.code.as_str()), (AlarmKind::Silence, "silence"));
    assert_eq!(alarm.severity, Severity::Major);
    assert_eq!(alarm.text, "no connection since 2023-11-14T22:13:20Z (keep_alive)");
}

#[test]
fn a_return_within_the_time_raises_nothing_and_a_later_one_clears() {
    let mut rig = Rig::new();
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.end("boiler-1", epoch, EndReason::Cut);
    rig.now += 9_999;
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.pass(100_000);
    assert_eq!(rig.alarms(), []);
    rig.end("boiler-1", epoch, EndReason::Cut);
    rig.pass(10_000);
    assert_eq!(rig.active().len(), 1);
    rig.open("boiler-1", "g1");
    assert_eq!(rig.active(), []);
    assert_eq!(rig.alarms()[0].cleared_at, Some(rig.now));
}

#[test]
fn our_downtime_is_nobodys_silence() {
    let mut rig = Rig::new();
    rig.create("boiler-2");
    let (cut, _) = rig.open("boiler-1", "g1");
    rig.open("boiler-2", "g1");
    rig.end("boiler-1", cut, EndReason::Cut);
    let output = rig.take_over(3_600_000);
    assert_eq!(output.changes, [], "guesses are not written");
    rig.pass(59_999);
    assert_eq!(rig.alarms(), []);
    rig.pass(1);
    assert_eq!(rig.active().len(), 2, "both had the grace to come back, and did not");
}

#[test]
fn a_device_that_never_connected_is_not_missed() {
    let mut rig = with_interval(10);
    rig.pass(1_000_000);
    assert_eq!((rig.alarms(), rig.machine.next_due()), (vec![], None));
}

#[test]
fn no_message_for_one_and_a_half_intervals_is_silence_connected_or_not() {
    let mut rig = with_interval(10);
    let (epoch, _) = rig.open("boiler-1", "g1");
    assert_eq!(rig.machine.next_due(), Some(START + 15_000));
    rig.now += 15_000;
    assert_eq!(rig.machine.due_intervals(rig.now), [key("boiler-1")]);
    rig.pass_having_seen(0, &[("boiler-1", START + 12_000)]);
    assert_eq!(rig.active(), []);
    rig.end("boiler-1", epoch, EndReason::Disconnect);
    assert_eq!(rig.machine.next_due(), Some(START + 27_000));
    rig.pass_having_seen(12_000, &[("boiler-1", START + 12_000)]);
    assert_eq!(rig.active()[0].text, "no message for 15.0 s; one is expected every 10 s");
    assert_eq!(rig.machine.next_due(), None, "one silence is enough, and only a return ends it");
    rig.open("boiler-1", "g1");
    assert_eq!(rig.active(), []);
}

#[test]
fn a_connected_device_that_is_silent_is_looked_at_every_second() {
    let mut rig = with_interval(10);
    rig.open("boiler-1", "g1");
    rig.pass(15_000);
    let raised = rig.active()[0].raised_at;
    for _ in 0..3 {
        assert_eq!(rig.machine.next_due(), Some(rig.now + 1_000));
        rig.pass_having_seen(1_000, &[("boiler-1", raised)]);
        assert_eq!(rig.active().len(), 1, "that message was before");
    }
    rig.pass_having_seen(1_000, &[("boiler-1", rig.now + 1)]);
    assert_eq!(rig.active(), []);
    assert_eq!(rig.machine.next_due(), Some(raised + 3_001 + 15_000));
}

#[test]
fn who_is_cut_off_soon_after_part_of_the_platform_died_has_the_grace_from_then_on() {
    let (after, grace) = (Settings::default().silence_after_ms, Settings::default().silence_grace_ms);
    for (died_before, waits) in
        [(None, after), (Some(0), grace - 8_000), (Some(20_000), grace - 28_000), (Some(grace), after)]
    {
        let mut rig = Rig::new();
        rig.open("boiler-1", "g1");
        rig.take_over_after(died_before.map(|before| rig.now - before));
        let epoch = rig.open("boiler-1", "g1").0;
        rig.pass(8_000);
        rig.end("boiler-1", epoch, EndReason::Cut);
        rig.pass(waits - 1);
        assert_eq!(rig.active(), [], "{died_before:?}");
        rig.pass(1);
        assert_eq!(rig.active().len(), 1, "{died_before:?}");
    }
}

#[test]
fn an_interval_starts_anew_after_a_take_over_with_the_grace_on_top() {
    let mut rig = with_interval(10);
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.end("boiler-1", epoch, EndReason::Disconnect);
    rig.take_over(1_000_000);
    assert_eq!(rig.machine.next_due(), Some(rig.now + 60_000 + 15_000));
}

#[test]
fn an_interval_that_ran_out_in_the_grace_is_not_silence() {
    let mut rig = with_interval(10);
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.end("boiler-1", epoch, EndReason::ByPlatform);
    assert_eq!(rig.machine.next_due(), Some(START + 60_000));
}

#[test]
fn a_silence_cleared_by_hand_needs_a_whole_interval_to_come_again() {
    let mut rig = with_interval(10);
    rig.open("boiler-1", "g1");
    rig.pass(15_000);
    let id = rig.active()[0].id;
    rig.apply(Input::ClearAlarm { id, by: "ann".to_owned() });
    assert_eq!(rig.machine.next_due(), Some(rig.now + 15_000));
    rig.pass(15_000);
    assert_eq!(rig.active().len(), 1);
}

#[test]
fn without_an_interval_only_a_lost_connection_remains_silent() {
    let mut rig = with_interval(10);
    let (epoch, _) = rig.open("boiler-1", "g1");
    rig.pass(15_000);
    rig.expect_every("boiler-1", None);
    assert_eq!(rig.active(), [], "only the interval had explained it");
    rig.expect_every("boiler-1", Some(10));
    rig.end("boiler-1", epoch, EndReason::Cut);
    rig.pass(10_000);
    rig.expect_every("boiler-1", None);
    assert_eq!(rig.active().len(), 1, "it still is away");
}

#[test]
fn who_is_handed_over_has_the_time_that_was_given_for_it_whatever_the_grace_is() {
    for (given, missed_after) in [(5_000, 5_000), (600_000, 600_000)] {
        let mut rig = Rig::new();
        let (epoch, _) = rig.open("boiler-1", "g1");
        let handed_over =
            |epoch| SessionReport::HandedOver { device: key("boiler-1"), epoch, grace_ms: given };
        rig.apply(Input::Session(handed_over(epoch)));
        assert_eq!(rig.presence("boiler-1").ended.map(|(_, reason)| reason), Some(EndReason::ByPlatform));
        rig.pass(missed_after - 1);
        assert_eq!(rig.active(), []);
        rig.pass(1);
        assert_eq!(rig.active().len(), 1);
        // Said late, of a session that was followed by another.
        let (newest, _) = rig.open("boiler-1", "g2");
        assert_eq!(rig.apply(Input::Session(handed_over(epoch))), nothing());
        assert_eq!((rig.presence("boiler-1").epoch, rig.presence("boiler-1").ended), (newest, None));
    }
}
