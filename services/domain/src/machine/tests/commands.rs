//! Commands and the ledger of their states.

use super::*;

impl Rig {
    /// With a session that wants commands.
    fn ready() -> (Self, SessionEpoch) {
        let mut rig = Self::new();
        let (session, _) = rig.open("boiler-1", "g1");
        rig.wants("boiler-1", session, true);
        (rig, session)
    }

    fn sent(&mut self, id: CommandId, session: SessionEpoch) -> Output {
        self.report(CommandReport::Sent { id, session })
    }

    fn delivered(&mut self, id: CommandId, session: SessionEpoch) -> Output {
        self.report(CommandReport::Delivered { id, session })
    }

    fn not_sent(&mut self, id: CommandId, session: SessionEpoch, never: bool) -> Output {
        self.report(CommandReport::NotSent { id, session, never, detail: "too big".to_owned() })
    }

    fn refused(&mut self, id: CommandId, session: SessionEpoch) -> Output {
        self.report(CommandReport::Refused { id, session, detail: "0x83".to_owned() })
    }

    fn outcome_at_expiry(&mut self, id: CommandId) -> CommandOutcome {
        self.pass(60_000);
        let row = self.now_of(id);
        assert_eq!(row.state, CommandState::Expired);
        row.outcome.unwrap()
    }
}

#[test]
fn a_command_is_handed_out_in_the_commit_that_makes_it() {
    let (mut rig, session) = Rig::ready();
    let (command, output) = rig.command("boiler-1", 60);
    assert_eq!(commanded(&output), [(session, 1)]);
    assert_eq!((command.number, command.online, command.handed), (1, true, Some(session)));
    assert_eq!(command.state, CommandState::Queued);
    assert!(output.changes.contains(&Change::put(StateRow::Command(command))));
}

#[test]
fn without_a_session_that_wants_it_a_command_waits_and_goes_in_order() {
    let mut rig = Rig::new();
    let (first, output) = rig.command("boiler-1", 60);
    assert_eq!((commanded(&output), first.online), (vec![], false));
    let (session, _) = rig.open("boiler-1", "g1");
    let (second, output) = rig.command("boiler-1", 60);
    assert_eq!((commanded(&output), second.online), (vec![], true), "here, but not subscribed");
    assert_eq!(commanded(&rig.wants("boiler-1", session, true)), [(session, 1), (session, 2)]);
    assert_eq!(rig.wants("boiler-1", session, true), nothing(), "handed to this very session already");
    rig.wants("boiler-1", session, false);
    assert_eq!(commanded(&rig.command("boiler-1", 60).1), []);
    let numbers: Vec<u64> = rig.machine.commands_of(&key("boiler-1")).map(|row| row.number).collect();
    assert_eq!(numbers, [3, 2, 1], "newest first");
}

#[test]
fn what_the_device_may_have_missed_is_sent_again_with_its_number() {
    let (mut rig, first) = Rig::ready();
    let ids: Vec<CommandId> = (0..4).map(|_| rig.command("boiler-1", 60).0.id).collect();
    rig.sent(ids[1], first);
    rig.delivered(ids[2], first);
    rig.reply("boiler-1", 4, "{}");
    let (second, _) = rig.open("boiler-1", "g2");
    assert_eq!(commanded(&rig.wants("boiler-1", second, true)), [(second, 1), (second, 2)]);
}

#[test]
fn states_go_forward_whatever_order_reports_come_in() {
    let (mut rig, session) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    rig.now += 1;
    rig.delivered(id, session);
    let row = rig.now_of(id);
    assert_eq!(
        (row.state, row.sent_at, row.delivered_at),
        (CommandState::Delivered, Some(rig.now), Some(rig.now))
    );
    assert_eq!(rig.sent(id, session), nothing());
    assert_eq!(rig.refused(id, session), nothing(), "the device has it");
    let output = rig.reply("boiler-1", 1, "{\"ok\":true}");
    assert_eq!(archives(&output), [StateKey::Command(id)]);
    let row = rig.now_of(id);
    assert_eq!((row.state, row.reply.as_deref()), (CommandState::Succeeded, Some("{\"ok\":true}")));
    assert_eq!(rig.delivered(id, session), nothing());
    assert_eq!(rig.pass(60_000), nothing());
}

#[test]
fn a_reply_implies_delivered_and_ends_it() {
    let (mut rig, _) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    let (device, reply, at) = (key("boiler-1"), "{\"error\":1}".to_owned(), rig.now);
    rig.report(CommandReport::Replied { device, number: 1, reply, failed: true, at });
    let row = rig.now_of(id);
    assert_eq!((row.state, row.detail), (CommandState::Failed, None));
    assert!(row.sent_at.is_some() && row.delivered_at.is_some());
}

