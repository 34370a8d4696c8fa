//! One test per rule, on a machine that commits at once. What must hold over any history and any crash stands in the
//! crate's `tests/properties.rs`.

mod alarms;
mod announce;
mod bounds;
mod commands;
mod devices;
mod emptied;
mod load;
mod notifications;
mod sessions;
mod silence;
mod test_message;

use std::collections::BTreeMap;

use super::*;
use crate::model::*;
use crate::ports::bus::{Activity, GatewayOrder};
use crate::ports::store::{Append, Change, StateKey, StateRow};

const START: Millis = 1_700_000_000_000;

/// A machine with its rows, as its shell would have them after each commit.
struct Rig {
    machine: SlotMachine,
    rows: BTreeMap<StateKey, StateRow>,
    settings: Settings,
    subscriptions: Subscriptions,
    now: Millis,
    events: u32,
}

fn organization() -> OrganizationId {
    OrganizationId::default_organization()
}

fn key(device: &str) -> DeviceKey {
    DeviceKey::new(organization(), DeviceId::new(device).unwrap())
}

fn gateway(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

fn new_device(device: &str) -> NewDevice {
    NewDevice {
        key: key(device),
        model: None,
        site: None,
        tags: Vec::new(),
        expected_interval_s: None,
        token_hash: None,
        password_hash: None,
    }
}

fn patch(device: &str) -> DevicePatch {
    DevicePatch {
        key: key(device),
        model: None,
        site: None,
        tags: None,
        expected_interval_s: None,
        token_hash: None,
        password_hash: None,
    }
}

fn mail(to: &str) -> Channel {
    Channel::Email { to: to.to_owned() }
}

fn subscription(id: &str, matching: Match, deliver: Vec<Channel>) -> Subscription {
    Subscription {
        id: SubscriptionId::new(id).unwrap(),
        organization: organization(),
        name: id.to_owned(),
        matching,
        deliver,
        created_at: START,
    }
}

impl Rig {
    /// With the device `boiler-1` and nobody who wants to know.
    fn new() -> Self {
        let (settings, subscriptions) = (Settings::default(), Subscriptions::default());
        let ctx = Context { now: START, settings: &settings, subscriptions: &subscriptions };
        let (machine, _) = SlotMachine::load(Slot(1), SlotEpoch(1), Vec::new(), None, &ctx);
        let rows = BTreeMap::new();
        let mut rig = Self { machine, rows, settings, subscriptions, now: START, events: 0 };
        rig.create("boiler-1");
        rig
    }

    fn apply(&mut self, input: Input) -> Output {
        let ctx = Context { now: self.now, settings: &self.settings, subscriptions: &self.subscriptions };
        let output = self.machine.apply(input, &ctx);
        for change in &output.changes {
            match change {
                Change::Put(row) => self.rows.insert(row.key(), (**row).clone()),
                Change::Delete(key) => self.rows.remove(key),
            };
        }
        output
    }

    /// Another owner takes over from one that is lost, `downtime` later.
    fn take_over(&mut self, downtime: Millis) -> Output {
        self.now += downtime;
        self.take_over_after(Some(self.now))
    }

    /// Another owner takes over; part of the platform was last taken for dead then.
    fn take_over_after(&mut self, died_at: Option<Millis>) -> Output {
        let epoch = SlotEpoch(self.machine.epoch().0 + 1);
        let ctx = Context { now: self.now, settings: &self.settings, subscriptions: &self.subscriptions };
        let rows = self.rows.values().cloned().collect();
        let (machine, output) = SlotMachine::load(Slot(1), epoch, rows, died_at, &ctx);
        self.machine = machine;
        output
    }

    fn subscribe(&mut self, subscriptions: Vec<Subscription>) {
        self.subscriptions.0.insert(organization(), subscriptions);
    }

    fn create(&mut self, device: &str) -> Output {
        self.apply(Input::CreateDevice(Box::new(new_device(device))))
    }

    fn open(&mut self, device: &str, gateway_name: &str) -> (SessionEpoch, Output) {
        self.open_with(device, gateway_name, None)
    }

    fn open_with(&mut self, device: &str, gateway_name: &str, will: Option<Will>) -> (SessionEpoch, Output) {
        let session = SessionInfo {
            gateway: gateway(gateway_name),
            address: "192.0.2.1:4711".to_owned(),
            protocol: "mqtt-5".to_owned(),
            will,
        };
        let output = self.apply(Input::OpenSession(OpenSession {
            device: key(device),
            proof: Proof::Certificate,
            session,
            arrival: 0,
        }));
        match &output.reply {
            Reply::Session(Ok(grant)) => (grant.epoch, output),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, device: &str, epoch: SessionEpoch, reason: EndReason) -> Output {
        self.apply(Input::Session(SessionReport::Ended { device: key(device), epoch, reason }))
    }

    fn wants(&mut self, device: &str, epoch: SessionEpoch, wanted: bool) -> Output {
        self.apply(Input::Session(SessionReport::CommandsWanted { device: key(device), epoch, wanted }))
    }

    fn fault(&mut self, device: &str, code: &str, severity: Severity) -> Output {
        let event = self.event(device, code, severity, false);
        self.apply(Input::Event(event))
    }

    fn fault_over(&mut self, device: &str, code: &str) -> Output {
        let event = self.event(device, code, Severity::Major, true);
        self.apply(Input::Event(event))
    }

    /// An event with an id of its own.
    fn event(&mut self, device: &str, code: &str, severity: Severity, cleared: bool) -> Event {
        self.events += 1;
        Event {
            id: EventId::new(&format!("e{}", self.events)).unwrap(),
            device: key(device),
            ts: self.now,
            kind: EventKind(EventKind::FAULT.to_owned()),
            code: code.to_owned(),
            severity,
            text: format!("{code} again"),
            cleared,
            data: None,
        }
    }

    fn command(&mut self, device: &str, expires_in_s: u32) -> (Command, Output) {
        let output = self.apply(Input::CreateCommand(CreateCommand {
            device: key(device),
            method: "write".to_owned(),
            params: "{\"to\":70}".to_owned(),
            expires_in_s,
        }));
        match &output.reply {
            Reply::Command(Ok(command)) => ((**command).clone(), output),
            other => panic!("{other:?}"),
        }
    }

    fn report(&mut self, report: CommandReport) -> Output {
        self.apply(Input::Command(report))
    }

    fn reply(&mut self, device: &str, number: u64, reply: &str) -> Output {
        let (device, reply, at) = (key(device), reply.to_owned(), self.now);
        self.report(CommandReport::Replied { device, number, reply, failed: false, at })
    }

    /// Lets time pass, and fires what is due.
    fn pass(&mut self, ms: Millis) -> Output {
        self.pass_having_seen(ms, &[])
    }

    fn pass_having_seen(&mut self, ms: Millis, last_seen: &[(&str, Millis)]) -> Output {
        self.now += ms;
        let last_seen = last_seen.iter().map(|(device, at)| (key(device), *at)).collect();
        self.apply(Input::Tick { last_seen })
    }

    fn presence(&self, device: &str) -> Presence {
        self.machine.device(&key(device)).unwrap().presence.unwrap().clone()
    }

    fn alarms(&self) -> Vec<Alarm> {
        self.machine.alarms(&organization()).cloned().collect()
    }

    fn active(&self) -> Vec<Alarm> {
        self.alarms().into_iter().filter(|alarm| alarm.state == AlarmState::Active).collect()
    }

    fn notifications(&self) -> Vec<Notification> {
        self.machine.notifications(&organization()).cloned().collect()
    }

    fn now_of(&self, id: CommandId) -> Command {
        self.machine.command(id).unwrap().clone()
    }
}

fn nothing() -> Output {
    Output::default()
}

fn orders(output: &Output) -> Vec<(SessionEpoch, GatewayOrder)> {
    output
        .after
        .iter()
        .filter_map(|effect| match effect {
            Effect::Gateway(dispatch) => Some((dispatch.message.session, dispatch.message.order.clone())),
            _ => None,
        })
        .collect()
}

fn commanded(output: &Output) -> Vec<(SessionEpoch, u64)> {
    orders(output)
        .into_iter()
        .filter_map(|(session, order)| match order {
            GatewayOrder::Command { number, .. } => Some((session, number)),
            _ => None,
        })
        .collect()
}

fn published(output: &Output) -> Vec<(NotificationId, u32)> {
    output
        .after
        .iter()
        .filter_map(|effect| match effect {
            Effect::Publish(item) => Some((item.notification, item.attempt)),
            _ => None,
        })
        .collect()
}

fn appended(output: &Output) -> Vec<Event> {
    output
        .history
        .iter()
        .map(|item| match item {
            Append::Event(event) => event.clone(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn archives(output: &Output) -> Vec<StateKey> {
    output
        .after
        .iter()
        .filter_map(|effect| match effect {
            Effect::Archive(key, _) => Some(key.clone()),
            _ => None,
        })
        .collect()
}

fn told(output: &Output) -> Vec<&Activity> {
    output
        .after
        .iter()
        .filter_map(|effect| match effect {
            Effect::Activity(activity) => Some(&**activity),
            _ => None,
        })
        .collect()
}
