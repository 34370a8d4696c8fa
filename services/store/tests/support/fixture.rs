//! What the data directories in `tests/fixtures` hold: one of everything.
//!
//! A fixture is never made again: it stands for directories out there. So what is here, and the samples that it takes,
//! may grow only together with a fixture of the next format.

use std::collections::BTreeMap;
use std::sync::Arc;

use stoker_domain::ports::store::{
    AlarmsQuery, Append, Change, ClaimOutcome, CommandsQuery, CommitOutcome, EventsQuery, NotificationsQuery,
    Order, PointsQuery, RegistryKey, RegistryRow, SlotHead, StateRow, Store, SwapOutcome,
};
use stoker_domain::{
    CommandState, DeviceKey, LatestValue, Point, Slot, SlotEpoch, Subscription, TokenHash, Value,
};

use super::samples::{
    self, T0, alarm, bare_state_rows, command, event, key, member, notification, number, org, point, reading,
    subscription,
};

const OWNER: &str = "member-1";
const DAY: i64 = 86_400_000;

/// Every kind of row that there was when the directory was written.
fn state_rows(key: &DeviceKey) -> Vec<StateRow> {
    let mut rows = samples::state_rows(key);
    rows.retain(|row| !matches!(row, StateRow::Removal(_)));
    rows
}

/// Every kind of row with as little in it as there could be when the directory was written.
fn bare_rows(key: &DeviceKey) -> Vec<StateRow> {
    let mut rows = bare_state_rows(key);
    for row in &mut rows {
        if let StateRow::Notification(notification) = row {
            notification.test = false;
        }
    }
    rows
}

fn device() -> DeviceKey {
    key("default", "boiler-7")
}

fn bare_device() -> DeviceKey {
    key("acme", "door:3")
}

