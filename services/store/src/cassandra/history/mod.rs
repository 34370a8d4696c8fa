//! History: events, and commands, alarms and notifications that have ended.
//!
//! Things are kept by id and, besides, as entries of the lists in which they are looked for. A list is cut into buckets
//! of time, so that partitions stay bounded; an index says which buckets it has.

mod events;
mod forget;
mod items;
mod lists;

use stoker_domain::{Alarm, AlarmId, Command, DeviceKey, Event, MintedId, Notification, OrganizationId};

use lists::Found;

use crate::keys::{KeyBuilder, read_newest_first};
use crate::rows::{Stored, decode};

/// Requests of one append or query under way at once.
const AT_ONCE: usize = 16;

/// Greater than every place in a list: those begin with a time or an id, and go on with less.
const AFTER_ALL_PLACES: [u8; 40] = [0xff; 40];

const HOUR: i64 = 3_600_000;

/// The lists. Their names and the widths of their buckets are stored: they are never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum List {
    EventsByOrganization,
    EventsByKind,
    EventsByDevice,
    CommandsByDevice,
    AlarmsByOrganization,
    AlarmsByDevice,
    NotificationsByOrganization,
    NotificationsByAlarm,
    NotificationsByDevice,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            Self::EventsByOrganization => "events_by_organization",
            Self::EventsByKind => "events_by_kind",
            Self::EventsByDevice => "events_by_device",
            Self::CommandsByDevice => "commands_by_device",
            Self::AlarmsByOrganization => "alarms_by_organization",
            Self::AlarmsByDevice => "alarms_by_device",
            Self::NotificationsByOrganization => "notifications_by_organization",
            Self::NotificationsByAlarm => "notifications_by_alarm",
            Self::NotificationsByDevice => "notifications_by_device",
        }
    }

    /// The bucket of a time.
    fn bucket(self, ts: i64) -> i64 {
        let hours = match self {
            // An organization may have a hundred thousand devices, which say something all at once.
            Self::EventsByOrganization | Self::EventsByKind => 1,
            Self::AlarmsByOrganization | Self::NotificationsByOrganization => 24,
            Self::EventsByDevice | Self::AlarmsByDevice | Self::NotificationsByDevice => 30 * 24,
            // In order of ids, which follow no clock; entries are small. And what one alarm caused is little.
            Self::CommandsByDevice | Self::NotificationsByAlarm => return 0,
        };
        ts.div_euclid(hours * HOUR)
    }

    /// Whether it is one device's own. Its entries lead to all others of the same thing.
    fn is_a_devices_own(self) -> bool {
        matches!(
            self,
            Self::EventsByDevice
                | Self::CommandsByDevice
                | Self::AlarmsByDevice
                | Self::NotificationsByDevice
        )
    }

    /// Whether an entry holds the whole thing; otherwise only where it is.
    fn holds_value(self) -> bool {
        !matches!(self, Self::CommandsByDevice | Self::NotificationsByDevice)
    }
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    list: List,
    owner: String,
    bucket: i64,
    place: Vec<u8>,
    facts: String,
}

impl Entry {
    fn new(list: List, owner: String, ts: i64, place: KeyBuilder, facts: String) -> Self {
        Self { list, owner, bucket: list.bucket(ts), place: place.build(), facts }
    }

    /// Where it is, whatever it says.
    fn same_place(&self, other: &Self) -> bool {
        (self.list, &self.owner, self.bucket, &self.place)
            == (other.list, &other.owner, other.bucket, &other.place)
    }
}

/// Owners of lists: ids have no slash, so nobody's list is another's.
fn of_organization(organization: &OrganizationId) -> String {
    organization.to_string()
}

fn of_kind(organization: &OrganizationId, kind: &str) -> String {
    format!("{organization}/{kind}")
}

fn of_device(device: &DeviceKey) -> String {
    device.to_string()
}

fn of_alarm(organization: &OrganizationId, alarm: AlarmId) -> String {
    format!("{organization}/{alarm}")
}

/// Something in lists.
pub(super) trait Listed: Stored + Send + Sync {
    /// Its entries.
    fn entries(&self) -> Vec<Entry>;
}

/// Something that is kept by an id that its slot made.
pub(super) trait Item: Listed {
    /// The kind, as it is stored; never changed.
    const NAME: &'static str;
    /// Its id.
    fn id(&self) -> MintedId;
    /// Its entries that are not in a device's own lists, as its entry there tells of them: of something that is half
    /// written or half forgotten.
    fn entries_told_by(device: &DeviceKey, own: &Found) -> Vec<Entry>;
}

fn id_bytes(id: MintedId) -> Vec<u8> {
    KeyBuilder::new().minted(id).build()
}

