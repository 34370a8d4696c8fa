//! The records of an export, and their stored forms.

use std::sync::Arc;

use stoker_domain::ports::store::{RegistryRow, StateRow};
use stoker_domain::{Alarm, Command, Event, Notification, Point, Reading, Slot, SlotEpoch};

use crate::rows::proto::export_record::Kind;
use crate::rows::{RowError, StateKind, Stored, decode_state, from_message, proto};

/// No slot is taken over so often: a greater epoch is damage, and leaves no room to count on.
const EPOCH_MAX: u64 = 1 << 53;

/// One record of an export, without its header and its end.
#[derive(Debug, Clone, PartialEq)]
pub enum ExportRecord {
    /// A row of the registry.
    Registry(RegistryRow),
    /// A slot's epoch; its rows follow.
    Slot(Slot, SlotEpoch),
    /// A row of the table of the slot before.
    State(Box<StateRow>),
    /// Points of one device.
    Points(Reading),
    /// An event.
    Event(Event),
    /// A command that has ended.
    Command(Command),
    /// An alarm that was cleared.
    Alarm(Alarm),
    /// A notification that has ended.
    Notification(Notification),
}

/// How much an export holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportCounts {
    /// Rows of the registry.
    pub registry: u64,
    /// Rows of slots.
    pub state: u64,
    /// Points of telemetry.
    pub points: u64,
    /// Events.
    pub events: u64,
    /// Commands that have ended.
    pub commands: u64,
    /// Alarms that were cleared.
    pub alarms: u64,
    /// Notifications that have ended.
    pub notifications: u64,
}

impl ExportCounts {
    /// Counts a record.
    pub(crate) fn add(&mut self, record: &Kind) {
        let (place, many) = match record {
            Kind::Registry(_) => (&mut self.registry, 1),
            Kind::State(_) => (&mut self.state, 1),
            Kind::Points(points) => (&mut self.points, points.points.len() as u64),
            Kind::Event(_) => (&mut self.events, 1),
            Kind::Command(_) => (&mut self.commands, 1),
            Kind::Alarm(_) => (&mut self.alarms, 1),
            Kind::Notification(_) => (&mut self.notifications, 1),
            Kind::Header(_) | Kind::Slot(_) | Kind::End(_) => return,
        };
        *place += many;
    }

    /// All of it together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { registry, state, points, events, commands, alarms, notifications } = self;
        registry + state + points + events + commands + alarms + notifications
    }

    pub(crate) fn to_row(self) -> proto::ExportCounts {
        let Self { registry, state, points, events, commands, alarms, notifications } = self;
        proto::ExportCounts { registry, state, points, events, commands, alarms, notifications }
    }

    pub(crate) fn from_row(row: &proto::ExportCounts) -> Self {
        let proto::ExportCounts { registry, state, points, events, commands, alarms, notifications } = *row;
        Self { registry, state, points, events, commands, alarms, notifications }
    }
}

impl std::fmt::Display for ExportCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { registry, state, points, events, commands, alarms, notifications } = self;
        write!(
            f,
            "{state} rows of slots, {registry} of the registry, {points} points, {events} events, {commands} ended \
             commands, {alarms} cleared alarms, {notifications} ended notifications"
        )
    }
}

/// Points of one device, for writing.
pub(crate) fn points_kind(reading: &Reading) -> Kind {
    let points = reading.points.iter().map(|point| proto::ExportPoint {
        key: point.key.to_string(),
        ts: point.ts,
        value: Some(point.value.to_row()),
    });
    Kind::Points(proto::ExportPoints { device: Some(reading.device.to_row()), points: points.collect() })
}

fn odd(row: &'static str, why: impl Into<String>) -> RowError {
    RowError { row, why: why.into() }
}

fn slot_of(row: &proto::ExportSlot) -> Result<ExportRecord, RowError> {
    const ROW: &str = "slot";
    let slot = u8::try_from(row.slot).map_err(|_| odd(ROW, format!("{} is none of 256", row.slot)))?;
    if row.epoch > EPOCH_MAX {
        return Err(odd(ROW, format!("the epoch {} is too great", row.epoch)));
    }
    Ok(ExportRecord::Slot(Slot(slot), SlotEpoch(row.epoch)))
}

fn state_of(row: &proto::ExportState) -> Result<ExportRecord, RowError> {
    let kind = u8::try_from(row.kind).ok().and_then(StateKind::from_number);
    let kind = kind.ok_or_else(|| odd("state", format!("of the unknown kind {}", row.kind)))?;
    decode_state(kind, &row.row).map(|row| ExportRecord::State(Box::new(row)))
}

fn points_of(row: proto::ExportPoints) -> Result<ExportRecord, RowError> {
    const ROW: &str = "points";
    let device = from_message(row.device.ok_or_else(|| odd(ROW, "of no device"))?)?;
    let points = row.points.into_iter().map(|point| {
        let value = from_message(point.value.ok_or_else(|| odd(ROW, "a point without a value"))?)?;
        Ok(Point { key: Arc::from(point.key), ts: point.ts, value })
    });
    Ok(ExportRecord::Points(Reading { device, points: points.collect::<Result<_, RowError>>()? }))
}

/// A record after reading; nothing for the header and the end.
pub(crate) fn from_kind(kind: Kind) -> Result<Option<ExportRecord>, RowError> {
    Ok(Some(match kind {
        Kind::Header(_) | Kind::End(_) => return Ok(None),
        Kind::Registry(row) => ExportRecord::Registry(from_message(row)?),
        Kind::Slot(row) => slot_of(&row)?,
        Kind::State(row) => state_of(&row)?,
        Kind::Points(row) => points_of(row)?,
        Kind::Event(row) => ExportRecord::Event(from_message(row)?),
        Kind::Command(row) => ExportRecord::Command(from_message(row)?),
        Kind::Alarm(row) => ExportRecord::Alarm(from_message(row)?),
        Kind::Notification(row) => ExportRecord::Notification(from_message(row)?),
    }))
}
