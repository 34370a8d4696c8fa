//! `faults`: from a device's fault to the mail or webhook about it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use parking_lot::Mutex;
use serde_json::json;
use stoker_protocol::codec::PacketId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::api::Alarm;
use crate::delivery::{Deliveries, Told, sorted};
use crate::device::{Device, EVENTS, Incoming, Login, logins};
use crate::histogram::Histogram;
use crate::platform::{Common, Platform};
use crate::report::Report;
use crate::smtp::MailSink;
use crate::webhook::WebhookSink;

/// How long after its raising a fault is cleared.
const CLEARED_AFTER: Duration = Duration::from_secs(2);
/// How long deliveries may take after the last fault before they count as lost: three attempts.
const SETTLE: Duration = Duration::from_secs(60);
/// How long a device waits for its last PUBACK.
const ACKED_WITHIN: Duration = Duration::from_secs(30);

/// From a fault to the mail or webhook about it
#[derive(Debug, Args)]
pub(crate) struct Faults {
    /// How many faults
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) count: u32,
    /// Faults a second; as many are cleared
    #[arg(long, default_value_t = 20.0)]
    pub(super) rate: f64,
    /// Devices that have them, in turns
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) devices: u32,
    /// Deliver by webhook in place of mail
    #[arg(long)]
    pub(super) webhook: bool,
}

enum Sink {
    Mail(MailSink),
    Webhook(WebhookSink),
}

impl Sink {
    fn accepted(&self) -> &Deliveries {
        match self {
            Self::Mail(sink) => &sink.accepted,
            Self::Webhook(sink) => &sink.accepted,
        }
    }
}

/// When the event about that code and step was written to the connection.
type Written = Arc<Mutex<HashMap<(String, String), Instant>>>;

struct Event {
    code: String,
    cleared: bool,
}

/// Publishes what it is given until there is no more, and waits for the last PUBACK. Times from PUBLISH to PUBACK.
async fn report_events(
    mut device: Device,
    mut events: mpsc::Receiver<Event>,
    written: Written,
) -> Result<Histogram> {
    let mut acked = Histogram::default();
    let mut waiting = Waiting::new();
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(Event { code, cleared }) = event else { break };
                let step = if cleared { "cleared" } else { "raised" };
                let payload = json!({
                    "id": format!("{code}-{step}"), "kind": "fault", "code": code, "severity": "critical",
                    "text": "flame lost", "cleared": cleared,
                });
                let now = Instant::now();
                written.lock().insert((code, step.to_owned()), now);
                let id = device.publish(EVENTS, payload.to_string().as_bytes()).await?;
                waiting.push_back((id, now));
            }
            incoming = device.next() => note(&incoming?, &mut waiting, &mut acked)?,
        }
    }
    while !waiting.is_empty() {
        let incoming = timeout(ACKED_WITHIN, device.next()).await.context("an event was not acknowledged")?;
        note(&incoming?, &mut waiting, &mut acked)?;
    }
    Ok(acked)
}

/// Events that wait for their PUBACK, and since when.
type Waiting = VecDeque<(PacketId, Instant)>;

fn note(incoming: &Incoming, waiting: &mut Waiting, acked: &mut Histogram) -> Result<()> {
    if let Incoming::Acked(id) = incoming {
        let (due, since) = waiting.pop_front().context("a PUBACK of nothing")?;
        ensure!(*id == due, "PUBACK {id} where {due} was due");
        acked.record(since.elapsed());
    }
    Ok(())
}

