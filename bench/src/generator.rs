//! Readings as fast as they are acknowledged, or at a pace: one thread, epoll and the raw codec, so that what is
//! measured is the platform and not its load.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::Timespec;
use stoker_protocol::codec::{Packet, PacketId, ReasonCode, Version};

use crate::device::{Login, first_packet};
use crate::histogram::Histogram;
use crate::process::thread_cpu;
use crate::template::{Template, following};

/// What every message says: 26 bytes, two points.
pub(crate) const PAYLOAD: &[u8] = br#"{"t_supply":71.25,"p":1.4}"#;
/// Points of one message.
pub(crate) const POINTS: u64 = 2;
/// How long a CONNACK may take, and, at the end, the PUBACKs of what was sent.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// What is read at once: 16,000 PUBACKs.
const READ_SIZE: usize = 64 * 1024;
/// Waits no longer than that, so that the end is not overslept.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// How to load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Messages of one connection that may wait for their PUBACK.
    pub(crate) window: usize,
    /// Messages a second of this thread; as fast as they are acknowledged when there is none.
    pub(crate) rate: Option<f64>,
    /// What is sent before that time counts for nothing.
    pub(crate) warm_up: Duration,
    /// How long to measure after that.
    pub(crate) measure: Duration,
}

/// What one thread has seen.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Acknowledged messages of each device, from the first to the last.
    pub(crate) acked: Vec<(String, u64)>,
    /// Messages that were never acknowledged.
    pub(crate) unanswered: u64,
    /// Messages acknowledged while it was measured.
    pub(crate) measured: u64,
    /// From sending, or with a pace from when it was to be sent, to the PUBACK.
    pub(crate) latency: Histogram,
    /// CPU time of the thread while it was measured, and the time that it was ready and another one ran.
    pub(crate) ran: Duration,
    pub(crate) starved: Duration,
}

struct Connection {
    stream: TcpStream,
    id: String,
    input: Vec<u8>,
    out: Vec<u8>,
    /// When each message that waits for its PUBACK was sent, or was to be sent.
    in_flight: VecDeque<Instant>,
    /// Messages that were due and found no room in the window.
    waiting: VecDeque<Instant>,
    next_id: PacketId,
    due_id: PacketId,
    acked: u64,
    /// The system has told to wait until there is room to write.
    blocked: bool,
}

impl Connection {
    fn open(address: SocketAddr, login: &Login) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let mut out = Vec::new();
        // Beyond any run: nobody has to ping.
        login.connect(3_600, &mut out)?;
        stream.write_all(&out)?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).context("no CONNACK came")?;
        match first_packet(&answer)? {
            Some((Packet::ConnAck(answer), _)) if answer.reason == ReasonCode::Success => {}
            other => bail!("not let in: {other:?}"),
        }
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            id: login.id.clone(),
            input: Vec::new(),
            out: Vec::new(),
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
            next_id: PacketId::MIN,
            due_id: PacketId::MIN,
            acked: 0,
            blocked: false,
        })
    }

    fn put(&mut self, template: &Template, at: Instant) {
        template.put(self.next_id, &mut self.out);
        self.next_id = following(self.next_id);
        self.in_flight.push_back(at);
    }

    /// Fills the window: with what is due where there is a pace, otherwise with as much as fits.
    fn fill(&mut self, template: &Template, load: &Load, now: Instant) {
        while self.in_flight.len() < load.window {
            match (self.waiting.pop_front(), load.rate) {
                (Some(due), _) => self.put(template, due),
                (None, Some(_)) => break,
                (None, None) => self.put(template, now),
            }
        }
    }

    /// Writes what the system takes.
    fn flush(&mut self) -> Result<()> {
        let mut written = 0;
        self.blocked = false;
        while let Some(left @ [_, ..]) = self.out.get(written..) {
            match self.stream.write(left) {
                Ok(0) => bail!("{}: the connection takes nothing more", self.id),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("{} can't write", self.id)),
            }
        }
        self.out.drain(..written);
        Ok(())
    }

    /// Reads what there is and hands the time of each acknowledged message to `acked`.
    fn receive(&mut self, buffer: &mut [u8], mut acked: impl FnMut(Instant)) -> Result<()> {
        let count = match self.stream.read(buffer) {
            Ok(0) => bail!("{}: the platform closed the connection", self.id),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error).with_context(|| format!("{} can't read", self.id)),
        };
        self.input.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let mut taken = 0;
        while let Some((packet, length)) = first_packet(self.input.get(taken..).unwrap_or_default())? {
            let Packet::PubAck(ack) = packet else { bail!("{}: the platform sent {packet:?}", self.id) };
            // PUBACKs come in the order of their publishes: that is promised, and makes one queue enough.
            ensure!(
                ack.packet_id == self.due_id,
                "{}: PUBACK {} where {} was due",
                self.id,
                ack.packet_id,
                self.due_id
            );
            self.due_id = following(self.due_id);
            self.acked += 1;
            acked(self.in_flight.pop_front().context("a PUBACK of nothing")?);
            taken += length;
        }
        self.input.drain(..taken);
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }
}

