//! How many requests are under way at once. What finds no room waits, in order, up to a deadline: the newest work is
//! shed, never what was accepted.

use std::sync::Arc;
use std::time::Duration;

use stoker_domain::ports::store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// A bound on the requests of one kind of work.
#[derive(Debug)]
pub(super) struct Lane {
    what: &'static str,
    turns: Semaphore,
    wait: Duration,
}

impl Lane {
    pub(super) fn new(what: &'static str, turns: usize, wait: Duration) -> Self {
        Self { what, turns: Semaphore::new(turns.clamp(1, Semaphore::MAX_PERMITS)), wait }
    }

    /// Waits for a turn, up to the deadline.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        match tokio::time::timeout(self.wait, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(StoreError::Overloaded(format!(
                "no {} got its turn within {} ms",
                self.what,
                self.wait.as_millis()
            ))),
        }
    }

    /// Waits for a turn as long as it takes: for commits, whose number is bounded by that of slots, and to whose
    /// owners "unknown" would be the end of the slot.
    pub(super) async fn patient_turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.turns.acquire().await.map_err(|_| closed())
    }

    /// Turns that nobody has now.
    pub(super) fn free(&self) -> usize {
        self.turns.available_permits()
    }

    /// Gives no more turns; who waits is told.
    pub(super) fn close(&self) {
        self.turns.close();
    }
}

/// A bound on the bytes of telemetry that wait or are under way.
#[derive(Debug)]
pub(super) struct Room {
    kibibytes: Arc<Semaphore>,
    max: u32,
    wait: Duration,
}

impl Room {
    pub(super) fn new(bytes: usize, wait: Duration) -> Self {
        let max = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4);
        Self { kibibytes: Arc::new(Semaphore::new(max as usize)), max, wait }
    }

    /// Waits for room for so many bytes, up to the deadline. What is greater than all room takes all of it.
    pub(super) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.max);
        match tokio::time::timeout(self.wait, self.kibibytes.clone().acquire_many_owned(wanted)).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(StoreError::Overloaded(format!(
                "no room for {bytes} bytes of telemetry within {} ms",
                self.wait.as_millis()
            ))),
        }
    }

    /// Gives no more room; who waits is told.
    pub(super) fn close(&self) {
        self.kibibytes.close();
    }
}

fn closed() -> StoreError {
    StoreError::Failed("the store is closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_turn_in_time_is_told_and_a_commit_waits() {
        let lane = Lane::new("read", 1, Duration::from_secs(5));
        let held = lane.turn().await.unwrap();
        assert!(matches!(lane.turn().await, Err(StoreError::Overloaded(_))));
        let patient = lane.patient_turn();
        tokio::pin!(patient);
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut patient).await.is_err());
        drop(held);
        assert!(patient.await.is_ok());
        lane.close();
        assert!(matches!(lane.turn().await, Err(StoreError::Failed(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_bounded_and_a_greater_request_takes_all_room() {
        let room = Room::new(4 * 1024, Duration::from_secs(5));
        let held = room.take(3 * 1024 + 1).await.unwrap();
        assert!(matches!(room.take(1).await, Err(StoreError::Overloaded(_))));
        drop(held);
        assert!(room.take(1 << 30).await.is_ok());
    }
}
