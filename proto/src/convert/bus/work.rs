//! Attempts for a notifier.

use stoker_domain as domain;

use super::parts::{alarm_from_bus, alarm_to_bus};
use crate::bus::v1 as bus;
use crate::convert::{
    WireError, attempt_result_from_wire, attempt_result_to_wire, channel_from_wire, device_key, device_ref,
    id, notification_state_from_wire, notification_state_to_wire, step_from_wire, step_to_wire,
};
use crate::core::v1 as wire;

/// To the bus, with the secret of its channel.
#[must_use]
pub fn work_to_bus(work: domain::NotificationWork) -> bus::Work {
    let it = work.notification;
    let attempts = it.attempts.into_iter().map(|attempt| wire::Attempt {
        at: attempt.at,
        result: attempt_result_to_wire(attempt.result),
        detail: attempt.detail,
    });
    bus::Work {
        notification: Some(bus::Notification {
            id: it.id.to_string(),
            device: Some(device_ref(&it.device)),
            alarm: it.alarm.to_string(),
            step: step_to_wire(it.step),
            test: it.test,
            content: Some(alarm_to_bus(it.content)),
            subscription: it.subscription.as_str().to_owned(),
            channel: Some(channel_to_bus(it.channel)),
            state: notification_state_to_wire(it.state),
            created_at: it.created_at,
            tried: it.tried,
            attempts: attempts.collect(),
            next_attempt_at: it.next_attempt_at,
        }),
    }
}

/// From the bus.
///
/// # Errors
/// When a part of it is missing or none.
pub fn work_from_bus(work: bus::Work) -> Result<domain::NotificationWork, WireError> {
    let it = work.notification.ok_or(WireError::Missing("notification"))?;
    let attempts = it.attempts.into_iter().map(|attempt| {
        Ok(domain::Attempt {
            at: attempt.at,
            result: attempt_result_from_wire(attempt.result)?,
            detail: attempt.detail,
        })
    });
    Ok(domain::NotificationWork {
        notification: domain::Notification {
            id: id("notification id", &it.id)?,
            device: device_key(it.device.as_ref())?,
            alarm: id("alarm id", &it.alarm)?,
            step: step_from_wire(it.step)?,
            test: it.test,
            content: alarm_from_bus(it.content)?,
            subscription: id("subscription", &it.subscription)?,
            channel: channel_from_wire(it.channel.ok_or(WireError::Missing("channel"))?)?,
            state: notification_state_from_wire(it.state)?,
            created_at: it.created_at,
            tried: it.tried,
            attempts: attempts.collect::<Result<_, WireError>>()?,
            next_attempt_at: it.next_attempt_at,
        },
    })
}

fn channel_to_bus(channel: domain::Channel) -> wire::Channel {
    use wire::channel::{Email, Kind, Webhook};
    let kind = match channel {
        domain::Channel::Email { to } => Kind::Email(Email { to }),
        domain::Channel::Webhook { url, secret } => Kind::Webhook(Webhook { url, secret }),
    };
    wire::Channel { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minted(counter: u64) -> domain::MintedId {
        domain::MintedId { slot: domain::Slot(3), epoch: domain::SlotEpoch(2), counter }
    }

    fn device() -> domain::DeviceKey {
        domain::DeviceKey::new("acme.eu".parse().unwrap(), "boiler-7".parse().unwrap())
    }

    fn work(channel: domain::Channel) -> domain::NotificationWork {
        let content = domain::Alarm {
            id: domain::AlarmId(minted(1)),
            device: device(),
            kind: domain::AlarmKind::Silence,
            code: "silence".into(),
            severity: domain::Severity::Major,
            text: "says nothing".into(),
            state: domain::AlarmState::Cleared,
            acknowledged: Some(domain::Acknowledgement {
                at: 5,
                by: "ann".into(),
                note: Some("on it".into()),
            }),
            raised_at: 4,
            cleared_at: Some(6),
            count: 2,
            told: vec!["night-shift".parse().unwrap()],
        };
        domain::NotificationWork {
            notification: domain::Notification {
                id: domain::NotificationId(minted(9)),
                device: device(),
                alarm: content.id,
                step: domain::NotificationStep::Cleared,
                test: true,
                content,
                subscription: "night-shift".parse().unwrap(),
                channel,
                state: domain::NotificationState::Pending,
                created_at: 7,
                tried: 1,
                attempts: vec![domain::Attempt {
                    at: 8,
                    result: domain::AttemptResult::Retry,
                    detail: "no answer".into(),
                }],
                next_attempt_at: Some(11),
            },
        }
    }

    #[test]
    fn work_comes_back_whole_with_its_secret() {
        for channel in [
            domain::Channel::Email { to: "night@example.com".into() },
            domain::Channel::Webhook { url: "https://example.com/hook".into(), secret: "s3cret".into() },
        ] {
            let work = work(channel);
            assert_eq!(work_from_bus(work_to_bus(work.clone())), Ok(work));
        }
    }

    #[test]
    fn work_that_lacks_a_part_is_refused_by_name() {
        let whole = || work_to_bus(work(domain::Channel::Email { to: "a@example.com".into() }));
        let broken = |spoil: fn(&mut bus::Notification)| {
            let mut work = whole();
            spoil(work.notification.as_mut().unwrap());
            work_from_bus(work).unwrap_err().to_string()
        };
        assert_eq!(work_from_bus(bus::Work { notification: None }), Err(WireError::Missing("notification")));
        assert_eq!(broken(|it| it.device = None), "device is missing");
        assert_eq!(broken(|it| it.content = None), "alarm is missing");
        assert_eq!(broken(|it| it.channel = None), "channel is missing");
        assert_eq!(broken(|it| it.step = 0), "notification step has a value that is not known here");
        assert!(broken(|it| it.id = "x".into()).starts_with("notification id: "));
    }
}