/// Some connections and the thread that will serve them.
pub(crate) struct Generator {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    template: Template,
    load: Load,
    /// With a pace: messages that were due so far.
    due: u64,
    outcome: Outcome,
    /// What was used when measuring began.
    before: Option<(Duration, Duration)>,
}

impl Generator {
    /// Connects the devices.
    pub(crate) fn connect(address: SocketAddr, logins: &[Login], load: Load) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(logins.len());
        for (index, login) in (0..).zip(logins) {
            let connection =
                Connection::open(address, login).with_context(|| format!("{} can't connect", login.id))?;
            epoll::add(&epoll, &connection.stream, EventData::new_u64(index), EventFlags::IN)?;
            connections.push(connection);
        }
        let template = Template::new(Version::V311, PAYLOAD)?;
        Ok(Self { epoll, connections, template, load, due: 0, outcome: Outcome::default(), before: None })
    }

    /// Loads from `start` on until the time is over, then waits for the last PUBACKs.
    pub(crate) fn run(mut self, start: Instant) -> Result<Outcome> {
        let begin = start + self.load.warm_up;
        let end = begin + self.load.measure;
        let mut buffer = vec![0; READ_SIZE];
        let mut events = Vec::<Event>::with_capacity(256);
        self.fill_all(start, start.max(Instant::now()))?;
        loop {
            let now = Instant::now();
            if self.before.is_none() && now >= begin {
                self.before = Some(thread_cpu()?);
            }
            let sending = now < end;
            if !sending {
                self.note_cost()?;
                if self.connections.iter().all(Connection::is_quiet) || now >= end + ANSWER_WITHIN {
                    break;
                }
            } else if self.load.rate.is_some() {
                self.fill_all(start, now)?;
            }
            self.wait(start, now, &mut events)?;
            for event in events.drain(..) {
                self.serve(event, &mut buffer, sending, begin..end)?;
            }
        }
        for connection in &self.connections {
            let open = connection.in_flight.len() + connection.waiting.len();
            self.outcome.unanswered += u64::try_from(open)?;
            self.outcome.acked.push((connection.id.clone(), connection.acked));
        }
        Ok(self.outcome)
    }

    /// When message number `number` is due.
    fn due_at(&self, start: Instant, number: u64) -> Option<Instant> {
        Some(start + Duration::from_secs_f64(number as f64 / self.load.rate?))
    }

    /// Writes what there is to be written: with a pace what has come due, in turns over all connections.
    fn fill_all(&mut self, start: Instant, now: Instant) -> Result<()> {
        let count = u64::try_from(self.connections.len())?.max(1);
        if self.load.rate.is_none() {
            for index in 0..self.connections.len() {
                self.refill(index, now, true)?;
            }
            return Ok(());
        }
        while let Some(due) = self.due_at(start, self.due).filter(|due| *due <= now) {
            let index = usize::try_from(self.due % count)?;
            self.due += 1;
            if let Some(connection) = self.connections.get_mut(index) {
                connection.waiting.push_back(due);
            }
            // Each message is written by itself, as devices do that are not one.
            self.refill(index, now, true)?;
        }
        Ok(())
    }

    fn refill(&mut self, index: usize, now: Instant, fill: bool) -> Result<()> {
        let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
        if fill {
            connection.fill(&self.template, &self.load, now);
        }
        let was_blocked = connection.blocked;
        if !connection.out.is_empty() {
            connection.flush()?;
        }
        if connection.blocked != was_blocked {
            let wanted = if connection.blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let data = EventData::new_u64(u64::try_from(index)?);
            epoll::modify(&self.epoll, &connection.stream, data, wanted)?;
        }
        Ok(())
    }

    fn wait(&self, start: Instant, now: Instant, events: &mut Vec<Event>) -> Result<()> {
        let next = self.due_at(start, self.due).map(|due| due.saturating_duration_since(now));
        let longest = next.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(longest.as_nanos())?.min(999_999_999) };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("failed to wait for the platform"),
        }
    }

    fn serve(
        &mut self,
        event: Event,
        buffer: &mut [u8],
        sending: bool,
        measured: std::ops::Range<Instant>,
    ) -> Result<()> {
        let index = usize::try_from(event.data.u64())?;
        let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
        let outcome = &mut self.outcome;
        let now = Instant::now();
        // The system's structure is packed: its fields are copied, not referred to.
        let flags = event.flags;
        if flags != EventFlags::OUT {
            connection.receive(buffer, |sent| {
                if measured.contains(&now) {
                    outcome.measured += 1;
                }
                if measured.contains(&sent) {
                    outcome.latency.record(now.saturating_duration_since(sent));
                }
            })?;
        }
        // With a pace, what came due before the end is still sent: leaving it out would hide the worst times.
        self.refill(index, now, sending || self.load.rate.is_some())
    }

    /// Notes, once, what the thread has used while it was measured.
    fn note_cost(&mut self) -> Result<()> {
        if let Some((ran, starved)) = self.before.filter(|_| self.outcome.ran.is_zero()) {
            let (ran_now, starved_now) = thread_cpu()?;
            self.outcome.ran = ran_now.saturating_sub(ran).max(Duration::from_nanos(1));
            self.outcome.starved = starved_now.saturating_sub(starved);
        }
        Ok(())
    }
}
