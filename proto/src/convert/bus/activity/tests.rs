use std::collections::BTreeMap;

use super::*;

fn key() -> domain::DeviceKey {
    domain::DeviceKey::new("default".parse().unwrap(), "boiler-7".parse().unwrap())
}

fn minted(counter: u64) -> domain::MintedId {
    domain::MintedId { slot: domain::Slot(1), epoch: domain::SlotEpoch(2), counter }
}

fn event() -> domain::Event {
    domain::Event {
        id: "e-1".parse().unwrap(),
        device: key(),
        ts: 5,
        kind: domain::EventKind("fault".into()),
        code: "E42".into(),
        severity: domain::Severity::Critical,
        text: "flame lost".into(),
        cleared: false,
        data: Some("{}".into()),
    }
}

fn alarm() -> domain::Alarm {
    domain::Alarm {
        id: domain::AlarmId(minted(1)),
        device: key(),
        kind: domain::AlarmKind::Fault,
        code: "E42".into(),
        severity: domain::Severity::Critical,
        text: "flame lost".into(),
        state: domain::AlarmState::Active,
        acknowledged: None,
        raised_at: 4,
        cleared_at: None,
        count: 3,
        told: vec!["a".parse().unwrap(), "b".parse().unwrap()],
    }
}

fn command() -> domain::Command {
    domain::Command {
        id: domain::CommandId(minted(4)),
        device: key(),
        number: 9,
        method: "write_setpoint".into(),
        params: r#"{"t":55}"#.into(),
        state: domain::CommandState::Expired,
        outcome: Some(domain::CommandOutcome::NoReply),
        reply: None,
        detail: Some("late".into()),
        online: true,
        handed: Some(domain::SessionEpoch { slot: domain::SlotEpoch(2), counter: 8 }),
        created_at: 1,
        sent_at: Some(2),
        delivered_at: Some(3),
        ended_at: Some(4),
        expires_at: 4,
    }
}

fn presence(ended: Option<(i64, domain::EndReason)>) -> domain::Presence {
    domain::Presence {
        key: key(),
        epoch: domain::SessionEpoch { slot: domain::SlotEpoch(2), counter: 8 },
        session: domain::SessionInfo {
            gateway: "gw-1".parse().unwrap(),
            address: "127.0.0.1:4000".into(),
            protocol: "mqtt-5".into(),
            will: Some(domain::Will { event: event(), delay_ms: 30 }),
        },
        opened_at: 1,
        ended,
        silence_due: Some(9),
        will_due: None,
    }
}

fn device() -> domain::Device {
    domain::Device {
        key: key(),
        model: Some("B-9".into()),
        site: Some("north".parse().unwrap()),
        tags: vec!["old".into()],
        expected_interval_s: Some(30),
        token_hash: None,
        password_hash: None,
        created_at: 1,
        version: 2,
    }
}

fn attributes() -> domain::Attributes {
    let one = |key: &str, value| BTreeMap::from([(key.to_owned(), value)]);
    domain::Attributes {
        key: key(),
        client: one("firmware", domain::Value::Text("1.4".into())),
        shared: one("limit", domain::Value::Number(1.5)),
        server: one("on", domain::Value::Boolean(true)),
    }
}

#[test]
fn every_item_comes_back_whole() {
    let reading = domain::Reading {
        device: key(),
        points: vec![domain::Point { key: "t".into(), ts: 1, value: domain::Value::Integer(-7) }],
    };
    for activity in [
        Activity::Event(event()),
        Activity::Alarm(alarm()),
        Activity::Command(command()),
        Activity::Connection(presence(None)),
        Activity::Connection(presence(Some((7, domain::EndReason::Cut)))),
        Activity::Telemetry(reading),
        Activity::Device(device()),
        Activity::Attributes(attributes()),
    ] {
        assert_eq!(activity_from_bus(activity_to_bus(activity.clone())), Ok(activity));
    }
}

#[test]
fn hashes_of_credentials_do_not_travel() {
    let secret = domain::Device {
        token_hash: Some(domain::TokenHash([7; 32])),
        password_hash: Some("$argon2id$".into()),
        ..device()
    };
    assert_eq!(activity_from_bus(activity_to_bus(Activity::Device(secret))), Ok(Activity::Device(device())));
}

#[test]
fn an_item_of_a_later_version_or_half_an_end_is_refused() {
    assert_eq!(activity_from_bus(bus::Activity { item: None }), Err(WireError::Unknown("item")));
    let mut half = connection_to_bus(presence(Some((7, domain::EndReason::Cut))));
    half.end_reason = None;
    assert_eq!(connection_from_bus(half), Err(WireError::Missing("end of the session")));
}
