use stoker_domain::{DeviceId, DeviceKey, OrganizationId};

use super::*;

const NOW: Duration = Duration::ZERO;

fn at(publisher: &str, number: u64) -> FeedPosition {
    FeedPosition { publisher: publisher.into(), number }
}

fn item(bytes: usize) -> Item {
    let key = DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("boiler-1").unwrap());
    let data = serde_json::value::RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap();
    Item { kind: "event", key, data }
}

#[test]
fn it_is_bounded_in_entries_and_in_bytes() {
    let mut backlog = Backlog::new(Bounds { entries: 5, bytes: 10_000 });
    for number in 1..=100 {
        backlog.push(&at("a", number), item(10), NOW);
        assert!(backlog.entries.len() <= 5);
    }
    assert_eq!((backlog.first, backlog.end()), (95, 100));
    backlog.push(&at("a", 101), item(4_000), NOW);
    assert!(backlog.bytes <= 10_000 && backlog.entries.len() > 1);
    backlog.push(&at("a", 102), item(4_500), NOW);
    assert!(backlog.bytes <= 10_000 && backlog.entries.len() == 1, "each is kept as JSON and as a frame");
    backlog.push(&at("a", 103), item(20_000), NOW);
    assert_eq!((backlog.entries.len(), backlog.bytes), (0, 0), "larger than all that is kept");
    assert!(backlog.resume(&Position([("a".into(), 102)].into())).gap);
    assert!(!backlog.resume(&backlog.position()).gap);
}

#[test]
fn so_are_publishers_and_those_that_have_gone_are_forgotten_first() {
    let mut backlog = Backlog::new(Bounds { entries: 5, bytes: 10_000 });
    for n in 0..200 {
        backlog.reached(&at(&format!("p{n}"), 7), NOW);
        assert!(backlog.heads.len() <= PUBLISHERS_MOST);
    }
    backlog.reached(&at("p199", 7), NOW + GONE);
    backlog.reached(&at("new", 0), NOW + GONE);
    let mut left: Vec<_> = backlog.heads.keys().map(|name| name.to_string()).collect();
    left.sort();
    assert_eq!(left, ["new", "p199"]);
}

#[test]
fn what_came_before_is_not_taken_again() {
    let mut backlog = Backlog::new(Bounds { entries: 5, bytes: 10_000 });
    for number in [1, 2, 2, 1, 3] {
        backlog.push(&at("a", number), item(1), NOW);
    }
    let numbers: Vec<_> = backlog.entries.iter().map(|entry| (entry.number, entry.item.is_some())).collect();
    assert_eq!(numbers, [(1, true), (2, true), (3, true)]);
    backlog.push(&at("a", 6), item(1), NOW);
    let numbers: Vec<_> = backlog.entries.iter().map(|entry| (entry.number, entry.item.is_some())).collect();
    assert_eq!(numbers[3..], [(5, false), (6, true)], "what is missing has its place");
}
