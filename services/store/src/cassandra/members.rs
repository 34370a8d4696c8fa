//! Members: rows that go by themselves.

use std::time::Duration;

use stoker_domain::MemberRow;
use stoker_domain::ports::store::StoreError;

use super::CassandraStore;
use super::error::corrupt;
use super::stamps::ttl;
use crate::rows::{decode, encode};

/// All members are one partition: there are hundreds at most, and they are always read together.
const PART: i8 = 0;

impl CassandraStore {
    pub(super) async fn put_member(&self, member: &MemberRow) -> Result<(), StoreError> {
        self.put_member_for(member, self.options.member_ttl).await
    }

    /// The same for a row that lasts so long.
    pub(super) async fn put_member_for(&self, member: &MemberRow, lasts: Duration) -> Result<(), StoreError> {
        let values = (PART, member.id.as_str(), encode(member), ttl(lasts));
        let (statement, stamp) = (&self.statements.member_put, Some(self.stamps.next()));
        self.write(&self.control, "write a member's row", statement, values, stamp).await
    }

    pub(super) async fn list_members(&self) -> Result<Vec<MemberRow>, StoreError> {
        const ACTION: &str = "read the members";
        let mut members = Vec::new();
        self.read_all(ACTION, &self.statements.members, (PART,), |page| {
            for row in page.rows::<(&str, Option<&[u8]>)>().map_err(|error| self.place.odd(ACTION, error))? {
                let (id, value) = row.map_err(|error| self.place.odd(ACTION, error))?;
                let Some(value) = value else { continue };
                members.push(decode(value).map_err(|error| corrupt(format_args!("member {id}"), &error))?);
            }
            Ok(())
        })
        .await?;
        Ok(members)
    }
}
