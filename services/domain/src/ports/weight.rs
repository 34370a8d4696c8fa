//! How much a write weighs: about the bytes of its row, whichever store writes it.

use crate::model::{Alarm, Channel, Command, Event, Notification, Point, Value};
use crate::ports::store::{Append, Change, StateRow};

/// What a row has beside its texts: ids, numbers, times.
const BASE: usize = 256;

/// What a point has beside its key and value, and what stands around it.
const POINT: usize = 64;

impl Change {
    /// About the bytes of what it writes.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Put(row) => row.weight(),
            Self::Delete(_) => BASE,
        }
    }
}

impl Append {
    /// About the bytes of what it writes.
    #[must_use]
    pub fn weight(&self) -> usize {
        BASE + match self {
            Self::Reading(reading) => reading.points.iter().map(Point::weight).sum(),
            Self::Event(row) => event(row),
            Self::Command(row) => command(row),
            Self::Alarm(row) => alarm(row),
            Self::Notification(row) => notification(row),
        }
    }
}

impl Point {
    /// About its bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        POINT + self.key.len() + self.value.bytes()
    }
}

impl Value {
    /// The bytes of what it says.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
            Self::Boolean(_) | Self::Integer(_) | Self::Number(_) => size_of::<u64>(),
        }
    }
}

impl StateRow {
    /// About its bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        BASE + match self {
            Self::Device(row) => {
                optional(row.model.as_ref()) + row.tags.iter().map(String::len).sum::<usize>() + BASE
            }
            Self::Presence(row) => row.session.will.as_ref().map_or(0, |will| event(&will.event)),
            Self::Attributes(row) => {
                let scopes = [&row.client, &row.shared, &row.server];
                scopes.into_iter().flatten().map(|(key, of)| POINT + key.len() + of.bytes()).sum()
            }
            Self::Counters(row) => row.recent_events.len() * size_of::<u64>(),
            Self::Command(row) => command(row),
            Self::Alarm(row) => alarm(row),
            Self::Notification(row) => notification(row),
            Self::Outbox(_) | Self::Removal(_) => 0,
        }
    }
}

fn optional(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

fn event(event: &Event) -> usize {
    BASE + event.code.len() + event.text.len() + optional(event.data.as_ref())
}

fn command(command: &Command) -> usize {
    let texts = [command.reply.as_ref(), command.detail.as_ref()];
    command.method.len() + command.params.len() + texts.into_iter().map(optional).sum::<usize>()
}

fn alarm(alarm: &Alarm) -> usize {
    let note = alarm.acknowledged.as_ref().map_or(0, |told| told.by.len() + optional(told.note.as_ref()));
    let told: usize = alarm.told.iter().map(|id| id.as_str().len()).sum();
    alarm.code.len() + alarm.text.len() + note + told
}

fn notification(notification: &Notification) -> usize {
    let channel = match &notification.channel {
        Channel::Email { to } => to.len(),
        Channel::Webhook { url, secret } => url.len() + secret.len(),
    };
    let attempts: usize = notification.attempts.iter().map(|attempt| BASE + attempt.detail.len()).sum();
    BASE + alarm(&notification.content) + channel + attempts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Attributes, CommandId, CommandState, DeviceId, DeviceKey, EventId, EventKind, MintedId,
        OrganizationId, Reading, Severity, Slot, SlotEpoch,
    };
    use crate::ports::store::StateKey;

    const LONG: usize = 10_000;

    fn key() -> DeviceKey {
        DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("boiler-7").unwrap())
    }

    fn command(params: usize, reply: Option<usize>) -> Change {
        let text = |length| "x".repeat(length);
        Change::put(StateRow::Command(Command {
            id: CommandId(MintedId { slot: Slot(1), epoch: SlotEpoch(1), counter: 1 }),
            device: key(),
            number: 1,
            method: "reset".to_owned(),
            params: text(params),
            state: CommandState::Queued,
            outcome: None,
            reply: reply.map(text),
            detail: None,
            online: false,
            handed: None,
            created_at: 0,
            sent_at: None,
            delivered_at: None,
            ended_at: None,
            expires_at: 0,
        }))
    }

    #[test]
    fn what_a_row_carries_is_weighed() {
        let plain = command(0, None).weight();
        assert_eq!(command(LONG, None).weight(), plain + LONG);
        assert_eq!(command(LONG, Some(LONG)).weight(), plain + 2 * LONG);
        let mut attributes = Attributes::empty(key());
        for scope in [&mut attributes.client, &mut attributes.shared, &mut attributes.server] {
            scope.insert("k".to_owned(), Value::Text("x".repeat(LONG)));
        }
        assert!(Change::put(StateRow::Attributes(attributes)).weight() > 3 * LONG);
        assert!(Change::Delete(StateKey::Device(key())).weight() > 0);
    }

    #[test]
    fn what_is_appended_is_weighed() {
        let event = |data: Option<usize>| {
            Append::Event(Event {
                id: EventId::new("e1").unwrap(),
                device: key(),
                ts: 0,
                kind: EventKind(EventKind::FAULT.to_owned()),
                code: "hot".to_owned(),
                severity: Severity::Major,
                text: String::new(),
                cleared: false,
                data: data.map(|length| "x".repeat(length)),
            })
        };
        assert_eq!(event(Some(LONG)).weight(), event(None).weight() + LONG);
        let point = |value| Point { key: "t".into(), ts: 0, value };
        let text = || point(Value::Text("x".repeat(LONG)));
        let reading = |points| Append::Reading(Reading { device: key(), points });
        let one = reading(vec![text()]).weight();
        assert!(one > LONG);
        assert_eq!(reading(vec![text(), text()]).weight(), one + text().weight());
        assert!(point(Value::Boolean(true)).weight() > 0);
    }
}
