//! What a world is made of, and what may happen in it.

use stoker_domain::ownership::{DEAD_AFTER_MS, SlotRange, falls_to};
use stoker_domain::{MemberId, Millis, Slot};

/// The dead are waited for, and a pause may follow.
const DEAD_TICKS: usize = 6;
/// An owner may have been replaced by one who gave the slot back, and not have heard of it. With nothing to write it finds
/// out when it looks at its row, after 30 s of a clock that may be half as fast.
pub const UNHEARD_TICKS: usize = 30;

/// What does not change.
#[derive(Debug, Clone)]
pub struct Setup {
    pub members: Vec<Member>,
    /// Those of all ranges.
    pub slots: Vec<Slot>,
    /// How far one tick goes.
    pub tick_ms: Millis,
    /// How long a member's row lasts that is not written.
    pub ttl_ms: Millis,
    /// For so many ticks a slot may be served by nobody once nothing fails any more.
    pub unserved_ticks: usize,
    /// Nothing fails, so no owner is ever refused a commit.
    pub is_kind: bool,
}

/// A process that there may be.
#[derive(Debug, Clone)]
pub struct Member {
    pub id: MemberId,
    pub range: SlotRange,
    /// How many quarters of a millisecond its clock goes in one.
    pub quarters: Millis,
}

impl Setup {
    /// Members to whom the first slot falls in the order that `ranks` says: first to the one with rank 0. The second
    /// slot falls to them the other way round.
    pub fn new(ranks: &[usize], slots: u8) -> Self {
        let range = SlotRange::new(0, slots - 1).unwrap();
        let members = ids(ranks).into_iter().map(|id| Member { id, range, quarters: 4 }).collect();
        Self {
            members,
            slots: range.iter().collect(),
            tick_ms: 2_500,
            ttl_ms: 30_000,
            unserved_ticks: DEAD_TICKS,
            is_kind: false,
        }
    }

    pub fn clock(&self, member: usize, now: Millis) -> Millis {
        now * self.members[member].quarters / 4
    }

    /// A row that changes within this time changes within `DEAD_AFTER_MS` by everybody's clock.
    pub fn patience(&self) -> Millis {
        let fastest = self.members.iter().map(|member| member.quarters).max().unwrap();
        DEAD_AFTER_MS * 4 / fastest
    }
}

fn ids(ranks: &[usize]) -> Vec<MemberId> {
    let mut all: Vec<MemberId> = (0..64).map(|n| MemberId::new(&format!("m{n}")).unwrap()).collect();
    let mut picked: Vec<MemberId> = Vec::new();
    while picked.len() < ranks.len() {
        let best = falls_to(Slot(0), all.iter()).unwrap().clone();
        all.retain(|id| *id != best);
        if picked.iter().all(|id| falls_to(Slot(1), [id, &best].into_iter()) == Some(&best)) {
            picked.push(best);
        }
    }
    ranks.iter().map(|rank| picked[*rank].clone()).collect()
}

/// One step. Numbers are those of members.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The time goes on.
    Tick,
    Start(usize),
    Leave(usize),
    /// It has left and ends.
    End(usize),
    Refresh(usize),
    /// All members, in no time.
    ReadMembers(usize),
    /// The same, but it takes long; `early`: what it brings is of when it began.
    BeginRead {
        member: usize,
        early: bool,
    },
    EndRead(usize),
    /// The store does what was asked for.
    Apply(usize, Slot),
    /// The process hears of it.
    Answer(usize, Slot),
    /// What the slot holds is finished and written: it may be released.
    Finish(usize, Slot),
    /// Both, in no time.
    Carry(usize, Slot),
    /// The process hears only that it failed. What was not applied may be so later, if it is `late`.
    Lose {
        member: usize,
        slot: Slot,
        late: bool,
    },
    ApplyLate(usize),
    Commit(usize, Slot),
    /// Nobody hears what came of it: the slot's state is given up.
    CommitUnknown(usize, Slot),
    Crash(usize),
    Stall(usize),
    Wake(usize),
    Cut(usize),
    Heal(usize),
}

impl Step {
    /// True for what does not happen in good order. Others it ends.
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::BeginRead { .. }
                | Self::Lose { .. }
                | Self::CommitUnknown(..)
                | Self::Crash(_)
                | Self::Stall(_)
                | Self::Cut(_)
        )
    }
}