#[test]
fn a_late_reply_is_an_event_and_a_redelivered_one_is_not() {
    let (mut rig, _) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    rig.reply("boiler-1", 1, "{}");
    rig.apply(Input::Archived(vec![StateKey::Command(id)]));
    assert_eq!(rig.reply("boiler-1", 1, "{}"), nothing(), "redelivered");
    let late = appended(&rig.reply("boiler-1", 1, "{\"other\":1}"));
    assert_eq!(late[0].kind.0, EventKind::LATE_REPLY);
    assert_eq!(late[0].data.as_deref(), Some("{\"number\":1,\"reply\":{\"other\":1}}"));
    assert_eq!(appended(&rig.reply("boiler-1", 1, "{\"other\":1}"))[0].id, late[0].id, "the same event");
    assert_eq!(appended(&rig.reply("boiler-1", 77, "{}")).len(), 1, "a number nobody knows");
    assert_eq!(rig.reply("boiler-2", 1, "{}"), nothing(), "a device nobody knows");
}

#[test]
fn expired_says_what_is_known() {
    let (mut rig, session) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    assert_eq!(rig.outcome_at_expiry(id), CommandOutcome::Unknown, "handed out, nothing heard");
    let id = rig.command("boiler-1", 60).0.id;
    rig.sent(id, session);
    assert_eq!(rig.outcome_at_expiry(id), CommandOutcome::Unknown);
    let id = rig.command("boiler-1", 60).0.id;
    rig.delivered(id, session);
    assert_eq!(rig.outcome_at_expiry(id), CommandOutcome::NoReply);
    rig.wants("boiler-1", session, false);
    let id = rig.command("boiler-1", 60).0.id;
    assert_eq!(rig.outcome_at_expiry(id), CommandOutcome::NeverSent);
}

#[test]
fn surely_not_written_means_never_sent_again() {
    let (mut rig, session) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    rig.not_sent(id, session, false);
    assert_eq!(rig.now_of(id).handed, None);
    assert_eq!(rig.outcome_at_expiry(id), CommandOutcome::NeverSent);
}

#[test]
fn one_session_does_not_speak_for_an_earlier_one() {
    let (mut rig, first) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    let (second, _) = rig.open("boiler-1", "g2");
    rig.wants("boiler-1", second, true);
    rig.not_sent(id, second, true);
    assert_eq!(rig.now_of(id).handed, Some(first), "the first may have written it");
    assert_eq!(rig.now_of(id).state, CommandState::Queued);
    rig.not_sent(id, first, false);
    assert_eq!(rig.now_of(id).handed, None, "now both have spoken");
}

#[test]
fn one_owner_does_not_speak_for_an_earlier_one() {
    let (mut rig, first) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    rig.take_over(0);
    rig.not_sent(id, first, false);
    assert!(rig.now_of(id).handed.is_some(), "who else had it nobody remembers");
    let (second, _) = rig.open("boiler-1", "g1");
    assert_eq!(commanded(&rig.wants("boiler-1", second, true)), [(second, 1)]);
    assert_eq!(rig.outcome_at_expiry(id), CommandOutcome::Unknown);
}

#[test]
fn what_came_back_is_tried_again_while_the_session_wants_it() {
    let (mut rig, session) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    rig.not_sent(id, session, false);
    assert_eq!(commanded(&rig.pass(999)), []);
    assert_eq!(commanded(&rig.pass(1)), [(session, 1)]);
    rig.sent(id, session);
    assert_eq!(rig.machine.next_due(), Some(START + 60_000));
    let id = rig.command("boiler-1", 60).0.id;
    rig.not_sent(id, session, false);
    rig.wants("boiler-1", session, false);
    assert_eq!(commanded(&rig.pass(1_000)), []);
    assert_eq!(rig.outcome_at_expiry(id), CommandOutcome::NeverSent);
}

#[test]
fn what_came_back_from_one_session_is_not_given_twice_to_the_next() {
    let (mut rig, first) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    let (second, _) = rig.open("boiler-1", "g2");
    assert_eq!(commanded(&rig.wants("boiler-1", second, true)), [(second, 1)]);
    rig.not_sent(id, first, false);
    assert_eq!(commanded(&rig.pass(1_000)), [], "it has it");
}

#[test]
fn a_late_not_sent_of_an_older_session_does_not_hide_that_of_the_newest() {
    let (mut rig, first) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    let (second, _) = rig.open("boiler-1", "g2");
    rig.wants("boiler-1", second, true);
    rig.not_sent(id, second, false);
    rig.not_sent(id, first, false);
    assert_eq!(commanded(&rig.wants("boiler-1", second, true)), [(second, 1)]);
    rig.not_sent(id, second, true);
    assert_eq!(rig.outcome_at_expiry(id), CommandOutcome::Unknown, "a repetition says nothing of now");
}

