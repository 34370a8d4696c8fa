//! A device that is forgotten and made again under the same name.

use stoker_domain::ports::store::{
    AlarmsQuery, Append, CommandsQuery, EventsQuery, NotificationsQuery, Order, PointsQuery, Store,
};
use stoker_domain::{CommandState, Value};
use stoker_store::CassandraStore;

use super::fresh;
use super::lab::Lab;
use super::retention::{counts, everything};
use super::samples::{T0, alarm, command, event, key, notification, number, reading};

pub(crate) async fn a_device_that_was_made_again_has_nothing_of_the_old_one(lab: &Lab) {
    // The process that forgets is not the one that reported, nor the one that reports next.
    let (before, forgets, after) = (lab.open().await, lab.open().await, lab.open().await);
    let device = key(&fresh("again"), "d");
    // A point ahead of time by as much as is allowed, and old ones.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ahead = i64::try_from(now.as_millis()).unwrap() + 24 * 3_600_000;
    before.append(everything(&device)).await.unwrap();
    let points = vec![number("t", ahead, 9.0), number("old", T0 - 9_000_000_000, 9.0)];
    before.append(vec![reading(&device, points)]).await.unwrap();
    assert_eq!(counts(&before, &device).await, [3, 2, 1, 1, 1, 1]);
    forgets.forget_device(&device).await.unwrap();
    for store in [&before, &forgets, &after] {
        assert_eq!(counts(store, &device).await, [0; 6]);
    }
    // The new one says the same things, and things with lesser times and the same ids.
    let newer = alarm(&device, 1, 1, T0 + 7);
    for (store, value) in [(&after, 1.0), (&before, 2.0)] {
        let points = vec![number("t", T0 - 5, value), number("fresh", T0, value)];
        let batch = vec![
            reading(&device, points),
            Append::Event(event(&device, "e", T0 + 7, "note")),
            Append::Command(command(&device, 1, 1, CommandState::Succeeded)),
            Append::Notification(notification(&newer, 1, T0 + 7)),
            Append::Alarm(newer.clone()),
        ];
        store.append(batch).await.unwrap();
        for store in [&before, &forgets, &after] {
            assert_eq!(counts(store, &device).await, [2, 2, 1, 1, 1, 1]);
            let latest = store.latest(&device, None).await.unwrap();
            assert_eq!((latest["t"].ts, &latest["t"].value), (T0 - 5, &Value::Number(value)));
            let some = store.latest(&device, Some(vec!["fresh".into(), "old".into()])).await.unwrap();
            assert_eq!(some.keys().map(|key| &**key).collect::<Vec<_>>(), ["fresh"]);
        }
    }
    let organization = device.organization.clone();
    let query = EventsQuery {
        organization: organization.clone(),
        device: Some(device.clone()),
        kind: None,
        from: 0,
        to: i64::MAX,
        after: None,
        limit: 10,
    };
    assert_eq!(after.events(query.clone()).await.unwrap(), [event(&device, "e", T0 + 7, "note")]);
    for (kind, expected) in [("fault", 0), ("note", 1)] {
        let query = EventsQuery { device: None, kind: Some(kind.into()), ..query.clone() };
        assert_eq!(after.events(query).await.unwrap().len(), expected, "{kind}");
    }
    let query = CommandsQuery { device: device.clone(), state: None, after: None, limit: 10 };
    assert_eq!(after.ended_commands(query).await.unwrap()[0].state, CommandState::Succeeded);
    let query = AlarmsQuery {
        organization: organization.clone(),
        device: Some(device.clone()),
        severity: None,
        kind: None,
        after: None,
        limit: 10,
    };
    assert_eq!(after.ended_alarms(query).await.unwrap(), std::slice::from_ref(&newer));
    let query =
        NotificationsQuery { organization, alarm: Some(newer.id), state: None, after: None, limit: 10 };
    assert_eq!(after.ended_notifications(query).await.unwrap(), [notification(&newer, 1, T0 + 7)]);
}

pub(crate) async fn a_device_may_be_forgotten_twice_and_reports_at_once(lab: &Lab) {
    let store = lab.open().await;
    let device = key(&fresh("twice"), "d");
    store.forget_device(&device).await.unwrap();
    for round in 0..2i32 {
        store.append(everything(&device)).await.unwrap();
        let late = vec![number("t", T0 - i64::from(round), f64::from(round))];
        store.append(vec![reading(&device, late.clone())]).await.unwrap();
        let query = PointsQuery {
            device: device.clone(),
            keys: None,
            from: T0 - i64::from(round),
            to: T0 - i64::from(round),
            after: None,
            limit: 10,
            order: Order::Ascending,
        };
        assert_eq!(store.points(query).await.unwrap(), late);
        store.forget_device(&device).await.unwrap();
        assert_eq!(counts(&store, &device).await, [0; 6]);
    }
}

/// An append that was stopped on its way has left entries in lists, and nothing under its id.
pub(crate) async fn what_was_half_written_of_a_device_is_forgotten_with_it(lab: &Lab) {
    let keyspace = lab.fresh_keyspace();
    let store = CassandraStore::open(lab.options_of(&keyspace)).await.unwrap();
    let device = key(&fresh("half"), "d");
    let alarm = alarm(&device, 1, 1, T0);
    let batch = vec![Append::Notification(notification(&alarm, 1, T0)), Append::Alarm(alarm.clone())];
    store.append(batch).await.unwrap();
    assert_eq!(counts(&store, &device).await[4..], [1, 1]);
    lab.query(&format!("TRUNCATE {keyspace}.items")).await;
    store.forget_device(&device).await.unwrap();
    assert_eq!(counts(&store, &device).await, [0; 6]);
    let query = NotificationsQuery {
        organization: device.organization.clone(),
        alarm: Some(alarm.id),
        state: None,
        after: None,
        limit: 10,
    };
    assert_eq!(store.ended_notifications(query).await.unwrap(), []);
}
