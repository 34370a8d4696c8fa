//! One device that publishes, on a socket that never blocks.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Socket, Type};
use stoker_protocol::codec::{Connect, Packet, PacketId, Probe, Properties, ReasonCode, Version, probe};

use crate::device::{Login, PACKET_MAX};
use crate::template::{Template, following};

/// A message that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// When it was written.
    pub(super) at: Instant,
    pub(super) segment: usize,
}

fn named(reason: ReasonCode) -> String {
    format!("0x{:02X} {}", reason.value(), reason.text())
}

/// A device.
pub(super) struct Publisher {
    login: Login,
    stream: Option<TcpStream>,
    /// It was let in.
    live: bool,
    /// The system has told to wait until there is room to write.
    blocked: bool,
    receive_max: usize,
    input: Vec<u8>,
    out: Vec<u8>,
    in_flight: VecDeque<Sent>,
    next_id: PacketId,
    due_id: PacketId,
    /// Messages that were acknowledged.
    pub(super) acked: u64,
    /// Messages of which it is not known whether they were stored.
    pub(super) uncertain: u64,
}

impl Publisher {
    pub(super) fn new(login: Login) -> Self {
        Self {
            login,
            stream: None,
            live: false,
            blocked: false,
            receive_max: 0,
            input: Vec::new(),
            out: Vec::new(),
            in_flight: VecDeque::new(),
            next_id: PacketId::MIN,
            due_id: PacketId::MIN,
            acked: 0,
            uncertain: 0,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.login.id
    }

    pub(super) fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_ref()
    }

    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// As many are unacknowledged as the platform takes.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight.len() >= self.receive_max
    }

    /// Begins to connect; CONNECT leaves as soon as the connection stands.
    pub(super) fn dial(&mut self, address: SocketAddr) -> Result<()> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error).with_context(|| format!("{} can't dial", self.login.id)),
        }
        self.stream = Some(socket.into());
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            // Beyond any run: nobody has to ping.
            keep_alive: 3_600,
            properties: Properties::EMPTY,
            client_id: &self.login.id,
            will: None,
            user_name: Some(&self.login.token),
            password: None,
        };
        Packet::Connect(connect).encode(Version::V5, &mut self.out)?;
        self.blocked = true;
        Ok(())
    }

    pub(super) fn put(&mut self, template: &Template, sent: Sent) {
        template.put(self.next_id, &mut self.out);
        self.next_id = following(self.next_id);
        self.in_flight.push_back(sent);
    }

    /// Writes what the system takes. That the connection is broken is found by reading.
    pub(super) fn flush(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut written = 0;
        self.blocked = false;
        while let Some(left @ [_, ..]) = self.out.get(written..) {
            match stream.write(left) {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Ok(_) | Err(_) => break,
            }
        }
        self.out.drain(..written);
    }

    /// Takes in what has come, and tells of each message that it is stored, or why not. How the connection ended, when it
    /// has.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut tell: impl FnMut(Sent, Option<String>),
    ) -> Result<Option<String>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let over = match stream.read(buffer) {
            Ok(0) => Some("closed without a word"),
            Ok(count) => {
                self.input.extend_from_slice(buffer.get(..count).unwrap_or_default());
                None
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected
                ) =>
            {
                None
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Some("connection refused"),
            Err(_) => Some("reset without a word"),
        };
        let mut taken = 0;
        let mut end = over.map(ToOwned::to_owned);
        loop {
            let left = self.input.get(taken..).unwrap_or_default();
            let Probe::Frame { total, .. } = probe(left, PACKET_MAX)? else { break };
            match Packet::decode(Version::V5, left.get(..total).unwrap_or(left))? {
                Packet::PubAck(ack) => {
                    // PUBACKs come in the order of their publishes: that is promised, and makes one queue enough.
                    ensure!(ack.packet_id == self.due_id, "{}: PUBACK out of turn", self.login.id);
                    self.due_id = following(self.due_id);
                    let sent = self.in_flight.pop_front().context("a PUBACK of nothing")?;
                    let refused = ack.reason.is_error().then(|| named(ack.reason));
                    self.acked += u64::from(refused.is_none());
                    tell(sent, refused);
                }
                Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => {
                    self.live = true;
                    self.receive_max = answer.properties.receive_maximum().unwrap_or(u16::MAX).into();
                }
                Packet::ConnAck(answer) => end = Some(format!("CONNACK {}", named(answer.reason))),
                Packet::Disconnect(said) => end = Some(format!("DISCONNECT {}", named(said.reason))),
                other => bail!("{}: the platform sent {other:?}", self.login.id),
            }
            taken += total;
        }
        self.input.drain(..taken);
        Ok(end)
    }

    /// The connection is over: what was sent on it and not acknowledged.
    pub(super) fn leave(&mut self) -> Vec<Sent> {
        self.stream = None;
        (self.live, self.blocked) = (false, false);
        self.input.clear();
        self.out.clear();
        (self.next_id, self.due_id) = (PacketId::MIN, PacketId::MIN);
        self.give_up()
    }

    /// Waits for nothing more.
    pub(super) fn give_up(&mut self) -> Vec<Sent> {
        self.uncertain += u64::try_from(self.in_flight.len()).unwrap_or(u64::MAX);
        self.in_flight.drain(..).collect()
    }
}