impl Faults {
    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        Ok(self.measure(common).await?.0)
    }

    /// Runs it; beside its report, the times from a fault to when its mail or webhook was accepted.
    pub(super) async fn measure(&self, common: &Common) -> Result<(Report, Histogram)> {
        let by = if self.webhook { "webhook" } else { "mail" };
        let mut report = Report::new(format!("From a fault to the {by} about it"));
        let (sink, environment, channel) = if self.webhook {
            let sink = WebhookSink::start().await?;
            let channel = sink.channel();
            (Sink::Webhook(sink), Vec::new(), channel)
        } else {
            let sink = MailSink::start().await?;
            let environment = sink.environment();
            let channel = json!({ "channel": "email", "to": "night@example.org" });
            (Sink::Mail(sink), environment, channel)
        };
        let mut platform = Platform::new(common, environment)?;
        platform.start().await?;
        let api = platform.api()?;
        let logins = logins(self.devices);
        let lines: Vec<String> = logins.iter().map(Login::import_line).collect();
        api.import(&lines).await?;
        api.subscribe(channel).await?;
        let written = Written::default();
        let mut tasks = JoinSet::new();
        let mut devices = Vec::new();
        for login in &logins {
            let device = Device::connect(platform.mqtt, None, login, 3_600).await?;
            let (events, taken) = mpsc::channel(16);
            devices.push(events);
            tasks.spawn(report_events(device, taken, Arc::clone(&written)));
        }
        self.publish(&devices).await?;
        drop(devices);
        let mut acked = Histogram::default();
        while let Some(device) = tasks.join_next().await {
            acked.add(&device??);
        }
        let expected = usize::try_from(self.count)? * 2;
        sink.accepted().settle(expected, SETTLE).await;
        let deliveries = sink.accepted().all();
        let told = sorted(&deliveries, |delivery| &delivery.code);
        let written = written.lock().clone();
        report.count("faults", self.count.into());
        report.number("faults raised", self.rate, "/s");
        report.times("PUBACK of the event", &acked);
        let mut raised = Histogram::default();
        for step in ["raised", "cleared"] {
            let mut times = Histogram::default();
            for ((code, of), at) in &written {
                let first = told.get(&(code.clone(), of.clone())).and_then(|told| told.first);
                if let Some(first) = first.filter(|_| of == step) {
                    times.record(first.saturating_duration_since(*at));
                }
            }
            report.times(&format!("{step} → {by} accepted"), &times);
            if step == "raised" {
                raised = times;
            }
        }
        for step in ["raised", "cleared"] {
            let of_step: Vec<&Told> =
                told.iter().filter(|((_, of), _)| of == step).map(|(_, told)| told).collect();
            let once = of_step.iter().filter(|told| told.count == 1 && told.keys.len() == 1).count();
            report.exactly(format!("{step}: exactly one {by}"), self.count.into(), u64::try_from(once)?);
        }
        let delivered = u64::try_from(deliveries.len())?;
        report.exactly(format!("{by}s in all"), u64::try_from(expected)?, delivered);
        report.exactly(format!("{by}s that can't be read"), 0, sink.accepted().unreadable());
        let (mut alarms, mut cleared) = (0, 0);
        api.each("/alarms", "", |alarm: Alarm| {
            alarms += 1;
            cleared += u64::from(alarm.state == "cleared");
        })
        .await?;
        report.exactly("alarms", self.count.into(), alarms);
        report.exactly("alarms cleared", self.count.into(), cleared);
        platform.finish(&mut report)?;
        Ok((report, raised))
    }

    /// Raises faults at an even pace, and clears each a while later.
    async fn publish(&self, devices: &[mpsc::Sender<Event>]) -> Result<()> {
        let start = Instant::now();
        let at = |number: u32| Duration::from_secs_f64(f64::from(number) / self.rate);
        let mut events: Vec<(Duration, u32, bool)> = (0..self.count)
            .flat_map(|number| [(at(number), number, false), (at(number) + CLEARED_AFTER, number, true)])
            .collect();
        events.sort();
        for (at, number, cleared) in events {
            sleep_until((start + at).into()).await;
            let device = devices.get(usize::try_from(number % self.devices)?).context("no device")?;
            let event = Event { code: format!("F{number:06}"), cleared };
            device.send(event).await.context("a device has lost its connection")?;
        }
        Ok(())
    }
}
