//! Members.

use stoker_domain::ownership::SlotRange;
use stoker_domain::{MemberId, MemberRole, MemberRow};

use super::ids::id;
use super::{Invalid, Stored, StoredEnum, optional, proto, stored_enum};

stored_enum!(MemberRole, proto::MemberRole, Core, Gateway, Notifier, Portal);

impl Stored for SlotRange {
    type Row = proto::SlotRange;
    const KIND: &'static str = "slot range";

    fn to_row(&self) -> Self::Row {
        proto::SlotRange { first: u32::from(self.first().0), last: u32::from(self.last().0) }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        let end = |field: &str, number: u32| {
            u8::try_from(number).map_err(|_| Invalid::new(field, format_args!("{number} is none of 256")))
        };
        let (first, last) = (end("first", row.first)?, end("last", row.last)?);
        Self::new(first, last).map_err(|error| Invalid::new("last", error))
    }
}

impl Stored for MemberRow {
    type Row = proto::Member;
    const KIND: &'static str = "member";

    fn to_row(&self) -> Self::Row {
        proto::Member {
            id: self.id.as_str().to_owned(),
            role: self.role.number(),
            address: self.address.clone(),
            host: self.host.clone(),
            version: self.version.clone(),
            slots: self.slots.map(|slots| slots.to_row()),
            sessions: self.sessions,
            leaving: self.leaving,
            started_at: self.started_at,
            beat: self.beat,
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            id: id("id", &row.id, MemberId::new)?,
            role: MemberRole::from_number("role", row.role)?,
            address: row.address,
            host: row.host,
            version: row.version,
            slots: optional("slots", row.slots)?,
            sessions: row.sessions,
            leaving: row.leaving,
            started_at: row.started_at,
            beat: row.beat,
        })
    }
}
