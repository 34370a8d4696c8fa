//! Notifications: who is told, and attempt by attempt.

use super::*;

impl Rig {
    fn attempt(&mut self, id: NotificationId, attempt: u32, result: AttemptResult) -> Output {
        let detail = "451 try later".to_owned();
        self.apply(Input::Attempt { notification: id, attempt, result, detail })
    }

    fn confirm(&mut self, id: NotificationId, attempt: u32) -> Output {
        self.apply(Input::OutboxConfirmed { notification: id, attempt })
    }

    fn told_of_a_fault() -> (Self, NotificationId) {
        let mut rig = Self::new();
        rig.subscribe(vec![subscription("all", Match::default(), vec![mail("ann@example.org")])]);
        rig.fault("boiler-1", "E42", Severity::Major);
        let id = rig.notifications()[0].id;
        (rig, id)
    }
}

fn recipients(rig: &Rig, step: NotificationStep) -> Vec<String> {
    let mut to: Vec<String> = rig
        .notifications()
        .into_iter()
        .filter(|row| row.step == step)
        .map(|row| row.channel.to().to_owned())
        .collect();
    to.sort();
    to
}

#[test]
fn all_given_conditions_must_hold_and_any_one_of_each_is_enough() {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    for (matching, expected) in [
        (Match::default(), true),
        (Match { devices: words(&["door-*", "boiler-*"]), ..Match::default() }, true),
        (Match { devices: words(&["door-*"]), ..Match::default() }, false),
        (Match { sites: words(&["north"]), ..Match::default() }, true),
        (Match { sites: words(&["south"]), ..Match::default() }, false),
        (Match { tags: words(&["cold", "hot"]), ..Match::default() }, true),
        (Match { tags: words(&["cold"]), ..Match::default() }, false),
        (Match { min_severity: Some(Severity::Major), ..Match::default() }, true),
        (Match { min_severity: Some(Severity::Critical), ..Match::default() }, false),
        (Match { devices: words(&["boiler-*"]), sites: words(&["south"]), ..Match::default() }, false),
    ] {
        let mut rig = Rig::new();
        let site = Some(SiteId::new("north").unwrap());
        let device =
            DevicePatch { site: Some(site), tags: Some(vec!["hot".to_owned()]), ..patch("boiler-1") };
        rig.apply(Input::PatchDevice(Box::new(device)));
        rig.subscribe(vec![subscription("s", matching.clone(), vec![mail("ann@example.org")])]);
        rig.fault("boiler-1", "E42", Severity::Major);
        assert_eq!(rig.notifications().len() == 1, expected, "{matching:?}");
        assert_eq!(rig.active()[0].told.len() == 1, expected);
    }
}

#[test]
fn raising_notification_and_outbox_are_one_change() {
    let mut rig = Rig::new();
    rig.subscribe(vec![subscription("all", Match::default(), vec![mail("ann@example.org")])]);
    let output = rig.fault("boiler-1", "E42", Severity::Major);
    let alarm = rig.active()[0].clone();
    let row = rig.notifications()[0].clone();
    let keys: Vec<StateKey> = output.changes.iter().map(Change::key).collect();
    for key in [StateKey::Alarm(alarm.id), StateKey::Notification(row.id), StateKey::Outbox(row.id)] {
        assert!(keys.contains(&key), "{key:?}");
    }
    assert_eq!(published(&output), [(row.id, 1)]);
    assert_eq!(row.content, alarm);
}

#[test]
fn one_recipient_of_two_subscriptions_is_told_once() {
    let mut rig = Rig::new();
    rig.subscribe(vec![
        subscription("a", Match::default(), vec![mail("ann@example.org")]),
        subscription("b", Match::default(), vec![mail("ann@example.org"), mail("bob@example.org")]),
    ]);
    rig.fault("boiler-1", "E42", Severity::Major);
    assert_eq!(recipients(&rig, NotificationStep::Raised), ["ann@example.org", "bob@example.org"]);
    assert_eq!(rig.active()[0].told.len(), 2);
}

