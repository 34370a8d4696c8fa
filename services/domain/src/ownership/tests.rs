//! Single decisions; what they come to together is in `tests/ownership`.

use super::entry::{CHECK_MS, LATE_MS, LONGEST_PAUSE_MS};
use super::members::REMEMBERED;
use super::*;

/// One process, its clock, and what it last asked for.
struct Core {
    machine: Ownership,
    now: Millis,
}

fn id(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

fn head(epoch: u64, owner: Option<&str>) -> Option<SlotHead> {
    Some(SlotHead { epoch: SlotEpoch(epoch), owner: owner.map(id) })
}

fn take_over(slot: u8, seen: u64) -> Action {
    Action::TakeOver { slot: Slot(slot), seen: SlotEpoch(seen), from: None }
}

fn take_over_from(owner: &str, slot: u8, seen: u64) -> Action {
    Action::TakeOver { slot: Slot(slot), seen: SlotEpoch(seen), from: Some(id(owner)) }
}

fn release(slot: u8, epoch: u64) -> Action {
    Action::Release { slot: Slot(slot), epoch: SlotEpoch(epoch) }
}

impl Core {
    fn new(last_slot: u8, alone: bool) -> Self {
        let range = SlotRange::new(0, last_slot).unwrap();
        Self { machine: Ownership::new(id("me"), range, alone), now: 1_000_000 }
    }

    fn hear(&mut self, input: Input) -> Vec<Action> {
        self.machine.apply(input, self.now)
    }

    /// Later, reads the rows of these members: their names and beats.
    fn members(&mut self, later: Millis, members: &[(&str, u64)]) -> Vec<Action> {
        self.now += later;
        let slots = self.machine.range;
        let peer = |(name, beat): &(&str, u64)| Peer { id: id(name), slots, beat: *beat, leaving: false };
        self.hear(Input::Members { rows: members.iter().map(peer).collect(), began: self.now })
    }

    /// Owns slot 0 in epoch 1.
    fn owner(members: &[(&str, u64)]) -> Self {
        let mut core = Self::new(0, false);
        assert_eq!(core.members(0, members), [Action::Read(Slot(0))]);
        assert_eq!(core.hear(Input::Head(Slot(0), head(0, None))), [take_over(0, 0)]);
        assert_eq!(core.hear(Input::TakenOver(Slot(0), SlotEpoch(1))), []);
        core
    }
}

/// A name to which slot 0 falls, of it and `me`, or does not.
fn another(is_first: bool) -> &'static str {
    let is_wanted =
        |name: &&str| (falls_to(Slot(0), [&id("me"), &id(name)].into_iter()) == Some(&id(name))) == is_first;
    ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().find(is_wanted).unwrap()
}

/// Names to which slot 0 falls rather than to `me`, the second before the first.
fn two_before_me() -> [String; 2] {
    let weight = |name: &str| rendezvous::weight(Slot(0), &id(name));
    let mut names: Vec<String> = (0..1_000).map(|n| format!("m{n}")).collect();
    names.retain(|name| weight(name) > weight("me"));
    names.sort_by_key(|name| weight(name));
    let [second, .., first] = &names[..] else { panic!("too few: {names:?}") };
    [second.clone(), first.clone()]
}

#[test]
fn nothing_is_decided_before_the_members_were_read_and_by_what_was_read_long_ago() {
    let mut core = Core::new(0, false);
    assert_eq!(core.hear(Input::Wanted(Slot(0))), []);
    assert!(!core.machine.settled());
    assert_eq!(core.members(0, &[]), [Action::Read(Slot(0))]);
    core.now += DEAD_AFTER_MS;
    assert_eq!(core.hear(Input::Head(Slot(0), head(0, None))), []);
    assert_eq!(core.members(0, &[]), [take_over(0, 0)]);
}

#[test]
fn what_somebody_asks_for_comes_first_and_so_much_at_once() {
    let mut core = Core::new(200, false);
    core.hear(Input::Wanted(Slot(180)));
    let actions = core.members(0, &[]);
    assert_eq!(actions.len(), AT_ONCE);
    assert_eq!(actions[0], Action::Read(Slot(180)));
    // What is taken over goes on before another is read.
    assert_eq!(core.hear(Input::Head(Slot(180), head(0, None))), [take_over(180, 0)]);
    assert_eq!(core.hear(Input::TakenOver(Slot(180), SlotEpoch(1))).len(), 1);
    assert_eq!(core.machine.owned().collect::<Vec<_>>(), [Slot(180)]);
}

#[test]
fn an_owner_is_waited_for_while_its_row_changes_and_for_five_seconds_more() {
    let other = another(false);
    let mut core = Core::new(0, false);
    assert_eq!(core.members(0, &[(other, 1)]), [Action::Read(Slot(0))]);
    assert_eq!(core.hear(Input::Head(Slot(0), head(7, Some(other)))), []);
    for beat in 2..20 {
        let asked = core.members(1_000, &[(other, beat)]);
        assert_eq!(asked, [Action::Read(Slot(0))], "only a new row says that it has finished");
        assert_eq!(core.hear(Input::Head(Slot(0), head(7, Some(other)))), []);
    }
    core.members(DEAD_AFTER_MS - 1, &[(other, 19)]);
    assert_eq!(core.hear(Input::Head(Slot(0), head(7, Some(other)))), []);
    assert_eq!(core.members(1, &[(other, 19)]), [take_over_from(other, 0, 7)]);
}

