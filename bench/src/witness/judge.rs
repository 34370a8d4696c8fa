//! Holds what the platform says at the end against what it said, and to whom, before it was killed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Deserialize;
use stoker_sim::{Ledger, SimConfig, StatsSnapshot};
use tokio::time::sleep;

use super::watch::Orders;
use crate::api::{Alarm, Api};
use crate::checks;
use crate::delivery::{Deliveries, Told, sorted};
use crate::report::Report;

/// The first attempts come after 1 s, 5 s and 30 s: what was under way at a kill is tried again within that.
const MAILS_WITHIN: Duration = Duration::from_secs(90);
/// An attempt of which nothing was heard is made anew after 120 s: who looks sooner finds it pending.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many examples of what is wrong are shown.
const EXAMPLES: usize = crate::report::EXAMPLES;

#[derive(Deserialize)]
struct Event {
    id: String,
    device: String,
    code: String,
    cleared: bool,
}

#[derive(Deserialize)]
struct Notification {
    id: String,
    /// None of a test message.
    device: Option<String>,
    state: String,
    attempts: serde_json::Value,
}

/// Everything that was seen from outside.
pub(crate) struct Witness<'a> {
    pub(crate) api: &'a Api,
    pub(crate) config: &'a SimConfig,
    pub(crate) ledger: &'a Arc<Ledger>,
    /// What was told by e-mail; none where no mail reaches the run.
    pub(crate) mails: Option<&'a Deliveries>,
    /// Commands that were carried out by doubles of the devices, by number.
    pub(crate) doubled: &'a HashMap<u32, Vec<u64>>,
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

