//! People who order twice as much as can be carried out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::memory::Watch;
use super::{Kept, ONSET, Overload, Scene, TOO_MUCH, USUAL};
use crate::api::{Api, Command};
use crate::device::{Device, Incoming, Login};
use crate::histogram::Histogram;
use crate::report::Report;

/// A capacity is found when twice as much under way does not get this much more done.
const GROWTH: f64 = 1.05;
/// The most orders that are under way while the capacity is looked for.
const UNDER_WAY_MOST: usize = 1024;
/// An order runs out after that time: longer than any step.
const EXPIRES_S: u32 = 120;
/// Who is told to ask again, does so for that long.
const ASKS_FOR: Duration = Duration::from_secs(100);
const HEAD: [&str; 12] = [
    "s",
    "due /s",
    "ended /s",
    "accepted",
    "refused",
    "asked again",
    "failed",
    "p50 ms",
    "p99 ms",
    "max ms",
    "p99 202 ms",
    "late ms",
];

/// What became of the orders that were due in one step.
struct Seen {
    began: Instant,
    lasts: Duration,
    due: u64,
    /// Taken, and the ids.
    accepted: Vec<String>,
    succeeded: u64,
    /// Turned away, by what was said.
    refused: BTreeMap<String, u64>,
    /// Refusals without a reason that a program can read, or without the time to come again.
    unsaid: u64,
    /// How often an answer about what was accepted was refused, and asked for again.
    asked_again: u64,
    /// No answer at all, or accepted and not succeeded, by what it was instead.
    failed: BTreeMap<String, u64>,
    /// From when an order was due to its end.
    latency: Histogram,
    /// From when it was due to when it was written down.
    queued: Histogram,
    /// From when it was due to when it was sent.
    lag: Histogram,
}

/// What became of one order.
enum End {
    Refused { said: String, whole: bool },
    Failed(String),
    Accepted { id: String, queued: Duration, ended: Duration, state: String, asked_again: u64 },
}

/// What a refusal says, and whether that is all that it is to say.
fn said(status: StatusCode, answer: &reqwest::Response) -> (String, bool) {
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let after = header(RETRY_AFTER);
    let whole = header(CONTENT_TYPE) == Some("application/problem+json") && after.is_some();
    let after = after.map_or_else(|| "no Retry-After".to_owned(), |after| format!("Retry-After {after}"));
    (format!("{} {after}", status.as_u16()), whole)
}

/// Orders, and waits for the end; asks again for what was accepted, when it is told to.
async fn order(api: Api, device: String, due: Instant) -> End {
    match ordered(&api, &device, due).await {
        Ok(end) => end,
        Err(error) => End::Failed(format!("{error:#}")),
    }
}