/// Readings in the order of their appends, each stored on a day of its own.
fn readings() -> Vec<Vec<Point>> {
    vec![
        vec![
            number("t_supply", T0, 71.2),
            point("on", T0, Value::Boolean(true)),
            point("steps", T0, Value::Integer(-42)),
            point("note", T0, Value::Text("ä".repeat(200))),
            point("config", T0, Value::Json(r#"{"a":[1,null]}"#.into())),
        ],
        // Backfill, and one point that takes another's place.
        vec![number("t_supply", T0 - 3 * DAY, 60.0), number("t_supply", T0, 71.5)],
        vec![number("t_supply", T0 + 1_000, 0.1 + 0.2), number("t_return", T0 + 999, -1e-9)],
    ]
}

fn registry() -> Vec<RegistryRow> {
    vec![
        RegistryRow::Token { hash: TokenHash([9; 32]), device: device() },
        RegistryRow::Subscription(subscription("default", "night-shift")),
        RegistryRow::Setting { name: "token_key".into(), value: vec![0, 1, 255] },
    ]
}

/// Writes everything. `set_day` sets the store's clock to so many days after `T0`.
pub(crate) async fn fill(store: &dyn Store, set_day: impl Fn(i64)) {
    for (day, points) in (0..).zip(readings()) {
        set_day(day);
        store.append(vec![reading(&device(), points)]).await.unwrap();
    }
    let alarm = alarm(&device(), 1, 1, T0);
    store
        .append(vec![
            Append::Event(event(&device(), "e-1", T0, "fault")),
            Append::Event(event(&bare_device(), "e-1", T0 + 1, "note")),
            Append::Command(command(&device(), 1, 2, CommandState::Succeeded)),
            Append::Command(command(&device(), 1, 3, CommandState::Expired)),
            Append::Notification(notification(&alarm, 4, T0 + 2)),
            Append::Alarm(alarm),
        ])
        .await
        .unwrap();
    for (key, rows) in [(device(), state_rows(&device())), (bare_device(), bare_rows(&bare_device()))] {
        let claimed = store.claim(key.slot(), &member(OWNER), SlotEpoch(0)).await.unwrap();
        assert_eq!(claimed, ClaimOutcome::Claimed(SlotEpoch(1)));
        let changes = rows.into_iter().map(Change::put).collect();
        assert_eq!(store.commit(key.slot(), SlotEpoch(1), changes).await, CommitOutcome::Committed);
    }
    for row in registry() {
        for expected in [None, Some(1)] {
            let outcome = store.registry_put(row.clone(), expected).await.unwrap();
            assert_eq!(outcome, SwapOutcome::Swapped(expected.unwrap_or(0) + 1));
        }
    }
}

/// Checks that everything is there, and nothing else.
pub(crate) async fn check(store: &dyn Store) {
    check_telemetry(store).await;
    check_history(store).await;
    for slot in Slot::all() {
        let head = store.head(slot).await.unwrap();
        let mut rows = store.load(slot).await.unwrap();
        rows.sort_by_key(StateRow::key);
        let mut expected = Vec::new();
        for (key, of_key) in [(device(), state_rows(&device())), (bare_device(), bare_rows(&bare_device()))] {
            if key.slot() == slot {
                expected.extend(of_key);
            }
        }
        let owned = !expected.is_empty();
        expected.sort_by_key(StateRow::key);
        assert_eq!(rows, expected, "slot {slot}");
        let expected = SlotHead { epoch: SlotEpoch(owned.into()), owner: owned.then(|| member(OWNER)) };
        assert_eq!(head, expected, "slot {slot}");
    }
    for row in registry() {
        assert_eq!(store.registry_get(&row.key()).await.unwrap(), Some((row, 2)));
    }
    let subscriptions: Vec<(Subscription, u64)> = vec![(subscription("default", "night-shift"), 2)];
    assert_eq!(store.subscriptions().await.unwrap(), subscriptions);
    assert_eq!(store.registry_get(&RegistryKey::Setting("other".into())).await.unwrap(), None);
}

async fn check_telemetry(store: &dyn Store) {
    let mut expected: BTreeMap<(i64, Arc<str>), Point> = BTreeMap::new();
    for point in readings().into_iter().flatten() {
        expected.insert((point.ts, point.key.clone()), point);
    }
    let expected: Vec<Point> = expected.into_values().collect();
    let query = PointsQuery {
        device: device(),
        keys: None,
        from: i64::MIN,
        to: i64::MAX,
        after: None,
        limit: 1_000,
        order: Order::Ascending,
    };
    assert_eq!(store.points(query.clone()).await.unwrap(), expected);
    let query = PointsQuery { device: bare_device(), ..query };
    assert_eq!(store.points(query).await.unwrap(), []);
    let mut newest: BTreeMap<Arc<str>, LatestValue> = BTreeMap::new();
    for Point { key, ts, value } in expected {
        newest.insert(key, LatestValue { ts, value });
    }
    assert_eq!(store.latest(&device(), None).await.unwrap(), newest);
}

async fn check_history(store: &dyn Store) {
    let events = |organization: &str| EventsQuery {
        organization: org(organization),
        device: None,
        kind: None,
        from: i64::MIN,
        to: i64::MAX,
        after: None,
        limit: 100,
    };
    assert_eq!(store.events(events("default")).await.unwrap(), [event(&device(), "e-1", T0, "fault")]);
    let noted = event(&bare_device(), "e-1", T0 + 1, "note");
    let by_kind = EventsQuery { kind: Some("note".into()), ..events("acme") };
    assert_eq!(store.events(by_kind).await.unwrap(), std::slice::from_ref(&noted));
    let by_device = EventsQuery { device: Some(bare_device()), ..events("acme") };
    assert_eq!(store.events(by_device).await.unwrap(), [noted]);
    let commands = CommandsQuery { device: device(), state: None, after: None, limit: 100 };
    assert_eq!(
        store.ended_commands(commands).await.unwrap(),
        [command(&device(), 1, 3, CommandState::Expired), command(&device(), 1, 2, CommandState::Succeeded)]
    );
    let alarm = alarm(&device(), 1, 1, T0);
    for of_device in [None, Some(device())] {
        let query = AlarmsQuery {
            organization: org("default"),
            device: of_device,
            severity: Some(alarm.severity),
            kind: Some(alarm.kind),
            after: None,
            limit: 100,
        };
        assert_eq!(store.ended_alarms(query).await.unwrap(), std::slice::from_ref(&alarm));
    }
    assert_eq!(store.ended_alarm(alarm.id).await.unwrap(), Some(alarm.clone()));
    for of_alarm in [None, Some(alarm.id)] {
        let query = NotificationsQuery {
            organization: org("default"),
            alarm: of_alarm,
            state: None,
            after: None,
            limit: 100,
        };
        assert_eq!(store.ended_notifications(query).await.unwrap(), [notification(&alarm, 4, T0 + 2)]);
    }
}
