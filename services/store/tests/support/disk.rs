//! A disk that forgets: what was not flushed may be lost, in part and out of order, when the power goes.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use redb::StorageBackend;

use super::random::Random;

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The power goes at this write.
    CrashAtWrite(u64),
    /// The power goes at this flush, before anything of it is safe.
    CrashAtFlush(u64),
    /// This flush reports an error and flushes nothing; the disk works on.
    FailFlush(u64),
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length as usize, 0),
            Self::Write(offset, data) => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                if bytes.len() < to {
                    bytes.resize(to, 0);
                }
                bytes[from..to].copy_from_slice(data);
            }
        }
    }
}

#[derive(Debug)]
struct State {
    seen: Vec<u8>,
    safe: Vec<u8>,
    pending: Vec<Change>,
    fault: Fault,
    writes: u64,
    flushes: u64,
    off: bool,
    failed_flush: bool,
    gate_shut: bool,
    at_gate: bool,
}

/// The disk; clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Disk {
    pub(crate) fn new(image: Vec<u8>) -> Self {
        let state = State {
            seen: image.clone(),
            safe: image,
            pending: Vec::new(),
            fault: Fault::None,
            writes: 0,
            flushes: 0,
            off: false,
            failed_flush: false,
            gate_shut: false,
            at_gate: false,
        };
        Self { state: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    /// From here on, counts writes and flushes for that fault.
    pub(crate) fn arm(&self, fault: Fault) {
        let mut state = self.state.0.lock();
        (state.fault, state.writes, state.flushes) = (fault, 0, 0);
    }

    /// The power goes now, if it has not: whatever is still under way fails from here on.
    pub(crate) fn power_off(&self) {
        let mut state = self.state.0.lock();
        state.off = true;
        self.state.1.notify_all();
    }

    /// What is on it after the power went: all that was flushed, and of the rest any part, each write whole, torn or
    /// not at all.
    pub(crate) fn after_power_loss(&self, random: &mut Random) -> Vec<u8> {
        let state = self.state.0.lock();
        let mut bytes = state.safe.clone();
        for change in &state.pending {
            match (random.below(3), change) {
                (0, _) => {}
                (1, Change::Write(offset, data)) => {
                    let kept = random.below(data.len() as u64 + 1) as usize;
                    Change::Write(*offset, data[..kept].to_vec()).apply(&mut bytes);
                }
                _ => change.apply(&mut bytes),
            }
        }
        bytes
    }

    /// What is on it when it was left in peace.
    pub(crate) fn image(&self) -> Vec<u8> {
        self.state.0.lock().seen.clone()
    }

    /// Writes and flushes so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state.0.lock();
        (state.writes, state.flushes)
    }

    /// True once the power is off or a flush has failed.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.state.0.lock();
        state.off || state.failed_flush
    }

    /// Lets the next flush wait until [`Disk::open_gate`].
    pub(crate) fn shut_gate(&self) {
        self.state.0.lock().gate_shut = true;
    }

    /// Waits until somebody waits at the gate, or until nobody can any more.
    pub(crate) fn wait_at_gate(&self) {
        let mut state = self.state.0.lock();
        while !state.at_gate && !state.off && !state.failed_flush {
            self.state.1.wait(&mut state);
        }
    }

    pub(crate) fn open_gate(&self) {
        self.state.0.lock().gate_shut = false;
        self.state.1.notify_all();
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is off")
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        let state = self.state.0.lock();
        if state.off { Err(no_power()) } else { Ok(state.seen.len() as u64) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let state = self.state.0.lock();
        if state.off {
            return Err(no_power());
        }
        let bytes = state.seen.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let mut state = self.state.0.lock();
        if state.off {
            return Err(no_power());
        }
        let change = Change::Length(length);
        change.apply(&mut state.seen);
        state.pending.push(change);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.state.0.lock();
        if state.gate_shut && !state.off {
            state.at_gate = true;
            self.state.1.notify_all();
            while state.gate_shut && !state.off {
                self.state.1.wait(&mut state);
            }
            state.at_gate = false;
        }
        if state.off {
            return Err(no_power());
        }
        state.flushes += 1;
        match state.fault {
            Fault::CrashAtFlush(at) if at == state.flushes => {
                state.off = true;
                self.state.1.notify_all();
                return Err(no_power());
            }
            Fault::FailFlush(at) if at == state.flushes => {
                state.failed_flush = true;
                self.state.1.notify_all();
                return Err(io::Error::other("the flush failed"));
            }
            _ => {}
        }
        let state = &mut *state;
        for change in state.pending.drain(..) {
            change.apply(&mut state.safe);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut state = self.state.0.lock();
        if state.off {
            return Err(no_power());
        }
        state.writes += 1;
        let change = Change::Write(offset, data.to_vec());
        change.apply(&mut state.seen);
        state.pending.push(change);
        if state.fault == Fault::CrashAtWrite(state.writes) {
            // The write itself is under way: it may be whole, torn or lost like the others.
            state.off = true;
            self.state.1.notify_all();
            return Err(no_power());
        }
        Ok(())
    }
}
