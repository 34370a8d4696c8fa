//! Events.

use stoker_domain::{Event, EventId, EventKind, Severity};

use super::ids::id;
use super::{Invalid, Stored, StoredEnum, proto, required, stored_enum};

stored_enum!(Severity, proto::Severity, Warning, Minor, Major, Critical);

impl Stored for Event {
    type Row = proto::Event;
    const KIND: &'static str = "event";

    fn to_row(&self) -> Self::Row {
        proto::Event {
            id: self.id.as_str().to_owned(),
            device: Some(self.device.to_row()),
            ts: self.ts,
            kind: self.kind.0.clone(),
            code: self.code.clone(),
            severity: self.severity.number(),
            text: self.text.clone(),
            cleared: self.cleared,
            data: self.data.clone(),
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            id: id("id", &row.id, EventId::new)?,
            device: required("device", row.device)?,
            ts: row.ts,
            kind: EventKind(row.kind),
            code: row.code,
            severity: Severity::from_number("severity", row.severity)?,
            text: row.text,
            cleared: row.cleared,
            data: row.data,
        })
    }
}
