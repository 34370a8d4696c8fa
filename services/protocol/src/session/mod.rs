//! The server's side of one device connection: bytes and time in; bytes, events and the next timeout out.

mod alias;
mod event;
mod handshake;
mod inbound;
mod limits;
mod live;
mod outbound;
mod subscriptions;

pub use event::{
    Accept, ConnectRequest, DeliverOutcome, Delivery, EndReason, Event, InboundPublish, Output,
    PublishOutcome, PublishToken, Refusal, ServerReason, Will, WillFate,
};
pub use limits::Limits;

use std::sync::Arc;

use crate::codec::{
    DecodeError, Disconnect, FrameError, Packet, PacketId, Probe, Properties, Property, PropertyBuf,
    ReasonCode, Version, probe,
};
use crate::topic::DownTopic;
use alias::Aliases;
use inbound::Inbound;
use outbound::Outbound;
use subscriptions::Subscriptions;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing, or a part of a CONNECT, has come.
    AwaitConnect,
    /// CONNECT was handed up; what comes behind it is kept unread.
    AwaitAccept,
    /// CONNACK was sent.
    Live,
    /// Over: nothing is taken, nothing is sent.
    Ended,
}

/// The server's side of one device connection.
///
/// Each call appends to an [`Output`]: bytes to write, events to handle, and whether to close. Times are
/// milliseconds of any monotonic clock. After [`Event::Ended`] every call is without effect. Small when
/// idle: what is rarely needed is made when it is and freed when it is empty.
#[derive(Debug)]
pub struct Session {
    limits: Arc<Limits>,
    /// A part of a packet; while not reading on, all that has come meanwhile.
    unread: Vec<u8>,
    inbound: Inbound,
    outbound: Option<Box<Outbound>>,
    aliases: Option<Box<Aliases>>,
    subscriptions: Subscriptions,
    /// Before CONNECT when it has to be there, afterwards when the last packet came.
    clock: u64,
    /// What the deadline is counted with; 0 means none.
    keep_alive_ms: u32,
    /// The largest packet the client takes.
    client_max_packet: u32,
    /// How many QoS 1 deliveries the client takes at once.
    client_receive_max: u16,
    next_packet_id: PacketId,
    version: Version,
    phase: Phase,
    /// A 3.1.1 client has sent more than is taken at once; reading goes on when enough is answered.
    paused: bool,
    /// The client sent no client identifier.
    nameless: bool,
    /// MQTT 5: reason strings are welcome.
    explain: bool,
    /// MQTT 5: CONNECT asked for no session expiry, so DISCONNECT may not either.
    no_expiry: bool,
    /// The keep-alive is not what the client asked for.
    keep_alive_ours: bool,
}

impl Session {
    /// A connection that was just made. CONNECT has to be there within the time of the limits.
    pub fn new(now: u64, limits: Arc<Limits>) -> Self {
        let clock = now.saturating_add(limits.connect_timeout_ms);
        Self {
            limits,
            unread: Vec::new(),
            inbound: Inbound::default(),
            outbound: None,
            aliases: None,
            subscriptions: Subscriptions::default(),
            clock,
            keep_alive_ms: 0,
            client_max_packet: u32::MAX,
            client_receive_max: u16::MAX,
            next_packet_id: PacketId::MIN,
            version: Version::V311,
            phase: Phase::AwaitConnect,
            paused: false,
            nameless: false,
            explain: true,
            no_expiry: true,
            keep_alive_ours: false,
        }
    }

    /// Takes what the transport has read, in any portions.
    pub fn receive(&mut self, now: u64, bytes: &[u8], out: &mut Output) {
        let mut rest = bytes;
        // What is left of earlier calls is completed first, by no more than it needs: all behind it is
        // then read where it lies.
        while !self.unread.is_empty() && self.is_reading() {
            match probe(&self.unread, self.max_packet()) {
                Ok(Probe::NeedMore { missing }) => {
                    let (part, behind) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
                    self.unread.extend_from_slice(part);
                    rest = behind;
                    if part.len() < missing {
                        return;
                    }
                }
                _ => self.read_on(now, out),
            }
        }
        if self.is_reading() {
            let used = self.run(now, rest, out);
            rest = rest.get(used..).unwrap_or_default();
        }
        if self.phase != Phase::Ended && !rest.is_empty() {
            if self.unread.len() + rest.len() > self.limits.max_backlog() {
                let about = "too much sent before it was read";
                return self.fail(DecodeError::new(ReasonCode::QuotaExceeded, about), out);
            }
            self.unread.extend_from_slice(rest);
        }
    }