impl Witness<'_> {
    /// It is of this run's fleet, and not of another one that the platform knows, too.
    fn is_ours(&self, device: &str) -> bool {
        self.config.device_number(device).is_some()
    }

    /// Looks at everything.
    pub(crate) async fn judge(
        &self,
        report: &mut Report,
        stats: &StatsSnapshot,
        orders: &Orders,
    ) -> Result<()> {
        checks::readings(self.api, self.config, self.ledger, 5).await?.report(report);
        report.exactly("PUBACKs out of order", 0, stats.acks_out_of_order);
        report.exactly("protocol errors", 0, stats.protocol_errors);
        report.exactly("fault events that a device had to drop", 0, stats.events_dropped);
        let raised = self.events(report).await?;
        let alarms = self.alarms(report, &raised).await?;
        if let Some(mails) = self.mails {
            self.mails(mails, report, &alarms).await?;
        }
        self.orders(report, orders);
        Ok(())
    }

    /// Every acknowledged event is there, once. Returns how often each fault was raised, in the store.
    async fn events(&self, report: &mut Report) -> Result<HashMap<(String, String), u64>> {
        let mut stored: HashMap<(String, String), u64> = HashMap::new();
        let mut raised: HashMap<(String, String), u64> = HashMap::new();
        self.api
            .each("/events", "&kind=fault", |event: Event| {
                if !self.is_ours(&event.device) {
                    return;
                }
                let known = stored.entry((event.device.clone(), event.id)).or_default();
                *known += 1;
                if *known == 1 && !event.cleared {
                    *raised.entry((event.device, event.code)).or_default() += 1;
                }
            })
            .await?;
        let (mut acked, mut missing) = (0, Vec::new());
        for number in self.config.numbers() {
            let device = self.config.device_id(number);
            for event in self.ledger.entry(number).unwrap_or_default().events {
                acked += 1;
                if !stored.contains_key(&(device.clone(), event.id.clone())) {
                    missing.push(format!("{device} {}", event.id));
                }
            }
        }
        for example in missing.iter().take(EXAMPLES) {
            eprintln!("an acknowledged event is not in the store: {example}");
        }
        report.exactly("acknowledged fault events in the store", acked, acked - count(&missing));
        let twice: Vec<String> =
            stored.iter().filter(|(_, times)| **times > 1).map(|(key, _)| format!("{key:?}")).collect();
        report.none("fault events that are there twice", &twice);
        Ok(raised)
    }

    /// Every acknowledged raising has its alarm, and no more; each stands as its device said last; nobody is called
    /// silent.
    async fn alarms(
        &self,
        report: &mut Report,
        raised: &HashMap<(String, String), u64>,
    ) -> Result<Vec<Alarm>> {
        let mut alarms: Vec<Alarm> = Vec::new();
        self.api.each("/alarms", "", |alarm| alarms.push(alarm)).await?;
        alarms.retain(|alarm| self.is_ours(&alarm.device));
        let (faults, others): (Vec<Alarm>, Vec<Alarm>) =
            alarms.into_iter().partition(|alarm| alarm.kind == "fault");
        let mut found: HashMap<(String, String), (u64, u64)> = HashMap::new();
        for alarm in &faults {
            let (all, active) = found.entry((alarm.device.clone(), alarm.code.clone())).or_default();
            *all += 1;
            *active += u64::from(alarm.state == "active");
        }
        let (mut acked, mut without, mut stands) = (0, 0, Vec::new());
        for number in self.config.numbers() {
            let device = self.config.device_id(number);
            // How often each code was raised, and whether it is raised now.
            let mut said: HashMap<&str, (u64, bool)> = HashMap::new();
            let entry = self.ledger.entry(number).unwrap_or_default();
            for event in &entry.events {
                let (times, active) = said.entry(event.code).or_default();
                *times += u64::from(!event.cleared);
                *active = !event.cleared;
            }
            for (code, (times, active)) in said {
                let (all, active_now) =
                    found.get(&(device.clone(), code.to_owned())).copied().unwrap_or_default();
                acked += times;
                without += times.saturating_sub(all);
                if active_now != u64::from(active) {
                    stands.push(format!("{device} {code}: active {active_now}, the device says {active}"));
                }
            }
        }
        report.exactly("acknowledged raisings with an alarm", acked, acked - without);
        let too_many: Vec<String> = found
            .iter()
            .filter(|(key, (all, _))| *all > raised.get(key).copied().unwrap_or_default())
            .map(|(key, (all, _))| format!("{key:?}: {all} alarms, raised {:?} times", raised.get(key)))
            .collect();
        report.none("faults with more alarms than raisings", &too_many);
        report.none("alarms that don't stand as their device said last", &stands);
        let silent: Vec<String> =
            others.iter().map(|alarm| format!("{} {}", alarm.device, alarm.kind)).collect();
        report.none("alarms about silence", &silent);
        Ok(faults)
    }

    /// Every alarm has its mail, and its clearing too, under one idempotency key each.
    async fn mails(&self, mails: &Deliveries, report: &mut Report, alarms: &[Alarm]) -> Result<()> {
        let wanted: Vec<(String, String)> = alarms
            .iter()
            .flat_map(|alarm| {
                let cleared = (alarm.state == "cleared").then(|| (alarm.id.clone(), "cleared".to_owned()));
                [(alarm.id.clone(), "raised".to_owned())].into_iter().chain(cleared)
            })
            .collect();
        let begun = Instant::now();
        let (told, missing) = loop {
            let told = sorted(&mails.all(), |delivery| &delivery.alarm);
            let missing: Vec<String> =
                wanted.iter().filter(|key| !told.contains_key(*key)).map(|key| format!("{key:?}")).collect();
            if missing.is_empty() || begun.elapsed() > MAILS_WITHIN {
                break (told, missing);
            }
            sleep(LOOK_EVERY).await;
        };
        for example in missing.iter().take(EXAMPLES) {
            eprintln!("no mail about {example}");
        }
        report.exactly(
            "alarms and clearings with their mail",
            count(&wanted),
            count(&wanted) - count(&missing),
        );
        let two_keys: Vec<String> = told
            .iter()
            .filter(|(_, told)| told.keys.len() > 1)
            .map(|(about, told)| format!("{about:?}: {:?}", told.keys))
            .collect();
        report.none("told under more than one idempotency key", &two_keys);
        let known: HashSet<&(String, String)> = wanted.iter().collect();
        let unknown: Vec<String> =
            told.keys().filter(|about| !known.contains(about)).map(|about| format!("{about:?}")).collect();
        report.none("mails about what is not so", &unknown);
        let repeated: u64 = told.values().map(|Told { count, .. }| count.saturating_sub(1)).sum();
        report.count("mails", told.values().map(|told| told.count).sum());
        report.count("mails repeated under the same key", repeated);
        report.exactly("mails that can't be read", 0, mails.unreadable());
        let begun = Instant::now();
        loop {
            let (mut pending, mut failed, mut example) = (0, 0, None);
            self.api
                .each("/notifications", "", |notification: Notification| {
                    if !notification.device.as_deref().is_some_and(|device| self.is_ours(device)) {
                        return;
                    }
                    if notification.state == "pending" {
                        pending += 1;
                        example
                            .get_or_insert_with(|| format!("{} {}", notification.id, notification.attempts));
                    }
                    failed += u64::from(notification.state == "failed");
                })
                .await?;
            if pending == 0 || begun.elapsed() > SETTLED_WITHIN {
                if let Some(example) = example {
                    eprintln!("not settled: {example}");
                }
                report.exactly("notifications that are not settled", 0, pending);
                report.exactly("notifications given up", 0, failed);
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Every order has one end, and that is the truth.
    fn orders(&self, report: &mut Report, orders: &Orders) {
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        let mut numbers: HashMap<(&str, u64), u64> = HashMap::new();
        let mut carried_out: HashMap<String, Vec<u64>> = HashMap::new();
        for number in self.config.numbers() {
            let mut commands = self.ledger.entry(number).unwrap_or_default().commands;
            commands.extend(self.doubled.get(&number).into_iter().flatten());
            carried_out.insert(self.config.device_id(number), commands);
        }
        let (mut open, mut lies) = (Vec::new(), Vec::new());
        for command in orders.seen.values() {
            let outcome =
                command.outcome.as_deref().map(|outcome| format!(", {outcome}")).unwrap_or_default();
            let state = format!("{}{outcome}", command.state);
            let shown = format!("{} to {}: {state}", command.id, command.device);
            *states.entry(state).or_default() += 1;
            *numbers.entry((&command.device, command.number)).or_default() += 1;
            let done = carried_out.get(&command.device).is_some_and(|all| all.contains(&command.number));
            if !command.is_final() {
                open.push(shown);
                continue;
            }
            let told = match (command.state.as_str(), command.outcome.as_deref()) {
                // Delivered is what the device said, and then it does it, too.
                ("succeeded", _) | (_, Some("no_reply")) => Some(true),
                (_, Some("never_sent")) => Some(false),
                _ => None,
            };
            if told.is_some_and(|told| told != done) {
                lies.push(format!("{shown}; carried out: {done}"));
            }
        }
        for (state, count) in &states {
            report.count(format!("commands {state}"), *count);
        }
        report.count("commands whose making was not answered", orders.unanswered);
        report.count("looks at commands", orders.looks);
        let given = u64::try_from(orders.seen.len()).unwrap_or(u64::MAX);
        report.exactly("accepted commands that are still there", given, given - orders.lost.min(given));
        report.none("commands without an end", &open);
        report.none("commands whose end is not what the device did", &lies);
        report.exactly("commands that changed after their end", 0, orders.changed_after_end);
        report.exactly("commands whose state went back", 0, orders.went_back);
        let again: Vec<String> =
            numbers.iter().filter(|(_, times)| **times > 1).map(|(key, _)| format!("{key:?}")).collect();
        report.none("command numbers given twice", &again);
    }
}
