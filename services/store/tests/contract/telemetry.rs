use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use stoker_domain::ports::store::{Append, Order, PointsQuery, Store};
use stoker_domain::{DeviceKey, LatestValue, Millis, Point, Reading, Value};

use super::samples::{T0, key, number, point, reading};
use super::{Subject, fresh};

fn all(device: &DeviceKey, order: Order) -> PointsQuery {
    PointsQuery {
        device: device.clone(),
        keys: None,
        from: i64::MIN,
        to: i64::MAX,
        after: None,
        limit: 1_000,
        order,
    }
}

async fn list(store: &dyn Store, query: PointsQuery) -> Vec<(Millis, String)> {
    let points = store.points(query).await.unwrap();
    points.into_iter().map(|point| (point.ts, point.key.to_string())).collect()
}

pub(crate) async fn points_come_back_in_order_of_time_then_key(subject: &dyn Subject) {
    let (store, device) = (subject.store(), key(&fresh("order"), "d"));
    let batch = vec![number("b", T0 + 1, 1.0), number("a", T0 + 1, 2.0), number("z", T0, 3.0)];
    store.append(vec![reading(&device, batch)]).await.unwrap();
    store.append(vec![reading(&device, vec![number("a", T0 + 2, 4.0)])]).await.unwrap();
    let ascending: Vec<(Millis, String)> =
        [(T0, "z"), (T0 + 1, "a"), (T0 + 1, "b"), (T0 + 2, "a")].map(|(t, k)| (t, k.to_owned())).to_vec();
    assert_eq!(list(store, all(&device, Order::Ascending)).await, ascending);
    let descending: Vec<_> = ascending.into_iter().rev().collect();
    assert_eq!(list(store, all(&device, Order::Descending)).await, descending);
}

pub(crate) async fn a_page_continues_where_the_one_before_ended(subject: &dyn Subject) {
    let (store, device) = (subject.store(), key(&fresh("pages"), "d"));
    for n in 0..25 {
        let points = ["a", "b", "c"].map(|k| number(k, T0 + n / 2 * 1_000, n as f64)).to_vec();
        store.append(vec![reading(&device, points)]).await.unwrap();
    }
    for order in [Order::Ascending, Order::Descending] {
        let whole = list(store, all(&device, order)).await;
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page =
                list(store, PointsQuery { limit: 7, after: after.clone(), ..all(&device, order) }).await;
            pages.extend(page.iter().cloned());
            assert!(page.len() <= 7);
            if page.len() < 7 {
                break;
            }
            after = page.last().map(|(ts, key)| (*ts, Arc::from(key.as_str())));
        }
        assert_eq!(pages, whole, "{order:?}");
        assert_eq!(whole.len(), 13 * 3);
    }
}

pub(crate) async fn bounds_are_inclusive_and_keys_are_chosen(subject: &dyn Subject) {
    let (store, device) = (subject.store(), key(&fresh("bounds"), "d"));
    let points = (0..10).flat_map(|n| ["a", "b"].map(|k| number(k, T0 + n, 0.0))).collect();
    store.append(vec![reading(&device, points)]).await.unwrap();
    let query = PointsQuery {
        keys: Some(vec!["b".into(), "none".into()]),
        from: T0 + 3,
        to: T0 + 5,
        ..all(&device, Order::Ascending)
    };
    let expected: Vec<(Millis, String)> = (3..=5).map(|n| (T0 + n, "b".to_owned())).collect();
    assert_eq!(list(store, query.clone()).await, expected);
    assert_eq!(list(store, PointsQuery { keys: Some(Vec::new()), ..query.clone() }).await, []);
    assert_eq!(list(store, PointsQuery { from: T0 + 6, ..query.clone() }).await, []);
    assert_eq!(list(store, PointsQuery { limit: 0, ..query }).await, []);
}