async fn ordered(api: &Api, device: &str, due: Instant) -> Result<End> {
    let body = json!({ "method": "write_setpoint", "params": {}, "expires_in_s": EXPIRES_S });
    let request = api.request(Method::POST, &format!("/devices/{device}/commands")).json(&body);
    let answer =
        request.send().await.map_err(reqwest::Error::without_url).context("no answer to an order")?;
    let status = answer.status();
    if !status.is_success() {
        let (head, whole) = said(status, &answer);
        let problem: Value = answer.json().await.unwrap_or_default();
        let kind = problem["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or("no reason");
        let refusal = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
        let said = format!("{head}, {kind}: {}", problem["detail"].as_str().unwrap_or_default());
        return Ok(if refusal { End::Refused { said, whole } } else { End::Failed(said) });
    }
    let command: Command = answer.json().await.context("an order was answered by another form")?;
    let queued = due.elapsed();
    let (id, mut asked_again) = (command.id, 0);
    let by = Instant::now() + ASKS_FOR;
    loop {
        let answer = api.request(Method::GET, &format!("/commands/{id}?wait_s=60")).send().await;
        let refused = match answer {
            Ok(answer) if answer.status().is_success() => {
                let command: Command =
                    answer.json().await.context("an order was answered by another form")?;
                if command.is_final() || Instant::now() > by {
                    let (ended, state) = (due.elapsed(), command.state);
                    return Ok(End::Accepted { id, queued, ended, state, asked_again });
                }
                continue;
            }
            Ok(answer) => said(answer.status(), &answer).0,
            Err(error) => error.without_url().to_string(),
        };
        asked_again += 1;
        if Instant::now() > by {
            return Ok(End::Failed(format!("not told of the end: {refused}")));
        }
        sleep(Duration::from_secs(1)).await;
    }
}

impl Seen {
    fn new(began: Instant, lasts: Duration) -> Self {
        Self {
            began,
            lasts,
            due: 0,
            accepted: Vec::new(),
            succeeded: 0,
            refused: BTreeMap::new(),
            unsaid: 0,
            asked_again: 0,
            failed: BTreeMap::new(),
            latency: Histogram::default(),
            queued: Histogram::default(),
            lag: Histogram::default(),
        }
    }

    fn add(&mut self, end: End) {
        self.due += 1;
        match end {
            End::Refused { said, whole } => {
                *self.refused.entry(said).or_default() += 1;
                self.unsaid += u64::from(!whole);
            }
            End::Failed(what) => *self.failed.entry(what).or_default() += 1,
            End::Accepted { id, queued, ended, state, asked_again } => {
                self.accepted.push(id);
                self.asked_again += asked_again;
                self.queued.record(queued);
                self.latency.record(ended);
                if state == "succeeded" {
                    self.succeeded += 1;
                } else {
                    *self.failed.entry(format!("accepted, and {state}")).or_default() += 1;
                }
            }
        }
    }

    fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    fn line(&self) -> Vec<f64> {
        let (seconds, ms) = (self.lasts.as_secs_f64(), |time: Duration| time.as_secs_f64() * 1e3);
        vec![
            seconds,
            self.due as f64 / seconds,
            self.succeeded as f64 / seconds,
            self.accepted.len() as f64,
            self.refused() as f64,
            self.asked_again as f64,
            self.failed.values().sum::<u64>() as f64,
            ms(self.latency.quantile(0.5)),
            ms(self.latency.quantile(0.99)),
            ms(self.latency.max()),
            ms(self.queued.quantile(0.99)),
            ms(self.lag.quantile(0.99)),
        ]
    }
}

/// So many at once, each the next as soon as it knows the end of its last one. A refusal is waited out.
async fn closed(api: &Api, devices: &Arc<Vec<String>>, under_way: usize, lasts: Duration) -> Result<Seen> {
    let began = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..under_way {
        let (api, devices) = (api.clone(), Arc::clone(devices));
        workers.spawn(async move {
            let (mut ends, mut number) = (Vec::new(), worker);
            while began.elapsed() < lasts {
                let Some(device) = devices.get(number % devices.len()) else { break };
                number += under_way;
                let end = order(api.clone(), device.clone(), Instant::now()).await;
                let refused = matches!(end, End::Refused { .. });
                ends.push(end);
                if refused {
                    sleep(Duration::from_secs(1)).await;
                }
            }
            ends
        });
    }
    let mut seen = Seen::new(began, lasts);
    while let Some(ends) = workers.join_next().await {
        ends?.into_iter().for_each(|end| seen.add(end));
    }
    // The last ones ended after the time.
    seen.lasts = began.elapsed();
    Ok(seen)
}

/// At a pace, whatever becomes of them: all segments without a pause between them.
async fn paced(api: &Api, devices: &[String], segments: &[(f64, Duration)]) -> Result<Vec<Seen>> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut orders = JoinSet::new();
    let (mut start, mut next) = (Instant::now(), devices.iter().cycle());
    for (index, (rate, lasts)) in segments.iter().enumerate() {
        seen.push(Seen::new(start, *lasts));
        let mut number = 0_u64;
        loop {
            let due = start + Duration::from_secs_f64(number as f64 / rate);
            if due >= start + *lasts {
                break;
            }
            number += 1;
            sleep_until(due.into()).await;
            let (api, device) = (api.clone(), next.next().context("no device")?.clone());
            if let Some(seen) = seen.last_mut() {
                seen.lag.record(due.elapsed());
            }
            orders.spawn(async move { (index, order(api, device, due).await) });
        }
        start += *lasts;
    }
    while let Some(ended) = orders.join_next().await {
        let (index, end) = ended?;
        if let Some(seen) = seen.get_mut(index) {
            seen.add(end);
        }
    }
    Ok(seen)
}

/// Does whatever it is told, at once, as long as the connection lasts.
async fn obey(mut device: Device) -> Result<()> {
    loop {
        if let Incoming::Order { number, packet_id } = device.next().await? {
            device.reply(number, packet_id).await?;
        }
    }
}

