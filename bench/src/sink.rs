//! A server that only answers: the load against it shows how much the load itself can do.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::Timespec;
use stoker_protocol::codec::{Probe, probe};

use crate::device::PACKET_MAX;

/// What is read at once.
const READ_SIZE: usize = 64 * 1024;
/// How often it looks whether it is to end.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// The listener's number among the events; connections are numbered from 0 on.
const LISTENER: u64 = u64::MAX;

/// Serves until it is dropped.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && !matches!(thread.join(), Ok(Ok(())))
        {
            eprintln!("the sink failed: what was measured against it says nothing");
        }
    }
}

impl Sink {
    /// On a free port.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to listen")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = std::thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || Server::new(listener)?.serve(&told))?;
        Ok(Self { address, over, thread: Some(thread) })
    }
}

/// Answers to the packets at the front of `input`, and how many bytes they had.
fn answer(input: &[u8], out: &mut Vec<u8>) -> Result<usize> {
    let mut taken = 0;
    loop {
        let rest = input.get(taken..).unwrap_or_default();
        let Probe::Frame { header, total } = probe(rest, PACKET_MAX)? else { return Ok(taken) };
        let packet = rest.get(..total).unwrap_or_default();
        match packet.first() {
            Some(0x10) => out.extend_from_slice(&[0x20, 2, 0, 0]),
            // PUBLISH with QoS 1: its packet identifier stands behind the topic.
            Some(0x32) => {
                let body = packet.get(header..).unwrap_or_default();
                let topic = body.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
                let id = body.get(2 + topic..4 + topic).context("a PUBLISH without a packet identifier")?;
                out.extend_from_slice(&[0x40, 2]);
                out.extend_from_slice(id);
            }
            other => bail!("a packet that the sink does not know: {other:?}"),
        }
        taken += total;
    }
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Vec<Option<(TcpStream, Vec<u8>)>>,
}

impl Server {
    fn new(listener: TcpListener) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self { epoll, listener, connections: Vec::new() })
    }

    fn serve(mut self, over: &AtomicBool) -> Result<()> {
        let mut buffer = vec![0; READ_SIZE];
        let mut events = Vec::<Event>::with_capacity(256);
        while !over.load(Ordering::Relaxed) {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&LOOK_EVERY)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("the sink failed to wait"),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    index => self.read(usize::try_from(index)?, &mut buffer)?,
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the sink failed to accept"),
            };
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let index = EventData::new_u64(u64::try_from(self.connections.len())?);
            epoll::add(&self.epoll, &stream, index, EventFlags::IN)?;
            self.connections.push(Some((stream, Vec::new())));
        }
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) -> Result<()> {
        let Some(slot) = self.connections.get_mut(index) else { return Ok(()) };
        let Some((stream, input)) = slot else { return Ok(()) };
        let count = match stream.read(buffer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            // The load goes without a word.
            Ok(0) | Err(_) => {
                *slot = None;
                return Ok(());
            }
            Ok(count) => count,
        };
        input.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let mut out = Vec::new();
        let taken = answer(input, &mut out)?;
        input.drain(..taken);
        // A window's PUBACKs are a few hundred bytes: a socket that does not take them is broken.
        stream.write_all(&out).context("the sink cannot answer")
    }
}

#[cfg(test)]
mod tests {
    use stoker_protocol::codec::{PacketId, Version};

    use super::*;
    use crate::device::{logins, put_publish};

    #[test]
    fn whole_packets_are_answered_and_the_rest_is_left() {
        let mut input = Vec::new();
        logins(1)[0].connect(60, &mut input).unwrap();
        put_publish(Version::V311, PacketId::new(513).unwrap(), "a/b", b"payload", &mut input).unwrap();
        let whole = input.len();
        input.push(0x32);
        let mut out = Vec::new();
        assert_eq!(answer(&input, &mut out).unwrap(), whole);
        assert_eq!(out, [0x20, 2, 0, 0, 0x40, 2, 2, 1]);
    }
}
