//! Notifications and the outbox.

use stoker_domain::ports::store::OutboxEntry;
use stoker_domain::{
    Attempt, AttemptResult, Channel, Notification, NotificationState, NotificationStep, SubscriptionId,
};

use super::ids::id;
use super::{Invalid, Stored, StoredEnum, proto, required, stored_enum};

stored_enum!(NotificationStep, proto::NotificationStep, Raised, Cleared);
stored_enum!(NotificationState, proto::NotificationState, Pending, Sent, Delivered, Failed);
stored_enum!(AttemptResult, proto::AttemptResult, Sent, Delivered, Retry, Refused);

impl Stored for Channel {
    type Row = proto::Channel;
    const KIND: &'static str = "channel";

    fn to_row(&self) -> Self::Row {
        use proto::channel::Kind;
        proto::Channel {
            kind: Some(match self {
                Self::Email { to } => Kind::Email(proto::EmailChannel { to: to.clone() }),
                Self::Webhook { url, secret } => {
                    Kind::Webhook(proto::WebhookChannel { url: url.clone(), secret: secret.clone() })
                }
            }),
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        use proto::channel::Kind;
        match row.kind {
            Some(Kind::Email(row)) => Ok(Self::Email { to: row.to }),
            Some(Kind::Webhook(row)) => Ok(Self::Webhook { url: row.url, secret: row.secret }),
            None => Err(Invalid::new("kind", "no known channel is set")),
        }
    }
}

impl Stored for Attempt {
    type Row = proto::Attempt;
    const KIND: &'static str = "attempt";

    fn to_row(&self) -> Self::Row {
        proto::Attempt { at: self.at, result: self.result.number(), detail: self.detail.clone() }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self { at: row.at, result: AttemptResult::from_number("result", row.result)?, detail: row.detail })
    }
}

impl Stored for Notification {
    type Row = proto::Notification;
    const KIND: &'static str = "notification";

    fn to_row(&self) -> Self::Row {
        proto::Notification {
            id: Some(self.id.to_row()),
            device: Some(self.device.to_row()),
            alarm: Some(self.alarm.to_row()),
            step: self.step.number(),
            content: Some(self.content.to_row()),
            subscription: self.subscription.as_str().to_owned(),
            channel: Some(self.channel.to_row()),
            state: self.state.number(),
            created_at: self.created_at,
            tried: self.tried,
            attempts: self.attempts.iter().map(Stored::to_row).collect(),
            next_attempt_at: self.next_attempt_at,
            test: self.test,
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            id: required("id", row.id)?,
            device: required("device", row.device)?,
            alarm: required("alarm", row.alarm)?,
            step: NotificationStep::from_number("step", row.step)?,
            content: required("content", row.content)?,
            subscription: id("subscription", &row.subscription, SubscriptionId::new)?,
            channel: required("channel", row.channel)?,
            state: NotificationState::from_number("state", row.state)?,
            created_at: row.created_at,
            tried: row.tried,
            attempts: row
                .attempts
                .into_iter()
                .map(|attempt| Attempt::from_row(attempt).map_err(|e| e.within("attempts")))
                .collect::<Result<_, _>>()?,
            next_attempt_at: row.next_attempt_at,
            test: row.test,
        })
    }
}

impl Stored for OutboxEntry {
    type Row = proto::OutboxEntry;
    const KIND: &'static str = "outbox";

    fn to_row(&self) -> Self::Row {
        proto::OutboxEntry {
            notification: Some(self.notification.to_row()),
            attempt: self.attempt,
            at: self.at,
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            notification: required("notification", row.notification)?,
            attempt: row.attempt,
            at: row.at,
        })
    }
}
