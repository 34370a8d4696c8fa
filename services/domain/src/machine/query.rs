//! What can be asked. Answers are of the state in memory: the shell asks only when all of it is committed.

use std::ops::Bound;

use super::SlotMachine;
use super::state::DeviceEntry;
use crate::model::{
    Alarm, AlarmId, AlarmState, Attributes, Command, CommandId, CommandState, Connection, Device, DeviceId,
    DeviceKey, Notification, NotificationId, NotificationWork, OrganizationId, Presence,
};
use crate::ports::store::OutboxEntry;

/// A device with what stands beside its record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceView<'a> {
    /// The record.
    pub record: &'a Device,
    /// The newest session.
    pub presence: Option<&'a Presence>,
    /// The attributes; none when there never was one.
    pub attributes: Option<&'a Attributes>,
}

impl DeviceView<'_> {
    /// The connection as people see it.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection::of(self.presence)
    }
}

impl<'a> DeviceView<'a> {
    fn of(entry: &'a DeviceEntry) -> Self {
        Self {
            record: &entry.record,
            presence: entry.presence.as_ref(),
            attributes: entry.attributes.as_ref(),
        }
    }
}

/// How much there is, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Devices.
    pub devices: usize,
    /// Devices with a session under way.
    pub online: usize,
    /// Commands that are written down, but not known to be sent.
    pub commands_queued: usize,
    /// Commands that are sent, but not known to be delivered.
    pub commands_sent: usize,
    /// Commands that are delivered, but not replied to.
    pub commands_delivered: usize,
    /// Active alarms.
    pub alarms_active: usize,
    /// Notifications of which attempts go on.
    pub notifications_pending: usize,
    /// Attempts that the bus has not confirmed.
    pub outbox: usize,
    /// Ended commands, alarms and notifications that are not known to be in history.
    pub not_archived: usize,
}

impl SlotMachine {
    /// One device.
    #[must_use]
    pub fn device(&self, key: &DeviceKey) -> Option<DeviceView<'_>> {
        self.entry(key).map(DeviceView::of)
    }

    /// The devices of an organization by id, from the first one after `after` on.
    pub fn devices_after<'a>(
        &'a self,
        organization: &OrganizationId,
        after: Option<&DeviceId>,
    ) -> impl Iterator<Item = DeviceView<'a>> + use<'a> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        self.devices
            .get(organization)
            .into_iter()
            .flat_map(move |devices| devices.range((from.clone(), Bound::Unbounded)))
            .map(|(_, entry)| DeviceView::of(entry))
    }

    /// A command that is open, or has ended and is not archived yet.
    #[must_use]
    pub fn command(&self, id: CommandId) -> Option<&Command> {
        self.commands.get(&id).map(|entry| &entry.row)
    }

    /// Such commands of a device, newest first.
    pub fn commands_of<'a>(&'a self, key: &DeviceKey) -> impl Iterator<Item = &'a Command> + use<'a> {
        self.entry(key)
            .into_iter()
            .flat_map(|entry| entry.commands.values().rev())
            .filter_map(|id| self.command(*id))
    }

    /// An alarm that is active, or was cleared and is not archived yet.
    #[must_use]
    pub fn alarm(&self, id: AlarmId) -> Option<&Alarm> {
        self.alarms.get(&id)
    }

    /// Such alarms of an organization, newest raised first, then by id descending.
    pub fn alarms<'a>(&'a self, organization: &OrganizationId) -> impl Iterator<Item = &'a Alarm> + use<'a> {
        let mut alarms: Vec<&Alarm> = self
            .entries_of(organization)
            .flat_map(|entry| &entry.alarms)
            .filter_map(|id| self.alarm(*id))
            .collect();
        alarms.sort_by_key(|alarm| std::cmp::Reverse((alarm.raised_at, alarm.id)));
        alarms.into_iter()
    }

    /// A notification under way, or ended and not archived yet.
    #[must_use]
    pub fn notification(&self, id: NotificationId) -> Option<&Notification> {
        self.notifications.get(&id).map(|entry| &entry.row)
    }

    /// Such notifications of an organization, newest made first, then by id descending.
    pub fn notifications<'a>(
        &'a self,
        organization: &OrganizationId,
    ) -> impl Iterator<Item = &'a Notification> + use<'a> {
        let of_devices = self.entries_of(organization).flat_map(|entry| &entry.notifications);
        let mut notifications: Vec<&Notification> = of_devices
            .chain(&self.tests)
            .filter_map(|id| self.notification(*id))
            // Tests are of all organizations.
            .filter(|row| row.device.organization == *organization)
            .collect();
        notifications.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.id)));
        notifications.into_iter()
    }

    /// What to publish for an outbox entry; none when it is no longer the attempt that is due.
    #[must_use]
    pub fn work(&self, item: &OutboxEntry) -> Option<NotificationWork> {
        let entry = self.notifications.get(&item.notification)?;
        let due = entry.pending() && entry.row.next_attempt_at.is_none() && entry.attempt() == item.attempt;
        due.then(|| NotificationWork { notification: entry.row.clone() })
    }

    /// How much there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            devices: self.device_count,
            online: self.entries().filter(|entry| entry.session().is_some()).count(),
            outbox: self.outbox.len(),
            ..Counts::default()
        };
        for entry in self.commands.values() {
            match entry.row.state {
                CommandState::Queued => counts.commands_queued += 1,
                CommandState::Sent => counts.commands_sent += 1,
                CommandState::Delivered => counts.commands_delivered += 1,
                CommandState::Succeeded
                | CommandState::Failed
                | CommandState::Expired
                | CommandState::Cancelled => counts.not_archived += 1,
            }
        }
        for alarm in self.alarms.values() {
            match alarm.state {
                AlarmState::Active => counts.alarms_active += 1,
                AlarmState::Cleared => counts.not_archived += 1,
            }
        }
        for entry in self.notifications.values() {
            if entry.pending() {
                counts.notifications_pending += 1;
            } else {
                counts.not_archived += 1;
            }
        }
        counts
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &DeviceEntry> {
        self.devices.values().flat_map(|devices| devices.values())
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut DeviceEntry> {
        self.devices.values_mut().flat_map(|devices| devices.values_mut())
    }

    fn entries_of<'a>(
        &'a self,
        organization: &OrganizationId,
    ) -> impl Iterator<Item = &'a DeviceEntry> + use<'a> {
        self.devices.get(organization).into_iter().flat_map(|devices| devices.values())
    }
}