    /// Whether the transport should be read. False while a CONNECT waits for its answer with more
    /// behind it, and while a 3.1.1 client has too many publishes unanswered: `accept` and `publish_done`
    /// make it true again. Who reads all the same is stopped at [`Limits::max_backlog`].
    pub fn wants_read(&self) -> bool {
        match self.phase {
            Phase::AwaitConnect => true,
            Phase::AwaitAccept => self.unread.is_empty(),
            Phase::Live => !self.paused,
            Phase::Ended => false,
        }
    }

    /// When to call [`Session::handle_timeout`], in milliseconds of the clock that is passed in. It moves
    /// with every packet: asking after each call isn't needed, asking when the time has come is. None while
    /// an answer of the application is waited for: how long that may take is for the shell to bound.
    pub fn timeout(&self) -> Option<u64> {
        match self.phase {
            Phase::AwaitConnect => Some(self.clock),
            Phase::Live if self.keep_alive_ms > 0 && !self.paused => {
                let patience = u64::from(self.keep_alive_ms) + u64::from(self.keep_alive_ms) / 2;
                Some(self.clock.saturating_add(patience))
            }
            _ => None,
        }
    }

    /// Ends the connection if its time is over; does nothing if it isn't.
    pub fn handle_timeout(&mut self, now: u64, out: &mut Output) {
        if self.timeout().is_none_or(|at| now < at) {
            return;
        }
        if self.phase == Phase::AwaitConnect {
            return self.end(EndReason::ConnectTimeout, out);
        }
        self.say_goodbye(ReasonCode::KeepAliveTimeout, "", out);
        self.end(EndReason::KeepAliveTimeout, out);
    }

    /// The transport was closed or has failed. Nothing more is sent.
    pub fn transport_closed(&mut self, out: &mut Output) {
        self.end(EndReason::TransportClosed, out);
    }

    /// Ends the session from our side: MQTT 5 clients are told why, 3.1.1 ones are just closed. Publishes
    /// not answered yet stay so, and the device will send them again.
    pub fn shut(&mut self, reason: ServerReason, out: &mut Output) {
        match self.phase {
            Phase::AwaitAccept => self.refuse_shut(reason, out),
            Phase::Live => self.say_goodbye(reason.reason(), "", out),
            Phase::AwaitConnect | Phase::Ended => {}
        }
        self.end(EndReason::Shut(reason), out);
    }

    /// Whether the client was accepted and the session isn't over.
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether the session is over.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The version the client speaks; 3.1.1 before CONNECT.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How many QoS 1 and 2 publishes wait for `publish_done`, or for earlier ones to be answered.
    pub fn unanswered(&self) -> usize {
        self.inbound.unanswered()
    }

    /// For how many milliseconds the oldest of these has waited, rounded to 100; 0 when none does. When the session is over, of
    /// those that it left unanswered.
    pub fn waits(&self, now: u64) -> u64 {
        self.inbound.waits(now)
    }

