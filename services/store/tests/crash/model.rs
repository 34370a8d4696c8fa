//! What was asked of a store and what it answered; and what must therefore be in it afterwards.

use std::collections::{BTreeMap, BTreeSet};

use stoker_domain::ports::store::{
    AlarmsQuery, Append, Change, ClaimOutcome, CommitOutcome, EventsQuery, Order, PointsQuery, RegistryKey,
    RegistryRow, StateRow, Store, StoreError, SwapOutcome, Version,
};
use stoker_domain::{CommandState, DeviceCounters, DeviceKey, SlotEpoch, Value};

use super::random::Random;
use super::samples::{T0, alarm, command, event, key, member, number, org, point, reading};

const DEVICES: usize = 4;

/// How sure it is that something is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sure {
    /// It was acknowledged.
    There,
    /// It failed or was not answered.
    Perhaps,
    /// It was refused.
    Absent,
    /// It was unsure until the store was looked at; nothing more follows from it.
    Settled,
}

/// One thing to ask. Each writes something that nothing else writes, told by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Reading(usize),
    LongReading(usize),
    Event(usize),
    Alarm(usize),
    Commit { device: usize, epoch: u64, rows: u64 },
    Claim { device: usize, seen: u64 },
    Swap { expected: Option<Version> },
}

/// What it answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Append(Result<(), StoreError>),
    Commit(CommitOutcome),
    Claim(Result<ClaimOutcome, StoreError>),
    Swap(Result<SwapOutcome, StoreError>),
}

impl Answer {
    /// True when the store says that something is written.
    pub(crate) fn acknowledges(&self) -> bool {
        matches!(
            self,
            Self::Append(Ok(()))
                | Self::Commit(CommitOutcome::Committed)
                | Self::Claim(Ok(ClaimOutcome::Claimed(_)))
                | Self::Swap(Ok(SwapOutcome::Swapped(_)))
        )
    }
}

/// Everything asked so far.
#[derive(Debug, Default)]
pub(crate) struct Model {
    next: u64,
    /// By device: what is known of its slot's epoch, and the epoch that its owner goes by.
    epochs: BTreeMap<usize, u64>,
    version: Option<Version>,
    asked: BTreeMap<u64, (Ask, Sure)>,
}

pub(crate) fn device(n: usize) -> DeviceKey {
    key("crash", &format!("d{n}"))
}

fn setting() -> RegistryKey {
    RegistryKey::Setting("s".into())
}

impl Model {
    /// Makes up the next thing to ask.
    pub(crate) fn make_up(&mut self, random: &mut Random) -> (u64, Ask) {
        let device = random.below(DEVICES as u64) as usize;
        let epoch = self.epochs.get(&device).copied().unwrap_or(0);
        let ask = match random.below(16) {
            0..5 => Ask::Reading(device),
            5 => Ask::LongReading(device),
            6..8 => Ask::Event(device),
            8 => Ask::Alarm(device),
            9..13 => {
                // Now and then somebody who has lost the slot, or never had it.
                let stale = random.below(4) == 0;
                Ask::Commit {
                    device,
                    epoch: if stale { epoch.saturating_sub(1) } else { epoch },
                    rows: 1 + random.below(4),
                }
            }
            13..15 => Ask::Claim { device, seen: epoch },
            _ => Ask::Swap { expected: self.version },
        };
        self.next += 1;
        self.asked.insert(self.next, (ask, Sure::Perhaps));
        (self.next, ask)
    }

    /// Takes an answer in.
    pub(crate) fn answered(&mut self, number: u64, answer: &Answer) {
        let Some((ask, sure)) = self.asked.get_mut(&number) else { return };
        if let (Ask::Commit { device, epoch, .. }, Answer::Commit(outcome)) = (&*ask, answer) {
            // Answers are taken in as they were asked, so this is the epoch that the slot had then.
            let current = self.epochs.get(device).copied().unwrap_or(0);
            let owner = *epoch == current && current > 0;
            match outcome {
                CommitOutcome::Committed => assert!(owner, "commit {number} by {epoch} went in at {current}"),
                CommitOutcome::Fenced { .. } => assert!(!owner, "commit {number} by {epoch} was fenced"),
                CommitOutcome::Unknown => {}
            }
        }
        *sure = match answer {
            Answer::Append(Ok(())) => Sure::There,
            Answer::Append(Err(_)) => Sure::Perhaps,
            Answer::Commit(CommitOutcome::Committed) => Sure::There,
            Answer::Commit(CommitOutcome::Fenced { .. }) => Sure::Absent,
            Answer::Commit(CommitOutcome::Unknown) => Sure::Perhaps,
            Answer::Claim(Ok(ClaimOutcome::Claimed(epoch))) => {
                if let Ask::Claim { device, .. } = ask {
                    self.epochs.insert(*device, epoch.0);
                }
                Sure::There
            }
            Answer::Claim(Ok(ClaimOutcome::Refused(_))) => Sure::Absent,
            Answer::Swap(Ok(SwapOutcome::Swapped(version))) => {
                self.version = Some(*version);
                Sure::There
            }
            Answer::Swap(Ok(SwapOutcome::Conflict(_))) => Sure::Absent,
            Answer::Claim(Err(_)) | Answer::Swap(Err(_)) => Sure::Perhaps,
        };
    }

