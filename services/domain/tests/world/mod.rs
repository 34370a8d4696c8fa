//! A simulated world around one slot: devices, gateways, a bus, a notifier, people, a store, and an owner that dies.
//!
//! The machine's outputs wait in `staged` until they are committed; a crash drops the rest, everything that was asked
//! for and not yet done, and loads a new machine from the committed rows. `truth` is what really happened, kept apart
//! from what the machine believes.

pub(crate) mod checks;
mod compare;
mod happen;
pub(crate) mod ops;
mod settle;
pub(crate) mod store;
pub(crate) mod truth;

use std::collections::BTreeMap;

use stoker_domain::machine::{
    CommandReport, Context, Effect, EventVerdict, Input, NewDevice, Output, Reply, SlotMachine,
};
use stoker_domain::ports::bus::{Activity, GatewayOrder};
use stoker_domain::ports::store::OutboxEntry;
use stoker_domain::{
    Channel, CommandId, DeviceId, DeviceKey, EventId, Match, MemberId, Millis, OrganizationId, SessionEpoch,
    Settings, Severity, Slot, SlotEpoch, Subscription, SubscriptionId, Subscriptions,
};

use store::{ModelStore, Rows, change_rows};
use truth::Truth;

pub(crate) const SLOT: Slot = Slot(7);

/// A session as its gateway has it.
pub(crate) struct Session {
    pub(crate) device: DeviceKey,
    pub(crate) epoch: SessionEpoch,
    pub(crate) gateway: MemberId,
}

/// A command that a gateway was given.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) id: CommandId,
    pub(crate) number: u64,
    pub(crate) device: DeviceKey,
    pub(crate) session: SessionEpoch,
    pub(crate) written: bool,
}

/// An output that is not committed yet.
pub(crate) struct Staged {
    pub(crate) output: Output,
    /// The fault that it counted.
    pub(crate) counted: Option<(DeviceKey, EventId)>,
    /// The device that it removed.
    pub(crate) removed: Option<DeviceKey>,
}

/// One input, and what it met and led to.
pub(crate) struct Step<'a> {
    pub(crate) now: Millis,
    pub(crate) input: &'a Input,
    pub(crate) output: &'a Output,
    /// All rows as they were before, committed or not.
    pub(crate) before: &'a Rows,
    /// All rows as they are now.
    pub(crate) after: &'a Rows,
}

pub(crate) struct World {
    pub(crate) now: Millis,
    pub(crate) settings: Settings,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) machine: SlotMachine,
    pub(crate) epoch: SlotEpoch,
    pub(crate) store: ModelStore,
    /// The committed rows with all staged changes.
    pub(crate) shadow: Rows,
    pub(crate) staged: Vec<Staged>,
    /// Asked for after a commit, in the owner's memory.
    pub(crate) effects: Vec<Effect>,
    /// Attempts in the notifiers' durable queue.
    pub(crate) work: Vec<OutboxEntry>,
    pub(crate) sessions: Vec<Session>,
    /// How many CONNECTs the gateways have taken.
    pub(crate) arrivals: u64,
    /// How often each gateway was started.
    pub(crate) lives: [u32; 2],
    pub(crate) orders: Vec<Order>,
    /// True things that were said of commands; each may arrive any number of times, in any order.
    pub(crate) reports: Vec<CommandReport>,
    /// When a message of each device last came, by the owner's memory.
    pub(crate) last_seen: BTreeMap<DeviceKey, Millis>,
    pub(crate) truth: Truth,
}

pub(crate) fn key(device: u8) -> DeviceKey {
    let (organization, device) = match device % 6 {
        0 => ("acme", "boiler-0"),
        1 => ("acme", "boiler-1"),
        2 => ("acme", "pump-2"),
        3 => ("other", "boiler-0"),
        4 => ("acme", "door-4"),
        _ => ("other", "door-5"),
    };
    DeviceKey::new(OrganizationId::new(organization).unwrap(), DeviceId::new(device).unwrap())
}

pub(crate) fn settings() -> Settings {
    Settings {
        max_open_commands: 3,
        max_active_alarms: 3,
        max_attributes: 2,
        max_devices_per_slot: 5,
        notification_give_up_ms: 900_000,
        ..Settings::default()
    }
}

