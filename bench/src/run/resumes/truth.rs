//! Whether what was acknowledged was told: everything that was heard by one who was never cut off, against what devices and people
//! were answered, and what the other routes say at the end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;
use stoker_sim::SimConfig;

use super::book::Item;
use crate::api::{Api, FINAL, rank};
use crate::checks;
use crate::report::Report;
use crate::run::load::Rested;

/// Everything that one was told about the fleet, by type; in its order.
pub(super) struct Told<'a> {
    of: HashMap<&'a str, Vec<(&'a str, Value)>>,
}

/// Of a kind of things that change: by id, how each was told, in its order.
type Histories<'a> = BTreeMap<&'a str, Vec<&'a Value>>;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl<'a> Told<'a> {
    pub(super) fn new(items: impl IntoIterator<Item = &'a Arc<Item>>, config: &SimConfig) -> Result<Self> {
        let mut of: HashMap<&str, Vec<(&str, Value)>> = HashMap::new();
        for item in items {
            if config.device_number(&item.device).is_some() {
                let data = serde_json::from_str(&item.data).context("an item is no JSON")?;
                of.entry(&item.kind).or_default().push((&item.device, data));
            }
        }
        Ok(Self { of })
    }

    fn of(&self, kind: &str) -> &[(&'a str, Value)] {
        self.of.get(kind).map(Vec::as_slice).unwrap_or_default()
    }

    fn histories(&self, kind: &str) -> Histories<'_> {
        let mut histories = Histories::new();
        for (_, data) in self.of(kind) {
            histories.entry(text(data, "id")).or_default().push(data);
        }
        histories
    }

    /// Holds all of it against what there is.
    pub(super) async fn judge(
        &self,
        report: &mut Report,
        api: &Api,
        config: &SimConfig,
        rested: &Rested,
    ) -> Result<()> {
        self.events(report, api, config, rested).await?;
        self.alarms(report, api, config).await?;
        self.commands(report, api, rested).await?;
        self.readings(report, config, rested);
        self.connections(report, config);
        Ok(())
    }

    /// Every acknowledged event is told, and each that is in the store in the same words, once.
    async fn events(
        &self,
        report: &mut Report,
        api: &Api,
        config: &SimConfig,
        rested: &Rested,
    ) -> Result<()> {
        let key = |device: &str, id: &str| (device.to_owned(), id.to_owned());
        let mut told: HashMap<(String, String), Vec<&Value>> = HashMap::new();
        for (device, data) in self.of("event") {
            told.entry(key(device, text(data, "id"))).or_default().push(data);
        }
        let (mut acked, mut heard, mut overflown) = (0, 0, 0);
        for number in config.numbers() {
            let device = config.device_id(number);
            let entry = rested.ledger.entry(number).unwrap_or_default();
            overflown += u64::from(entry.overflown);
            for event in &entry.events {
                acked += 1;
                heard += u64::from(told.contains_key(&key(&device, &event.id)));
            }
        }
        report.exactly("acknowledged events that were told", acked, heard);
        report.exactly("devices whose ledger is not complete", 0, overflown);
        let mut others = Vec::new();
        api.each("/events", "", |event: Value| {
            let device = text(&event, "device");
            if config.device_number(device).is_some() {
                match told.remove(&key(device, text(&event, "id"))).as_deref() {
                    Some([once]) if **once == event => {}
                    other => others.push(format!("{event} was told as {other:?}")),
                }
            }
        })
        .await?;
        report.none("events of the store that were not told in its words, once", &others);
        let foreign: Vec<String> = told.keys().map(|key| format!("{key:?}")).collect();
        report.none("events that were told and are not in the store", &foreign);
        Ok(())
    }

    /// Each alarm was told as active first, and then until it is what it is.
    async fn alarms(&self, report: &mut Report, api: &Api, config: &SimConfig) -> Result<()> {
        let told = self.histories("alarm");
        let (mut alarms, mut others) = (0, Vec::new());
        api.each("/alarms", "", |alarm: Value| {
            if config.device_number(text(&alarm, "device")).is_none() {
                return;
            }
            alarms += 1;
            let history = told.get(text(&alarm, "id"));
            let begun = history.and_then(|history| history.first()).map(|first| text(first, "state"));
            let last = history.and_then(|history| history.last());
            if begun != Some("active") || last.is_none_or(|last| **last != alarm) {
                others.push(format!("{alarm}: told as {begun:?} first, as {last:?} last"));
            }
        })
        .await?;
        report.none("alarms that were not told from their raising to what they are", &others);
        report.exactly("alarms that were told", alarms, told.len() as u64);
        Ok(())
    }

    /// Each accepted command was told as queued first, never back, and then until it is what it is.
    async fn commands(&self, report: &mut Report, api: &Api, rested: &Rested) -> Result<()> {
        let ids: Vec<String> = rested.orders.seen.keys().cloned().collect();
        let now = checks::for_each(ids, |id| {
            let api = api.clone();
            async move { api.get::<Value>(&format!("/commands/{id}")).await }
        })
        .await?;
        let told = self.histories("command");
        let (mut whole, mut others) = (0, Vec::new());
        for command in &now {
            let history = told.get(text(command, "id")).map(Vec::as_slice).unwrap_or_default();
            let states: Vec<&str> = history.iter().map(|told| text(told, "state")).collect();
            let forward = states.is_sorted_by_key(|state| rank(state));
            let last = history.last().is_some_and(|last| *last == command);
            if states.first() == Some(&"queued") && forward && last {
                whole += 1;
            } else {
                others.push(format!("{command} was told as {states:?}, last as {:?}", history.last()));
            }
        }
        for other in others.iter().take(crate::report::EXAMPLES) {
            eprintln!("a command was not told from its making to its end: {other}");
        }
        let accepted = rested.orders.seen.len() as u64;
        report.exactly("accepted commands that were told from their making to their end", accepted, whole);
        let open = now.iter().filter(|command| rank(text(command, "state")) < FINAL).count() as u64;
        report.exactly("commands without an end", 0, open);
        Ok(())
    }

    /// Every acknowledged reading was told, by its time.
    fn readings(&self, report: &mut Report, config: &SimConfig, rested: &Rested) {
        let mut told: HashSet<(&str, i64)> = HashSet::new();
        for (device, data) in self.of("telemetry") {
            let points = data.as_object().into_iter().flat_map(|points| points.values());
            let times = points.filter_map(|point| point.get("ts").and_then(Value::as_i64));
            told.extend(times.map(|time| (*device, time)));
        }
        let (mut acked, mut heard) = (0, 0);
        for number in config.numbers() {
            let device = config.device_id(number);
            for time in rested.ledger.entry(number).unwrap_or_default().reading_times {
                acked += 1;
                heard += u64::from(told.contains(&(device.as_str(), time)));
            }
        }
        report.exactly("acknowledged readings that were told", acked, heard);
    }

    /// Each device was told as online first, and as offline last.
    fn connections(&self, report: &mut Report, config: &SimConfig) {
        let mut told: HashMap<&str, Vec<&str>> = HashMap::new();
        for (device, data) in self.of("connection") {
            told.entry(device).or_default().push(text(data, "state"));
        }
        let whole = config.numbers().filter(|number| {
            let states = told.get(config.device_id(*number).as_str());
            states
                .is_some_and(|states| states.first() == Some(&"online") && states.last() == Some(&"offline"))
        });
        let whole = whole.count() as u64;
        report.exactly(
            "devices that were told as online first and as offline last",
            config.devices.into(),
            whole,
        );
    }
}
