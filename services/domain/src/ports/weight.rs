//! How much a change weighs: about the bytes of its row, whichever store writes it.

use crate::model::{Alarm, Channel, Command, Event, Notification, Value};
use crate::ports::store::{Change, StateRow};

/// What a row has beside its texts: ids, numbers, times.
const BASE: usize = 256;

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
                scopes.into_iter().flatten().map(|(key, of)| key.len() + value(of)).sum()
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

fn value(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Json(text) => text.len() + size_of::<Value>(),
        Value::Boolean(_) | Value::Integer(_) | Value::Number(_) => size_of::<Value>(),
    }
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
        Attributes, CommandId, CommandState, DeviceId, DeviceKey, MintedId, OrganizationId, Slot, SlotEpoch,
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
}
