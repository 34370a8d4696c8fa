//! Devices that publish readings whether or not the platform keeps up: one thread, epoll, MQTT 5, for its packets name reasons.
//!
//! Nothing is kept for later: what a device cannot send when it is due is given up and counted, by what kept it from that. So
//! every time is one of a message that was sent when it was due, and the rest is in the counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::Timespec;
use stoker_protocol::codec::Version;

use super::publisher::{Publisher, Sent};
use crate::device::Login;
use crate::generator::PAYLOAD;
use crate::histogram::Histogram;
use crate::process::thread_cpu;
use crate::random::Random;
use crate::template::Template;

/// All devices are let in within that time, and at the end the last PUBACKs come within it.
const WITHIN: Duration = Duration::from_secs(30);
/// A device that was sent away comes back after a time between these two.
const AWAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
const READ_SIZE: usize = 64 * 1024;
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// Messages that are written between two looks at what has come.
const WRITTEN_AT_ONCE: u32 = 256;

/// A part of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// So many messages a second of all devices together, whatever becomes of them.
    pub(super) rate: f64,
    pub(super) lasts: Duration,
}

/// What became of the messages that were due in one segment.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) due: u64,
    pub(super) acked: u64,
    /// From when a message was written to its PUBACK.
    pub(super) latency: Histogram,
    /// From when it was due to when it was written.
    pub(super) lag: Histogram,
    /// Messages that were sent and refused, by what the platform said.
    pub(super) refused: BTreeMap<String, u64>,
    /// Messages that were not sent: their device had been sent away.
    pub(super) away: u64,
    /// The same: as many were unacknowledged as the platform takes of one device.
    pub(super) window_full: u64,
    /// The same: the socket took nothing more.
    pub(super) socket_full: u64,
    /// Neither acknowledged nor refused, to the end.
    pub(super) unanswered: u64,
    /// Connections that were ended or not let in, by what the platform said.
    pub(super) endings: BTreeMap<String, u64>,
    /// CPU time of the thread, and the time that it was ready and another one ran.
    pub(super) ran: Duration,
    pub(super) starved: Duration,
}

