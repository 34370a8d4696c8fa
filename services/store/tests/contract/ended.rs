use stoker_domain::ports::store::{
    AlarmsQuery, Append, CommandsQuery, EventsQuery, NotificationsQuery, Order, PointsQuery,
};
use stoker_domain::{
    Alarm, AlarmKind, Command, CommandState, DeviceKey, Notification, NotificationState, Severity,
};

use super::samples::{T0, alarm, command, event, key, notification, number, org, reading};
use super::{Subject, fresh};

fn commands_of(device: &DeviceKey) -> CommandsQuery {
    CommandsQuery { device: device.clone(), state: None, after: None, limit: 100 }
}

fn alarms_of(organization: &str) -> AlarmsQuery {
    AlarmsQuery {
        organization: org(organization),
        device: None,
        severity: None,
        kind: None,
        after: None,
        limit: 100,
    }
}

fn notifications_of(organization: &str) -> NotificationsQuery {
    NotificationsQuery { organization: org(organization), alarm: None, state: None, after: None, limit: 100 }
}

pub(crate) async fn ended_commands_are_listed_by_id_and_found_by_state(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("commands"));
    let (device, other) = (key(&o, "d"), key(&o, "d2"));
    let states =
        [CommandState::Succeeded, CommandState::Failed, CommandState::Expired, CommandState::Cancelled];
    let mut newest_first: Vec<Command> = Vec::new();
    for n in 0..12u64 {
        // The epoch counts before the counter.
        let command = command(&device, 1 + n / 6, n % 6, states[n as usize % 4]);
        store.append(vec![Append::Command(command.clone())]).await.unwrap();
        newest_first.insert(0, command);
    }
    let of_other = command(&other, 9, 9, CommandState::Failed);
    store.append(vec![Append::Command(of_other.clone())]).await.unwrap();
    assert_eq!(store.ended_commands(commands_of(&device)).await.unwrap(), newest_first);
    assert_eq!(store.ended_command(of_other.id).await.unwrap(), Some(of_other));
    let failed: Vec<Command> =
        newest_first.iter().filter(|c| c.state == CommandState::Failed).cloned().collect();
    let query = CommandsQuery { state: Some(CommandState::Failed), ..commands_of(&device) };
    assert_eq!(store.ended_commands(query).await.unwrap(), failed);
    let query = CommandsQuery { after: Some(newest_first[3].id), limit: 3, ..commands_of(&device) };
    assert_eq!(store.ended_commands(query).await.unwrap(), newest_first[4..7]);
    let unknown = command(&device, 77, 1, CommandState::Failed).id;
    assert_eq!(store.ended_command(unknown).await.unwrap(), None);
}

pub(crate) async fn ended_alarms_are_listed_newest_raised_first_and_filtered(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("alarms"));
    let devices = [key(&o, "a"), key(&o, "b")];
    let mut all: Vec<Alarm> = Vec::new();
    for n in 0..12u64 {
        let severity = [Severity::Critical, Severity::Minor][n as usize / 6];
        let kind = [AlarmKind::Fault, AlarmKind::Silence, AlarmKind::Rule][n as usize % 3];
        // Pairs are raised at the same time.
        let raised_at = T0 + i64::try_from(n / 2).unwrap();
        all.push(Alarm { severity, kind, ..alarm(&devices[n as usize % 2], 1, n, raised_at) });
    }
    store.append(all.iter().cloned().map(Append::Alarm).collect()).await.unwrap();
    all.sort_by_key(|alarm| std::cmp::Reverse((alarm.raised_at, alarm.id)));
    let expect = |wanted: &dyn Fn(&Alarm) -> bool| -> Vec<Alarm> {
        all.iter().filter(|alarm| wanted(alarm)).cloned().collect()
    };
    assert_eq!(store.ended_alarms(alarms_of(&o)).await.unwrap(), all);
    let query = AlarmsQuery { device: Some(devices[1].clone()), ..alarms_of(&o) };
    assert_eq!(store.ended_alarms(query).await.unwrap(), expect(&|a| a.device == devices[1]));
    let query = AlarmsQuery { severity: Some(Severity::Minor), kind: Some(AlarmKind::Rule), ..alarms_of(&o) };
    let minor_rules = expect(&|a| a.severity == Severity::Minor && a.kind == AlarmKind::Rule);
    assert_eq!(minor_rules.len(), 2);
    assert_eq!(store.ended_alarms(query).await.unwrap(), minor_rules);
    for device in [None, Some(devices[0].clone())] {
        let expected = expect(&|a| device.as_ref().is_none_or(|d| a.device == *d));
        let mut pages: Vec<Alarm> = Vec::new();
        loop {
            let after = pages.last().map(|a| (a.raised_at, a.id));
            let query = AlarmsQuery { device: device.clone(), after, limit: 5, ..alarms_of(&o) };
            let page = store.ended_alarms(query).await.unwrap();
            let last = page.len() < 5;
            pages.extend(page);
            if last {
                break;
            }
        }
        assert_eq!(pages, expected);
    }
    assert_eq!(store.ended_alarm(all[0].id).await.unwrap().as_ref(), all.first());
    assert_eq!(store.ended_alarm(alarm(&devices[0], 50, 0, 0).id).await.unwrap(), None);
}

