//! Members: kept in memory, as the directory's lock proves that there are none but those of this process.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use stoker_domain::ports::store::{MEMBER_TTL, StoreError};
use stoker_domain::{MemberId, MemberRow, Millis};

use super::options::millis;

/// One process has a handful; more is a mistake.
const MEMBERS_MAX: usize = 1_024;

/// The rows and when each was written.
#[derive(Debug, Default)]
pub(super) struct Members(Mutex<BTreeMap<MemberId, (Millis, MemberRow)>>);

impl Members {
    /// Writes a row.
    pub(super) fn put(&self, row: MemberRow, now: Millis) -> Result<(), StoreError> {
        let mut rows = self.0.lock();
        forget_silent(&mut rows, now);
        if rows.len() >= MEMBERS_MAX && !rows.contains_key(&row.id) {
            return Err(StoreError::Overloaded(format!("{MEMBERS_MAX} members are alive already")));
        }
        rows.insert(row.id.clone(), (now, row));
        Ok(())
    }

    /// All rows that are not too old.
    pub(super) fn list(&self, now: Millis) -> Vec<MemberRow> {
        let mut rows = self.0.lock();
        forget_silent(&mut rows, now);
        rows.values().map(|(_, row)| row.clone()).collect()
    }
}

fn forget_silent(rows: &mut BTreeMap<MemberId, (Millis, MemberRow)>, now: Millis) {
    rows.retain(|_, (written, _)| now.saturating_sub(*written) < millis(MEMBER_TTL));
}