pub(crate) async fn of_two_points_of_one_key_and_time_the_later_append_wins(subject: &dyn Subject) {
    let (store, device) = (subject.store(), key(&fresh("later"), "d"));
    for value in [1.0, 2.0] {
        store.append(vec![reading(&device, vec![number("t", T0, value)])]).await.unwrap();
    }
    // Within one append, the later one too.
    store
        .append(vec![
            reading(&device, vec![number("t", T0 + 1, 3.0)]),
            reading(&device, vec![number("t", T0 + 1, 4.0), number("t", T0 + 1, 5.0)]),
        ])
        .await
        .unwrap();
    // Stored on another day.
    subject.set_time(T0 + 3 * 86_400_000);
    store.append(vec![reading(&device, vec![number("t", T0 + 2, 6.0)])]).await.unwrap();
    subject.set_time(T0 + 4 * 86_400_000);
    store.append(vec![reading(&device, vec![number("t", T0 + 2, 7.0)])]).await.unwrap();
    for order in [Order::Ascending, Order::Descending] {
        let mut points = store.points(all(&device, order)).await.unwrap();
        points.sort_by_key(|point| point.ts);
        let expected = [number("t", T0, 2.0), number("t", T0 + 1, 5.0), number("t", T0 + 2, 7.0)];
        assert_eq!(points, expected);
    }
    let latest = store.latest(&device, None).await.unwrap();
    assert_eq!(latest["t"], LatestValue { ts: T0 + 2, value: Value::Number(7.0) });
}

pub(crate) async fn the_same_reading_again_changes_nothing(subject: &dyn Subject) {
    let (store, device) = (subject.store(), key(&fresh("again"), "d"));
    let batch = vec![reading(&device, vec![number("t", T0, 1.0), number("u", T0 + 1, 2.0)])];
    store.append(batch.clone()).await.unwrap();
    let before = store.points(all(&device, Order::Ascending)).await.unwrap();
    store.append(batch).await.unwrap();
    assert_eq!(store.points(all(&device, Order::Ascending)).await.unwrap(), before);
}

pub(crate) async fn backfilled_points_are_found_among_the_others(subject: &dyn Subject) {
    let (store, device) = (subject.store(), key(&fresh("backfill"), "d"));
    const HOUR: i64 = 3_600_000;
    let live: Vec<Point> = (0..50).map(|n| number("t", T0 + n * 1_000, 0.0)).collect();
    store.append(vec![reading(&device, live)]).await.unwrap();
    // One message that spans a day, with a point ahead of time.
    let old: Vec<Point> = (0..48).map(|n| number("t", T0 - n * HOUR / 2, 1.0)).collect();
    let ahead = vec![number("t", T0 + 24 * HOUR, 2.0)];
    store.append(vec![reading(&device, old), reading(&device, ahead)]).await.unwrap();
    let ascending = list(store, all(&device, Order::Ascending)).await;
    assert_eq!(ascending.len(), 50 + 47 + 1);
    assert!(ascending.is_sorted());
    let newest = list(store, PointsQuery { limit: 2, ..all(&device, Order::Descending) }).await;
    assert_eq!(newest, [(T0 + 24 * HOUR, "t".to_owned()), (T0 + 49_000, "t".to_owned())]);
    let window = PointsQuery { from: T0 - 2 * HOUR, to: T0 - HOUR, ..all(&device, Order::Ascending) };
    assert_eq!(list(store, window).await.len(), 3);
    let latest = store.latest(&device, None).await.unwrap();
    assert_eq!(latest["t"].ts, T0 + 24 * HOUR);
}