pub(crate) async fn ended_notifications_are_listed_newest_first_and_filtered(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("notifications"));
    let device = key(&o, "a");
    let alarms = [alarm(&device, 1, 1, T0), alarm(&device, 1, 2, T0)];
    let states = [NotificationState::Sent, NotificationState::Delivered, NotificationState::Failed];
    let mut all: Vec<Notification> = (0..9u64)
        .map(|n| Notification {
            state: states[n as usize % 3],
            ..notification(&alarms[n as usize % 2], 100 + n, T0 + i64::try_from(n / 3).unwrap())
        })
        .collect();
    store.append(all.iter().cloned().map(Append::Notification).collect()).await.unwrap();
    all.sort_by_key(|n| std::cmp::Reverse((n.created_at, n.id)));
    assert_eq!(store.ended_notifications(notifications_of(&o)).await.unwrap(), all);
    for alarm in &alarms {
        let query = NotificationsQuery { alarm: Some(alarm.id), ..notifications_of(&o) };
        let expected: Vec<_> = all.iter().filter(|n| n.alarm == alarm.id).cloned().collect();
        assert_eq!(store.ended_notifications(query.clone()).await.unwrap(), expected);
        let after = expected.get(1).map(|n| (n.created_at, n.id));
        let query = NotificationsQuery { after, limit: 2, ..query };
        assert_eq!(store.ended_notifications(query).await.unwrap(), expected[2..4]);
    }
    let query = NotificationsQuery { state: Some(NotificationState::Failed), ..notifications_of(&o) };
    let expected: Vec<_> = all.iter().filter(|n| n.state == NotificationState::Failed).cloned().collect();
    assert_eq!(store.ended_notifications(query).await.unwrap(), expected);
}

pub(crate) async fn a_later_append_replaces_what_had_ended(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("replace"));
    let device = key(&o, "a");
    let first = Alarm { acknowledged: None, ..alarm(&device, 1, 1, T0) };
    let later = Alarm { severity: Severity::Minor, ..alarm(&device, 1, 1, T0 + 5) };
    let sent = Notification { state: NotificationState::Sent, ..notification(&first, 1, T0) };
    let delivered = Notification { state: NotificationState::Delivered, ..sent.clone() };
    let failed = command(&device, 1, 5, CommandState::Failed);
    let succeeded = command(&device, 1, 5, CommandState::Succeeded);
    store
        .append(vec![Append::Alarm(first), Append::Notification(sent), Append::Command(failed)])
        .await
        .unwrap();
    for _ in 0..2 {
        store
            .append(vec![
                Append::Alarm(later.clone()),
                Append::Notification(delivered.clone()),
                Append::Command(succeeded.clone()),
            ])
            .await
            .unwrap();
        assert_eq!(store.ended_alarms(alarms_of(&o)).await.unwrap(), std::slice::from_ref(&later));
        let of_device = AlarmsQuery { device: Some(device.clone()), ..alarms_of(&o) };
        assert_eq!(store.ended_alarms(of_device).await.unwrap(), std::slice::from_ref(&later));
        let was = AlarmsQuery { severity: Some(Severity::Critical), ..alarms_of(&o) };
        assert_eq!(store.ended_alarms(was).await.unwrap(), []);
        assert_eq!(
            store.ended_notifications(notifications_of(&o)).await.unwrap(),
            std::slice::from_ref(&delivered)
        );
        let was = NotificationsQuery { state: Some(NotificationState::Sent), ..notifications_of(&o) };
        assert_eq!(store.ended_notifications(was).await.unwrap(), []);
        assert_eq!(
            store.ended_commands(commands_of(&device)).await.unwrap(),
            std::slice::from_ref(&succeeded)
        );
    }
}

pub(crate) async fn forgetting_a_device_leaves_nothing_of_it_and_everything_of_others(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("forget"));
    // Names that begin alike, on both sides of it.
    let devices = ["d", "d-1", "d.", "c"].map(|d| key(&o, d));
    for (n, device) in (1u64..).zip(&devices) {
        let alarm = alarm(device, n, 1, T0);
        let mut batch = vec![
            Append::Notification(notification(&alarm, n, T0)),
            Append::Command(command(device, n, 1, CommandState::Failed)),
            Append::Alarm(alarm),
        ];
        // More than a step removes at once.
        batch.extend((0..1_200).map(|i| Append::Event(event(device, &format!("e{i}"), T0 + i, "fault"))));
        store.append(batch).await.unwrap();
        for day in 0..3 {
            subject.set_time(T0 + day * 86_400_000);
            store.append(vec![reading(device, vec![number("t", T0 + day, 1.0)])]).await.unwrap();
        }
    }
    store.forget_device(&devices[0]).await.unwrap();
    for (n, device) in devices.iter().enumerate() {
        let kept = usize::from(n > 0);
        let points = PointsQuery {
            device: device.clone(),
            keys: None,
            from: 0,
            to: i64::MAX,
            after: None,
            limit: 10,
            order: Order::Descending,
        };
        assert_eq!(store.points(points).await.unwrap().len(), 3 * kept, "{device}");
        assert_eq!(store.latest(device, None).await.unwrap().len(), kept, "{device}");
        let events = EventsQuery {
            organization: org(&o),
            device: Some(device.clone()),
            kind: None,
            from: 0,
            to: i64::MAX,
            after: None,
            limit: 2_000,
        };
        assert_eq!(store.events(events).await.unwrap().len(), 1_200 * kept, "{device}");
        assert_eq!(store.ended_commands(commands_of(device)).await.unwrap().len(), kept, "{device}");
        let alarms = AlarmsQuery { device: Some(device.clone()), ..alarms_of(&o) };
        assert_eq!(store.ended_alarms(alarms).await.unwrap().len(), kept, "{device}");
    }
    assert_eq!(store.ended_alarms(alarms_of(&o)).await.unwrap().len(), 3);
    assert_eq!(store.ended_notifications(notifications_of(&o)).await.unwrap().len(), 3);
    assert_eq!(store.ended_command(command(&devices[0], 1, 1, CommandState::Failed).id).await.unwrap(), None);
}
