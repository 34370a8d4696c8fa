//! What may happen, and how often. Numbers pick among what there is at that moment, so that any part of a history is a
//! history too and failures shrink.

use proptest::prelude::*;
use stoker_domain::{AttemptResult, EndReason, Severity};

/// Something that happens.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A device connects to a gateway. `late`: it did so before all others, but its credential took long to check.
    Connect { device: u8, gateway: u8, will: Option<Will>, late: bool },
    /// A gateway tells how a session ended that it holds or held, perhaps again, perhaps late.
    Ended { session: u8, reason: EndReason },
    /// A gateway tells that a session wants commands, or no longer does.
    Wants { session: u8, wanted: bool },
    /// A gateway dies with all its connections.
    GatewayDies { gateway: u8, in_order: bool },
    /// A device sends something that does not reach the machine.
    Message { device: u8 },
    /// A device reports a fault, or its end.
    Fault { device: u8, code: u8, id: u8, severity: Severity, cleared: bool },
    /// A device reports something else.
    Remark { device: u8, id: u8 },
    /// A person makes a command.
    Command { device: u8, expires_in_s: u32 },
    /// A person takes one back.
    Cancel { command: u8 },
    /// A gateway works on an order that it was given.
    Order { order: u8, fate: OrderFate },
    /// Something that was said of a command reaches the machine, perhaps again.
    Report { report: u8 },
    /// A device replies to a number out of the blue.
    StrayReply { device: u8, number: u8 },
    /// A person acknowledges or clears an alarm.
    Note { alarm: u8, clear: bool },
    /// An effect that was asked for is carried out, or is not.
    Effect { effect: u8, fate: EffectFate },
    /// Everything that was asked for is carried out.
    AllEffects,
    /// A notifier has tried, and reports perhaps once more, perhaps of an attempt that nobody has asked for.
    Attempt { work: u8, result: AttemptResult, again: bool, ahead: u32 },
    /// Time passes, and what is due is fired.
    Pass { ms: i64 },
    /// What waits is committed.
    Commit,
    /// The owner dies. The first so many of what waits were committed; of the next, only history was written.
    Crash { committed: u8, history: bool, downtime_ms: i64 },
    /// Somebody changes the subscriptions.
    Subscriptions { variant: u8 },
    /// Somebody wants to see that a subscription reaches people.
    Test { subscription: u8 },
    /// Somebody makes a device again.
    Create { device: u8 },
    /// Somebody changes a device.
    Patch { device: u8, what: Patch },
    /// Somebody removes a device.
    Remove { device: u8 },
    /// Somebody changes attributes.
    Attributes { device: u8, key: u8, value: Option<u8>, shared: bool },
}

/// What a device asks to be said for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Will {
    pub(crate) code: u8,
    pub(crate) delay_ms: u32,
}

/// What becomes of an order at its gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OrderFate {
    Written,
    Acknowledged,
    Refused,
    NotSent { never: bool },
    Answered { failed: bool, text: u8 },
}

/// What becomes of an effect.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EffectFate {
    Done,
    /// Done, but the machine does not hear of it.
    DoneUnheard,
    Lost,
}

/// What is changed about a device.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patch {
    Interval(Option<u8>),
    Credential(u8),
    Site(u8),
}

/// How often each group of things happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights {
    sessions: u32,
    faults: u32,
    commands: u32,
    notifications: u32,
    devices: u32,
}

impl Weights {
    pub(crate) const EVERYTHING: Self =
        Self { sessions: 4, faults: 4, commands: 4, notifications: 4, devices: 2 };
    pub(crate) const SESSIONS: Self =
        Self { sessions: 12, faults: 1, commands: 1, notifications: 1, devices: 1 };
    pub(crate) const COMMANDS: Self =
        Self { sessions: 4, faults: 0, commands: 12, notifications: 0, devices: 0 };
    pub(crate) const ALARMS: Self =
        Self { sessions: 2, faults: 10, commands: 0, notifications: 12, devices: 1 };
}

pub(crate) fn history(weights: Weights) -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(weights), 1..120)
}

