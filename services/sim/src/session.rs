//! One session of a device: what is under way, and what it keeps time by.

use std::collections::VecDeque;
use std::time::Duration;

use stoker_domain::Millis;
use stoker_protocol::codec::{
    Ack, Connect, FilterBuf, Packet, PacketId, Properties, Publish, Qos, ReasonCode, Subscribe,
    SubscribeOptions, Version,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::config::SimConfig;
use crate::link::{Link, LinkError, keep_last, next_packet};

/// Answers that may wait for room in the window; a platform sends no more commands than that at once.
const ANSWERS_MAX: usize = 64;

/// What was published and not acknowledged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Subscription,
    Introduction,
    Reading(Option<Millis>),
    Event(u64),
    Answer,
}

struct InFlight {
    id: PacketId,
    what: What,
    at: Instant,
}

/// What came of an acknowledgement.
pub(crate) struct Acked {
    pub(crate) what: What,
    pub(crate) took: Duration,
    pub(crate) in_order: bool,
}

/// An answer to a command that waits for its turn.
pub(crate) struct Answer {
    pub(crate) number: u64,
    pub(crate) json: String,
}

/// One session.
pub(crate) struct Session<S> {
    pub(crate) link: Link<S>,
    pub(crate) input: Vec<u8>,
    version: Version,
    in_flight: VecDeque<InFlight>,
    answers: VecDeque<Answer>,
    next_id: PacketId,
    window: usize,
    keep_alive: Duration,
    answer_timeout: Duration,
    sent_at: Instant,
    ping_at: Option<Instant>,
    /// Of the events that wait, so many at the front are written already.
    pub(crate) events_sent: usize,
    pub(crate) next_reading: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Logs in over a fresh connection; returns once the server has let the device in.
    pub(crate) async fn open(stream: S, config: &SimConfig, id: &str) -> Result<Self, LinkError> {
        let (user, password) = config.login(id);
        let mut link = Link::new(stream, config.version);
        let keep_alive = u16::try_from(config.keep_alive.as_secs()).unwrap_or(u16::MAX);
        link.send(&Packet::Connect(Connect {
            version: config.version,
            clean_start: true,
            keep_alive,
            properties: Properties::EMPTY,
            client_id: id,
            will: None,
            user_name: Some(&user),
            password: password.as_deref().map(str::as_bytes),
        }))?;
        let mut input = Vec::new();
        let (window, keep_alive) = loop {
            link.exchange(&mut input).await?;
            let mut rest = input.as_slice();
            let Some(packet) = next_packet(config.version, &mut rest)? else { continue };
            let Packet::ConnAck(answer) = packet else {
                return Err(LinkError::Unexpected("no connack first"));
            };
            if answer.reason != ReasonCode::Success {
                return Err(LinkError::Refused(answer.reason));
            }
            let allowed = usize::from(answer.properties.receive_maximum().unwrap_or(u16::MAX));
            let keep_alive = answer.properties.server_keep_alive().unwrap_or(keep_alive);
            let left = rest.len();
            keep_last(&mut input, left);
            break (allowed.min(config.window.into()), Duration::from_secs(keep_alive.into()));
        };
        let now = Instant::now();
        let mut session = Self {
            link,
            input,
            version: config.version,
            in_flight: VecDeque::new(),
            answers: VecDeque::new(),
            next_id: PacketId::MIN,
            window,
            keep_alive,
            answer_timeout: config.answer_timeout,
            sent_at: now,
            ping_at: None,
            events_sent: 0,
            next_reading: now,
        };
        session.subscribe(now)?;
        Ok(session)
    }

    fn subscribe(&mut self, now: Instant) -> Result<(), LinkError> {
        let mut filters = FilterBuf::new();
        filters.push("v1/devices/me/rpc/request/+", SubscribeOptions::with_qos(Qos::AtLeastOnce))?;
        let packet_id = self.begin(What::Subscription, now);
        self.link.send(&Packet::Subscribe(Subscribe {
            packet_id,
            properties: Properties::EMPTY,
            filters: filters.as_list(),
        }))
    }