pub(super) async fn run(plan: &Overload, scene: &Scene, report: &mut Report) -> Result<()> {
    let (step, api) = (plan.step()?, &scene.api);
    let names: Vec<String> = (1..=plan.devices).map(|number| format!("obeys-{number}")).collect();
    let logins: Vec<Login> =
        names.iter().map(|id| Login { id: id.clone(), token: format!("bench-token-of-{id}") }).collect();
    api.import(&logins.iter().map(Login::import_line).collect::<Vec<_>>()).await?;
    let mut fleet = JoinSet::new();
    for login in &logins {
        let mut device = Device::connect(scene.mqtt, None, login, 3_600).await?;
        device.subscribe().await?;
        fleet.spawn(obey(device));
    }
    let names = Arc::new(names);
    let watch = Watch::begin(scene);
    let mut steps: Vec<(String, Seen)> = Vec::new();
    let (mut capacity, mut under_way) = (0.0_f64, 8);
    loop {
        let seen = closed(api, &names, under_way, step / 2).await?;
        let rate = seen.succeeded as f64 / seen.lasts.as_secs_f64();
        eprintln!("commands: {under_way} under way: {rate:.0} /s");
        steps.push((format!("{under_way} under way"), seen));
        let grown = rate >= capacity * GROWTH;
        capacity = capacity.max(rate);
        if !grown || under_way >= UNDER_WAY_MOST {
            break;
        }
        under_way *= 2;
    }
    let segments = [USUAL, USUAL, TOO_MUCH, TOO_MUCH, USUAL, USUAL].map(|share| capacity * share);
    let lasts = [ONSET, step, ONSET, step, ONSET, step];
    let segments: Vec<_> = segments.into_iter().zip(lasts).collect();
    let seen = paced(api, &names, &segments).await?;
    let memory = watch.end().await?;
    let titles = ["0.8 C, onset", "0.8 C", "2 C, onset", "2 C", "back to 0.8 C, onset", "back to 0.8 C"];
    let first = steps.len();
    steps.extend(titles.into_iter().map(ToOwned::to_owned).zip(seen));

    report.count("commands: devices", plan.devices.into());
    report.number("commands: capacity C, ended", capacity, "/s");
    let head = HEAD.iter().map(|&name| name.to_owned()).chain(memory.head()).collect();
    let most = |seen: &Seen| memory.most(seen.began, seen.began + seen.lasts);
    let lines =
        steps.iter().map(|(name, seen)| (name.clone(), seen.line().into_iter().chain(most(seen)).collect()));
    report.named("commands, from the order to its end", head, lines.collect());
    for what in ["refused", "failed"] {
        let mut all: BTreeMap<&String, u64> = BTreeMap::new();
        for (_, seen) in &steps {
            for (reason, count) in if what == "refused" { &seen.refused } else { &seen.failed } {
                *all.entry(reason).or_default() += count;
            }
        }
        for (reason, count) in all {
            report.count(format!("commands {what}: {reason}"), count);
        }
    }
    let of = |index: usize| steps.get(first + index).map(|(_, seen)| seen).context("a step is missing");
    let (usual, onset, too_much, after) = (of(1)?, of(2)?, of(3)?, of(5)?);
    let p99 = |seen: &Seen| seen.latency.quantile(0.99);
    Kept { usual: p99(usual), too_much: p99(too_much), after: p99(after) }.judge("commands", report);
    let peak: Vec<f64> = most(onset).into_iter().zip(most(too_much)).map(|(a, b)| a.max(b)).collect();
    memory.judge("commands", &most(usual), &peak, report);
    let all = |number: fn(&Seen) -> u64| steps.iter().map(|(_, seen)| number(seen)).sum::<u64>();
    let accepted = all(|seen| u64::try_from(seen.accepted.len()).unwrap_or(u64::MAX));
    report.exactly("commands: refusals without a reason or a time to come again", 0, all(|seen| seen.unsaid));
    report.exactly(
        "commands: orders that were neither refused nor succeeded",
        0,
        all(|seen| seen.failed.values().sum()),
    );
    report.exactly("commands: accepted ones that succeeded", accepted, all(|seen| seen.succeeded));
    if let Some(device) = fleet.try_join_next() {
        device?.context("a device has lost its connection")?;
    }
    Ok(())
}
