//! Things to store, with every field set or with as few as may be.

use std::collections::BTreeMap;
use std::sync::Arc;

use stoker_domain::ports::store::{Append, OutboxEntry, Removal, StateRow};
use stoker_domain::*;

pub(crate) const T0: Millis = 1_750_000_000_000;

pub(crate) fn org(name: &str) -> OrganizationId {
    OrganizationId::new(name).unwrap()
}

pub(crate) fn key(organization: &str, device: &str) -> DeviceKey {
    DeviceKey::new(org(organization), DeviceId::new(device).unwrap())
}

pub(crate) fn member(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

pub(crate) fn minted(slot: Slot, epoch: u64, counter: u64) -> MintedId {
    MintedId { slot, epoch: SlotEpoch(epoch), counter }
}

pub(crate) fn point(name: &str, ts: Millis, value: Value) -> Point {
    Point { key: Arc::from(name), ts, value }
}

pub(crate) fn number(name: &str, ts: Millis, value: f64) -> Point {
    point(name, ts, Value::Number(value))
}

pub(crate) fn reading(device: &DeviceKey, points: Vec<Point>) -> Append {
    Append::Reading(Reading { device: device.clone(), points })
}

pub(crate) fn event(device: &DeviceKey, id: &str, ts: Millis, kind: &str) -> Event {
    Event {
        id: EventId::new(id).unwrap(),
        device: device.clone(),
        ts,
        kind: EventKind(kind.to_owned()),
        code: "E42".into(),
        severity: Severity::Critical,
        text: "flame lost".into(),
        cleared: false,
        data: Some(r#"{"t":71.2}"#.into()),
    }
}

pub(crate) fn command(device: &DeviceKey, epoch: u64, counter: u64, state: CommandState) -> Command {
    Command {
        id: CommandId(minted(device.slot(), epoch, counter)),
        device: device.clone(),
        number: counter,
        method: "write_setpoint".into(),
        params: r#"{"value":60}"#.into(),
        state,
        outcome: (state == CommandState::Expired).then_some(CommandOutcome::NoReply),
        reply: (state == CommandState::Succeeded).then(|| "{\"ok\":true}".into()),
        detail: Some("said by the device".into()),
        online: true,
        handed: Some(SessionEpoch { slot: SlotEpoch(epoch), counter: 3 }),
        created_at: T0,
        sent_at: Some(T0 + 1),
        delivered_at: Some(T0 + 2),
        ended_at: state.is_final().then_some(T0 + 3),
        expires_at: T0 + 60_000,
    }
}

pub(crate) fn alarm(device: &DeviceKey, epoch: u64, counter: u64, raised_at: Millis) -> Alarm {
    Alarm {
        id: AlarmId(minted(device.slot(), epoch, counter)),
        device: device.clone(),
        kind: AlarmKind::Fault,
        code: "E42".into(),
        severity: Severity::Critical,
        text: "flame lost".into(),
        state: AlarmState::Cleared,
        acknowledged: Some(Acknowledgement {
            at: raised_at + 5,
            by: "ada".into(),
            note: Some("on my way".into()),
        }),
        raised_at,
        cleared_at: Some(raised_at + 1_000),
        count: 3,
        told: vec![SubscriptionId::new("night-shift").unwrap()],
    }
}

pub(crate) fn notification(of: &Alarm, counter: u64, created_at: Millis) -> Notification {
    Notification {
        id: NotificationId(minted(of.device.slot(), of.id.0.epoch.0, counter)),
        device: of.device.clone(),
        alarm: of.id,
        step: NotificationStep::Raised,
        test: false,
        content: of.clone(),
        subscription: SubscriptionId::new("night-shift").unwrap(),
        channel: Channel::Webhook { url: "https://example.org/hook".into(), secret: "s3cret".into() },
        state: NotificationState::Delivered,
        created_at,
        tried: 2,
        attempts: vec![
            Attempt { at: created_at + 1, result: AttemptResult::Retry, detail: "503".into() },
            Attempt { at: created_at + 2, result: AttemptResult::Delivered, detail: "204".into() },
        ],
        next_attempt_at: None,
    }
}

pub(crate) fn device(key: &DeviceKey) -> Device {
    Device {
        key: key.clone(),
        model: Some("BX-9".into()),
        site: Some(SiteId::new("north").unwrap()),
        tags: vec!["boiler".into(), "gas".into()],
        expected_interval_s: Some(10),
        token_hash: Some(TokenHash([7; 32])),
        password_hash: Some("$argon2id$...".into()),
        created_at: T0,
        version: 4,
    }
}

pub(crate) fn presence(key: &DeviceKey, ended: Option<(Millis, EndReason)>) -> Presence {
    Presence {
        key: key.clone(),
        epoch: SessionEpoch { slot: SlotEpoch(2), counter: 9 },
        session: SessionInfo {
            gateway: member("gw-1"),
            address: "10.0.0.7:40001".into(),
            protocol: "mqtt-5+tls".into(),
            will: Some(Will { event: event(key, "will", T0, "fault"), delay_ms: 500 }),
        },
        opened_at: T0,
        ended,
        silence_due: Some(T0 + 10_000),
        will_due: Some(T0 + 60_000),
    }
}

pub(crate) fn attributes(key: &DeviceKey) -> Attributes {
    let scope = |values: &[(&str, Value)]| -> BTreeMap<String, Value> {
        values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    Attributes {
        key: key.clone(),
        client: scope(&[("firmware", Value::Text("1.4".into())), ("ok", Value::Boolean(true))]),
        shared: scope(&[("setpoint", Value::Number(60.5)), ("steps", Value::Integer(-3))]),
        server: scope(&[("plan", Value::Json(r#"{"a":[1,2]}"#.into()))]),
    }
}

pub(crate) fn subscription(organization: &str, id: &str) -> Subscription {
    Subscription {
        id: SubscriptionId::new(id).unwrap(),
        organization: org(organization),
        name: "Night shift".into(),
        matching: Match {
            devices: Some(vec!["boiler-*".into()]),
            sites: None,
            tags: Some(Vec::new()),
            min_severity: Some(Severity::Major),
        },
        deliver: vec![
            Channel::Email { to: "night@example.org".into() },
            Channel::Webhook { url: "https://example.org/hook".into(), secret: "s3cret".into() },
        ],
        created_at: T0,
    }
}

/// Every kind of state row of one device, with every kind of everything in them.
pub(crate) fn state_rows(key: &DeviceKey) -> Vec<StateRow> {
    let alarm = alarm(key, 1, 20, T0);
    let mut rows = vec![
        StateRow::Device(device(key)),
        StateRow::Presence(presence(key, Some((T0 + 7, EndReason::KeepAlive)))),
        StateRow::Attributes(attributes(key)),
        StateRow::Counters(DeviceCounters {
            key: key.clone(),
            last_command: 9,
            recent_events: vec![0, u64::MAX, 5],
        }),
        StateRow::Alarm(alarm.clone()),
        StateRow::Notification(notification(&alarm, 30, T0)),
        StateRow::Outbox(OutboxEntry {
            notification: NotificationId(minted(key.slot(), 1, 30)),
            attempt: 3,
            at: T0 + 9,
        }),
        StateRow::Removal(Removal { device: key.clone(), at: T0 + 10 }),
    ];
    let states = ["queued", "sent", "delivered", "succeeded", "failed", "expired", "cancelled"];
    for (n, state) in (0..).zip(states) {
        rows.push(StateRow::Command(command(key, 1, n, CommandState::parse(state).unwrap())));
    }
    rows
}

/// Rows with as few fields as may be.
pub(crate) fn bare_state_rows(key: &DeviceKey) -> Vec<StateRow> {
    let bare_alarm = Alarm {
        acknowledged: None,
        cleared_at: None,
        told: Vec::new(),
        state: AlarmState::Active,
        kind: AlarmKind::Silence,
        severity: Severity::Warning,
        ..alarm(key, 1, 21, 0)
    };
    vec![
        StateRow::Device(Device {
            model: None,
            site: None,
            tags: Vec::new(),
            expected_interval_s: None,
            token_hash: None,
            password_hash: None,
            ..device(key)
        }),
        StateRow::Presence(Presence {
            session: SessionInfo { will: None, ..presence(key, None).session },
            silence_due: None,
            will_due: None,
            ..presence(key, None)
        }),
        StateRow::Attributes(Attributes::empty(key.clone())),
        StateRow::Counters(DeviceCounters { key: key.clone(), last_command: 0, recent_events: Vec::new() }),
        StateRow::Command(Command {
            reply: None,
            detail: None,
            handed: None,
            sent_at: None,
            delivered_at: None,
            ..command(key, 1, 0, CommandState::Queued)
        }),
        StateRow::Notification(Notification {
            channel: Channel::Email { to: "a@example.org".into() },
            step: NotificationStep::Cleared,
            test: true,
            state: NotificationState::Pending,
            attempts: Vec::new(),
            next_attempt_at: Some(T0 + 5),
            ..notification(&bare_alarm, 31, 0)
        }),
        StateRow::Alarm(bare_alarm),
    ]
}