    /// How many QoS 1 deliveries were sent and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.outbound.as_ref().map_or(0, |outbound| outbound.in_flight())
    }

    /// How many deliveries wait behind those in flight.
    pub fn queued(&self) -> usize {
        self.outbound.as_ref().map_or(0, |outbound| outbound.waiting())
    }

    /// The QoS a delivery on this topic would go out with; none when the device isn't subscribed to it.
    pub fn subscribed(&self, topic: DownTopic) -> Option<crate::codec::Qos> {
        if self.is_live() { self.subscriptions.qos(topic) } else { None }
    }

    /// How much memory the session keeps beyond its own size, in bytes. Shared limits are not counted.
    pub fn heap_bytes(&self) -> usize {
        self.unread.capacity()
            + self.inbound.heap_bytes()
            + self.outbound.as_ref().map_or(0, |outbound| outbound.heap_bytes())
            + self.aliases.as_ref().map_or(0, |aliases| aliases.heap_bytes())
            + self.subscriptions.heap_bytes()
    }

    fn max_packet(&self) -> u32 {
        match self.phase {
            Phase::AwaitConnect => self.limits.max_connect_packet,
            _ => self.limits.max_packet,
        }
    }

    /// Whether packets are being read: not while an answer of the application is needed first.
    fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::AwaitConnect | Phase::Live) && !self.paused
    }

    /// Reads what was kept; what can't be read yet stays.
    fn read_on(&mut self, now: u64, out: &mut Output) {
        let mut kept = std::mem::take(&mut self.unread);
        let used = self.run(now, &kept, out);
        if used < kept.len() && self.phase != Phase::Ended {
            kept.drain(..used);
            self.unread = kept;
        }
    }

    /// Reads as many packets as are there and may be read; how many bytes they took.
    fn run(&mut self, now: u64, bytes: &[u8], out: &mut Output) -> usize {
        let mut used = 0;
        while self.is_reading() {
            let rest = bytes.get(used..).unwrap_or_default();
            let Some(first) = rest.first() else { break };
            if self.phase == Phase::AwaitConnect && *first != 0x10 {
                self.fail(DecodeError::protocol("first packet is not connect"), out);
                break;
            }
            let (header, total) = match probe(rest, self.max_packet()) {
                Ok(Probe::NeedMore { .. }) => break,
                Ok(Probe::Frame { header, total }) => (header, total),
                Err(error) => {
                    self.fail(frame_error(error), out);
                    break;
                }
            };
            if self.must_wait(*first) {
                self.paused = true;
                break;
            }
            used += total;
            let frame = rest.get(..total).unwrap_or_default();
            let read = match self.phase {
                Phase::AwaitConnect => {
                    self.connect(frame, header, out);
                    Ok(())
                }
                _ => self.packet(now, *first, frame, out),
            };
            if let Err(error) = read {
                self.fail(error, out);
            }
        }
        used
    }

    /// Ends the session for something that the client did; MQTT 5 clients are told what.
    fn fail(&mut self, error: DecodeError, out: &mut Output) {
        if self.phase == Phase::Live {
            self.say_goodbye(error.reason, error.about, out);
        }
        self.end(EndReason::ProtocolError { reason: error.reason, about: error.about }, out);
    }

    /// Writes a DISCONNECT, which only MQTT 5 has in this direction.
    fn say_goodbye(&self, reason: ReasonCode, about: &str, out: &mut Output) {
        if self.version == Version::V311 {
            return;
        }
        let reason = if reason.valid_in_disconnect() { reason } else { ReasonCode::ProtocolError };
        self.explain(about, out, |properties| Packet::Disconnect(Disconnect { reason, properties }));
    }

    fn end(&mut self, reason: EndReason, out: &mut Output) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        self.unread = Vec::new();
        self.inbound = self.inbound.left();
        self.outbound = None;
        self.aliases = None;
        self.subscriptions = Subscriptions::default();
        out.events.push(Event::Ended(reason));
        out.close = true;
    }

    /// Writes a packet if the client takes one so large; whether it did.
    fn send(&self, packet: &Packet<'_>, out: &mut Output) -> bool {
        let start = out.transmit.len();
        let written = packet.encode(self.version, &mut out.transmit).is_ok();
        let fits = out.transmit.len() - start <= self.client_max_packet as usize;
        if !fits {
            out.transmit.truncate(start);
        }
        written && fits
    }

    /// Writes a packet with a reason string if the client wants one, and without if it doesn't take that.
    fn explain(&self, about: &str, out: &mut Output, packet: impl Fn(Properties<'_>) -> Packet<'_>) -> bool {
        if self.explain && self.version == Version::V5 && !about.is_empty() {
            let mut buf = PropertyBuf::new();
            if buf.push(Property::ReasonString(about)).is_ok() && self.send(&packet(buf.as_properties()), out)
            {
                return true;
            }
        }
        self.send(&packet(Properties::EMPTY), out)
    }
}

fn frame_error(error: FrameError) -> DecodeError {
    match error {
        FrameError::TooLarge { .. } => {
            DecodeError::new(ReasonCode::PacketTooLarge, "packet larger than the server takes")
        }
        FrameError::Malformed(error) => error,
    }
}
