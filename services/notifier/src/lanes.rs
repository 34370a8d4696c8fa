//! Lanes: who may deliver when, so that nobody who hangs delays anybody else.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::LaneLimits;

/// Seats for the attempts of one channel, shared out among hosts. It has an entry for a host only while an attempt of
/// that host has a seat.
#[derive(Debug)]
pub(crate) struct Lane {
    limits: LaneLimits,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    taken: usize,
    hosts: HashMap<String, Host>,
}

#[derive(Debug)]
struct Host {
    taken: usize,
    turns: Arc<Semaphore>,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// The host has its share already.
    HostFull,
    /// All seats are taken.
    LaneFull,
}

impl Lane {
    pub(crate) fn new(limits: LaneLimits) -> Arc<Self> {
        Arc::new(Self { limits, seats: Mutex::default() })
    }

    /// Takes a seat for an attempt to that host, or says at once that there is none.
    pub(crate) fn enter(self: &Arc<Self>, host: &str) -> Result<Seat, NoSeat> {
        let mut seats = self.seats.lock();
        if seats.taken >= self.limits.total {
            return Err(NoSeat::LaneFull);
        }
        let entry = seats.hosts.entry(host.to_owned()).or_insert_with(|| Host {
            taken: 0,
            turns: Arc::new(Semaphore::new(self.limits.under_way.max(1))),
        });
        // A fresh entry has no attempt yet, so one that stays has at least one to remove it.
        if entry.taken >= self.limits.per_host.max(1) {
            return Err(NoSeat::HostFull);
        }
        entry.taken += 1;
        let turns = Arc::clone(&entry.turns);
        seats.taken += 1;
        Ok(Seat { lane: Arc::clone(self), host: host.to_owned(), turns })
    }

    #[cfg(test)]
    fn hosts(&self) -> usize {
        self.seats.lock().hosts.len()
    }
}

/// A place in a lane; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    lane: Arc<Lane>,
    host: String,
    turns: Arc<Semaphore>,
}

impl Seat {
    /// Waits until the host may have one more attempt under way, first come, first served. The turn lasts until what
    /// is returned is dropped; `None` never comes in practice, because nobody closes the semaphore.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.lane.seats.lock();
        seats.taken -= 1;
        if let Some(host) = seats.hosts.get_mut(&self.host) {
            host.taken -= 1;
            if host.taken == 0 {
                seats.hosts.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lane() -> Arc<Lane> {
        Lane::new(LaneLimits { under_way: 1, per_host: 2, total: 3 })
    }

    #[test]
    fn a_host_takes_no_more_than_its_share_and_all_of_them_no_more_than_the_lane() {
        let lane = lane();
        let first = lane.enter("a").unwrap();
        let _second = lane.enter("a").unwrap();
        assert_eq!(lane.enter("a").unwrap_err(), NoSeat::HostFull);
        let _other = lane.enter("b").unwrap();
        assert_eq!(lane.enter("b").unwrap_err(), NoSeat::LaneFull);
        assert_eq!(lane.enter("c").unwrap_err(), NoSeat::LaneFull);
        drop(first);
        let _again = lane.enter("a").unwrap();
    }

    #[test]
    fn a_turn_waits_for_its_own_host_only() {
        let lane = lane();
        let (hung, waiting, other) =
            (lane.enter("a").unwrap(), lane.enter("a").unwrap(), lane.enter("b").unwrap());
        let turn = hung.turn().now_or_never().unwrap();
        assert!(waiting.turn().now_or_never().is_none());
        assert!(other.turn().now_or_never().is_some());
        drop(turn);
        assert!(waiting.turn().now_or_never().is_some());
    }

    #[test]
    fn nothing_is_remembered_of_a_host_without_attempts() {
        let lane = lane();
        for n in 0..1_000 {
            drop(lane.enter(&format!("host-{n}")).unwrap());
        }
        assert_eq!(lane.hosts(), 0);
    }
}
