//! A simulated device: connects, reports, obeys, and connects again.

use std::collections::VecDeque;
use std::fmt::Write;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use stoker_domain::Millis;
use stoker_protocol::codec::{Disconnect, Packet, Properties, Publish, ReasonCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::command;
use crate::config::{MODEL, SimConfig};
use crate::fault::FaultChange;
use crate::ledger::{AckedEvent, Ledger};
use crate::link::{Dial, LinkError, keep_last, next_packet};
use crate::model::Boiler;
use crate::pace;
use crate::random::Random;
use crate::session::{Answer, Session, What};
use crate::stats::{SimStats, count};

/// Fault events that wait for a connection; a device that is away longer drops the newest.
const EVENTS_MAX: usize = 64;
/// Commands that a device remembers with their answers, so that one that comes again is not carried out again.
const ANSWERED_MAX: usize = 8;
/// A session that lasted so long ends a row of failures.
const STEADY: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What all devices of a simulation share.
pub(crate) struct Shared {
    pub(crate) config: SimConfig,
    pub(crate) stats: Arc<SimStats>,
    pub(crate) ledger: Option<Arc<Ledger>>,
    /// When the simulation began, by both clocks.
    pub(crate) origin: Instant,
    pub(crate) origin_wall: Millis,
    /// Bounds how many connect at the same time.
    pub(crate) connecting: Semaphore,
}

struct PendingEvent {
    sequence: u64,
    ts: Millis,
    change: FaultChange,
}

/// One device.
pub(crate) struct Device {
    shared: Arc<Shared>,
    number: u32,
    boiler: Boiler,
    jitter: Random,
    stepped: Instant,
    last_ts: Millis,
    events: VecDeque<PendingEvent>,
    next_event: u64,
    answered: VecDeque<(u64, String)>,
    introduced: bool,
    connects: u64,
}

impl Device {
    pub(crate) fn new(shared: Arc<Shared>, number: u32) -> Self {
        let config = &shared.config;
        Self {
            number,
            boiler: Boiler::new(config.seed, number, config.faults),
            jitter: Random::new(config.seed, u64::from(number) * 4 + 3),
            stepped: shared.origin,
            last_ts: 0,
            events: VecDeque::new(),
            next_event: 1,
            answered: VecDeque::new(),
            introduced: false,
            connects: 0,
            shared,
        }
    }

    /// Lives until `shutdown`, and says goodbye.
    pub(crate) async fn run<D: Dial>(mut self, dial: Arc<D>, shutdown: CancellationToken) {
        let position = self.number.saturating_sub(self.shared.config.first);
        let mut pause = pace::turn(position, self.shared.config.connect_rate);
        let mut failures = 0;
        while shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let begun = Instant::now();
            let Some(opened) = shutdown.run_until_cancelled(self.open(&*dial)).await else { return };
            let stats = Arc::clone(&self.shared.stats);
            let ended = match opened {
                Ok(mut session) => {
                    count(&stats.connects);
                    if self.connects > 0 {
                        count(&stats.reconnects);
                    }
                    self.connects += 1;
                    stats.connected.fetch_add(1, Relaxed);
                    if let Some(ledger) = &self.shared.ledger {
                        ledger.session_begun(self.number, Instant::now().into_std());
                    }
                    let ended = self.serve(&mut session, &shutdown).await;
                    stats.connected.fetch_sub(1, Relaxed);
                    if let Some(ledger) = &self.shared.ledger {
                        ledger.session_ended(self.number, Instant::now().into_std());
                    }
                    stats.readings_unacked.fetch_add(session.open_readings(), Relaxed);
                    let Err(error) = ended else { return };
                    count(counter_of_end(&error, &stats));
                    error
                }
                Err(error) => {
                    count(counter_of_failure(&error, &stats));
                    error
                }
            };
            tracing::debug!(device = self.number, error = &ended as &dyn std::error::Error, "session ended");
            failures = if begun.elapsed() > STEADY { 0 } else { failures + 1 };
            pause = pace::backoff(self.shared.config.backoff, failures, self.jitter.unit());
        }
    }

    async fn open<D: Dial>(&self, dial: &D) -> Result<Session<D::Stream>, LinkError> {
        let config = &self.shared.config;
        // Nobody closes the semaphore; without a permit there would merely be no bound.
        let _permit = self.shared.connecting.acquire().await;
        let id = config.device_id(self.number);
        let opening = async { Session::open(dial.dial().await?, config, &id).await };
        tokio::time::timeout(config.answer_timeout, opening).await.map_err(|_| LinkError::Timeout).flatten()
    }

    /// Works until the connection ends, which is an error, or all is said and done after `shutdown`.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        session: &mut Session<S>,
        shutdown: &CancellationToken,
    ) -> Result<(), LinkError> {
        let mut sleep = pin!(tokio::time::sleep_until(Instant::now()));
        let mut cancelled = pin!(shutdown.cancelled());
        let mut closing: Option<Instant> = None;
        session.next_reading = self.next_reading();
        self.introduce(session)?;
        loop {
            let now = Instant::now();
            self.work(session, now, closing.is_some())?;
            if let Some(deadline) = closing {
                let done = session.is_quiet() && self.events.is_empty();
                if done || now >= deadline {
                    return goodbye(session).await;
                }
            }
            let wake = if closing.is_none() { Some(session.next_reading) } else { closing };
            let wake = wake.into_iter().chain(session.wake()).min();
            sleep.as_mut().reset(wake.unwrap_or(now + STEADY));
            let mut input = std::mem::take(&mut session.input);
            tokio::select! {
                biased;
                () = &mut cancelled, if closing.is_none() => {
                    closing = Some(Instant::now() + self.shared.config.drain);
                }
                read = session.link.exchange(&mut input) => {
                    read?;
                    let left = self.take(session, &input)?;
                    keep_last(&mut input, left);
                }
                () = &mut sleep => {}
            }
            session.input = input;
        }
    }

    fn next_reading(&self) -> Instant {
        let Shared { config, origin, .. } = &*self.shared;
        let position = self.number.saturating_sub(config.first);
        *origin + pace::next(origin.elapsed(), position, config.devices, config.interval)
    }

    /// Says once what it is; a platform keeps that.
    fn introduce<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        session: &mut Session<S>,
    ) -> Result<(), LinkError> {
        if self.introduced {
            return Ok(());
        }
        let serial = self.number;
        let attributes = format!(r#"{{"firmware":"1.4.2","model":"{MODEL}","serial":"ST-{serial:07}"}}"#);
        session.publish("v1/devices/me/attributes", attributes.as_bytes(), What::Introduction, Instant::now())
    }

    /// Does what is due.
    fn work<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        session: &mut Session<S>,
        now: Instant,
        closing: bool,
    ) -> Result<(), LinkError> {
        session.pump_answers(now)?;
        if !closing && now >= session.next_reading {
            self.advance(now);
            self.report(session, now)?;
            session.next_reading = self.next_reading();
        }
        self.pump_events(session, now)?;
        session.keep(now)
    }

    /// Brings the boiler up to now.
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.stepped);
        let whole = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        self.stepped += Duration::from_millis(whole);
        self.boiler.step(whole);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(change) = self.boiler.next_change() {
            let stats = &self.shared.stats;
            count(if change.cleared { &stats.faults_cleared } else { &stats.faults_raised });
            if self.events.len() == EVENTS_MAX {
                count(&stats.events_dropped);
                continue;
            }
            let ts = self.time();
            self.events.push_back(PendingEvent { sequence: self.next_event, ts, change });
            self.next_event += 1;
        }
    }

    /// The device's time, strictly increasing.
    fn time(&mut self) -> Millis {
        let passed = Millis::try_from(self.shared.origin.elapsed().as_millis()).unwrap_or(0);
        self.last_ts = (self.shared.origin_wall + passed).max(self.last_ts + 1);
        self.last_ts
    }

    fn report<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        session: &mut Session<S>,
        now: Instant,
    ) -> Result<(), LinkError> {
        if !session.has_room() {
            count(&self.shared.stats.readings_left_out);
            return Ok(());
        }
        let ts = if self.shared.config.device_time { Some(self.time()) } else { None };
        let mut payload = Vec::with_capacity(128);
        self.boiler.readings().write(ts, self.shared.config.extra_keys, &mut payload);
        count(&self.shared.stats.readings_published);
        session.publish("v1/devices/me/telemetry", &payload, What::Reading(ts), now)
    }

    /// Publishes the events that find room; each stays until it is acknowledged.
    fn pump_events<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        session: &mut Session<S>,
        now: Instant,
    ) -> Result<(), LinkError> {
        while session.has_room() {
            let Some(event) = self.events.get(session.events_sent) else { break };
            session.events_sent += 1;
            let mut json = String::with_capacity(160);
            let (id, fault) = (self.event_id(event.sequence), event.change.fault);
            // Writing into a String can't fail. No code and no text of a fault has anything to escape.
            let _ = write!(
                json,
                r#"{{"id":"{id}","ts":{},"kind":"fault","code":"{}","severity":"{}","text":"{}","cleared":{}}}"#,
                event.ts,
                fault.code,
                fault.severity.as_str(),
                fault.text,
                event.change.cleared
            );
            session.publish("v1/devices/me/events", json.as_bytes(), What::Event(event.sequence), now)?;
        }
        Ok(())
    }

    /// Unique within the device, also when the same fleet is simulated again: a repeated id would count once.
    fn event_id(&self, sequence: u64) -> String {
        format!("sim-{:x}-{sequence}", self.shared.origin_wall)
    }

    /// Takes all whole packets in `input`; tells how many bytes are left behind them.
    fn take<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        session: &mut Session<S>,
        input: &[u8],
    ) -> Result<usize, LinkError> {
        let now = Instant::now();
        let mut rest = input;
        while let Some(packet) = next_packet(session.version(), &mut rest)? {
            match packet {
                Packet::PubAck(ack) => self.acked(session, ack.packet_id, ack.reason, now)?,
                Packet::SubAck(ack) => {
                    if ack.reasons.iter().any(ReasonCode::is_error) {
                        count(&self.shared.stats.subscriptions_refused);
                    }
                    session.acked(ack.packet_id, now)?;
                }
                Packet::Publish(publish) => self.ordered(session, &publish, now)?,
                Packet::PingResp => session.pong(),
                Packet::Disconnect(disconnect) => return Err(LinkError::Ended(disconnect.reason)),
                _ => return Err(LinkError::Unexpected("a packet of another kind")),
            }
        }
        Ok(rest.len())
    }

    fn acked<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        session: &mut Session<S>,
        id: stoker_protocol::codec::PacketId,
        reason: ReasonCode,
        now: Instant,
    ) -> Result<(), LinkError> {
        let acked = session.acked(id, now)?;
        let Shared { stats, ledger, .. } = &*self.shared;
        stats.latency.record(acked.took);
        if !acked.in_order {
            count(&stats.acks_out_of_order);
        }
        let refused = reason.is_error();
        if refused {
            count(&stats.refused);
        }
        match acked.what {
            What::Reading(ts) if !refused => {
                count(&stats.readings_acked);
                if let Some(ledger) = ledger {
                    ledger.reading(self.number, ts);
                }
            }
            // What was refused once would be refused again, so it is not kept either.
            What::Event(sequence) => {
                let Some(position) = self.events.iter().position(|event| event.sequence == sequence) else {
                    return Ok(());
                };
                session.events_sent = session.events_sent.saturating_sub(1);
                let event = self.events.remove(position).filter(|_| !refused);
                if let Some(PendingEvent { change, .. }) = event {
                    count(&stats.events_acked);
                    if let Some(ledger) = ledger {
                        let id = self.event_id(sequence);
                        let (code, cleared) = (change.fault.code, change.cleared);
                        ledger.event(self.number, AckedEvent { id, code, cleared });
                    }
                }
            }
            What::Introduction => self.introduced = true,
            What::Subscription => return Err(LinkError::Unexpected("a puback for a subscribe")),
            What::Reading(_) | What::Answer => {}
        }
        Ok(())
    }

    /// A command has come: carries it out, once, and answers.
    fn ordered<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        session: &mut Session<S>,
        publish: &Publish<'_>,
        now: Instant,
    ) -> Result<(), LinkError> {
        if let Some(packet_id) = publish.packet_id {
            session.acknowledge(packet_id, now)?;
        }
        let number = publish.topic.strip_prefix("v1/devices/me/rpc/request/").and_then(|n| n.parse().ok());
        let number: u64 = number.ok_or(LinkError::Unexpected("a message on another topic"))?;
        let known = self.answered.iter().find(|(answered, _)| *answered == number);
        let (json, counter) = match known {
            Some((_, json)) => (json.clone(), &self.shared.stats.commands_repeated),
            None => (self.carry_out(number, publish.payload, now), &self.shared.stats.commands_answered),
        };
        if session.answer(Answer { number, json }) {
            count(counter);
        }
        Ok(())
    }

    fn carry_out(&mut self, number: u64, payload: &[u8], now: Instant) -> String {
        self.advance(now);
        let json = command::execute(&mut self.boiler, payload);
        self.collect();
        if let Some(ledger) = &self.shared.ledger {
            ledger.command(self.number, number);
        }
        if self.answered.len() == ANSWERED_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back((number, json.clone()));
        json
    }
}

fn counter_of_failure<'s>(error: &LinkError, stats: &'s SimStats) -> &'s AtomicU64 {
    match error {
        LinkError::Refused(_) => &stats.connects_refused,
        LinkError::Io(_) | LinkError::Closed | LinkError::Timeout | LinkError::Ended(_) => {
            &stats.connect_failures
        }
        _ => &stats.protocol_errors,
    }
}

fn counter_of_end<'s>(error: &LinkError, stats: &'s SimStats) -> &'s AtomicU64 {
    match error {
        LinkError::Io(_) | LinkError::Closed | LinkError::Ended(_) => &stats.ended_by_server,
        LinkError::Timeout => &stats.ended_by_timeout,
        _ => &stats.protocol_errors,
    }
}

async fn goodbye<S: AsyncRead + AsyncWrite + Unpin>(session: &mut Session<S>) -> Result<(), LinkError> {
    session.link.send(&Packet::Disconnect(Disconnect {
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    }))?;
    // A server that doesn't read any more doesn't get one.
    let _ = tokio::time::timeout(GOODBYE, session.link.close()).await;
    Ok(())
}
