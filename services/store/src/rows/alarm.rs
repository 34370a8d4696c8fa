//! Alarms.

use stoker_domain::{Acknowledgement, Alarm, AlarmKind, AlarmState, Severity, SubscriptionId};

use super::ids::id;
use super::{Invalid, Stored, StoredEnum, optional, proto, required, stored_enum};

stored_enum!(AlarmKind, proto::AlarmKind, Fault, Silence, Rule);
stored_enum!(AlarmState, proto::AlarmState, Active, Cleared);

impl Stored for Acknowledgement {
    type Row = proto::Acknowledgement;
    const KIND: &'static str = "acknowledgement";

    fn to_row(&self) -> Self::Row {
        proto::Acknowledgement { at: self.at, by: self.by.clone(), note: self.note.clone() }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self { at: row.at, by: row.by, note: row.note })
    }
}

impl Stored for Alarm {
    type Row = proto::Alarm;
    const KIND: &'static str = "alarm";

    fn to_row(&self) -> Self::Row {
        proto::Alarm {
            id: Some(self.id.to_row()),
            device: Some(self.device.to_row()),
            kind: self.kind.number(),
            code: self.code.clone(),
            severity: self.severity.number(),
            text: self.text.clone(),
            state: self.state.number(),
            acknowledged: self.acknowledged.as_ref().map(Stored::to_row),
            raised_at: self.raised_at,
            cleared_at: self.cleared_at,
            count: self.count,
            told: self.told.iter().map(|id| id.as_str().to_owned()).collect(),
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            id: required("id", row.id)?,
            device: required("device", row.device)?,
            kind: AlarmKind::from_number("kind", row.kind)?,
            code: row.code,
            severity: Severity::from_number("severity", row.severity)?,
            text: row.text,
            state: AlarmState::from_number("state", row.state)?,
            acknowledged: optional("acknowledged", row.acknowledged)?,
            raised_at: row.raised_at,
            cleared_at: row.cleared_at,
            count: row.count,
            told: row
                .told
                .iter()
                .map(|text| id("told", text, SubscriptionId::new))
                .collect::<Result<_, _>>()?,
        })
    }
}
