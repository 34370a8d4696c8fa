//! Test messages: the way of all notifications, without a device and without an alarm.

use super::*;

fn test(id: &str) -> Input {
    Input::TestSubscription { organization: organization(), id: SubscriptionId::new(id).unwrap() }
}

impl Rig {
    fn tested(&mut self, id: &str) -> (Result<Vec<NotificationId>, TestRefusal>, Output) {
        let output = self.apply(test(id));
        let Reply::Tested(made) = output.reply.clone() else { panic!("{output:?}") };
        (made, output)
    }

    fn with_night_shift(channels: Vec<Channel>) -> Self {
        let mut rig = Self::new();
        let worst = Match { min_severity: Some(Severity::Critical), ..Match::default() };
        rig.subscribe(vec![subscription("night", worst, channels)]);
        rig
    }

    fn ended(&mut self, id: NotificationId, attempt: u32, result: AttemptResult) -> Output {
        self.apply(Input::Attempt { notification: id, attempt, result, detail: "said".to_owned() })
    }
}

#[test]
fn each_recipient_is_sent_one_by_the_way_of_all_notifications() {
    let twice = vec![mail("ann@example.org"), mail("bob@example.org"), mail("ann@example.org")];
    let mut rig = Rig::with_night_shift(twice);
    let (made, output) = rig.tested("night");
    let made = made.unwrap();
    assert_eq!(made.len(), 2);
    assert_eq!(published(&output), [(made[0], 1), (made[1], 1)]);
    for id in &made {
        for key in [StateKey::Notification(*id), StateKey::Outbox(*id)] {
            assert!(rig.rows.contains_key(&key), "{key:?}");
        }
        let row = rig.machine.notification(*id).unwrap();
        assert!(row.test && row.content.text.starts_with("night: this is a test"), "{row:?}");
    }
    assert_eq!(rig.notifications().len(), 2, "they are listed with all others");
    assert_eq!((rig.alarms(), rig.machine.counts().devices), (Vec::new(), 1), "nothing else is made up");
    assert_eq!(rig.machine.notifications(&OrganizationId::new("other").unwrap()).count(), 0);
}

#[test]
fn one_is_made_in_ten_seconds_also_by_the_next_owner() {
    let mut rig = Rig::with_night_shift(vec![mail("ann@example.org")]);
    let (made, _) = rig.tested("night");
    let first = made.unwrap()[0];
    rig.pass(TEST_EVERY_MS - 1);
    assert_eq!(
        rig.tested("night"),
        (Err(TestRefusal::TooSoon), Output { reply: Reply::Tested(Err(TestRefusal::TooSoon)), ..nothing() })
    );
    rig.take_over(0);
    assert_eq!(rig.tested("night").0, Err(TestRefusal::TooSoon));
    rig.pass(1);
    let (made, _) = rig.tested("night");
    assert_ne!(made.unwrap()[0], first);
    assert_eq!(rig.tested("nobody").0, Err(TestRefusal::NotFound));
}

#[test]
fn it_ends_like_any_other_but_in_no_devices_history() {
    let mut rig = Rig::with_night_shift(vec![mail("ann@example.org")]);
    // One that happens to be called like the subscription has nothing to do with it.
    rig.create("night");
    for result in [AttemptResult::Refused, AttemptResult::Sent] {
        let (made, _) = rig.tested("night");
        let id = made.unwrap()[0];
        let output = rig.ended(id, 1, result);
        assert_eq!(archives(&output), [StateKey::Notification(id)]);
        assert_eq!(output.history, []);
        rig.apply(Input::Archived(vec![StateKey::Notification(id)]));
        assert!(rig.machine.notification(id).is_none());
        assert!(!rig.rows.contains_key(&StateKey::Notification(id)));
        rig.pass(TEST_EVERY_MS);
    }
    rig.tested("night").0.unwrap();
    rig.apply(Input::RemoveDevice(key("night")));
    assert_eq!(rig.notifications().len(), 1);
}

#[test]
fn a_load_finds_it_again_and_it_is_given_up_after_ten_minutes() {
    let mut rig = Rig::with_night_shift(vec![mail("ann@example.org")]);
    let (made, _) = rig.tested("night");
    let id = made.unwrap()[0];
    let output = rig.take_over(1_000);
    assert_eq!((output.changes.clone(), published(&output)), (Vec::new(), vec![(id, 1)]));
    assert_eq!(rig.notifications().len(), 1);
    let mut tried = 0;
    while rig.machine.notification(id).unwrap().state == NotificationState::Pending {
        tried += 1;
        rig.ended(id, tried, AttemptResult::Retry);
        let next = rig.machine.next_due().map_or(0, |due| due - rig.now);
        rig.pass(next);
    }
    assert_eq!((tried, rig.machine.notification(id).unwrap().state), (5, NotificationState::Failed));
    assert!(rig.now <= START + 600_000);
}

#[test]
fn there_are_no_more_at_once_than_fit() {
    let many = || (0..16).map(|n| mail(&format!("m{n}@example.org"))).collect();
    let mut rig = Rig::new();
    let ids: Vec<String> = (0..=TESTS_MAX / 16).map(|n| format!("s{n}")).collect();
    rig.subscribe(ids.iter().map(|id| subscription(id, Match::default(), many())).collect());
    let (last, fit) = ids.split_last().unwrap();
    for id in fit {
        rig.tested(id).0.unwrap();
    }
    assert_eq!(rig.tested(last).0, Err(TestRefusal::TooMany));
    let over: Vec<NotificationId> = rig.notifications().iter().take(16).map(|row| row.id).collect();
    for id in over {
        rig.ended(id, 1, AttemptResult::Delivered);
        rig.apply(Input::Archived(vec![StateKey::Notification(id)]));
    }
    assert_eq!(rig.tested(last).0.unwrap().len(), 16, "what was refused does not count as a test");
}