#[test]
fn a_repeated_not_sent_does_not_speak_for_a_second_hand_out() {
    let (mut rig, session) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    rig.not_sent(id, session, false);
    assert_eq!(commanded(&rig.wants("boiler-1", session, true)), [(session, 1)]);
    rig.not_sent(id, session, false);
    assert_eq!(rig.outcome_at_expiry(id), CommandOutcome::Unknown);
}

#[test]
fn what_can_never_be_written_and_what_is_refused_fails() {
    let (mut rig, session) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    rig.not_sent(id, session, true);
    let row = rig.now_of(id);
    assert_eq!((row.state, row.detail.as_deref()), (CommandState::Failed, Some("too big")));
    let id = rig.command("boiler-1", 60).0.id;
    rig.sent(id, session);
    rig.refused(id, session);
    let row = rig.now_of(id);
    assert_eq!((row.state, row.detail.as_deref()), (CommandState::Failed, Some("0x83")));
    assert_eq!(row.delivered_at, None);
}

#[test]
fn what_is_open_can_be_taken_back_once() {
    let (mut rig, _) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    let output = rig.apply(Input::CancelCommand(id));
    assert!(matches!(&output.reply, Reply::Command(Ok(row)) if row.state == CommandState::Cancelled));
    let output = rig.apply(Input::CancelCommand(id));
    assert!(matches!(&output.reply, Reply::Command(Err(CommandRefusal::Ended(row))) if row.id == id));
    rig.apply(Input::Archived(vec![StateKey::Command(id)]));
    let output = rig.apply(Input::CancelCommand(id));
    assert_eq!(output.reply, Reply::Command(Err(CommandRefusal::NotFound)));
}

fn withdrawn(output: &Output) -> Vec<(SessionEpoch, CommandId)> {
    let orders = orders(output).into_iter();
    orders
        .filter_map(|(session, order)| match order {
            GatewayOrder::Withdraw { id } => Some((session, id)),
            _ => None,
        })
        .collect()
}

#[test]
fn what_has_ended_is_taken_back_from_the_gateway_that_has_not_said_that_it_wrote_it() {
    let (mut rig, session) = Rig::ready();
    let ids: Vec<CommandId> = (0..4).map(|_| rig.command("boiler-1", 60).0.id).collect();
    assert_eq!(withdrawn(&rig.apply(Input::CancelCommand(ids[0]))), [(session, ids[0])]);
    rig.sent(ids[1], session);
    assert_eq!(withdrawn(&rig.apply(Input::CancelCommand(ids[1]))), [], "the device has it");
    rig.not_sent(ids[2], session, false);
    assert_eq!(
        withdrawn(&rig.pass(60_000)),
        [(session, ids[3])],
        "and of the expired ones that came not back"
    );
    rig.wants("boiler-1", session, false);
    let id = rig.command("boiler-1", 60).0.id;
    assert_eq!(withdrawn(&rig.apply(Input::CancelCommand(id))), [], "nobody was handed it");
}

#[test]
fn a_reply_over_an_old_session_takes_the_command_back_from_the_new_one() {
    let (mut rig, first) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    rig.sent(id, first);
    let (second, _) = rig.open("boiler-1", "g2");
    rig.wants("boiler-1", second, true);
    rig.sent(id, first);
    assert_eq!(withdrawn(&rig.reply("boiler-1", 1, "{}")), [(second, id)]);
}

#[test]
fn nothing_is_taken_back_from_a_session_that_is_over() {
    let (mut rig, session) = Rig::ready();
    let ids: Vec<CommandId> = (0..2).map(|_| rig.command("boiler-1", 60).0.id).collect();
    rig.end("boiler-1", session, EndReason::Cut);
    assert_eq!(withdrawn(&rig.apply(Input::CancelCommand(ids[0]))), []);
    rig.open("boiler-1", "g1");
    assert_eq!(withdrawn(&rig.apply(Input::CancelCommand(ids[1]))), []);
}

#[test]
fn a_gateway_that_is_only_presumed_lost_is_asked_too() {
    let (mut rig, session) = Rig::ready();
    let id = rig.command("boiler-1", 60).0.id;
    rig.take_over(0);
    assert_eq!(withdrawn(&rig.apply(Input::CancelCommand(id))), [(session, id)]);
}

#[test]
fn numbers_grow_over_take_overs_and_ids_never_repeat() {
    let mut rig = Rig::new();
    let (first, _) = rig.command("boiler-1", 60);
    rig.take_over(0);
    let (second, _) = rig.command("boiler-1", 60);
    assert_eq!((first.number, second.number), (1, 2));
    assert_ne!(first.id, second.id);
}

#[test]
fn an_open_command_does_not_leave_for_history() {
    let mut rig = Rig::new();
    let (command, _) = rig.command("boiler-1", 60);
    assert_eq!(rig.apply(Input::Archived(vec![StateKey::Command(command.id)])), nothing());
}
