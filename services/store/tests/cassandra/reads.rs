//! What queries cost, in requests: a query must not look where nothing is.

use stoker_domain::ports::store::{AlarmsQuery, Append, EventsQuery, Order, PointsQuery, Store};
use stoker_domain::{DeviceKey, Severity};

use super::fresh;
use super::lab::Lab;
use super::samples::{T0, alarm, event, key, number, org, reading};

const DAY: i64 = 86_400_000;

fn all(device: &DeviceKey) -> PointsQuery {
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

pub(crate) async fn a_query_over_all_time_looks_only_into_days_that_have_points(lab: &Lab) {
    let (store, device) = (lab.open().await, key(&fresh("days"), "d"));
    // A clock that was never set, one of today, and one ahead of time.
    let points = vec![number("t", 5, 1.0), number("t", T0, 2.0), number("t", T0 + 300 * DAY, 3.0)];
    store.append(vec![reading(&device, points.clone())]).await.unwrap();
    for order in [Order::Ascending, Order::Descending] {
        let before = store.stats().reads;
        let mut listed = store.points(PointsQuery { order, ..all(&device) }).await.unwrap();
        listed.sort_by_key(|point| point.ts);
        assert_eq!(listed, points);
        let reads = store.stats().reads - before;
        // The days, and for each its keys and their points.
        assert!(reads <= 2 + 3 * 2, "{reads} reads");
    }
    let before = store.stats().reads;
    let far = PointsQuery { from: T0 + DAY, to: T0 + 299 * DAY, ..all(&device) };
    assert_eq!(store.points(far).await.unwrap(), []);
    assert_eq!(store.stats().reads - before, 1);
}

pub(crate) async fn a_seldom_key_is_found_without_reading_the_others(lab: &Lab) {
    let (store, device) = (lab.open().await, key(&fresh("seldom"), "d"));
    for n in 0..20 {
        let mut points: Vec<_> = (0..250).map(|i| number("often", T0 + n * 250 + i, 1.0)).collect();
        if n == 7 {
            points.push(number("seldom", T0 + 1, 7.0));
        }
        store.append(vec![reading(&device, points)]).await.unwrap();
    }
    let before = store.stats().reads;
    let query = PointsQuery { keys: Some(vec!["seldom".into()]), ..all(&device) };
    assert_eq!(store.points(query).await.unwrap(), [number("seldom", T0 + 1, 7.0)]);
    assert!(store.stats().reads - before <= 3);
    // All of them, in pages.
    let (mut listed, mut after) = (0, None);
    loop {
        let page = store.points(PointsQuery { after: after.clone(), ..all(&device) }).await.unwrap();
        listed += page.len();
        if page.len() < 1_000 {
            break;
        }
        after = page.last().map(|point| (point.ts, point.key.clone()));
    }
    assert_eq!(listed, 5_001);
}

pub(crate) async fn a_seldom_kind_of_thing_is_found_over_many_buckets(lab: &Lab) {
    let (store, o) = (lab.open().await, fresh("buckets"));
    let device = key(&o, "d");
    let mut batch = Vec::new();
    for n in 0..40u64 {
        let at = T0 + i64::try_from(n).unwrap() * 10 * DAY;
        let severity = if n == 3 { Severity::Minor } else { Severity::Critical };
        batch.push(Append::Alarm(stoker_domain::Alarm { severity, ..alarm(&device, 1, n, at) }));
        let kind = if n == 3 { "seldom" } else { "fault" };
        batch.push(Append::Event(event(&device, &format!("e{n}"), at, kind)));
    }
    store.append(batch).await.unwrap();
    let alarms = AlarmsQuery {
        organization: org(&o),
        device: None,
        severity: Some(Severity::Minor),
        kind: None,
        after: None,
        limit: 5,
    };
    let found = store.ended_alarms(alarms.clone()).await.unwrap();
    assert_eq!(found.iter().map(|alarm| alarm.raised_at).collect::<Vec<_>>(), [T0 + 30 * DAY]);
    let before = store.stats().reads;
    let newest = store.ended_alarms(AlarmsQuery { severity: None, limit: 1, ..alarms }).await.unwrap();
    assert_eq!(newest[0].raised_at, T0 + 390 * DAY);
    assert_eq!(store.stats().reads - before, 2, "the buckets, and the newest of them");
    for device in [None, Some(device)] {
        let query = EventsQuery {
            organization: org(&o),
            device,
            kind: Some("seldom".into()),
            from: i64::MIN,
            to: i64::MAX,
            after: None,
            limit: 5,
        };
        assert_eq!(store.events(query).await.unwrap().len(), 1);
    }
}