impl Listed for Event {
    fn entries(&self) -> Vec<Entry> {
        let (organization, device, id) =
            (&self.device.organization, self.device.device.as_str(), self.id.as_str());
        let among_all = || KeyBuilder::new().newest_first(self.ts).id(device).id(id);
        let of_its_device = KeyBuilder::new().newest_first(self.ts).id(id);
        let kind = &self.kind.0;
        vec![
            Entry::new(
                List::EventsByOrganization,
                of_organization(organization),
                self.ts,
                among_all(),
                String::new(),
            ),
            Entry::new(List::EventsByKind, of_kind(organization, kind), self.ts, among_all(), String::new()),
            Entry::new(List::EventsByDevice, of_device(&self.device), self.ts, of_its_device, kind.clone()),
        ]
    }
}

impl Listed for Command {
    fn entries(&self) -> Vec<Entry> {
        let place = KeyBuilder::new().minted_greatest_first(self.id.0);
        let facts = self.state.as_str().to_owned();
        vec![Entry::new(List::CommandsByDevice, of_device(&self.device), 0, place, facts)]
    }
}

impl Item for Command {
    const NAME: &'static str = "command";

    fn id(&self) -> MintedId {
        self.id.0
    }

    fn entries_told_by(_: &DeviceKey, _: &Found) -> Vec<Entry> {
        Vec::new()
    }
}

/// What lists of alarms say for filters.
fn alarm_facts(severity: &str, kind: &str) -> String {
    format!("{severity} {kind}")
}

impl Listed for Alarm {
    fn entries(&self) -> Vec<Entry> {
        let place = || KeyBuilder::new().newest_first(self.raised_at).minted_greatest_first(self.id.0);
        let facts = alarm_facts(self.severity.as_str(), self.kind.as_str());
        let organization = of_organization(&self.device.organization);
        vec![
            Entry::new(List::AlarmsByOrganization, organization, self.raised_at, place(), facts.clone()),
            Entry::new(List::AlarmsByDevice, of_device(&self.device), self.raised_at, place(), facts),
        ]
    }
}

impl Item for Alarm {
    const NAME: &'static str = "alarm";

    fn id(&self) -> MintedId {
        self.id.0
    }

    fn entries_told_by(_: &DeviceKey, own: &Found) -> Vec<Entry> {
        let alarm = own.value.as_deref().and_then(|value| decode::<Self>(value).ok());
        alarm.map(|alarm| alarm.entries()).unwrap_or_default()
    }
}

impl Listed for Notification {
    fn entries(&self) -> Vec<Entry> {
        let at = self.created_at;
        let place = || KeyBuilder::new().newest_first(at).minted_greatest_first(self.id.0);
        let (organization, facts) = (&self.device.organization, self.state.as_str().to_owned());
        vec![
            Entry::new(
                List::NotificationsByOrganization,
                of_organization(organization),
                at,
                place(),
                facts.clone(),
            ),
            Entry::new(List::NotificationsByAlarm, of_alarm(organization, self.alarm), at, place(), facts),
            Entry::new(
                List::NotificationsByDevice,
                of_device(&self.device),
                at,
                place(),
                self.alarm.to_string(),
            ),
        ]
    }
}

impl Item for Notification {
    const NAME: &'static str = "notification";

    fn id(&self) -> MintedId {
        self.id.0
    }

    fn entries_told_by(device: &DeviceKey, own: &Found) -> Vec<Entry> {
        let Some((at, _)) = own.place.split_first_chunk() else { return Vec::new() };
        let (organization, at) = (&device.organization, read_newest_first(*at));
        let entry = |list, owner| {
            let place = KeyBuilder::new().bytes(&own.place);
            Entry::new(list, owner, at, place, String::new())
        };
        let of_all = entry(List::NotificationsByOrganization, of_organization(organization));
        // What was written before this was noted has none.
        let alarm = own.facts.parse::<AlarmId>().ok();
        let of_its = alarm.map(|alarm| entry(List::NotificationsByAlarm, of_alarm(organization, alarm)));
        [of_all].into_iter().chain(of_its).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These numbers are where entries are in clusters.
    #[test]
    fn a_bucket_never_changes() {
        const T0: i64 = 1_750_000_000_000;
        let buckets = [
            List::EventsByOrganization,
            List::EventsByKind,
            List::EventsByDevice,
            List::CommandsByDevice,
            List::AlarmsByOrganization,
            List::AlarmsByDevice,
            List::NotificationsByOrganization,
            List::NotificationsByAlarm,
            List::NotificationsByDevice,
        ]
        .map(|list| list.bucket(T0));
        assert_eq!(buckets, [486_111, 486_111, 675, 0, 20_254, 675, 20_254, 0, 675]);
        assert_eq!(List::EventsByOrganization.bucket(-1), -1);
    }
}
