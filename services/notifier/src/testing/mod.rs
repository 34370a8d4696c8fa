//! What tests deliver, and to whom.

pub(crate) mod core;
pub(crate) mod http;
pub(crate) mod smtp;

use stoker_domain::{
    Alarm, AlarmId, AlarmKind, AlarmState, Channel, DeviceId, DeviceKey, MintedId, Notification,
    NotificationId, NotificationState, NotificationStep, NotificationWork, OrganizationId, Severity, Slot,
    SlotEpoch, SubscriptionId,
};

pub(crate) const RAISED_AT: i64 = 1_700_000_000_000;
pub(crate) const CLEARED_AT: i64 = RAISED_AT + 3_900_123;

fn minted(counter: u64) -> MintedId {
    MintedId { slot: Slot(10), epoch: SlotEpoch(1), counter }
}

/// `boiler-7` has lost its flame.
pub(crate) fn alarm() -> Alarm {
    Alarm {
        id: AlarmId(minted(3)),
        device: DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("boiler-7").unwrap()),
        kind: AlarmKind::Fault,
        code: "E42".into(),
        severity: Severity::Critical,
        text: "flame lost".into(),
        state: AlarmState::Active,
        acknowledged: None,
        raised_at: RAISED_AT,
        cleared_at: None,
        count: 1,
        told: Vec::new(),
    }
}

/// The raising of [`alarm`], made at that moment.
pub(crate) fn raised(number: u64, channel: Channel) -> Notification {
    Notification {
        id: NotificationId(minted(number)),
        device: alarm().device,
        alarm: alarm().id,
        step: NotificationStep::Raised,
        test: false,
        content: alarm(),
        subscription: SubscriptionId::new("night-shift").unwrap(),
        channel,
        state: NotificationState::Pending,
        created_at: RAISED_AT,
        tried: 0,
        attempts: Vec::new(),
        next_attempt_at: None,
    }
}

/// The clearing of [`alarm`].
pub(crate) fn cleared(number: u64, channel: Channel) -> Notification {
    let mut notification = raised(number, channel);
    notification.step = NotificationStep::Cleared;
    notification.content.state = AlarmState::Cleared;
    notification.content.cleared_at = Some(CLEARED_AT);
    notification.content.count = 4;
    notification
}

/// A test message.
pub(crate) fn test(number: u64, channel: Channel) -> Notification {
    let mut notification = raised(number, channel);
    notification.test = true;
    notification.content.device =
        DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("night-shift").unwrap());
    notification.content.code = "test".into();
    notification.content.severity = Severity::Warning;
    notification.content.text = "Night shift: this is a test, nothing has failed".into();
    notification
}

pub(crate) fn mail() -> Channel {
    Channel::Email { to: "night@example.org".into() }
}

pub(crate) fn webhook(url: &str) -> Channel {
    Channel::Webhook { url: url.into(), secret: "s3cret".into() }
}

pub(crate) fn work(notification: Notification) -> NotificationWork {
    NotificationWork { notification }
}

/// An address that refuses connections: the port is taken, but nobody listens.
pub(crate) fn nobody_listens() -> (tokio::net::TcpSocket, std::net::SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}