#[test]
fn who_wants_only_the_worst_is_told_once_it_is_that_bad() {
    let mut rig = Rig::new();
    let worst = Match { min_severity: Some(Severity::Critical), ..Match::default() };
    rig.subscribe(vec![
        subscription("all", Match::default(), vec![mail("ann@example.org")]),
        subscription("worst", worst, vec![mail("ann@example.org"), mail("boss@example.org")]),
    ]);
    rig.fault("boiler-1", "E42", Severity::Minor);
    let first = rig.notifications()[0].id;
    rig.attempt(first, 1, AttemptResult::Sent);
    rig.apply(Input::Archived(vec![StateKey::Notification(first)]));
    rig.fault("boiler-1", "E42", Severity::Minor);
    assert_eq!(recipients(&rig, NotificationStep::Raised), [""; 0], "nothing new for anybody");
    rig.fault("boiler-1", "E42", Severity::Critical);
    assert_eq!(recipients(&rig, NotificationStep::Raised), ["boss@example.org"], "ann knows");
}

#[test]
fn the_end_is_told_to_those_who_were_told_over_the_channels_they_have_by_then() {
    let mut rig = Rig::new();
    rig.subscribe(vec![
        subscription("a", Match::default(), vec![mail("old@example.org")]),
        subscription("gone", Match::default(), vec![mail("gone@example.org")]),
    ]);
    rig.fault("boiler-1", "E42", Severity::Major);
    rig.subscribe(vec![
        subscription("a", Match::default(), vec![mail("new@example.org")]),
        subscription("later", Match::default(), vec![mail("later@example.org")]),
    ]);
    rig.fault_over("boiler-1", "E42");
    assert_eq!(recipients(&rig, NotificationStep::Cleared), ["new@example.org"]);
}

#[test]
fn a_question_that_comes_up_twice_has_one_id() {
    let (rig, id) = Rig::told_of_a_fault();
    let (again, same) = Rig::told_of_a_fault();
    assert_eq!(id, same);
    assert_eq!(rig.notifications(), again.notifications());
}

#[test]
fn what_is_sent_or_delivered_or_refused_has_ended() {
    for (result, state, events) in [
        (AttemptResult::Sent, NotificationState::Sent, 0),
        (AttemptResult::Delivered, NotificationState::Delivered, 0),
        (AttemptResult::Refused, NotificationState::Failed, 1),
    ] {
        let (mut rig, id) = Rig::told_of_a_fault();
        rig.confirm(id, 1);
        let output = rig.attempt(id, 1, result);
        let row = rig.machine.notification(id).unwrap();
        assert_eq!((row.state, row.tried, row.next_attempt_at), (state, 1, None));
        assert_eq!(archives(&output), [StateKey::Notification(id)]);
        let said = appended(&output);
        assert_eq!(said.len(), events, "{result:?}");
        assert!(said.iter().all(|event| event.kind.0 == EventKind::NOTIFICATION_FAILED));
        assert_eq!(rig.machine.next_due(), None);
    }
}

#[test]
fn attempts_follow_the_schedule_give_or_take_a_tenth_until_they_are_given_up() {
    let (mut rig, id) = Rig::told_of_a_fault();
    let mut attempt = 1;
    let mut waits = Vec::new();
    loop {
        rig.confirm(id, attempt);
        let output = rig.attempt(id, attempt, AttemptResult::Retry);
        let row = rig.machine.notification(id).unwrap().clone();
        assert_eq!(row.tried, attempt);
        assert!(row.attempts.len() <= 32);
        let Some(next) = row.next_attempt_at else {
            assert_eq!(row.state, NotificationState::Failed);
            assert_eq!(appended(&output).len(), 1);
            break;
        };
        waits.push(next - rig.now);
        assert!(next <= START + 24 * 3_600_000);
        let wait = next - rig.now;
        assert_eq!(published(&rig.pass(wait - 1)), []);
        assert_eq!(published(&rig.pass(1)), [(id, attempt + 1)]);
        attempt += 1;
    }
    for (wait, planned) in waits.iter().zip([1_000, 5_000, 30_000, 120_000, 600_000, 600_000]) {
        assert!((wait - planned).abs() <= planned / 10, "{wait} instead of {planned}");
    }
    assert!((130..=170).contains(&waits.len()), "a day of attempts: {}", waits.len());
    let apart: std::collections::BTreeSet<_> = waits.iter().skip(4).collect();
    assert!(apart.len() > 50, "they do not come at the same pace");
}