#[test]
fn an_owner_without_a_row_gets_the_same_time() {
    let mut core = Core::new(0, false);
    core.members(0, &[]);
    assert_eq!(core.hear(Input::Head(Slot(0), head(7, Some("gone")))), []);
    core.members(DEAD_AFTER_MS - 1, &[]);
    assert_eq!(core.hear(Input::Head(Slot(0), head(7, Some("gone")))), []);
    assert_eq!(core.members(1, &[]), [take_over_from("gone", 0, 7)]);
}

#[test]
fn a_read_that_was_overtaken_by_a_newer_one_changes_nothing() {
    let other = another(false);
    let mut core = Core::new(0, false);
    core.members(0, &[(other, 1)]);
    let began = core.now;
    core.members(4_000, &[(other, 2)]);
    let slots = core.machine.range;
    let old = Peer { id: id(other), slots, beat: 1, leaving: false };
    core.hear(Input::Members { rows: vec![old], began });
    // Had the old beat counted as a change, it would be alive by the next read of the new one.
    core.hear(Input::Head(Slot(0), head(7, Some(other))));
    assert_eq!(core.members(DEAD_AFTER_MS, &[(other, 2)]), [take_over_from(other, 0, 7)]);
}

#[test]
fn a_read_that_took_long_proves_what_was_true_when_it_began() {
    let other = another(true);
    let mut core = Core::new(0, false);
    core.members(0, &[(other, 1)]);
    let (began, slots) = (core.now + 1, core.machine.range);
    core.now += DEAD_AFTER_MS;
    let row = Peer { id: id(other), slots, beat: 1, leaving: false };
    core.hear(Input::Members { rows: vec![row], began });
    assert_eq!(core.machine.likely_owner(Slot(0)), Some(&id(other)), "its row may have changed meanwhile");
    core.members(0, &[(other, 1)]);
    assert_eq!(core.machine.likely_owner(Slot(0)), Some(&id("me")));
}

#[test]
fn a_newcomer_gets_no_slot_that_it_would_leave_to_the_dead() {
    let [newcomer, dead] = two_before_me();
    let (newcomer, dead) = (newcomer.as_str(), dead.as_str());
    let mut core = Core::new(0, false);
    core.members(0, &[(dead, 1)]);
    assert_eq!(core.members(DEAD_AFTER_MS, &[(dead, 1)]), [Action::Read(Slot(0))]);
    core.hear(Input::Head(Slot(0), head(0, None)));
    core.hear(Input::TakenOver(Slot(0), SlotEpoch(1)));
    core.members(0, &[(dead, 1), (newcomer, 1)]);
    for beat in 2..11 {
        assert_eq!(core.members(1_000, &[(dead, 1), (newcomer, beat)]), [], "to it the other seems alive");
    }
    assert_eq!(core.members(1_000, &[(dead, 1), (newcomer, 11)]), [release(0, 1)]);
}

#[test]
fn alone_it_takes_over_whoever_is_recorded() {
    let mut core = Core::new(0, true);
    assert_eq!(core.hear(Input::Tick), [Action::Read(Slot(0))]);
    assert_eq!(core.hear(Input::Head(Slot(0), head(7, Some("before")))), [take_over_from("before", 0, 7)]);
    core.hear(Input::TakenOver(Slot(0), SlotEpoch(8)));
    assert!(core.machine.settled());
}

#[test]
fn a_slot_is_handed_to_whoever_joins_once_its_row_has_changed() {
    let other = another(true);
    let mut core = Core::owner(&[]);
    assert_eq!(core.members(1_000, &[(other, 1)]), [], "this may be the leftover row of a dead process");
    assert_eq!(core.members(1_000, &[(other, 2)]), [release(0, 1)]);
    assert_eq!(core.machine.owned().count(), 1, "it finishes what it holds");
    core.hear(Input::Gone(Slot(0)));
    assert_eq!(core.machine.owned().count(), 0);
    assert_eq!(core.machine.likely_owner(Slot(0)), Some(&id(other)));
    assert!(core.machine.settled() && core.machine.is_clear());
}

#[test]
fn whoever_leaves_hands_on_everything_and_takes_nothing() {
    let mut core = Core::owner(&[]);
    assert_eq!(core.hear(Input::Leave), [release(0, 1)]);
    assert!(!core.machine.is_clear());
    assert_eq!(core.hear(Input::Gone(Slot(0))), []);
    assert!(core.machine.is_clear());
    assert_eq!(core.members(1_000, &[]), []);
    assert_eq!(core.machine.likely_owner(Slot(0)), None);
}