fn subscription(organization: &str, id: &str, matching: Match, deliver: Vec<Channel>) -> Subscription {
    Subscription {
        id: SubscriptionId::new(id).unwrap(),
        organization: OrganizationId::new(organization).unwrap(),
        name: id.to_owned(),
        matching,
        deliver,
        created_at: 0,
    }
}

/// One of a few sets of subscriptions. Both organizations use the same ids; recipients bear the organization's name.
pub(crate) fn subscriptions(variant: u8) -> Subscriptions {
    let mut all = BTreeMap::new();
    for organization in ["acme", "other"] {
        let mail = |name: &str| Channel::Email { to: format!("{name}@{organization}") };
        let hook = |name: &str| Channel::Webhook {
            url: format!("https://{organization}/{name}"),
            secret: "secret".to_owned(),
        };
        let everything = Match::default();
        let bad = Match { min_severity: Some(Severity::Major), ..Match::default() };
        let boilers = Match {
            devices: Some(vec!["boiler-*".to_owned()]),
            sites: Some(vec!["site-0".to_owned()]),
            ..Match::default()
        };
        let tagged = Match { tags: Some(vec!["hot".to_owned()]), ..Match::default() };
        let subs = match variant % 6 {
            0 => vec![
                subscription(organization, "all", everything, vec![mail("ann")]),
                subscription(organization, "bad", bad, vec![mail("ann"), hook("bad")]),
            ],
            1 => vec![
                subscription(organization, "all", everything, vec![mail("ann"), hook("all"), hook("all")]),
                subscription(organization, "boilers", boilers, vec![mail("bob")]),
            ],
            2 => vec![subscription(organization, "bad", bad, vec![mail("ann")])],
            3 => vec![
                subscription(organization, "tagged", tagged, vec![hook("all")]),
                subscription(organization, "bad", bad, vec![mail("bob"), hook("all")]),
            ],
            4 => vec![subscription(organization, "boilers", boilers, vec![mail("ann")])],
            _ => Vec::new(),
        };
        all.insert(OrganizationId::new(organization).unwrap(), subs);
    }
    Subscriptions(all)
}

impl World {
    pub(crate) fn new() -> Self {
        let (settings, subscriptions, now) = (settings(), subscriptions(0), 1_700_000_000_000);
        let epoch = SlotEpoch(1);
        let ctx = Context { now, settings: &settings, subscriptions: &subscriptions };
        let (machine, output) = SlotMachine::load(SLOT, epoch, Vec::new(), None, &ctx);
        assert_eq!(output, Output::default(), "an empty slot wants nothing");
        let mut world = Self {
            now,
            settings,
            subscriptions,
            machine,
            epoch,
            store: ModelStore::default(),
            shadow: Rows::new(),
            staged: Vec::new(),
            effects: Vec::new(),
            work: Vec::new(),
            sessions: Vec::new(),
            arrivals: 1,
            lives: [0; 2],
            orders: Vec::new(),
            reports: Vec::new(),
            last_seen: BTreeMap::new(),
            truth: Truth::default(),
        };
        for device in 0..4 {
            world.apply(Input::CreateDevice(Box::new(new_device(device))));
        }
        world.commit(usize::MAX);
        world
    }

    /// Gives the machine an input, and checks what it makes of it.
    pub(crate) fn apply(&mut self, input: Input) -> Reply {
        let ctx = Context { now: self.now, settings: &self.settings, subscriptions: &self.subscriptions };
        let output = self.machine.apply(input.clone(), &ctx);
        let before = self.shadow.clone();
        change_rows(&mut self.shadow, &output.changes);
        let after = self.shadow.clone();
        let step = Step { now: self.now, input: &input, output: &output, before: &before, after: &after };
        checks::output(self, &step);
        self.truth.heed(&step, &self.settings);
        checks::state(self);
        for effect in &output.immediate {
            let Effect::Gateway(dispatch) = effect else { panic!("{effect:?} must wait for the commit") };
            let closes = matches!(dispatch.message.order, GatewayOrder::Close { .. });
            assert!(closes, "{dispatch:?} must wait for the commit");
        }
        if let (Reply::Session(Ok(grant)), Input::OpenSession(open)) = (&output.reply, &input) {
            self.sessions.push(Session {
                device: open.device.clone(),
                epoch: grant.epoch,
                gateway: open.session.gateway.clone(),
            });
        }
        let counted = match (&input, &output.reply) {
            (Input::Event(event), Reply::Event(EventVerdict::Counted)) if event.kind.is_fault() => {
                Some((event.device.clone(), event.id.clone()))
            }
            _ => None,
        };
        let removed = match (&input, &output.reply) {
            (Input::RemoveDevice(key), Reply::Device(Ok(_))) => Some(key.clone()),
            _ => None,
        };
        let reply = output.reply.clone();
        self.staged.push(Staged { output, counted, removed });
        reply
    }

