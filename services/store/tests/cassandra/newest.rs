//! The newest points: on which day they are is looked up first.

use stoker_domain::ports::store::Store;
use stoker_domain::{DeviceKey, Value};
use stoker_store::CassandraStore;

use super::fresh;
use super::lab::Lab;
use super::samples::{T0, key, number, reading};

const DAY: i64 = 86_400_000;

async fn latest(store: &CassandraStore, device: &DeviceKey) -> Vec<(String, i64, Value)> {
    let latest = store.latest(device, None).await.unwrap();
    latest.into_iter().map(|(key, latest)| (key.to_string(), latest.ts, latest.value)).collect()
}

pub(crate) async fn a_key_that_is_silent_for_long_is_found_on_its_last_day(lab: &Lab) {
    let (store, device) = (lab.open().await, key(&fresh("silent"), "d"));
    for day in 0..30 {
        let mut points = vec![number("often", T0 + day * DAY, 1.0)];
        if day < 2 {
            points.push(number("seldom", T0 + day * DAY, f64::from(i32::try_from(day).unwrap())));
        }
        store.append(vec![reading(&device, points)]).await.unwrap();
    }
    let before = store.stats().reads;
    let expected = [
        ("often".to_owned(), T0 + 29 * DAY, Value::Number(1.0)),
        ("seldom".to_owned(), T0 + DAY, Value::Number(1.0)),
    ];
    assert_eq!(latest(&store, &device).await, expected);
    assert_eq!(store.stats().reads - before, 3, "the days, and each of the two that are the last of a key");
    // What comes late changes nothing, by whichever process it comes.
    lab.open().await.append(vec![reading(&device, vec![number("seldom", T0 + 5, 9.0)])]).await.unwrap();
    assert_eq!(latest(&store, &device).await, expected);
}

pub(crate) async fn what_an_earlier_version_wrote_counts_until_there_is_something_newer(lab: &Lab) {
    let keyspace = lab.fresh_keyspace();
    let store = CassandraStore::open(lab.options_of(&keyspace)).await.unwrap();
    let device = key(&fresh("upgrade"), "d");
    store.append(vec![reading(&device, vec![number("t", T0, 1.0), number("u", T0, 1.0)])]).await.unwrap();
    // As that version wrote: time, stamp and value, at the time of the point. What it wrote of `v` is all there is of it.
    let session = lab.session().await;
    let shown =
        format!("SELECT key, value FROM {keyspace}.newest WHERE organization = ? AND device = ? AND day = ?");
    let values = (device.organization.as_str(), device.device.as_str(), T0.div_euclid(DAY));
    let rows = session.query_unpaged(shown, values).await.unwrap().into_rows_result().unwrap();
    let stored: Vec<(String, Vec<u8>)> = rows.rows().unwrap().map(Result::unwrap).collect();
    let value = stored[0].1[16..].to_vec();
    let at = |ts: i64| [&ts.to_be_bytes()[..], &1_i64.to_be_bytes()[..], &value].concat();
    for (name, ts) in [("t", T0 + 7), ("u", T0 - 7), ("v", T0 - 9 * DAY)] {
        let text = format!(
            "UPDATE {keyspace}.latest USING TIMESTAMP {} SET value = ? \
             WHERE organization = ? AND device = ? AND key = ? AND week = 1",
            ts * 1_000
        );
        let values = (at(ts), device.organization.as_str(), device.device.as_str(), name);
        session.query_unpaged(text, values).await.unwrap();
    }
    let times =
        |latest: Vec<(String, i64, Value)>| latest.into_iter().map(|(_, ts, _)| ts).collect::<Vec<_>>();
    assert_eq!(times(latest(&store, &device).await), [T0 + 7, T0, T0 - 9 * DAY]);
    store.append(vec![reading(&device, vec![number("t", T0 + 8, 2.0)])]).await.unwrap();
    assert_eq!(times(latest(&store, &device).await), [T0 + 8, T0, T0 - 9 * DAY]);
}

pub(crate) async fn a_day_of_which_nothing_is_left_is_passed_over(lab: &Lab) {
    let keyspace = lab.fresh_keyspace();
    let store = CassandraStore::open(lab.options_of(&keyspace)).await.unwrap();
    let device = key(&fresh("expired"), "d");
    store.append(vec![reading(&device, vec![number("t", T0, 1.0), number("u", T0, 1.0)])]).await.unwrap();
    // What was stored in another week, and has expired since.
    let later = T0.div_euclid(DAY) + 9;
    let text = format!(
        "UPDATE {keyspace}.latest USING TIMESTAMP {} SET day = ? \
         WHERE organization = ? AND device = ? AND key = ? AND week = 1",
        later * DAY * 1_000
    );
    for name in ["t", "v"] {
        let values = (later, device.organization.as_str(), device.device.as_str(), name);
        lab.session().await.query_unpaged(text.as_str(), values).await.unwrap();
    }
    let expected = ["t", "u"].map(|name| (name.to_owned(), T0, Value::Number(1.0)));
    assert_eq!(latest(&store, &device).await, expected);
}