/// One device, few commands, many sessions and owners: what a ledger is easily wrong about. Made of short runs that go
/// together, for one by one they seldom do.
pub(crate) fn history_of_one_command() -> impl Strategy<Value = Vec<Op>> {
    let command = Op::Command { device: 0, expires_in_s: 60 };
    let wants = Op::Wants { session: 0, wanted: true };
    let crash = Op::Crash { committed: 99, history: true, downtime_ms: 0 };
    let connect = |gateway| Op::Connect { device: 0, gateway, will: None, late: false };
    let run = prop_oneof![
        3 => Just(vec![command, Op::AllEffects]),
        4 => (0..2u8).prop_map(move |gateway| vec![connect(gateway), wants.clone(), Op::AllEffects]),
        2 => Just(vec![Op::Pass { ms: 1_000 }, Op::AllEffects]),
        1 => Just(vec![Op::Pass { ms: 60_000 }]),
        1 => Just(vec![Op::Ended { session: 0, reason: EndReason::ByPlatform }]),
        2 => (0..2u8).prop_map(|order| vec![Op::Order { order, fate: OrderFate::Written }]),
        2 => (0..2u8).prop_map(|order| {
            let acknowledged = Op::Order { order, fate: OrderFate::Acknowledged };
            vec![Op::Order { order, fate: OrderFate::Written }, acknowledged]
        }),
        3 => ((0..2u8), order_fate())
            .prop_map(|(order, fate)| vec![Op::Order { order, fate }, Op::Report { report: 0 }]),
        3 => ((0..2u8), any::<bool>()).prop_map(|(order, never)| {
            vec![Op::Order { order, fate: OrderFate::NotSent { never } }, Op::Report { report: 0 }]
        }),
        2 => (0..2u8).prop_map(|order| {
            let not_sent = Op::Order { order, fate: OrderFate::NotSent { never: false } };
            let wants = Op::Wants { session: 0, wanted: true };
            vec![not_sent, Op::Report { report: 0 }, wants, Op::AllEffects]
        }),
        4 => (0..4u8).prop_map(|report| vec![Op::Report { report }]),
        1 => Just(vec![crash]),
        1 => Just(vec![Op::Cancel { command: 0 }]),
    ];
    proptest::collection::vec(run, 1..24).prop_map(|runs| runs.concat())
}

fn op(weights: Weights) -> impl Strategy<Value = Op> {
    // A weight of zero is not taken: nothing is ever quite absent.
    let weight = |weight: u32| (weight * 10).max(1);
    prop_oneof![
        weight(weights.sessions) => sessions(),
        weight(weights.faults) => faults(),
        weight(weights.commands) => commands(),
        weight(weights.notifications) => notifications(),
        weight(weights.devices) => devices(),
        60 => always(),
    ]
}

fn sessions() -> BoxedStrategy<Op> {
    let will = proptest::option::weighted(
        0.5,
        (0..3u8, prop_oneof![Just(0), Just(5_000), Just(100_000)])
            .prop_map(|(code, delay_ms)| Will { code, delay_ms }),
    );
    prop_oneof![
        4 => (0..4u8, 0..2u8, will, proptest::bool::weighted(0.2))
            .prop_map(|(device, gateway, will, late)| Op::Connect { device, gateway, will, late }),
        5 => (newest_first(), reason()).prop_map(|(session, reason)| Op::Ended { session, reason }),
        2 => (newest_first(), any::<bool>()).prop_map(|(session, wanted)| Op::Wants { session, wanted }),
        1 => (0..4u8).prop_map(|n| Op::GatewayDies { gateway: n / 2, in_order: n % 2 == 1 }),
        2 => (0..4u8).prop_map(|device| Op::Message { device }),
    ]
    .boxed()
}

fn faults() -> BoxedStrategy<Op> {
    prop_oneof![
        8 => (0..4u8, 0..5u8, 0..40u8, severity(), proptest::bool::weighted(0.3)).prop_map(
            |(device, code, id, severity, cleared)| Op::Fault { device, code, id, severity, cleared }
        ),
        1 => (0..4u8, 0..40u8).prop_map(|(device, id)| Op::Remark { device, id }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(alarm, clear)| Op::Note { alarm, clear }),
    ]
    .boxed()
}

fn commands() -> BoxedStrategy<Op> {
    prop_oneof![
        4 => (0..4u8, prop_oneof![Just(1), Just(60), Just(600)])
            .prop_map(|(device, expires_in_s)| Op::Command { device, expires_in_s }),
        1 => newest_first().prop_map(|command| Op::Cancel { command }),
        6 => (newest_first(), order_fate()).prop_map(|(order, fate)| Op::Order { order, fate }),
        5 => newest_first().prop_map(|report| Op::Report { report }),
        1 => (0..4u8, 1..6u8).prop_map(|(device, number)| Op::StrayReply { device, number }),
        2 => (newest_first(), proptest::bool::weighted(0.8))
            .prop_map(|(session, wanted)| Op::Wants { session, wanted }),
    ]
    .boxed()
}

