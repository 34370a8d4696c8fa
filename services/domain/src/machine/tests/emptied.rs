//! What has ended leaves nothing behind in memory: an owner is as small after thousands of alarms and commands as after
//! a few.

use super::*;

/// What a machine remembers, but for what the device itself keeps of its past.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Size {
    devices: usize,
    commands: usize,
    alarms: usize,
    notifications: usize,
    outbox: usize,
    removals: usize,
    reached: usize,
    tests: usize,
    tested: usize,
    archive_again: usize,
    next_due: Option<Millis>,
}

impl Size {
    fn of(machine: &SlotMachine) -> Self {
        Self {
            devices: machine.device_count,
            commands: machine.commands.len(),
            alarms: machine.alarms.len(),
            notifications: machine.notifications.len(),
            outbox: machine.outbox.len(),
            removals: machine.removals.len(),
            reached: machine.reached.len(),
            tests: machine.tests.len(),
            tested: machine.tested.len(),
            archive_again: machine.archive_again.len(),
            next_due: machine.next_due(),
        }
    }
}

impl Rig {
    /// Does what the shell does after each commit, until nothing is left to be done. Some mails are sent only at the second
    /// attempt, and some are refused.
    fn carry_out(&mut self, output: Output) {
        let mut effects = output.after;
        while let Some(effect) = effects.pop() {
            let input = match effect {
                Effect::Archive(key, _) => Input::Archived(vec![key]),
                Effect::Forget(device) => Input::Archived(vec![StateKey::Removal(device)]),
                Effect::Publish(item) => {
                    let (notification, attempt) = (item.notification, item.attempt);
                    effects.extend(self.apply(Input::OutboxConfirmed { notification, attempt }).after);
                    let result = match (notification.0.counter % 4, attempt) {
                        (0 | 1, 1) => AttemptResult::Retry,
                        (2, _) => AttemptResult::Refused,
                        _ => AttemptResult::Delivered,
                    };
                    Input::Attempt { notification, attempt, result, detail: "said".to_owned() }
                }
                Effect::Activity(_) | Effect::Gateway(_) => continue,
            };
            effects.extend(self.apply(input).after);
        }
    }

    fn done(&mut self, input: Input) {
        let output = self.apply(input);
        self.carry_out(output);
    }

    /// Time passes until nothing is due any more.
    fn wait(&mut self) {
        while let Some(due) = self.machine.next_due() {
            let output = self.pass((due - self.now).max(0));
            self.carry_out(output);
        }
    }

    /// All that a device goes through in its days, at its own gateway.
    fn live(&mut self, day: u32) {
        let (session, output) = self.open("boiler-1", &format!("g{day}"));
        self.carry_out(output);
        let output = self.wants("boiler-1", session, true);
        self.carry_out(output);
        let output = self.fault("boiler-1", "E42", Severity::Major);
        self.carry_out(output);
        let output = self.fault("boiler-1", "E42", Severity::Critical);
        self.carry_out(output);
        let id = self.active()[0].id;
        let over = self.fault_over("boiler-1", "E42");
        // On its way to history.
        self.done(Input::AcknowledgeAlarm(AcknowledgeAlarm { id, by: "ann".to_owned(), note: None }));
        self.carry_out(over);
        let [answered, cancelled, expired] = [(); 3].map(|()| self.command("boiler-1", 60).0);
        for id in [answered.id, expired.id] {
            let output = self.report(CommandReport::Sent { id, session });
            self.carry_out(output);
        }
        let output = self.reply("boiler-1", answered.number, &format!("{{\"day\":{day}}}"));
        self.carry_out(output);
        let (id, detail) = (cancelled.id, "full".to_owned());
        let output = self.report(CommandReport::NotSent { id, session, never: false, detail });
        self.carry_out(output);
        self.done(Input::CancelCommand(cancelled.id));
        self.done(Input::TestSubscription {
            organization: organization(),
            id: SubscriptionId::new("all").unwrap(),
        });
        let output = self.create(&format!("pump-{day}"));
        self.carry_out(output);
        let output = self.fault(&format!("pump-{day}"), "E1", Severity::Major);
        self.done(Input::RemoveDevice(key(&format!("pump-{day}"))));
        self.carry_out(output);
        let output = self.end("boiler-1", session, EndReason::Cut);
        self.carry_out(output);
        self.wait();
        assert!(self.active()[0].kind == AlarmKind::Silence, "{:?}", self.active());
        let (session, output) = self.open("boiler-1", "g");
        self.carry_out(output);
        let output = self.end("boiler-1", session, EndReason::Disconnect);
        self.carry_out(output);
        self.wait();
    }
}

#[test]
fn what_has_ended_leaves_nothing_behind() {
    let mut rig = Rig::new();
    rig.subscribe(vec![subscription(
        "all",
        Match::default(),
        vec![mail("ann@example.org"), mail("bob@example.org")],
    )]);
    // So many that the device remembers as many events and replies as it ever does.
    for day in 100..200 {
        rig.live(day);
    }
    let (size, text) = (Size::of(&rig.machine), format!("{:?}", rig.machine).len());
    assert_eq!((size.devices, size.commands + size.alarms + size.notifications + size.reached), (1, 0));
    assert_eq!(rig.rows.len(), 3, "its record, its presence, its counters: {:?}", rig.rows.keys());
    for day in 200..600 {
        rig.live(day);
    }
    assert_eq!(Size::of(&rig.machine), size);
    // Of what no count here tells, too: but for some numbers that have one digit more.
    let more = format!("{:?}", rig.machine).len().saturating_sub(text);
    assert!(more < 32, "{more} characters more than {text}: {:?}", rig.machine);
}
