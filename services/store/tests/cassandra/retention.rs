//! Retention, by short lifetimes: the database's own clock decides, so the tests wait until things are gone.

use std::time::Duration;

use stoker_domain::ports::store::{
    AlarmsQuery, Append, CommandsQuery, EventsQuery, NotificationsQuery, Order, PointsQuery, Store,
};
use stoker_domain::{CommandState, DeviceKey};
use stoker_store::{CassandraOptions, CassandraStore};

use super::fresh;
use super::lab::Lab;
use super::samples::{T0, alarm, command, event, key, notification, number, reading};

async fn short_lived(lab: &Lab) -> CassandraStore {
    let options = CassandraOptions {
        telemetry_retention: Duration::from_secs(3),
        history_retention: Duration::from_secs(3),
        ..lab.options()
    };
    CassandraStore::open(options).await.unwrap()
}

fn events_of(device: &DeviceKey) -> EventsQuery {
    EventsQuery {
        organization: device.organization.clone(),
        device: None,
        kind: None,
        from: i64::MIN,
        to: i64::MAX,
        after: None,
        limit: 100,
    }
}

/// How many there are of each: points, newest points, events, commands, alarms, notifications.
pub(crate) async fn counts(store: &CassandraStore, device: &DeviceKey) -> [usize; 6] {
    let organization = device.organization.clone();
    let points = PointsQuery {
        device: device.clone(),
        keys: None,
        from: i64::MIN,
        to: i64::MAX,
        after: None,
        limit: 100,
        order: Order::Descending,
    };
    let commands = CommandsQuery { device: device.clone(), state: None, after: None, limit: 100 };
    let alarms = AlarmsQuery {
        organization: organization.clone(),
        device: None,
        severity: None,
        kind: None,
        after: None,
        limit: 100,
    };
    let notifications =
        NotificationsQuery { organization, alarm: None, state: None, after: None, limit: 100 };
    [
        store.points(points).await.unwrap().len(),
        store.latest(device, None).await.unwrap().len(),
        store.events(events_of(device)).await.unwrap().len(),
        store.ended_commands(commands).await.unwrap().len(),
        store.ended_alarms(alarms).await.unwrap().len(),
        store.ended_notifications(notifications).await.unwrap().len(),
    ]
}

/// One of everything, whatever times it names.
pub(crate) fn everything(device: &DeviceKey) -> Vec<Append> {
    let alarm = alarm(device, 1, 1, T0 + 1_000 * 86_400_000);
    vec![
        reading(device, vec![number("t", T0, 1.0)]),
        Append::Event(event(device, "e", T0, "fault")),
        Append::Command(command(device, 1, 1, CommandState::Failed)),
        Append::Notification(notification(&alarm, 1, T0)),
        Append::Alarm(alarm),
    ]
}

async fn wait_until_gone(store: &CassandraStore, device: &DeviceKey) {
    while counts(store, device).await != [0; 6] {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn everything_goes_when_its_time_is_over(lab: &Lab) {
    let (short, long) = (short_lived(lab).await, lab.open().await);
    let (device, kept) = (key(&fresh("gone"), "d"), key(&fresh("kept"), "d"));
    short.append(everything(&device)).await.unwrap();
    long.append(everything(&kept)).await.unwrap();
    wait_until_gone(&short, &device).await;
    let id = command(&device, 1, 1, CommandState::Failed).id;
    assert_eq!(short.ended_command(id).await.unwrap(), None);
    assert_eq!(counts(&long, &kept).await, [1; 6]);
    // It goes on as before.
    short.append(vec![reading(&device, vec![number("t", T0 + 1, 2.0)])]).await.unwrap();
    let counts = counts(&long, &device).await;
    assert!(counts[..2] == [1, 1] || counts[..2] == [0, 0], "it is there or has gone: {counts:?}");
    wait_until_gone(&short, &device).await;
}

pub(crate) async fn an_event_that_has_gone_may_come_again(lab: &Lab) {
    let (short, long) = (short_lived(lab).await, lab.open().await);
    let device = key(&fresh("again"), "d");
    short.append(vec![Append::Event(event(&device, "e", T0, "fault"))]).await.unwrap();
    wait_until_gone(&short, &device).await;
    let again = event(&device, "e", T0 + 5, "fault");
    long.append(vec![Append::Event(again.clone())]).await.unwrap();
    assert_eq!(long.events(events_of(&device)).await.unwrap(), [again]);
}
