//! A model of the store: what is committed, and history.

use std::collections::BTreeMap;

use stoker_domain::ports::store::{Append, Change, StateKey, StateRow};
use stoker_domain::{
    Alarm, AlarmId, Command, CommandId, DeviceKey, Event, EventId, Notification, NotificationId,
};

pub(crate) type Rows = BTreeMap<StateKey, StateRow>;

#[derive(Default)]
pub(crate) struct ModelStore {
    pub(crate) rows: Rows,
    pub(crate) events: BTreeMap<(DeviceKey, EventId), Event>,
    pub(crate) commands: BTreeMap<CommandId, Command>,
    pub(crate) alarms: BTreeMap<AlarmId, Alarm>,
    pub(crate) notifications: BTreeMap<NotificationId, Notification>,
}

impl ModelStore {
    pub(crate) fn append(&mut self, item: &Append) {
        match item {
            Append::Reading(_) => panic!("the machine appends no readings"),
            Append::Event(event) => {
                self.events.entry((event.device.clone(), event.id.clone())).or_insert_with(|| event.clone());
            }
            Append::Command(row) => {
                self.commands.insert(row.id, row.clone());
            }
            Append::Alarm(row) => {
                self.alarms.insert(row.id, row.clone());
            }
            Append::Notification(row) => {
                self.notifications.insert(row.id, row.clone());
            }
        }
    }

    pub(crate) fn forget_device(&mut self, key: &DeviceKey) {
        self.events.retain(|(device, _), _| device != key);
        self.commands.retain(|_, row| row.device != *key);
        self.alarms.retain(|_, row| row.device != *key);
        self.notifications.retain(|_, row| row.device != *key);
    }
}

pub(crate) fn change_rows(rows: &mut Rows, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(row) => {
                rows.insert(row.key(), (**row).clone());
            }
            Change::Delete(key) => {
                rows.remove(key);
            }
        }
    }
}

pub(crate) fn commands(rows: &Rows) -> impl Iterator<Item = &Command> {
    rows.values().filter_map(|row| match row {
        StateRow::Command(row) => Some(row),
        _ => None,
    })
}

pub(crate) fn alarms(rows: &Rows) -> impl Iterator<Item = &Alarm> {
    rows.values().filter_map(|row| match row {
        StateRow::Alarm(row) => Some(row),
        _ => None,
    })
}

pub(crate) fn notifications(rows: &Rows) -> impl Iterator<Item = &Notification> {
    rows.values().filter_map(|row| match row {
        StateRow::Notification(row) => Some(row),
        _ => None,
    })
}

pub(crate) fn alarm(rows: &Rows, id: AlarmId) -> Option<&Alarm> {
    match rows.get(&StateKey::Alarm(id)) {
        Some(StateRow::Alarm(row)) => Some(row),
        _ => None,
    }
}