    /// Checks a store that was opened again: everything acknowledged is there, nothing refused is, and what nobody can
    /// say is there as a whole or not at all.
    pub(crate) async fn check(&mut self, store: &dyn Store) {
        for n in 0..DEVICES {
            self.check_history(store, n).await;
            self.check_slot(store, n).await;
        }
        self.check_registry(store).await;
    }

    fn of<'a>(&'a self, wanted: impl Fn(&Ask) -> bool + 'a) -> impl Iterator<Item = (u64, Ask, Sure)> + 'a {
        self.asked.iter().filter(move |(_, (ask, _))| wanted(ask)).map(|(n, (ask, sure))| (*n, *ask, *sure))
    }

    async fn check_history(&self, store: &dyn Store, n: usize) {
        let device = device(n);
        let mut query = PointsQuery {
            device: device.clone(),
            keys: None,
            from: i64::MIN,
            to: i64::MAX,
            after: None,
            limit: 10_000,
            order: Order::Ascending,
        };
        let points = store.points(query.clone()).await.unwrap();
        query.order = Order::Descending;
        let mut reversed = store.points(query).await.unwrap();
        reversed.reverse();
        assert_eq!(points, reversed, "both orders tell the same");
        let found: BTreeSet<u64> = points.iter().map(|p| (p.ts - T0) as u64).collect();
        for (number, _, sure) in self.of(|ask| *ask == Ask::Reading(n) || *ask == Ask::LongReading(n)) {
            check_sure(sure, found.contains(&number), || format!("reading {number}"));
        }
        assert_eq!(points.len(), found.len() * 2, "readings are whole");
        let latest = store.latest(&device, None).await.unwrap();
        for name in ["t", "u"] {
            let newest = points.iter().filter(|p| &*p.key == name).max_by_key(|p| p.ts);
            let latest = latest.get(name).map(|l| (l.ts, l.value.clone()));
            assert_eq!(latest, newest.map(|p| (p.ts, p.value.clone())), "the newest point is the newest");
        }

        let query = EventsQuery {
            organization: org("crash"),
            device: Some(device.clone()),
            kind: None,
            from: i64::MIN,
            to: i64::MAX,
            after: None,
            limit: 10_000,
        };
        let by_device = store.events(query.clone()).await.unwrap();
        let mut by_time = store.events(EventsQuery { device: None, ..query.clone() }).await.unwrap();
        by_time.retain(|event| event.device == device);
        assert_eq!(by_device, by_time, "lists tell the same");
        let query = EventsQuery { device: None, kind: Some("fault".into()), ..query };
        let mut by_kind = store.events(query).await.unwrap();
        by_kind.retain(|event| event.device == device);
        assert_eq!(by_device, by_kind, "lists tell the same");
        let found: BTreeSet<u64> = by_device.iter().map(|e| e.id.as_str()[1..].parse().unwrap()).collect();
        for (number, _, sure) in self.of(|ask| *ask == Ask::Event(n)) {
            check_sure(sure, found.contains(&number), || format!("event {number}"));
        }

        let query = AlarmsQuery {
            organization: org("crash"),
            device: Some(device),
            severity: None,
            kind: None,
            after: None,
            limit: 10_000,
        };
        let alarms = store.ended_alarms(query).await.unwrap();
        let found: BTreeSet<u64> = alarms.iter().map(|alarm| alarm.id.0.counter).collect();
        for (number, _, sure) in self.of(|ask| *ask == Ask::Alarm(n)) {
            check_sure(sure, found.contains(&number), || format!("alarm {number}"));
        }
    }