pub(crate) async fn every_kind_of_value_comes_back_as_it_was_sent(subject: &dyn Subject) {
    let (store, device) = (subject.store(), key(&fresh("values"), "d"));
    let values = [
        Value::Boolean(true),
        Value::Boolean(false),
        Value::Integer(i64::MIN),
        Value::Integer(7),
        Value::Number(71.2),
        Value::Number(-0.000_123),
        Value::Number(f64::MAX),
        Value::Number(3.0),
        Value::Text(String::new()),
        Value::Text("ä".repeat(4_000)),
        Value::Json(r#"{"a":[1,null]}"#.into()),
        Value::Json("null".into()),
    ];
    let points: Vec<Point> = (0..).zip(&values).map(|(n, v)| point("v", T0 + n, v.clone())).collect();
    store.append(vec![reading(&device, points.clone())]).await.unwrap();
    assert_eq!(store.points(all(&device, Order::Ascending)).await.unwrap(), points);
}

pub(crate) async fn latest_is_the_greatest_time_of_each_key(subject: &dyn Subject) {
    let (store, device) = (subject.store(), key(&fresh("latest"), "d"));
    assert!(store.latest(&device, None).await.unwrap().is_empty());
    store.append(vec![reading(&device, vec![number("a", T0 + 5, 1.0), number("b", T0, 2.0)])]).await.unwrap();
    // Backfill: an older point of one key, a newer one of the other.
    store
        .append(vec![reading(&device, vec![number("a", T0 + 4, 3.0), number("b", T0 + 1, 4.0)])])
        .await
        .unwrap();
    let latest = store.latest(&device, None).await.unwrap();
    let expected: BTreeMap<Arc<str>, LatestValue> = [("a", T0 + 5, 1.0), ("b", T0 + 1, 4.0)]
        .map(|(k, ts, v)| (Arc::from(k), LatestValue { ts, value: Value::Number(v) }))
        .into();
    assert_eq!(latest, expected);
}

pub(crate) async fn latest_of_some_keys_is_only_theirs(subject: &dyn Subject) {
    let (store, device) = (subject.store(), key(&fresh("some"), "d"));
    store.append(vec![reading(&device, ["a", "b", "c"].map(|k| number(k, T0, 1.0)).to_vec())]).await.unwrap();
    let latest = store.latest(&device, Some(vec!["c".into(), "a".into(), "x".into()])).await.unwrap();
    assert_eq!(latest.keys().map(|k| &**k).collect::<Vec<_>>(), ["a", "c"]);
}

pub(crate) async fn latest_gives_long_values_too(subject: &dyn Subject) {
    let (store, device) = (subject.store(), key(&fresh("long"), "d"));
    let long = Value::Text("x".repeat(8_192));
    let points = vec![point("log", T0 + 1, long.clone()), number("t", T0 + 2, 1.0)];
    store.append(vec![reading(&device, points)]).await.unwrap();
    store.append(vec![reading(&device, vec![point("log", T0, Value::Text("y".repeat(300)))])]).await.unwrap();
    let latest = store.latest(&device, None).await.unwrap();
    assert_eq!(latest["log"], LatestValue { ts: T0 + 1, value: long });
}

/// Readings of random times and keys, appended on random days, against the simplest thing that can be right.
pub(crate) async fn random_histories_are_listed_like_a_simple_list(subject: &dyn Subject) {
    const MINUTE: i64 = 60_000;
    let point = (0..40i64, prop::sample::select(vec!["a", "b", "c"]), -50..50i64);
    // Near each other and minutes apart, so that chunks are cut and overlap.
    let reading_of =
        (prop::collection::vec(point, 1..12), prop::sample::select(vec![1, 1_000, 7 * MINUTE]), 0..3i64);
    let history = prop::collection::vec(reading_of, 1..25);
    let query = (0..40i64, 0..40i64, 1..9usize, any::<bool>(), any::<bool>());
    let strategy = (history, prop::collection::vec(query, 12));
    let mut runner = TestRunner::deterministic();
    for _ in 0..25 {
        let (history, queries) = strategy.new_tree(&mut runner).unwrap().current();
        let device = key(&fresh("random"), "d");
        let mut simple: BTreeMap<(Millis, Arc<str>), Value> = BTreeMap::new();
        for (points, step, day) in &history {
            subject.set_time(T0 + day * 86_400_000);
            let points: Vec<Point> = points
                .iter()
                .map(|(t, k, v)| number(k, T0 + t * step, *v as f64))
                .inspect(|p| drop(simple.insert((p.ts, p.key.clone()), p.value.clone())))
                .collect();
            let reading = Reading { device: device.clone(), points };
            subject.store().append(vec![Append::Reading(reading)]).await.unwrap();
        }
        for (a, b, limit, ascending, one_key) in queries {
            let order = if ascending { Order::Ascending } else { Order::Descending };
            let (from, to) = (T0 + a.min(b) * MINUTE, T0 + a.max(b) * 3 * MINUTE);
            let keys = one_key.then(|| vec!["b".to_owned()]);
            let mut expected: Vec<Point> = simple
                .iter()
                .filter(|((ts, k), _)| *ts >= from && *ts <= to && (!one_key || &**k == "b"))
                .map(|((ts, k), v)| Point { key: k.clone(), ts: *ts, value: v.clone() })
                .collect();
            if order == Order::Descending {
                expected.reverse();
            }
            let mut query = PointsQuery { keys, from, to, limit, ..all(&device, order) };
            let mut listed = Vec::new();
            loop {
                let page = subject.store().points(query.clone()).await.unwrap();
                query.after = page.last().map(|p| (p.ts, p.key.clone()));
                let last = page.len() < limit;
                listed.extend(page);
                if last {
                    break;
                }
            }
            assert_eq!(listed, expected, "{query:?} of {history:?}");
        }
        let mut newest: BTreeMap<Arc<str>, LatestValue> = BTreeMap::new();
        for ((ts, key), value) in simple {
            newest.insert(key, LatestValue { ts, value });
        }
        assert_eq!(subject.store().latest(&device, None).await.unwrap(), newest, "{history:?}");
    }
}
