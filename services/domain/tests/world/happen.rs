//! What each operation does to the world.

use std::collections::BTreeMap;

use stoker_domain::machine::{
    AcknowledgeAlarm, CommandReport, CreateCommand, DevicePatch, Effect, Input, OpenSession, PatchAttributes,
    SessionReport,
};
use stoker_domain::ports::bus::GatewayOrder;
use stoker_domain::ports::store::StateKey;
use stoker_domain::{
    CommandId, Event, EventId, EventKind, Proof, SessionEpoch, SessionInfo, Severity, SiteId, TokenHash,
    Value, Will,
};

use super::ops::{EffectFate, Op, OrderFate, Patch};
use super::{Order, World, key, new_device, store, subscriptions};

/// Picks counting from the end.
fn pick<T>(items: &[T], from_the_end: u8) -> Option<usize> {
    (!items.is_empty()).then(|| items.len() - 1 - usize::from(from_the_end) % items.len())
}

fn fault(device: u8, code: u8, id: &str, severity: Severity, cleared: bool) -> Event {
    Event {
        id: EventId::new(id).unwrap(),
        device: key(device),
        ts: 1,
        kind: EventKind(EventKind::FAULT.to_owned()),
        code: format!("F{code}"),
        severity,
        text: format!("fault {code}"),
        cleared,
        data: None,
    }
}

impl World {
    pub(crate) fn step(&mut self, op: &Op) {
        match op {
            Op::Connect { device, gateway, will, late } => {
                let will = will.map(|will| {
                    let id = format!("will-{}-{}", self.epoch, self.sessions.len());
                    let event = fault(*device, will.code, &id, Severity::Major, false);
                    Will { event, delay_ms: will.delay_ms }
                });
                let session = SessionInfo {
                    gateway: self.gateway(*gateway),
                    address: "192.0.2.1:1".to_owned(),
                    protocol: "mqtt-5".to_owned(),
                    will,
                };
                self.arrivals += u64::from(!late);
                let arrival = if *late { 1 } else { self.arrivals };
                self.apply(Input::OpenSession(OpenSession {
                    device: key(*device),
                    proof: Proof::Certificate,
                    session,
                    arrival,
                }));
            }
            Op::Ended { session, reason } => {
                if let Some(at) = pick(&self.sessions, *session) {
                    let (device, epoch) = (self.sessions[at].device.clone(), self.sessions[at].epoch);
                    self.apply(Input::Session(SessionReport::Ended { device, epoch, reason: *reason }));
                }
            }
            Op::Wants { session, wanted } => {
                if let Some(at) = pick(&self.sessions, *session) {
                    let (device, epoch) = (self.sessions[at].device.clone(), self.sessions[at].epoch);
                    let wanted = *wanted;
                    self.apply(Input::Session(SessionReport::CommandsWanted { device, epoch, wanted }));
                }
            }
            Op::GatewayDies { gateway, in_order } => {
                let id = self.gateway(*gateway);
                self.lives[usize::from(*gateway % 2)] += 1;
                self.orders.retain(|order| {
                    !self.sessions.iter().any(|s| s.epoch == order.session && s.gateway == id)
                });
                self.apply(if *in_order { Input::GatewayLeft(id) } else { Input::GatewayGone(id) });
            }
            Op::Message { device } => {
                self.last_seen.insert(key(*device), self.now);
            }
            Op::Fault { device, code, id, severity, cleared } => {
                let event = fault(*device, *code, &format!("e{id}"), *severity, *cleared);
                self.apply(Input::Event(event));
            }
            Op::Remark { device, id } => {
                let mut event = fault(*device, 0, &format!("r{id}"), Severity::Minor, false);
                event.kind = EventKind("door_opened".to_owned());
                self.apply(Input::Event(event));
            }
            Op::Note { alarm, clear } => self.note(*alarm, *clear),
            Op::Subscriptions { variant } => self.subscriptions = subscriptions(*variant),
            Op::Test { subscription } => {
                let organization = ["acme", "other"][usize::from(*subscription % 2)].parse().unwrap();
                let id =
                    ["all", "bad", "boilers", "tagged"][usize::from(*subscription / 2 % 4)].parse().unwrap();
                self.apply(Input::TestSubscription { organization, id });
            }
            Op::Create { device } => {
                self.apply(Input::CreateDevice(Box::new(new_device(*device))));
            }
            Op::Remove { device } => {
                self.apply(Input::RemoveDevice(key(*device)));
            }
            Op::Patch { device, what } => self.patch(*device, *what),
            Op::Attributes { device, key: name, value, shared } => {
                let patch = BTreeMap::from([(
                    format!("k{name}"),
                    value.map(|value| Value::Integer(i64::from(value))),
                )]);
                let (shared, server) =
                    if *shared { (patch, BTreeMap::new()) } else { (BTreeMap::new(), patch) };
                let device = key(*device);
                let client = BTreeMap::new();
                self.apply(Input::PatchAttributes(PatchAttributes { device, client, shared, server }));
            }
            Op::Pass { ms } => {
                self.now += ms;
                self.tick();
            }
            Op::Commit => self.commit(usize::MAX),
            Op::Crash { committed, history, downtime_ms } => {
                self.crash(usize::from(*committed), *history, *downtime_ms);
            }
            Op::AllEffects => self.all_effects(),
            Op::Effect { effect, fate } => {
                if let Some(at) = pick(&self.effects, *effect) {
                    let effect = self.effects.remove(at);
                    self.effect(effect, *fate);
                }
            }
            Op::Attempt { work, result, again, ahead } => {
                if let Some(at) = pick(&self.work, *work) {
                    let item = self.work[at];
                    if !again && *ahead == 0 {
                        self.work.remove(at);
                    }
                    self.apply(Input::Attempt {
                        notification: item.notification,
                        attempt: item.attempt + ahead,
                        result: *result,
                        detail: "é".repeat(300),
                    });
                }
            }
            Op::Command { .. }
            | Op::Cancel { .. }
            | Op::Order { .. }
            | Op::Report { .. }
            | Op::StrayReply { .. } => self.command_op(op),
        }
    }

