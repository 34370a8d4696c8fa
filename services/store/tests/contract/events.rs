use stoker_domain::ports::store::{Append, EventsQuery, Store};
use stoker_domain::{Event, Millis};

use super::samples::{T0, event, key, org};
use super::{Subject, fresh};

fn all(organization: &str) -> EventsQuery {
    EventsQuery {
        organization: org(organization),
        device: None,
        kind: None,
        from: i64::MIN,
        to: i64::MAX,
        after: None,
        limit: 1_000,
    }
}

async fn list(store: &dyn Store, query: EventsQuery) -> Vec<(Millis, String, String)> {
    let events = store.events(query).await.unwrap();
    events.into_iter().map(|e| (e.ts, e.device.device.to_string(), e.id.to_string())).collect()
}

async fn put(store: &dyn Store, events: Vec<Event>) {
    store.append(events.into_iter().map(Append::Event).collect()).await.unwrap();
}

fn place(ts: Millis, device: &str, id: &str) -> (Millis, String, String) {
    (ts, device.to_owned(), id.to_owned())
}

pub(crate) async fn events_come_newest_first_then_by_device_and_id(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("events"));
    let (a, b) = (key(&o, "a"), key(&o, "b"));
    put(store, vec![event(&b, "1", T0, "fault"), event(&a, "2", T0, "fault")]).await;
    put(
        store,
        vec![event(&a, "1", T0, "fault"), event(&a, "0", T0 - 1, "note"), event(&b, "9", T0 + 1, "note")],
    )
    .await;
    let expected = [
        place(T0 + 1, "b", "9"),
        place(T0, "a", "1"),
        place(T0, "a", "2"),
        place(T0, "b", "1"),
        place(T0 - 1, "a", "0"),
    ];
    assert_eq!(list(store, all(&o)).await, expected);
    let whole = store.events(all(&o)).await.unwrap();
    assert_eq!(whole[1], event(&a, "1", T0, "fault"), "every field comes back");
}

pub(crate) async fn of_two_events_with_one_id_the_first_stays(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("first"));
    let (a, b) = (key(&o, "a"), key(&o, "b"));
    let first = event(&a, "1", T0, "fault");
    let second = Event { text: "another".into(), ..event(&a, "1", T0 + 5, "note") };
    put(store, vec![first.clone(), second.clone()]).await;
    put(store, vec![second, event(&b, "1", T0, "fault")]).await;
    assert_eq!(store.events(all(&o)).await.unwrap(), [first, event(&b, "1", T0, "fault")]);
}

pub(crate) async fn events_are_found_by_device_kind_and_time(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("filter"));
    let (a, b) = (key(&o, "a"), key(&o, "b"));
    for n in 0..6 {
        let kind = if n % 2 == 0 { "fault" } else { "fault\0x" };
        put(store, vec![event(&a, &format!("{n}"), T0 + n, kind), event(&b, &format!("{n}"), T0 + n, kind)])
            .await;
    }
    let times = |list: Vec<(Millis, String, String)>| list.iter().map(|p| p.0 - T0).collect::<Vec<_>>();
    let of_a = EventsQuery { device: Some(a.clone()), ..all(&o) };
    assert_eq!(times(list(store, of_a.clone()).await), [5, 4, 3, 2, 1, 0]);
    let faults = EventsQuery { kind: Some("fault".into()), ..of_a.clone() };
    assert_eq!(times(list(store, faults.clone()).await), [4, 2, 0]);
    assert_eq!(times(list(store, EventsQuery { device: None, ..faults.clone() }).await), [4, 4, 2, 2, 0, 0]);
    let window = EventsQuery { from: T0 + 1, to: T0 + 2, ..faults };
    assert_eq!(times(list(store, window.clone()).await), [2]);
    assert_eq!(times(list(store, EventsQuery { kind: None, ..window.clone() }).await), [2, 1]);
    assert_eq!(
        times(list(store, EventsQuery { kind: None, device: None, ..window.clone() }).await),
        [2, 2, 1, 1]
    );
    assert_eq!(list(store, EventsQuery { from: T0 + 3, ..window }).await, []);
}

pub(crate) async fn pages_of_events_neither_repeat_nor_miss_any(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("pages"));
    let devices = ["a", "a:b", "b"].map(|d| key(&o, d));
    for n in 0..30 {
        let device = &devices[n as usize % 3];
        put(
            store,
            vec![event(device, &format!("e{n}"), T0 + n / 4, if n % 5 == 0 { "note" } else { "fault" })],
        )
        .await;
    }
    let queries = [
        all(&o),
        EventsQuery { kind: Some("fault".into()), ..all(&o) },
        EventsQuery { device: Some(devices[1].clone()), ..all(&o) },
        EventsQuery { device: Some(devices[0].clone()), kind: Some("note".into()), ..all(&o) },
        EventsQuery { from: T0 + 2, to: T0 + 5, ..all(&o) },
    ];
    for query in queries {
        let whole = store.events(query.clone()).await.unwrap();
        assert!(!whole.is_empty());
        let mut pages: Vec<Event> = Vec::new();
        loop {
            let after = pages.last().map(|e| (e.ts, e.device.clone(), e.id.clone()));
            let page = store.events(EventsQuery { limit: 4, after, ..query.clone() }).await.unwrap();
            let last = page.len() < 4;
            pages.extend(page);
            if last {
                break;
            }
        }
        assert_eq!(pages, whole, "{query:?}");
    }
}
