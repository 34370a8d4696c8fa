//! To whom a slot falls: the one member whose hash with it is greatest. When a member comes or goes, only the slots
//! that fall to it move.

use xxhash_rust::xxh3::Xxh3;

use crate::model::{MemberId, Slot};

/// The member among `members` to which `slot` falls; everybody who knows the same members says the same.
pub fn falls_to<'a>(slot: Slot, members: impl Iterator<Item = &'a MemberId>) -> Option<&'a MemberId> {
    members.max_by_key(|member| (weight(slot, member), *member))
}

/// Their hash.
pub(super) fn weight(slot: Slot, member: &MemberId) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(member.as_str().as_bytes());
    hash.update(&[0, slot.0]);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SLOT_COUNT;

    fn members(count: usize) -> Vec<MemberId> {
        (0..count).map(|n| MemberId::new(&format!("m{n:016x}")).unwrap()).collect()
    }

    fn shares(members: &[MemberId]) -> Vec<&MemberId> {
        Slot::all().map(|slot| falls_to(slot, members.iter()).unwrap()).collect()
    }

    #[test]
    fn a_member_that_leaves_moves_only_its_own_slots() {
        let all = members(5);
        let (before, after) = (shares(&all), shares(&all[..4]));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        let its_own = before.iter().filter(|owner| ***owner == all[4]).count();
        assert_eq!(moved, its_own);
        assert!((SLOT_COUNT / 10..SLOT_COUNT / 3).contains(&its_own), "{its_own}");
    }

    #[test]
    fn the_order_in_which_members_are_named_does_not_matter() {
        let mut all = members(4);
        let before: Vec<MemberId> = shares(&all).into_iter().cloned().collect();
        all.reverse();
        assert_eq!(before, shares(&all).into_iter().cloned().collect::<Vec<_>>());
        assert_eq!(falls_to(Slot(0), std::iter::empty()), None);
    }
}