    fn command_op(&mut self, op: &Op) {
        match op {
            Op::Command { device, expires_in_s } => {
                self.apply(Input::CreateCommand(CreateCommand {
                    device: key(*device),
                    method: "write".to_owned(),
                    params: "{}".to_owned(),
                    expires_in_s: *expires_in_s,
                }));
            }
            Op::Cancel { command } => {
                let ids: Vec<_> = store::commands(&self.shadow).map(|row| row.id).collect();
                if let Some(at) = pick(&ids, *command) {
                    self.apply(Input::CancelCommand(ids[at]));
                }
            }
            Op::Order { order, fate } => {
                if let Some(at) = pick(&self.orders, *order) {
                    self.order(at, *fate);
                }
            }
            Op::Report { report } => {
                if let Some(at) = pick(&self.reports, *report) {
                    self.apply(Input::Command(self.reports[at].clone()));
                }
            }
            Op::StrayReply { device, number } => {
                let replied = CommandReport::Replied {
                    device: key(*device),
                    number: 1_000 + u64::from(*number),
                    reply: "1".to_owned(),
                    failed: false,
                    at: self.now,
                };
                self.apply(Input::Command(replied));
            }
            _ => {}
        }
    }

    /// A gateway works on an order. What comes of it is said, and may arrive later.
    fn order(&mut self, at: usize, fate: OrderFate) {
        let order = self.orders[at].clone();
        let (id, session) = (order.id, order.session);
        match fate {
            OrderFate::Written => {
                self.orders[at].written = true;
                self.truth.written.insert(id);
                self.reports.push(CommandReport::Sent { id, session });
            }
            OrderFate::Acknowledged if order.written => {
                self.truth.arrived.insert(id);
                self.reports.push(CommandReport::Delivered { id, session });
            }
            OrderFate::Refused if order.written => {
                let detail = "0x83".to_owned();
                self.reports.push(CommandReport::Refused { id, session, detail });
            }
            OrderFate::Answered { failed, text } if order.written => {
                self.truth.arrived.insert(id);
                let reply = format!("{{\"text\":{text}}}");
                let at = self.now;
                let (device, number) = (order.device, order.number);
                self.reports.push(CommandReport::Replied { device, number, reply, failed, at });
            }
            OrderFate::NotSent { never } if !order.written => {
                self.orders.remove(at);
                let detail = "not subscribed".to_owned();
                self.reports.push(CommandReport::NotSent { id, session, never, detail });
            }
            _ => {}
        }
    }

