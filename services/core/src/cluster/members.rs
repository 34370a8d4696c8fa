//! The rows of the members: this process's own, written once a second, and everybody's, read as often.

use std::sync::Arc;

use parking_lot::RwLock;
use stoker_domain::model::{MemberId, MemberRole, MemberRow, Millis, Slot};
use stoker_domain::ownership::{DEAD_AFTER_MS, Peer, SlotRange};
use stoker_domain::ports::store::StoreError;
use stoker_link::Link;

use super::gateways::Gone;
use crate::shared::Shared;

/// Whether there may be other cores.
#[derive(Clone)]
pub enum Membership {
    /// There are none, and the store itself guarantees it: all slots are this core's, and losing one is a fault.
    Alone,
    /// There may be. Slots come and go.
    Shared {
        /// Which slots this core may own.
        slots: SlotRange,
        /// Where the others reach this one, `host:port`.
        address: String,
        /// Its host or pod, for people.
        host: String,
        /// How this one reaches the others.
        link: Link,
    },
}

impl Membership {
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self, Self::Alone)
    }

    /// How other cores are reached, if there may be any.
    pub(crate) fn link(&self) -> Option<Link> {
        match self {
            Self::Alone => None,
            Self::Shared { link, .. } => Some(link.clone()),
        }
    }

    pub(crate) fn slots(&self) -> SlotRange {
        match self {
            Self::Alone => SlotRange::ALL,
            Self::Shared { slots, .. } => *slots,
        }
    }
}

/// All members, as this process has read them last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roster(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    rows: Arc<Vec<MemberRow>>,
    /// To whom the slots fall, in their order.
    likely: Vec<Option<MemberId>>,
    /// When the reading of the newest rows began; none before the first.
    read: Option<Millis>,
}

impl Roster {
    pub(crate) fn rows(&self) -> Arc<Vec<MemberRow>> {
        self.0.read().rows.clone()
    }

    /// Where a core is reached.
    pub(crate) fn address_of(&self, core: &MemberId) -> Option<String> {
        let rows = self.rows();
        let row = rows.iter().find(|row| row.id == *core && is_core(row))?;
        Some(row.address.clone())
    }

    /// True of a core that hands on what it holds, or has done so.
    pub(crate) fn is_leaving(&self, core: &MemberId) -> bool {
        self.rows().iter().any(|row| row.id == *core && row.leaving)
    }

    /// The cores but this one, and where they are reached.
    pub(crate) fn other_cores(&self, me: &MemberId) -> Vec<(MemberId, String)> {
        let rows = self.rows();
        let cores = rows.iter().filter(|row| is_core(row) && row.id != *me);
        cores.map(|row| (row.id.clone(), row.address.clone())).collect()
    }

    /// To whom a slot falls among those that may be alive.
    pub(crate) fn likely_owner(&self, slot: Slot) -> Option<MemberId> {
        self.0.read().likely.get(usize::from(slot.0)).cloned().flatten()
    }

    /// True when the rows could not be read for so long that the others take this process for dead.
    pub(crate) fn is_cut_off(&self, now: Millis) -> bool {
        self.0.read().read.is_some_and(|read| now - read > DEAD_AFTER_MS)
    }

    fn set(&self, rows: Vec<MemberRow>, began: Millis) {
        let mut known = self.0.write();
        (known.rows, known.read) = (Arc::new(rows), Some(began));
    }

    pub(super) fn set_likely(&self, owners: Vec<Option<MemberId>>) {
        self.0.write().likely = owners;
    }
}

/// True of a core that may yet be asked. One that has handed everything on has no slots to name.
fn is_core(row: &MemberRow) -> bool {
    row.role == MemberRole::Core && row.slots.is_some()
}

/// How far a core is with leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    Not,
    /// It hands on what it holds.
    HandsOn,
    /// It holds nothing any more.
    HandedOn,
}

/// This process's row as it is to be written next; none when nobody else is there to read it.
pub(super) fn own_row(
    shared: &Shared,
    membership: &Membership,
    leaving: Leaving,
    beat: u64,
) -> Option<MemberRow> {
    let Membership::Shared { slots, address, host, .. } = membership else { return None };
    Some(MemberRow {
        id: shared.member.clone(),
        role: MemberRole::Core,
        address: address.clone(),
        host: host.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slots: Some(*slots).filter(|_| leaving != Leaving::HandedOn),
        sessions: 0,
        leaving: leaving != Leaving::Not,
        started_at: shared.started_at,
        beat,
    })
}

/// What was read.
pub(super) struct Observed {
    /// The cores.
    pub(super) cores: Vec<Peer>,
    /// Gateways that are no more.
    pub(super) gone: Vec<Gone>,
    /// When the reading began.
    pub(super) began: Millis,
}

/// Writes the row, then reads all rows. One that could not be written is no reason not to look at the others.
pub(super) async fn refresh(shared: Arc<Shared>, row: MemberRow) -> Result<Observed, StoreError> {
    if let Err(error) = shared.store.member_put(row).await {
        tracing::warn!(%error, "this process's row could not be written: the others may take it for dead");
    }
    let began = shared.clock.now_ms();
    let rows = shared.store.members().await?;
    let cores = rows.iter().filter_map(peer).collect();
    let gone = shared.gateways.observe(&rows, began, shared.clock.now_ms());
    shared.closes.retain(|gateway| rows.iter().any(|row| row.id == *gateway), shared.clock.now_ms());
    shared.roster.set(rows, began);
    Ok(Observed { cores, gone, began })
}

fn peer(row: &MemberRow) -> Option<Peer> {
    let slots = row.slots.filter(|_| row.role == MemberRole::Core)?;
    Some(Peer { id: row.id.clone(), slots, beat: row.beat, leaving: row.leaving })
}