#[test]
fn whoever_leaves_waits_for_a_take_over_that_may_be_late() {
    let mut core = Core::new(0, false);
    core.members(0, &[]);
    core.hear(Input::Head(Slot(0), head(3, None)));
    core.hear(Input::NotTakenOver(Slot(0)));
    core.hear(Input::Leave);
    core.members(LONGEST_PAUSE_MS, &[]);
    core.hear(Input::Head(Slot(0), head(3, None)));
    assert!(!core.machine.is_clear(), "it may still reach the store");
    assert_eq!(core.members(1_000, &[]), [Action::Read(Slot(0))]);
    assert_eq!(core.hear(Input::Head(Slot(0), head(4, Some("me")))), [release(0, 4)]);
    core.hear(Input::Gone(Slot(0)));
    assert!(core.machine.is_clear());
}

#[test]
fn a_take_over_of_which_nothing_was_heard_for_a_minute_never_comes() {
    let mut core = Core::new(0, false);
    core.members(0, &[]);
    core.hear(Input::Head(Slot(0), head(3, None)));
    core.hear(Input::NotTakenOver(Slot(0)));
    core.hear(Input::Leave);
    core.members(LATE_MS, &[]);
    core.hear(Input::Head(Slot(0), head(3, None)));
    assert!(core.machine.is_clear());
}

#[test]
fn an_owner_looks_at_its_row_twice_a_minute_and_drops_what_it_has_lost() {
    let mut core = Core::owner(&[]);
    let mut asked = Vec::new();
    for _ in 0..CHECK_MS / 1_000 {
        assert_eq!(asked, []);
        asked = core.members(1_000, &[]);
    }
    assert_eq!(asked, [Action::Read(Slot(0))]);
    assert_eq!(core.machine.owned().count(), 1);
    assert_eq!(core.hear(Input::Head(Slot(0), head(2, Some("other")))), [release(0, 1)]);
}

#[test]
fn an_owner_looks_at_its_row_at_once_when_others_may_have_taken_it_for_dead() {
    let mut core = Core::owner(&[("me", 1)]);
    assert_eq!(core.members(1_000, &[("me", 2)]), []);
    assert_eq!(core.members(4_000, &[("me", 3)]), [Action::Read(Slot(0))]);
    assert_eq!(core.hear(Input::Head(Slot(0), head(1, Some("me")))), []);
}

#[test]
fn tries_that_fail_come_ever_more_seldom_and_never_too_seldom() {
    let mut core = Core::new(0, false);
    core.members(0, &[]);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        assert_eq!(core.hear(Input::Head(Slot(0), None)), []);
        let passed = (1..200).map(|n| n * 50).find(|_| !core.members(50, &[]).is_empty()).unwrap();
        pauses.push(passed);
    }
    assert!(pauses[0] <= 200, "{pauses:?}");
    assert!(pauses[3] > pauses[0], "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE_MS), "{pauses:?}");
    assert!(pauses[9] >= LONGEST_PAUSE_MS / 2, "{pauses:?}");
}

#[test]
fn processes_without_a_row_are_not_remembered_without_end() {
    let mut core = Core::new(0, false);
    for n in 0..2 * REMEMBERED {
        core.members(DEAD_AFTER_MS, &[(format!("m{n}").as_str(), 1)]);
    }
    core.members(2 * DEAD_AFTER_MS, &[]);
    assert_eq!(core.machine.members.remembered(), REMEMBERED);
}

#[test]
fn a_slot_of_the_dead_is_not_left_to_a_newcomer_who_cannot_know_it() {
    let [young, dead] = two_before_me();
    let (young, dead) = (young.as_str(), dead.as_str());
    let mut core = Core::new(0, false);
    for beat in 0..10 {
        core.members(1_000, &[(dead, beat)]);
    }
    core.members(1_000, &[(dead, 1)]);
    assert_eq!(core.machine.look_at(), Some(core.now + DEAD_AFTER_MS));
    // It is killed, and its successor is there at once.
    for beat in 1..5 {
        assert_eq!(core.members(1_000, &[(dead, 1), (young, beat)]), []);
    }
    assert_eq!(core.members(1_000, &[(dead, 1), (young, 5)]), [Action::Read(Slot(0))]);
    assert_eq!(core.hear(Input::Head(Slot(0), head(7, Some(dead)))), [], "it may have come back meanwhile");
    assert_eq!(core.machine.look_at(), Some(core.now), "that is looked at soon");
    assert_eq!(core.members(500, &[(dead, 1), (young, 6)]), [take_over_from(dead, 0, 7)]);
    assert_eq!(core.hear(Input::TakenOver(Slot(0), SlotEpoch(8))), []);
    for beat in 7..12 {
        assert_eq!(core.members(1_000, &[(dead, 1), (young, beat)]), []);
    }
    assert_eq!(core.members(1_000, &[(dead, 1), (young, 12)]), [release(0, 8)], "it knows by now");
}
