//! What the platform has acknowledged, device by device, and when it was connected, so that a test can look whether it is there.

use std::time::Instant;

use parking_lot::Mutex;
use stoker_domain::Millis;

/// Entries of one kind that are kept of one device.
pub const LEDGER_MAX: usize = 100_000;

/// A fault event that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckedEvent {
    /// Its id.
    pub id: String,
    /// Its code.
    pub code: &'static str,
    /// Whether it ended the fault.
    pub cleared: bool,
}

/// A session of a device, by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSpan {
    /// When its CONNACK came.
    pub begun: Instant,
    /// When it was over; none while it lasts.
    pub ended: Option<Instant>,
}

/// What was acknowledged of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerEntry {
    /// How many readings.
    pub readings: u64,
    /// Their times, where readings carry one; in the order of their PUBACKs.
    pub reading_times: Vec<Millis>,
    /// Fault events.
    pub events: Vec<AckedEvent>,
    /// Numbers of the commands that were carried out.
    pub commands: Vec<u64>,
    /// Its sessions, one after the other.
    pub sessions: Vec<SessionSpan>,
    /// More came than [`LEDGER_MAX`]: the lists are not complete.
    pub overflown: bool,
}

impl LedgerEntry {
    fn keep<T>(list: &mut Vec<T>, item: T, overflown: &mut bool) {
        if list.len() < LEDGER_MAX {
            list.push(item);
        } else {
            *overflown = true;
        }
    }
}

/// What was acknowledged of all devices.
#[derive(Debug)]
pub struct Ledger {
    first: u32,
    entries: Vec<Mutex<LedgerEntry>>,
}

impl Ledger {
    pub(crate) fn new(first: u32, devices: u32) -> Self {
        Self { first, entries: (0..devices).map(|_| Mutex::default()).collect() }
    }

    fn slot(&self, number: u32) -> Option<&Mutex<LedgerEntry>> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    pub(crate) fn reading(&self, number: u32, ts: Option<Millis>) {
        if let Some(slot) = self.slot(number) {
            let entry = &mut *slot.lock();
            entry.readings += 1;
            if let Some(ts) = ts {
                LedgerEntry::keep(&mut entry.reading_times, ts, &mut entry.overflown);
            }
        }
    }

    pub(crate) fn event(&self, number: u32, event: AckedEvent) {
        if let Some(slot) = self.slot(number) {
            let entry = &mut *slot.lock();
            LedgerEntry::keep(&mut entry.events, event, &mut entry.overflown);
        }
    }

    pub(crate) fn command(&self, number: u32, command: u64) {
        if let Some(slot) = self.slot(number) {
            let entry = &mut *slot.lock();
            LedgerEntry::keep(&mut entry.commands, command, &mut entry.overflown);
        }
    }

    pub(crate) fn session_begun(&self, number: u32, begun: Instant) {
        if let Some(slot) = self.slot(number) {
            let entry = &mut *slot.lock();
            let session = SessionSpan { begun, ended: None };
            LedgerEntry::keep(&mut entry.sessions, session, &mut entry.overflown);
        }
    }

    pub(crate) fn session_ended(&self, number: u32, ended: Instant) {
        if let Some(slot) = self.slot(number)
            && let Some(last) = slot.lock().sessions.last_mut()
        {
            // Of a session that was not kept the end isn't either.
            last.ended.get_or_insert(ended);
        }
    }

    /// The sessions so far of the device with that number, without what else is kept of it.
    #[must_use]
    pub fn sessions(&self, number: u32) -> Vec<SessionSpan> {
        self.slot(number).map(|slot| slot.lock().sessions.clone()).unwrap_or_default()
    }

    /// What was acknowledged so far of the device with that number.
    #[must_use]
    pub fn entry(&self, number: u32) -> Option<LedgerEntry> {
        self.slot(number).map(|slot| slot.lock().clone())
    }
}
