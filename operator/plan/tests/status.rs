//! What is written of a standing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use stoker_plan::{Id, Kind, Said, Standing};

fn standing(is: bool, message: &str) -> Standing {
    Standing {
        of: Id { kind: Kind::Portal, name: "console".to_owned(), uid: "1".to_owned() },
        observed_generation: Some(7),
        conditions: vec![Said {
            kind: "Ready",
            is: is.into(),
            reason: "AsWished",
            message: message.to_owned(),
        }],
        replicas: 2,
        ready_replicas: 1,
        selector: "a=b".to_owned(),
        address: None,
        connections: None,
    }
}

#[test]
fn a_condition_keeps_its_time_until_it_changes_its_status() {
    let at = |second: u32| Time(format!("2026-01-01T00:00:0{second}Z").parse().unwrap());
    let first = standing(false, "one").status(None, &at(1));
    assert_eq!(first.conditions[0].last_transition_time, at(1));
    assert_eq!((first.conditions[0].status.as_str(), first.observed_generation), ("False", Some(7)));
    let second = standing(false, "another").status(Some(&first), &at(2));
    assert_eq!(second.conditions[0].last_transition_time, at(1));
    assert_eq!(second.conditions[0].message, "another");
    let third = standing(true, "another").status(Some(&second), &at(3));
    assert_eq!(third.conditions[0].last_transition_time, at(3));
    assert_eq!(standing(true, "another").status(Some(&third), &at(4)), third);
}