    fn begin(&mut self, what: What, now: Instant) -> PacketId {
        let id = self.next_id;
        // Round to 1 after the last: with at most a thousand under way none of them is met again.
        self.next_id = id.checked_add(1).unwrap_or(PacketId::MIN);
        self.in_flight.push_back(InFlight { id, what, at: now });
        self.sent_at = now;
        id
    }

    /// Whether one more message may be published.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < self.window
    }

    pub(crate) fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        what: What,
        now: Instant,
    ) -> Result<(), LinkError> {
        let packet_id = Some(self.begin(what, now));
        self.link.send(&Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            topic,
            packet_id,
            properties: Properties::EMPTY,
            payload,
        }))
    }

    /// Says that a message has arrived.
    pub(crate) fn acknowledge(&mut self, packet_id: PacketId, now: Instant) -> Result<(), LinkError> {
        self.sent_at = now;
        self.link.send(&Packet::PubAck(Ack::success(packet_id)))
    }

    /// Finds what an acknowledgement is about.
    pub(crate) fn acked(&mut self, id: PacketId, now: Instant) -> Result<Acked, LinkError> {
        let subscription = |entry: &InFlight| entry.what == What::Subscription;
        let position = self.in_flight.iter().position(|entry| entry.id == id);
        let position = position.ok_or(LinkError::Unexpected("an acknowledgement of nothing"))?;
        // A SUBACK may come after the PUBACKs of what was published behind the SUBSCRIBE.
        let in_order = self.in_flight.iter().take(position).all(subscription);
        let entry =
            self.in_flight.remove(position).ok_or(LinkError::Unexpected("an acknowledgement of nothing"))?;
        let in_order = in_order || subscription(&entry);
        Ok(Acked { what: entry.what, took: now.saturating_duration_since(entry.at), in_order })
    }

    /// Puts an answer behind those that wait; false when there are too many.
    pub(crate) fn answer(&mut self, answer: Answer) -> bool {
        let fits = self.answers.len() < ANSWERS_MAX;
        if fits {
            self.answers.push_back(answer);
        }
        fits
    }

    /// Publishes the answers that find room.
    pub(crate) fn pump_answers(&mut self, now: Instant) -> Result<(), LinkError> {
        while self.has_room() {
            let Some(answer) = self.answers.pop_front() else { break };
            let topic = format!("v1/devices/me/rpc/response/{}", answer.number);
            self.publish(&topic, answer.json.as_bytes(), What::Answer, now)?;
        }
        Ok(())
    }

    /// Nothing waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && self.answers.is_empty() && self.link.unwritten() == 0
    }

    /// How many readings are not acknowledged.
    pub(crate) fn open_readings(&self) -> u64 {
        self.in_flight.iter().filter(|entry| matches!(entry.what, What::Reading(_))).count() as u64
    }

    pub(crate) fn pong(&mut self) {
        self.ping_at = None;
    }

    /// Keeps the connection alive, and gives it up when nobody answers.
    pub(crate) fn keep(&mut self, now: Instant) -> Result<(), LinkError> {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            return Err(LinkError::Timeout);
        }
        if self.ping_at.is_none() && self.ping_due().is_some_and(|due| now >= due) {
            self.link.send(&Packet::PingReq)?;
            self.sent_at = now;
            self.ping_at = Some(now);
        }
        Ok(())
    }

    fn ping_due(&self) -> Option<Instant> {
        // Well before the server would give the device up at one and a half times the keep-alive. Zero turns it off.
        (self.keep_alive > Duration::ZERO).then(|| self.sent_at + self.keep_alive * 3 / 4)
    }

    fn deadline(&self) -> Option<Instant> {
        let oldest = self.in_flight.front().map(|entry| entry.at);
        oldest.into_iter().chain(self.ping_at).min().map(|at| at + self.answer_timeout)
    }

    /// When [`Session::keep`] has something to do.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let ping = if self.ping_at.is_none() { self.ping_due() } else { None };
        ping.into_iter().chain(self.deadline()).min()
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }
}