    /// Commits the first `count` of what waits.
    pub(crate) fn commit(&mut self, count: usize) {
        let count = count.min(self.staged.len());
        for staged in self.staged.drain(..count).collect::<Vec<_>>() {
            for item in &staged.output.history {
                self.store.append(item);
            }
            change_rows(&mut self.store.rows, &staged.output.changes);
            if let Some((device, id)) = &staged.counted {
                self.truth.counted.entry(device.clone()).or_default().push(id.clone());
            }
            self.truth.committed(&staged.output.changes);
            if let Some(key) = &staged.removed {
                self.truth.removed(key);
            }
            if let Reply::Command(Ok(command)) = &staged.output.reply {
                checks::a_command_ends_once_and_honestly(&mut self.truth, command);
            }
            for effect in staged.output.after {
                match effect {
                    Effect::Activity(activity) => {
                        if let Activity::Command(command) = &*activity {
                            checks::a_command_ends_once_and_honestly(&mut self.truth, command);
                        }
                    }
                    other => self.effects.push(other),
                }
            }
        }
        for command in store::commands(&self.store.rows).cloned().collect::<Vec<_>>() {
            checks::a_command_ends_once_and_honestly(&mut self.truth, &command);
        }
    }

    /// The owner dies, and another takes over.
    pub(crate) fn crash(&mut self, committed: usize, history: bool, downtime_ms: i64) {
        self.commit(committed);
        if history && let Some(staged) = self.staged.first() {
            for item in &staged.output.history {
                self.store.append(item);
            }
        }
        self.staged.clear();
        self.effects.clear();
        self.last_seen.clear();
        self.now += downtime_ms;
        self.epoch = SlotEpoch(self.epoch.0 + 1);
        let ctx = Context { now: self.now, settings: &self.settings, subscriptions: &self.subscriptions };
        let rows: Vec<_> = self.store.rows.values().cloned().collect();
        let (machine, output) = SlotMachine::load(SLOT, self.epoch, rows, Some(self.now), &ctx);
        assert_eq!(output.changes, [], "rows that are complete need no repair");
        assert_eq!(output.immediate, []);
        checks::everything_unconfirmed_goes_out_again(&self.store.rows, &output);
        self.machine = machine;
        self.shadow = self.store.rows.clone();
        self.truth.loaded(self.now, &self.store.rows, &self.settings);
        self.staged.push(Staged { output, counted: None, removed: None });
        checks::state(self);
    }

    /// Fires what is due until nothing is.
    pub(crate) fn tick(&mut self) {
        for _ in 0..50 {
            if self.machine.next_due().is_none_or(|due| due > self.now) {
                return;
            }
            let last_seen = self
                .machine
                .due_intervals(self.now)
                .into_iter()
                .filter_map(|key| self.last_seen.get(&key).map(|at| (key.clone(), *at)))
                .collect();
            self.apply(Input::Tick { last_seen });
        }
        panic!("firing what is due does not end: {:?} at {}", self.machine.next_due(), self.now);
    }

    pub(crate) fn gateway(&self, gateway: u8) -> MemberId {
        let gateway = usize::from(gateway % 2);
        MemberId::new(&format!("gateway-{gateway}-{}", self.lives[gateway])).unwrap()
    }
}

pub(crate) fn new_device(device: u8) -> NewDevice {
    NewDevice {
        key: key(device),
        model: None,
        site: None,
        tags: if device % 2 == 1 { vec!["hot".to_owned()] } else { Vec::new() },
        expected_interval_s: (device == 2).then_some(10),
        token_hash: None,
        password_hash: None,
    }
}