    /// A gateway takes a command back that it has not written.
    fn withdraw(&mut self, id: CommandId, session: SessionEpoch) {
        let waits = |order: &Order| order.id == id && order.session == session && !order.written;
        if let Some(at) = self.orders.iter().position(waits) {
            self.orders.remove(at);
            self.reports.push(CommandReport::NotSent {
                id,
                session,
                never: false,
                detail: "taken back".to_owned(),
            });
        }
    }

    fn note(&mut self, alarm: u8, clear: bool) {
        let ids: Vec<_> = store::alarms(&self.shadow).map(|row| row.id).collect();
        if let Some(at) = pick(&ids, alarm) {
            let (id, by) = (ids[at], "ann".to_owned());
            self.apply(if clear {
                Input::ClearAlarm { id, by }
            } else {
                Input::AcknowledgeAlarm(AcknowledgeAlarm { id, by, note: None })
            });
        }
    }

    fn patch(&mut self, device: u8, what: Patch) {
        let mut patch = DevicePatch {
            key: key(device),
            model: None,
            site: None,
            tags: None,
            expected_interval_s: None,
            token_hash: None,
            password_hash: None,
        };
        match what {
            Patch::Interval(interval) => patch.expected_interval_s = Some(interval.map(u32::from)),
            Patch::Credential(byte) => patch.token_hash = Some(Some(TokenHash([byte; 32]))),
            Patch::Site(site) => patch.site = Some(Some(SiteId::new(&format!("site-{site}")).unwrap())),
        }
        self.apply(Input::PatchDevice(Box::new(patch)));
    }

    pub(crate) fn all_effects(&mut self) {
        for _ in 0..20 {
            self.commit(usize::MAX);
            if self.effects.is_empty() {
                return;
            }
            for effect in std::mem::take(&mut self.effects) {
                self.effect(effect, EffectFate::Done);
            }
        }
        panic!("effects do not end: {:?}", self.effects);
    }

    fn effect(&mut self, effect: Effect, fate: EffectFate) {
        if matches!(fate, EffectFate::Lost) {
            if matches!(effect, Effect::Archive(..) | Effect::Forget(_)) {
                self.effects.push(effect);
            }
            return;
        }
        let heard = matches!(fate, EffectFate::Done);
        match effect {
            Effect::Gateway(dispatch) => {
                let message = dispatch.message;
                if let GatewayOrder::Withdraw { id } = message.order {
                    self.withdraw(id, message.session);
                }
                if let GatewayOrder::Command { id, number, .. } = message.order {
                    let (device, session) = (message.device, message.session);
                    self.orders.push(Order { id, number, device, session, written: false });
                }
            }
            Effect::Publish(item) => {
                if self.machine.work(&item).is_some() {
                    self.work.push(item);
                    self.truth.published.insert(item.notification);
                }
                if heard {
                    let (notification, attempt) = (item.notification, item.attempt);
                    self.apply(Input::OutboxConfirmed { notification, attempt });
                }
            }
            // Its device was removed meanwhile.
            Effect::Archive(key, _) if !self.machine.has(&key) => {}
            Effect::Archive(key, row) => {
                self.store.append(&row);
                if heard {
                    self.apply(Input::Archived(vec![key]));
                } else {
                    // The shell goes on until it is done.
                    self.effects.push(Effect::Archive(key, row));
                }
            }
            Effect::Forget(key) => {
                self.store.forget_device(&key);
                if heard {
                    self.apply(Input::Archived(vec![StateKey::Removal(key)]));
                } else {
                    self.effects.push(Effect::Forget(key));
                }
            }
            Effect::Activity(_) => {}
        }
    }
}