#[test]
fn an_attempt_counts_once_and_only_the_one_under_way() {
    let (mut rig, id) = Rig::told_of_a_fault();
    assert_eq!(rig.attempt(id, 2, AttemptResult::Sent), nothing());
    rig.attempt(id, 1, AttemptResult::Retry);
    assert_eq!(rig.attempt(id, 1, AttemptResult::Retry), nothing());
    assert_eq!(rig.attempt(id, 2, AttemptResult::Sent), nothing(), "it was not handed out yet");
    rig.pass(2_000);
    rig.attempt(id, 2, AttemptResult::Sent);
    assert_eq!(rig.attempt(id, 2, AttemptResult::Retry), nothing());
    assert_eq!(rig.machine.notification(id).unwrap().state, NotificationState::Sent);
}

#[test]
fn a_report_that_overtakes_the_confirmation_takes_the_outbox_entry_along() {
    let (mut rig, id) = Rig::told_of_a_fault();
    let output = rig.attempt(id, 1, AttemptResult::Delivered);
    assert!(output.changes.contains(&Change::Delete(StateKey::Outbox(id))));
    assert_eq!(rig.confirm(id, 1), nothing());
}

#[test]
fn what_nobody_confirms_is_published_again_and_what_nobody_reports_is_handed_out_again() {
    let (mut rig, id) = Rig::told_of_a_fault();
    assert_eq!(published(&rig.pass(119_999)), []);
    assert_eq!(published(&rig.pass(1)), [(id, 1)], "not confirmed");
    assert_eq!(rig.confirm(id, 1).changes, [Change::Delete(StateKey::Outbox(id))]);
    assert_eq!(published(&rig.pass(119_999)), []);
    let output = rig.pass(1);
    assert_eq!(published(&output), [(id, 1)], "not reported: the same attempt");
    assert!(output.changes.iter().any(|change| change.key() == StateKey::Outbox(id)));
    let work = OutboxEntry { notification: id, attempt: 1, at: START };
    assert_eq!(rig.machine.work(&work).unwrap().notification.tried, 0);
    assert!(rig.machine.work(&OutboxEntry { attempt: 2, ..work }).is_none());
}

#[test]
fn without_a_notifier_it_is_given_up_but_never_before_it_went_out() {
    let (mut rig, id) = Rig::told_of_a_fault();
    rig.pass(48 * 3_600_000);
    assert_eq!(rig.machine.notification(id).unwrap().state, NotificationState::Pending);
    rig.confirm(id, 1);
    rig.pass(120_000);
    let row = rig.machine.notification(id).unwrap();
    assert_eq!((row.state, row.tried), (NotificationState::Failed, 0));
}

#[test]
fn details_are_cut_between_characters() {
    let (mut rig, id) = Rig::told_of_a_fault();
    let detail = format!("a{}", "ä".repeat(400));
    rig.apply(Input::Attempt { notification: id, attempt: 1, result: AttemptResult::Retry, detail });
    assert_eq!(rig.machine.notification(id).unwrap().attempts[0].detail.len(), 511);
}

#[test]
fn past_the_bound_the_newest_are_given_up_with_an_event() {
    let mut rig = Rig::new();
    let many = (0..=PENDING_NOTIFICATIONS_MAX).map(|n| mail(&format!("m{n}@example.org"))).collect();
    rig.subscribe(vec![subscription("many", Match::default(), many)]);
    let output = rig.fault("boiler-1", "E42", Severity::Major);
    assert_eq!(rig.machine.counts().notifications_pending, PENDING_NOTIFICATIONS_MAX);
    assert_eq!(published(&output).len(), PENDING_NOTIFICATIONS_MAX);
    assert_eq!(output.history.len(), 2, "the fault, and the one who is not told");
    assert_eq!(archives(&output).len(), 1);
}