    async fn check_slot(&mut self, store: &dyn Store, n: usize) {
        let device = device(n);
        let head = store.head(device.slot()).await.unwrap();
        let known = self.epochs.get(&n).copied().unwrap_or(0);
        let unsure = self.of(|ask| matches!(ask, Ask::Claim { device, .. } if *device == n));
        let unsure = unsure.filter(|(_, _, sure)| *sure == Sure::Perhaps).count() as u64;
        assert!((known..=known + unsure).contains(&head.epoch.0), "epoch {} of {known}+{unsure}", head.epoch);
        let rows = store.load(device.slot()).await.unwrap();
        let mut found: BTreeMap<u64, u64> = BTreeMap::new();
        let mut last = 0;
        for row in &rows {
            match row {
                StateRow::Command(row) if row.device == device => *found.entry(row.number).or_default() += 1,
                StateRow::Counters(row) if row.key == device => last = row.last_command,
                _ => {}
            }
        }
        for (number, ask, sure) in self.of(|ask| matches!(ask, Ask::Commit { device, .. } if *device == n)) {
            let Ask::Commit { rows, .. } = ask else { continue };
            let there = found.get(&number).copied().unwrap_or(0);
            assert!(there == 0 || there == rows, "commit {number} is torn: {there} of {rows} rows");
            check_sure(sure, there > 0, || format!("commit {number}"));
        }
        let newest = found.last_key_value().map_or(0, |(number, _)| *number);
        assert_eq!(last, newest, "the row that all commits replace is that of the last one");
        self.epochs.insert(n, head.epoch.0);
    }

    async fn check_registry(&mut self, store: &dyn Store) {
        let held = store.registry_get(&setting()).await.unwrap();
        let version = held.as_ref().map_or(0, |(_, version)| *version);
        let unsure =
            self.of(|ask| matches!(ask, Ask::Swap { .. })).filter(|(_, _, sure)| *sure == Sure::Perhaps);
        let known = self.version.unwrap_or(0);
        assert!((known..=known + unsure.count() as u64).contains(&version), "version {version} of {known}");
        if let Some((RegistryRow::Setting { value, .. }, version)) = held {
            let writer = u64::from_be_bytes(value.try_into().unwrap());
            let (ask, sure) = self.asked[&writer];
            assert_ne!(sure, Sure::Absent, "swap {writer} was refused");
            assert_eq!(ask, Ask::Swap { expected: (version > 1).then(|| version - 1) });
            self.version = Some(version);
        }
        // What was unsure is known now: later checks count anew.
        for (ask, sure) in self.asked.values_mut() {
            if *sure == Sure::Perhaps && matches!(ask, Ask::Swap { .. } | Ask::Claim { .. }) {
                *sure = Sure::Settled;
            }
        }
    }
}

fn check_sure(sure: Sure, there: bool, what: impl FnOnce() -> String) {
    match sure {
        Sure::There => assert!(there, "{} was acknowledged and is lost", what()),
        Sure::Absent => assert!(!there, "{} was refused and is there", what()),
        Sure::Perhaps | Sure::Settled => {}
    }
}

/// Asks the store.
pub(crate) async fn ask(store: &dyn Store, number: u64, ask: Ask) -> Answer {
    let ts = T0 + number as i64;
    match ask {
        Ask::Reading(n) => {
            let points = vec![self::number("t", ts, number as f64), self::number("u", ts, 0.5)];
            Answer::Append(store.append(vec![reading(&device(n), points)]).await)
        }
        Ask::LongReading(n) => {
            let text = Value::Text(format!("{number:0900}"));
            let points = vec![point("t", ts, text), self::number("u", ts, 0.5)];
            Answer::Append(store.append(vec![reading(&device(n), points)]).await)
        }
        Ask::Event(n) => {
            let event = event(&device(n), &format!("e{number}"), ts, "fault");
            Answer::Append(store.append(vec![Append::Event(event)]).await)
        }
        Ask::Alarm(n) => {
            Answer::Append(store.append(vec![Append::Alarm(alarm(&device(n), 1, number, ts))]).await)
        }
        Ask::Commit { device: n, epoch, rows } => {
            let key = device(n);
            let mut changes: Vec<Change> = (0..rows)
                .map(|row| {
                    let mut command = command(&key, number, row, CommandState::Queued);
                    command.number = number;
                    Change::put(StateRow::Command(command))
                })
                .collect();
            let counters =
                DeviceCounters { key: key.clone(), last_command: number, recent_events: Vec::new() };
            changes.push(Change::put(StateRow::Counters(counters)));
            Answer::Commit(store.commit(key.slot(), SlotEpoch(epoch), changes).await)
        }
        Ask::Claim { device: n, seen } => {
            Answer::Claim(store.claim(device(n).slot(), &member("m"), SlotEpoch(seen)).await)
        }
        Ask::Swap { expected } => {
            let row = RegistryRow::Setting { name: "s".into(), value: number.to_be_bytes().to_vec() };
            Answer::Swap(store.registry_put(row, expected).await)
        }
    }
}
