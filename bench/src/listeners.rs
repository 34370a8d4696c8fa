//! Many who listen to what one device says, over WebSockets or MQTT: one thread and epoll, so that what is measured is
//! who tells them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::Timespec;
use stoker_protocol::codec::{
    FilterBuf, Packet, PacketId, Properties, Qos, ReasonCode, Subscribe, SubscribeOptions, Version,
};

use crate::device::{Login, first_packet};
use crate::histogram::Histogram;
use crate::process::thread_cpu;

/// How long it may take until somebody is let in.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// What is read at once.
const READ_SIZE: usize = 16 * 1024;
/// The most of an answer to the request for a WebSocket.
const HEAD_MOST: usize = 8 * 1024;
/// Waits no longer than that, so that the end is not overslept.
const LONGEST_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// What stands before the number in everything that is said.
const MARK: &[u8] = br#""code":"N"#;

/// What is said with that number.
pub(crate) fn said(number: u64) -> String {
    format!(r#"{{"kind":"note","code":"N{number}","severity":"warning","text":"for everybody"}}"#)
}

/// The number of what was said, wherever it stands.
fn number_in(text: &[u8]) -> Option<u64> {
    let at = text.windows(MARK.len()).position(|part| part == MARK)? + MARK.len();
    let digits = text.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit());
    let mut number = None;
    for digit in digits {
        number = Some(number.unwrap_or(0_u64).checked_mul(10)?.checked_add(u64::from(digit - b'0'))?);
    }
    number
}

/// The first whole frame of a server's: its payload, and the length of all of it.
fn first_frame(input: &[u8]) -> Option<(&[u8], usize)> {
    let length = *input.get(1)? & 0x7F;
    let (begin, length) = match length {
        126 => (4, u64::from(u16::from_be_bytes(*input.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*input.get(2..)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let end = begin + usize::try_from(length).ok()?;
    Some((input.get(begin..end)?, end))
}

/// The first byte of a whole frame that is a ping, and of one that answers it.
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// The answer to a ping: the same payload, masked by nothing, as a client has to.
fn pong(payload: &[u8]) -> Result<Vec<u8>> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length <= 125);
    let mut frame = vec![PONG, 0x80 | length.context("a ping is longer than one may be")?, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// How listeners are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    WebSocket,
    Mqtt,
}

struct Listener {
    stream: TcpStream,
    input: Vec<u8>,
    /// The number that comes next.
    next: u64,
}

impl Listener {
    fn dial(address: SocketAddr, request: &[u8]) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.write_all(request)?;
        Ok(Self { stream, input: Vec::new(), next: 0 })
    }

    /// Reads until `whole` says how many bytes the answer has, and forgets these.
    fn answered(&mut self, whole: impl Fn(&[u8]) -> Result<Option<usize>>) -> Result<()> {
        let mut buffer = [0; 1_024];
        loop {
            if let Some(length) = whole(&self.input)? {
                self.input.drain(..length);
                return Ok(());
            }
            ensure!(self.input.len() < HEAD_MOST, "the answer has no end");
            let count = self.stream.read(&mut buffer).context("no answer came")?;
            ensure!(count > 0, "closed before an answer came");
            self.input.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }

    fn web_socket(address: SocketAddr, path: &str, token: &str) -> Result<Self> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        let mut listener = Self::dial(address, request.as_bytes())?;
        listener.answered(|input| {
            let end = input.windows(4).position(|part| part == b"\r\n\r\n").map(|at| at + 4);
            if end.is_some() && !input.starts_with(b"HTTP/1.1 101 ") {
                bail!("refused: {}", String::from_utf8_lossy(input).lines().next().unwrap_or_default());
            }
            Ok(end)
        })?;
        // What it says first is from when on it tells.
        listener.answered(|input| Ok(first_frame(input).map(|(_, length)| length)))?;
        Ok(listener)
    }

    fn subscriber(address: SocketAddr, login: &Login, topic: &str) -> Result<Self> {
        let mut request = Vec::new();
        login.connect(3_600, &mut request)?;
        let mut filters = FilterBuf::new();
        // A WebSocket's frames are not acknowledged either.
        filters.push(topic, SubscribeOptions::with_qos(Qos::AtMostOnce))?;
        let (packet_id, properties) = (PacketId::MIN, Properties::EMPTY);
        let subscribe = Subscribe { packet_id, properties, filters: filters.as_list() };
        Packet::Subscribe(subscribe).encode(Version::V311, &mut request)?;
        let mut listener = Self::dial(address, &request)?;
        for _ in 0..2 {
            listener.answered(|input| match first_packet(input)? {
                None => Ok(None),
                Some((Packet::ConnAck(answer), length)) if answer.reason == ReasonCode::Success => {
                    Ok(Some(length))
                }
                Some((Packet::SubAck(answer), length))
                    if !answer.reasons.iter().any(ReasonCode::is_error) =>
                {
                    Ok(Some(length))
                }
                Some((other, _)) => bail!("refused: {other:?}"),
            })?;
        }
        Ok(listener)
    }

    /// Reads what there is, and hands each number to `told`.
    fn receive(&mut self, wire: Wire, buffer: &mut [u8], mut told: impl FnMut(u64)) -> Result<()> {
        let count = match self.stream.read(buffer) {
            Ok(0) => bail!("a listener was sent away"),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error).context("a listener can't read"),
        };
        self.input.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let mut taken = 0;
        loop {
            let rest = self.input.get(taken..).unwrap_or_default();
            let (number, length) = match wire {
                Wire::WebSocket => match first_frame(rest) {
                    Some((payload, length)) => {
                        if rest.first() == Some(&PING) {
                            self.stream.write_all(&pong(payload)?).context("a ping can't be answered")?;
                        }
                        (number_in(payload), length)
                    }
                    None => break,
                },
                Wire::Mqtt => match first_packet(rest)? {
                    Some((Packet::Publish(publish), length)) => (number_in(publish.payload), length),
                    Some((other, _)) => bail!("a subscriber was sent {other:?}"),
                    None => break,
                },
            };
            taken += length;
            // What has no number is a ping, or says that something is missing, which the numbers show.
            if let Some(number) = number {
                ensure!(number == self.next, "a listener was told {number} where {} was due", self.next);
                self.next += 1;
                told(number);
            }
        }
        self.input.drain(..taken);
        Ok(())
    }
}

/// When each number was written by who says it.
pub(crate) type Written = Arc<Mutex<Vec<Instant>>>;

/// What all listeners have heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// From when it was written to when a listener had it.
    pub(crate) times: Histogram,
    /// How often something was heard.
    pub(crate) count: u64,
    /// CPU time of the thread, and the time that it was ready and another one ran.
    pub(crate) ran: Duration,
    pub(crate) starved: Duration,
}

