//! Messages to publish, told apart by a number.

use stoker_domain::ports::bus::{Activity, GatewayOrder, ToGateway};
use stoker_domain::{
    Alarm, AlarmId, AlarmKind, AlarmState, Channel, CommandId, DeviceId, DeviceKey, MemberId, MintedId,
    Notification, NotificationId, NotificationState, NotificationStep, NotificationWork, OrganizationId,
    Point, Reading, SessionEpoch, Severity, Slot, SlotEpoch, SubscriptionId, Value,
};

fn device() -> DeviceKey {
    DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("boiler-7").unwrap())
}

fn minted(counter: u64) -> MintedId {
    MintedId { slot: device().slot(), epoch: SlotEpoch(1), counter }
}

pub(crate) fn work(number: u64) -> NotificationWork {
    let alarm = Alarm {
        id: AlarmId(minted(number)),
        device: device(),
        kind: AlarmKind::Fault,
        code: "E42".into(),
        severity: Severity::Critical,
        text: "flame lost".into(),
        state: AlarmState::Active,
        acknowledged: None,
        raised_at: 1_700_000_000_000,
        cleared_at: None,
        count: 1,
        told: Vec::new(),
    };
    NotificationWork {
        notification: Notification {
            id: NotificationId(minted(number)),
            device: device(),
            alarm: alarm.id,
            step: NotificationStep::Raised,
            test: false,
            content: alarm,
            subscription: SubscriptionId::new("night-shift").unwrap(),
            channel: Channel::Email { to: "night@example.com".into() },
            state: NotificationState::Pending,
            created_at: 1_700_000_000_000,
            tried: 0,
            attempts: Vec::new(),
            next_attempt_at: None,
        },
    }
}

pub(crate) fn number_of(work: &NotificationWork) -> u64 {
    work.notification.id.0.counter
}

pub(crate) fn gateway(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

pub(crate) fn to_gateway(number: u64) -> ToGateway {
    ToGateway {
        slot: Slot(7),
        epoch: SlotEpoch(3),
        device: device(),
        session: SessionEpoch { slot: SlotEpoch(3), counter: 9 },
        order: GatewayOrder::Command {
            id: CommandId(minted(number)),
            number,
            method: "write_setpoint".into(),
            params: r#"{"t":55}"#.into(),
            expires_at: 1_700_000_060_000,
        },
    }
}

pub(crate) fn activity(number: i64) -> Activity {
    Activity::Telemetry(Reading {
        device: device(),
        points: vec![Point { key: "t_supply".into(), ts: number, value: Value::Integer(number) }],
    })
}