impl Seen {
    fn new(now: Instant) -> Self {
        Self {
            began: now,
            ended: now,
            due: 0,
            acked: 0,
            latency: Histogram::default(),
            lag: Histogram::default(),
            refused: BTreeMap::new(),
            away: 0,
            window_full: 0,
            socket_full: 0,
            unanswered: 0,
            endings: BTreeMap::new(),
            ran: Duration::ZERO,
            starved: Duration::ZERO,
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.ended.saturating_duration_since(self.began).as_secs_f64()
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(super) fn held(&self) -> u64 {
        self.window_full + self.socket_full
    }

    /// Of what was due, what is in none of the counts.
    pub(super) fn unaccounted(&self) -> u64 {
        self.due.abs_diff(self.acked + self.refused() + self.away + self.held() + self.unanswered)
    }
}

/// Devices, and the thread that will serve them.
pub(super) struct Publishers {
    address: SocketAddr,
    epoll: OwnedFd,
    devices: Vec<Publisher>,
    template: Template,
    /// When those that are away come back.
    returns: BTreeSet<(Instant, usize)>,
    random: Random,
    /// Of the run under way.
    seen: Vec<Seen>,
    buffer: Vec<u8>,
}

impl Publishers {
    /// Lets all of them in.
    pub(super) fn connect(address: SocketAddr, logins: &[Login]) -> Result<Self> {
        let now = Instant::now();
        let devices: Vec<Publisher> = logins.iter().cloned().map(Publisher::new).collect();
        let mut publishers = Self {
            address,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            returns: (0..devices.len()).map(|index| (now, index)).collect(),
            devices,
            template: Template::new(Version::V5, PAYLOAD)?,
            random: Random::new(1),
            seen: vec![Seen::new(now)],
            buffer: vec![0; READ_SIZE],
        };
        let mut events = Vec::with_capacity(256);
        while !publishers.devices.iter().all(Publisher::is_live) {
            let now = Instant::now();
            if now.saturating_duration_since(publishers.seen.first().map_or(now, |seen| seen.began)) > WITHIN
            {
                bail!("not all devices were let in: {:?}", publishers.seen.first().map(|seen| &seen.endings));
            }
            publishers.come_back(now)?;
            publishers.serve(&mut events, None)?;
        }
        Ok(publishers)
    }

    /// How often each device was acknowledged a message so far, and how many messages it does not know that of.
    pub(super) fn acked(&self) -> Vec<(String, u64, u64)> {
        self.devices.iter().map(|device| (device.id().to_owned(), device.acked, device.uncertain)).collect()
    }

    /// Sends as all segments say, one after the other without a pause, and waits for the last PUBACKs.
    pub(super) fn run(&mut self, segments: &[Segment]) -> Result<Vec<Seen>> {
        self.seen.clear();
        let mut events = Vec::<Event>::with_capacity(256);
        let mut start = Instant::now();
        for segment in segments {
            let (ran, starved) = thread_cpu()?;
            self.seen.push(Seen::new(start));
            let end = start + segment.lasts;
            let mut due = (0_u64, start);
            loop {
                let now = Instant::now();
                if now >= end {
                    break;
                }
                self.come_back(now)?;
                let next = self.send_due(segment.rate, start, end, &mut due, now)?;
                self.serve(&mut events, Some(next))?;
            }
            // What came due while the thread did not run.
            while due.1 < end {
                self.send_due(segment.rate, start, end, &mut due, end)?;
            }
            if let Some(seen) = self.seen.last_mut() {
                let (ran_now, starved_now) = thread_cpu()?;
                (seen.ran, seen.starved) = (ran_now.saturating_sub(ran), starved_now.saturating_sub(starved));
                seen.ended = end;
            }
            start = end;
        }
        let by = Instant::now() + WITHIN;
        while self.devices.iter().any(|device| !device.is_quiet()) && Instant::now() < by {
            self.serve(&mut events, None)?;
        }
        for device in &mut self.devices {
            for sent in device.give_up() {
                if let Some(seen) = self.seen.get_mut(sent.segment) {
                    seen.unanswered += 1;
                }
            }
        }
        Ok(std::mem::take(&mut self.seen))
    }

    /// Sends what has come due; returns when the next message is.
    fn send_due(
        &mut self,
        rate: f64,
        start: Instant,
        end: Instant,
        due: &mut (u64, Instant),
        now: Instant,
    ) -> Result<Instant> {
        let devices = u64::try_from(self.devices.len())?.max(1);
        for _ in 0..WRITTEN_AT_ONCE {
            let (number, at) = *due;
            if at > now || at >= end {
                break;
            }
            *due = (number + 1, start + Duration::from_secs_f64((number + 1) as f64 / rate));
            let index = usize::try_from(number % devices)?;
            let segment = self.seen.len() - 1;
            let (Some(device), Some(seen)) = (self.devices.get_mut(index), self.seen.last_mut()) else {
                continue;
            };
            seen.due += 1;
            if !device.is_live() {
                seen.away += 1;
            } else if device.is_full() {
                seen.window_full += 1;
            } else if device.is_blocked() {
                seen.socket_full += 1;
            } else {
                let now = Instant::now();
                seen.lag.record(now.saturating_duration_since(at));
                device.put(&self.template, Sent { at: now, segment });
                self.flush(index)?;
            }
        }
        Ok(due.1)
    }

    /// Writes what the system takes, and watches for more room where it does not take all.
    fn flush(&mut self, index: usize) -> Result<()> {
        let Some(device) = self.devices.get_mut(index) else { return Ok(()) };
        let was_blocked = device.is_blocked();
        // A connection that is broken says so when it is read, after what the platform said last.
        device.flush();
        if device.is_blocked() != was_blocked
            && let Some(stream) = device.stream()
        {
            let wanted = if was_blocked { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
            epoll::modify(&self.epoll, stream, EventData::new_u64(u64::try_from(index)?), wanted)?;
        }
        Ok(())
    }

    /// Dials for those whose time away is over.
    fn come_back(&mut self, now: Instant) -> Result<()> {
        while let Some((at, index)) = self.returns.first().copied().filter(|(at, _)| *at <= now) {
            self.returns.remove(&(at, index));
            let Some(device) = self.devices.get_mut(index) else { continue };
            device.dial(self.address)?;
            let stream = device.stream().context("a device that dials has a connection")?;
            let wanted = EventFlags::IN | EventFlags::OUT;
            epoll::add(&self.epoll, stream, EventData::new_u64(u64::try_from(index)?), wanted)?;
        }
        Ok(())
    }

    /// Waits until something comes, but not longer than until `next`, and takes it in.
    fn serve(&mut self, events: &mut Vec<Event>, next: Option<Instant>) -> Result<()> {
        let now = Instant::now();
        let until = [next, self.returns.first().map(|(at, _)| *at)].into_iter().flatten().min();
        let longest = until.map_or(LONGEST_WAIT, |at| at.saturating_duration_since(now).min(LONGEST_WAIT));
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(longest.as_nanos())?.min(999_999_999) };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("failed to wait for the platform"),
        }
        for event in events.drain(..) {
            let index = usize::try_from(event.data.u64())?;
            self.receive(index)?;
            self.flush(index)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        let Some(device) = self.devices.get_mut(index) else { return Ok(()) };
        let (now, seen) = (Instant::now(), &mut self.seen);
        let over = device.receive(&mut self.buffer, |sent, refused| {
            let Some(seen) = seen.get_mut(sent.segment) else { return };
            match refused {
                None => {
                    seen.acked += 1;
                    seen.latency.record(now.saturating_duration_since(sent.at));
                }
                Some(reason) => *seen.refused.entry(format!("PUBACK {reason}")).or_default() += 1,
            }
        })?;
        let Some(why) = over else { return Ok(()) };
        for sent in device.leave() {
            if let Some(seen) = seen.get_mut(sent.segment) {
                *seen.refused.entry(why.clone()).or_default() += 1;
            }
        }
        if let Some(seen) = seen.last_mut() {
            *seen.endings.entry(why).or_default() += 1;
        }
        self.returns.insert((now + self.random.between(AWAY.0, AWAY.1), index));
        Ok(())
    }
}
