//! Promises about time, for stores whose time can be told to them. Retention counts from storing, whatever time a point
//! or an event names. The documented times: 30 and 400 days.

use async_trait::async_trait;
use stoker_domain::ports::store::{
    AlarmsQuery, Append, CommandsQuery, EventsQuery, NotificationsQuery, Order, PointsQuery,
};
use stoker_domain::{CommandState, DeviceKey, Millis, Value};

use super::members::{core, listed};
use super::samples::{T0, alarm, command, event, key, notification, number, org, point, reading};
use super::{Subject, fresh};

const DAY: i64 = 86_400_000;

/// A store under test that takes the time to be what it is told.
#[async_trait]
pub(crate) trait Timed: Subject {
    /// Carries retention out as of this time.
    async fn purge(&self, now: Millis);
}

/// Hands these promises to the macro `$run`.
macro_rules! for_each_promise_about_time {
    ($run:ident) => {
        $run! {
            retention::telemetry_goes_when_it_was_stored_long_ago_whatever_its_time,
            retention::history_goes_when_it_was_stored_long_ago_whatever_its_time,
            retention::an_event_that_has_gone_may_come_again,
            retention::a_member_that_is_silent_is_listed_no_more,
        }
    };
}
pub(crate) use for_each_promise_about_time;

fn points(device: &DeviceKey) -> PointsQuery {
    PointsQuery {
        device: device.clone(),
        keys: None,
        from: i64::MIN,
        to: i64::MAX,
        after: None,
        limit: 1_000,
        order: Order::Ascending,
    }
}

pub(crate) async fn telemetry_goes_when_it_was_stored_long_ago_whatever_its_time(subject: &dyn Timed) {
    let (store, o) = (subject.store(), fresh("retention"));
    let (device, silent) = (key(&o, "d"), key(&o, "silent"));
    subject.set_time(T0);
    let long = Value::Text("x".repeat(500));
    let batch = vec![
        // More rows than one step removes.
        reading(
            &device,
            (0..1_500).map(|n| number("old", T0 + n * 700_000 - 1_500 * 700_000, 1.0)).collect(),
        ),
        reading(&device, vec![number("t", T0 + DAY, 1.0)]),
        reading(&silent, vec![number("t", T0, 1.0), point("log", T0, long)]),
    ];
    store.append(batch).await.unwrap();
    subject.set_time(T0 + 10 * DAY);
    store.append(vec![reading(&device, vec![number("new", T0 - 20 * DAY, 2.0)])]).await.unwrap();

    subject.purge(T0 + 29 * DAY).await;
    assert_eq!(store.points(points(&silent)).await.unwrap().len(), 2, "30 days are not over");
    subject.purge(T0 + 32 * DAY).await;
    assert_eq!(store.points(points(&device)).await.unwrap(), [number("new", T0 - 20 * DAY, 2.0)]);
    assert_eq!(store.points(points(&silent)).await.unwrap(), []);
    let latest = store.latest(&device, None).await.unwrap();
    assert_eq!(latest.keys().map(|k| &**k).collect::<Vec<_>>(), ["new"]);
    assert!(store.latest(&silent, None).await.unwrap().is_empty());
    // It goes on as before.
    subject.set_time(T0 + 32 * DAY);
    store.append(vec![reading(&silent, vec![number("t", T0 + 32 * DAY, 3.0)])]).await.unwrap();
    assert_eq!(store.points(points(&silent)).await.unwrap().len(), 1);
}

pub(crate) async fn history_goes_when_it_was_stored_long_ago_whatever_its_time(subject: &dyn Timed) {
    let (store, o) = (subject.store(), fresh("history"));
    let device = key(&o, "d");
    let events = EventsQuery {
        organization: org(&o),
        device: None,
        kind: None,
        from: i64::MIN,
        to: i64::MAX,
        after: None,
        limit: 10_000,
    };
    let commands = CommandsQuery { device: device.clone(), state: None, after: None, limit: 100 };
    let alarms = AlarmsQuery {
        organization: org(&o),
        device: None,
        severity: None,
        kind: None,
        after: None,
        limit: 100,
    };
    let notifications =
        NotificationsQuery { organization: org(&o), alarm: None, state: None, after: None, limit: 100 };
    for (n, at) in [(1u64, T0), (2, T0 + 100 * DAY)] {
        subject.set_time(at);
        let alarm = alarm(&device, n, 1, T0 + 1_000 * DAY);
        let mut batch = vec![
            Append::Command(command(&device, n, 1, CommandState::Failed)),
            Append::Notification(notification(&alarm, n, T0)),
            Append::Alarm(alarm),
        ];
        batch
            .extend((0..1_100).map(|i| Append::Event(event(&device, &format!("e{n}-{i}"), T0 + i, "fault"))));
        store.append(batch).await.unwrap();
    }
    for (purged_at, rounds) in [(399, 2), (401, 1), (499, 1), (501, 0)] {
        subject.purge(T0 + purged_at * DAY).await;
        let counts = [
            store.events(events.clone()).await.unwrap().len() / 1_100,
            store.ended_commands(commands.clone()).await.unwrap().len(),
            store.ended_alarms(alarms.clone()).await.unwrap().len(),
            store.ended_notifications(notifications.clone()).await.unwrap().len(),
        ];
        assert_eq!(counts, [rounds; 4], "after {purged_at} days");
    }
}

pub(crate) async fn an_event_that_has_gone_may_come_again(subject: &dyn Timed) {
    let (store, o) = (subject.store(), fresh("again"));
    let device = key(&o, "d");
    subject.set_time(T0);
    store.append(vec![Append::Event(event(&device, "e", T0, "fault"))]).await.unwrap();
    subject.purge(T0 + 401 * DAY).await;
    subject.set_time(T0 + 401 * DAY);
    let again = event(&device, "e", T0 + 5, "fault");
    store.append(vec![Append::Event(again.clone())]).await.unwrap();
    let query = EventsQuery {
        organization: org(&o),
        device: Some(device),
        kind: None,
        from: 0,
        to: i64::MAX,
        after: None,
        limit: 10,
    };
    assert_eq!(store.events(query).await.unwrap(), [again]);
}

pub(crate) async fn a_member_that_is_silent_is_listed_no_more(subject: &dyn Timed) {
    let (store, ours) = (subject.store(), fresh("silent"));
    let (a, b) = (format!("{ours}-a"), format!("{ours}-b"));
    subject.set_time(T0);
    store.member_put(core(&a, 1)).await.unwrap();
    store.member_put(core(&b, 1)).await.unwrap();
    subject.set_time(T0 + 20_000);
    store.member_put(core(&b, 2)).await.unwrap();
    assert_eq!(listed(store, &ours).await.len(), 2);
    subject.set_time(T0 + 30_000);
    assert_eq!(listed(store, &ours).await, [core(&b, 2)]);
}