/// Some listeners, and the thread that will serve them.
pub(crate) struct Listeners {
    epoll: OwnedFd,
    wire: Wire,
    all: Vec<Listener>,
}

impl Listeners {
    /// So many WebSockets at that path.
    pub(crate) fn web_sockets(address: SocketAddr, path: &str, token: &str, count: u32) -> Result<Self> {
        Self::gather(Wire::WebSocket, count, |_| Listener::web_socket(address, path, token))
    }

    /// A subscriber of the topic for each login.
    pub(crate) fn subscribers(address: SocketAddr, topic: &str, count: u32) -> Result<Self> {
        Self::gather(Wire::Mqtt, count, |number| {
            let id = format!("listener-{number}");
            Listener::subscriber(address, &Login { token: id.clone(), id }, topic)
        })
    }

    fn gather(wire: Wire, count: u32, open: impl Fn(u32) -> Result<Listener>) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut all = Vec::new();
        for number in 0..count {
            let listener = open(number).with_context(|| format!("listener {number} can't listen"))?;
            listener.stream.set_nonblocking(true)?;
            let index = EventData::new_u64(u64::from(number));
            epoll::add(&epoll, &listener.stream, index, EventFlags::IN)?;
            all.push(listener);
        }
        Ok(Self { epoll, wire, all })
    }

    /// Listens until everybody has heard so many numbers, or until `deadline`.
    pub(crate) fn run(mut self, written: &Written, numbers: u64, deadline: Instant) -> Result<Heard> {
        let expected = numbers * u64::try_from(self.all.len())?;
        let mut buffer = vec![0; READ_SIZE];
        let mut events = Vec::<Event>::with_capacity(256);
        let mut heard = Heard::default();
        let (ran, starved) = thread_cpu()?;
        while heard.count < expected && Instant::now() < deadline {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&LONGEST_WAIT)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("failed to wait for what is told"),
            }
            for event in events.drain(..) {
                let index = usize::try_from(event.data.u64())?;
                let Some(listener) = self.all.get_mut(index) else { continue };
                let mut numbers = Vec::new();
                listener.receive(self.wire, &mut buffer, |number| numbers.push(number))?;
                let now = Instant::now();
                for number in numbers {
                    let at = written.lock().get(usize::try_from(number)?).copied();
                    let at = at.with_context(|| format!("number {number} was heard before it was said"))?;
                    heard.times.record(now.saturating_duration_since(at));
                    heard.count += 1;
                }
            }
        }
        let (ran_now, starved_now) = thread_cpu()?;
        heard.ran = ran_now.saturating_sub(ran);
        heard.starved = starved_now.saturating_sub(starved);
        Ok(heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_wherever_it_stands() {
        assert_eq!(number_in(said(17).as_bytes()), Some(17));
        let frame = br#"{"type":"event","position":"x","data":{"id":"1","code":"N0","text":"N5"}}"#;
        assert_eq!(number_in(frame), Some(0));
        assert_eq!(number_in(br#"{"type":"gap","position":"x"}"#), None);
        assert_eq!(number_in(br#"{"code":"N"}"#), None);
    }

    #[test]
    fn a_ping_is_answered_by_its_own_payload() {
        let portal = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(portal.local_addr().unwrap()).unwrap();
        let (mut portal, _) = portal.accept().unwrap();
        let mut listener = Listener { stream, input: Vec::new(), next: 0 };
        portal.write_all(&[PING, 2, b'a', b'b']).unwrap();
        listener.receive(Wire::WebSocket, &mut [0; 64], |_| panic!("a ping has no number")).unwrap();
        let mut answer = [0; 8];
        portal.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [PONG, 0x82, 0, 0, 0, 0, b'a', b'b']);
        assert!(pong(&[0; 126]).is_err());
    }

    #[test]
    fn frames_of_every_length_are_told_apart() {
        for length in [0_usize, 1, 125, 126, 200, 65_535, 65_536] {
            let mut frame = vec![0x81];
            match length {
                0..=125 => frame.push(u8::try_from(length).unwrap()),
                126..=65_535 => {
                    frame.push(126);
                    frame.extend(u16::try_from(length).unwrap().to_be_bytes());
                }
                _ => {
                    frame.push(127);
                    frame.extend(u64::try_from(length).unwrap().to_be_bytes());
                }
            }
            frame.resize(frame.len() + length, b'x');
            let whole = frame.len();
            assert_eq!(first_frame(&frame[..whole - 1]), None, "{length}");
            frame.push(0x81);
            let (payload, taken) = first_frame(&frame).unwrap();
            assert_eq!((payload.len(), taken), (length, whole));
        }
    }
}
