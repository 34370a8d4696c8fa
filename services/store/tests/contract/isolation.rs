//! Invariant 7: one organization sees nothing of another's, however their ids are spelled.

use stoker_domain::ports::store::{
    AlarmsQuery, Append, CommandsQuery, EventsQuery, NotificationsQuery, Order, PointsQuery,
};
use stoker_domain::{CommandState, DeviceKey};

use super::samples::{T0, alarm, command, event, key, notification, number, org, reading};
use super::{Subject, fresh};

fn events(organization: &str, device: Option<DeviceKey>) -> EventsQuery {
    EventsQuery {
        organization: org(organization),
        device,
        kind: None,
        from: i64::MIN,
        to: i64::MAX,
        after: None,
        limit: 100,
    }
}

pub(crate) async fn ids_that_look_like_each_other_share_nothing(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("o"));
    let keys = [
        (o.clone(), "b:c"),
        (format!("{o}:b"), "c"),
        (o.clone(), "b"),
        (format!("{o}:"), "b"),
        (format!("{o}-b"), "c"),
        (o.clone(), "b:"),
        (o.clone(), "b-c"),
        (format!("{o}.b"), "c"),
    ]
    .map(|(organization, device)| key(&organization, device));
    for (n, device) in (1u64..).zip(&keys) {
        let alarm = alarm(device, n, n, T0);
        let points = vec![number(&format!("k{n}"), T0, 1.0)];
        store
            .append(vec![
                reading(device, points),
                Append::Event(event(device, &format!("e{n}"), T0, "fault")),
                Append::Command(command(device, n, n, CommandState::Failed)),
                Append::Notification(notification(&alarm, n, T0)),
                Append::Alarm(alarm),
            ])
            .await
            .unwrap();
    }
    for (n, device) in (1u64..).zip(&keys) {
        let query = PointsQuery {
            device: device.clone(),
            keys: None,
            from: i64::MIN,
            to: i64::MAX,
            after: None,
            limit: 100,
            order: Order::Descending,
        };
        let points = store.points(query).await.unwrap();
        assert_eq!(points, [number(&format!("k{n}"), T0, 1.0)], "{device}");
        assert_eq!(store.latest(device, None).await.unwrap().len(), 1, "{device}");
        let of_device = events(device.organization.as_str(), Some(device.clone()));
        assert_eq!(store.events(of_device).await.unwrap().len(), 1, "{device}");
        let commands = CommandsQuery { device: device.clone(), state: None, after: None, limit: 100 };
        assert_eq!(store.ended_commands(commands).await.unwrap().len(), 1, "{device}");
        let organization = device.organization.clone();
        let siblings = keys.iter().filter(|key| key.organization == organization).count();
        let listed = store.events(events(organization.as_str(), None)).await.unwrap();
        assert_eq!(listed.len(), siblings, "{device}");
        assert!(listed.iter().all(|event| event.device.organization == organization), "{device}");
        let query = AlarmsQuery {
            organization: organization.clone(),
            device: None,
            severity: None,
            kind: None,
            after: None,
            limit: 100,
        };
        let alarms = store.ended_alarms(query.clone()).await.unwrap();
        assert_eq!(alarms.len(), siblings, "{device}");
        assert!(alarms.iter().all(|alarm| alarm.device.organization == organization), "{device}");
        let of_device = AlarmsQuery { device: Some(device.clone()), ..query };
        assert_eq!(store.ended_alarms(of_device).await.unwrap().len(), 1, "{device}");
        let query = NotificationsQuery { organization, alarm: None, state: None, after: None, limit: 100 };
        assert_eq!(store.ended_notifications(query).await.unwrap().len(), siblings, "{device}");
    }
}

pub(crate) async fn a_query_with_another_organizations_device_finds_nothing(subject: &dyn Subject) {
    let (store, mine, theirs) = (subject.store(), fresh("mine"), fresh("theirs"));
    let device = key(&theirs, "d");
    let alarm = alarm(&device, 1, 1, T0);
    store
        .append(vec![
            Append::Event(event(&device, "e", T0, "fault")),
            Append::Notification(notification(&alarm, 1, T0)),
            Append::Alarm(alarm.clone()),
        ])
        .await
        .unwrap();
    assert_eq!(store.events(events(&mine, Some(device.clone()))).await.unwrap(), []);
    let query = AlarmsQuery {
        organization: org(&mine),
        device: Some(device),
        severity: None,
        kind: None,
        after: None,
        limit: 100,
    };
    assert_eq!(store.ended_alarms(query).await.unwrap(), []);
    let query = NotificationsQuery {
        organization: org(&mine),
        alarm: Some(alarm.id),
        state: None,
        after: None,
        limit: 100,
    };
    assert_eq!(store.ended_notifications(query).await.unwrap(), []);
}
