//! Publishing with confirmation: each lane has a channel and a bound of its own, so that a flood of notifications
//! delays no command.
//!
//! A message takes its place in the lane when its future is polled for the first time, before any wait: whoever
//! publishes several at once, and polls them in order, has them written in that order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use stoker_domain::ports::bus::BusError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::config::RabbitLimits;
use super::envelope::{Kind, MAX_BODY, Outgoing};
use super::link::Link;
use super::links::Links;
use super::settle::Answer;
use super::stats::{LaneCounters, LaneSnapshot, count};

/// So many times what may be under way waits for that, in places of its own.
const WAIT_FOR_ROOM: usize = 8;

const WAITING: u8 = 0;
const SENT: u8 = 1;
const ABANDONED: u8 = 2;

/// Where a job stands, decided by whoever comes first: the task that sends it or the caller who gives up.
#[derive(Debug, Default)]
struct Stage(AtomicU8);

impl Stage {
    fn go_to(&self, stage: u8) -> bool {
        self.0.compare_exchange(WAITING, stage, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// What became of a job.
#[derive(Debug)]
pub(super) enum Outcome {
    Answered(Answer),
    /// It was sent, and there will be no answer.
    Unknown(String),
    /// It was not sent.
    NotSent(String),
}

/// A message on its way through the lane's task.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) message: Arc<Outgoing>,
    stage: Arc<Stage>,
    outcome: oneshot::Sender<Outcome>,
    /// Kept until the broker has answered, whoever still waits: the bound is on what there is.
    _place: OwnedSemaphorePermit,
}

impl Job {
    /// To be asked right before it is sent; false: nobody waits for it any more.
    pub(super) fn begin(&self) -> bool {
        self.stage.go_to(SENT)
    }

    pub(super) fn end(self, outcome: Outcome) {
        // Whoever has given up meanwhile was told "unconfirmed".
        let _gone = self.outcome.send(outcome);
    }
}

/// A lane from the publishers' side.
#[derive(Debug)]
pub(super) struct Lane {
    jobs: mpsc::Sender<Job>,
    places: Arc<Semaphore>,
    links: Links,
    limits: RabbitLimits,
    /// Waits for the broker to come back. Where order matters nobody may: those who wait come in no order.
    patient: bool,
    closing: CancellationToken,
    counters: LaneCounters,
}

impl Lane {
    /// A lane and what its task takes from.
    pub(super) fn new(
        links: Links,
        limits: &RabbitLimits,
        patient: bool,
        closing: CancellationToken,
    ) -> (Self, mpsc::Receiver<Job>) {
        let places = under_way(limits) * (1 + WAIT_FOR_ROOM);
        let (jobs, receiver) = mpsc::channel(places);
        let (places, counters) = (Arc::new(Semaphore::new(places)), LaneCounters::default());
        (Self { jobs, places, links, limits: limits.clone(), patient, closing, counters }, receiver)
    }

    fn taken(&self) -> usize {
        (under_way(&self.limits) * (1 + WAIT_FOR_ROOM)).saturating_sub(self.places.available_permits())
    }

    pub(super) fn snapshot(&self) -> LaneSnapshot {
        self.counters.snapshot(self.taken())
    }

    /// Publishes, and waits for the answer. `to` is what errors call the other side.
    pub(super) async fn publish(&self, to: &str, message: Outgoing) -> Result<(), BusError> {
        let result = self.try_publish(to, message).await;
        match &result {
            Ok(()) => count(&self.counters.confirmed),
            Err(BusError::Returned(_)) => count(&self.counters.returned),
            Err(BusError::Full(_)) => count(&self.counters.full),
            Err(BusError::Unconfirmed(_)) => count(&self.counters.unconfirmed),
            Err(BusError::Unavailable(_)) => count(&self.counters.unavailable),
            Err(BusError::Closed) => {}
        }
        result
    }

    async fn try_publish(&self, to: &str, message: Outgoing) -> Result<(), BusError> {
        if message.body.len() > MAX_BODY {
            return Err(BusError::Full(format!("{to} for a message of {} bytes", message.body.len())));
        }
        let message = Arc::new(message);
        let deadline = Instant::now() + self.limits.room_within;
        loop {
            let link = self.link(deadline).await?;
            if link.blocked() {
                return Err(BusError::Full("the broker, which has blocked its publishers,".into()));
            }
            let outcome = self.hand_over(to, &message, deadline).await?;
            return match outcome {
                Outcome::Answered(Answer::Confirmed) => Ok(()),
                Outcome::Answered(Answer::Returned) if message.kind == Kind::Work => {
                    // Somebody has deleted its queue. With the next connection all is declared again.
                    link.cut("there is no queue of work");
                    Err(BusError::Unavailable("the broker has no queue of work; it is made anew".into()))
                }
                Outcome::Answered(Answer::Returned) => Err(BusError::Returned(to.into())),
                Outcome::Answered(Answer::Refused) => Err(BusError::Full(to.into())),
                Outcome::Unknown(why) => Err(BusError::Unconfirmed(why)),
                Outcome::NotSent(_) if self.patient && Instant::now() < deadline => continue,
                Outcome::NotSent(why) => Err(BusError::Unavailable(why)),
            };
        }
    }

    async fn link(&self, deadline: Instant) -> Result<Arc<Link>, BusError> {
        if self.closing.is_cancelled() {
            return Err(BusError::Closed);
        }
        match self.links.now() {
            Err(BusError::Unavailable(why)) if self.patient => {
                let mut links = self.links.clone();
                match timeout_at(deadline, links.wait()).await {
                    Ok(Some(link)) => Ok(link),
                    Ok(None) => Err(BusError::Closed),
                    Err(_) => Err(BusError::Unavailable(why)),
                }
            }
            other => other,
        }
    }

    async fn hand_over(
        &self,
        to: &str,
        message: &Arc<Outgoing>,
        deadline: Instant,
    ) -> Result<Outcome, BusError> {
        let full = || BusError::Full(format!("what waits for confirmation, before {to},"));
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| full())?;
        let stage = Arc::<Stage>::default();
        let (outcome, mut told) = oneshot::channel();
        let job = Job { message: Arc::clone(message), stage: Arc::clone(&stage), outcome, _place: place };
        // Whoever has a place finds room here.
        self.jobs.try_send(job).map_err(|_| BusError::Closed)?;
        match timeout_at(deadline, &mut told).await {
            Ok(Ok(outcome)) => return Ok(outcome),
            Ok(Err(_)) => return Err(BusError::Closed),
            Err(_) if stage.go_to(ABANDONED) => {
                let within = self.limits.room_within;
                // With room, only a channel can be what it waited for.
                let room = self.taken() <= under_way(&self.limits);
                return if room {
                    Ok(Outcome::NotSent(format!("there was no channel to the broker within {within:?}")))
                } else {
                    Err(full())
                };
            }
            Err(_) => {}
        }
        let within = self.limits.confirm_within;
        match timeout(within, told).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Err(BusError::Closed),
            Err(_) => Ok(Outcome::Unknown(format!("the broker did not confirm it within {within:?}"))),
        }
    }
}

/// How many messages of a lane may be written and not confirmed yet.
pub(super) fn under_way(limits: &RabbitLimits) -> usize {
    limits.publishing.clamp(1, Semaphore::MAX_PERMITS / (1 + WAIT_FOR_ROOM))
}