fn notifications() -> BoxedStrategy<Op> {
    let result = prop_oneof![
        Just(AttemptResult::Sent),
        Just(AttemptResult::Delivered),
        Just(AttemptResult::Retry),
        Just(AttemptResult::Retry),
        Just(AttemptResult::Refused),
    ];
    prop_oneof![
        4 => (any::<u8>(), result, proptest::bool::weighted(0.2), prop_oneof![6 => Just(0), 1 => Just(1u32)])
            .prop_map(|(work, result, again, ahead)| Op::Attempt { work, result, again, ahead }),
        3 => (any::<u8>(), effect_fate()).prop_map(|(effect, fate)| Op::Effect { effect, fate }),
        1 => (0..6u8).prop_map(|variant| Op::Subscriptions { variant }),
        1 => (0..8u8).prop_map(|subscription| Op::Test { subscription }),
    ]
    .boxed()
}

fn devices() -> BoxedStrategy<Op> {
    let patch = prop_oneof![
        proptest::option::of(1..20u8).prop_map(Patch::Interval),
        (0..3u8).prop_map(Patch::Credential),
        (0..2u8).prop_map(Patch::Site),
    ];
    prop_oneof![
        2 => (0..6u8).prop_map(|device| Op::Create { device }),
        3 => (0..4u8, patch).prop_map(|(device, what)| Op::Patch { device, what }),
        1 => (0..6u8).prop_map(|device| Op::Remove { device }),
        3 => (0..4u8, 0..5u8, proptest::option::of(0..3u8), any::<bool>()).prop_map(
            |(device, key, value, shared)| Op::Attributes { device, key, value, shared }
        ),
    ]
    .boxed()
}

fn always() -> BoxedStrategy<Op> {
    let pass = prop_oneof![
        Just(1),
        Just(500),
        Just(1_000),
        Just(9_999),
        Just(10_000),
        Just(30_000),
        Just(60_000),
        Just(125_000),
        Just(700_000),
    ];
    prop_oneof![
        6 => pass.prop_map(|ms| Op::Pass { ms }),
        5 => Just(Op::Commit),
        4 => Just(Op::AllEffects),
        3 => (any::<u8>(), effect_fate()).prop_map(|(effect, fate)| Op::Effect { effect, fate }),
        2 => (0..6u8, any::<bool>(), prop_oneof![Just(0), Just(5_000), Just(200_000)]).prop_map(
            |(committed, history, downtime_ms)| Op::Crash { committed, history, downtime_ms }
        ),
    ]
    .boxed()
}

fn order_fate() -> impl Strategy<Value = OrderFate> {
    prop_oneof![
        4 => Just(OrderFate::Written),
        2 => Just(OrderFate::Acknowledged),
        1 => Just(OrderFate::Refused),
        2 => proptest::bool::weighted(0.3).prop_map(|never| OrderFate::NotSent { never }),
        2 => (any::<bool>(), 0..2u8).prop_map(|(failed, text)| OrderFate::Answered { failed, text }),
    ]
}

/// Picks from the end of a list, mostly the last few.
fn newest_first() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 0..2u8, 2 => 0..6u8, 1 => any::<u8>()]
}

fn effect_fate() -> impl Strategy<Value = EffectFate> {
    prop_oneof![4 => Just(EffectFate::Done), 1 => Just(EffectFate::DoneUnheard), 1 => Just(EffectFate::Lost)]
}

fn severity() -> impl Strategy<Value = Severity> {
    prop_oneof![
        Just(Severity::Warning),
        Just(Severity::Minor),
        Just(Severity::Major),
        Just(Severity::Critical)
    ]
}

fn reason() -> impl Strategy<Value = EndReason> {
    prop_oneof![
        3 => Just(EndReason::Cut),
        1 => Just(EndReason::KeepAlive),
        1 => Just(EndReason::ProtocolError),
        1 => Just(EndReason::SlowReader),
        2 => Just(EndReason::Disconnect),
        1 => Just(EndReason::DisconnectWithWill),
        1 => Just(EndReason::TakenOver),
        2 => Just(EndReason::ByPlatform),
        1 => Just(EndReason::PlatformCrash),
    ]
}
