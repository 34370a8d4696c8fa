//! The lane of readings: one stream to core. What comes while a batch is under way forms the next one; no timer.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stoker_proto::core::v1::{BatchAnswer, Reading, ReadingBatch};
use stoker_protocol::session::{PublishOutcome, PublishToken};
use stoker_telemetry::trace::{LINKS_MOST, Remote};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::Span;

use crate::registry::Handle;
use crate::shared::Shared;
use crate::stats;

/// Batches under way at once: one is being written while the next one forms; a second hides the way there and back.
const UNDER_WAY: usize = 2;
/// Readings of one batch.
const BATCH_MOST: usize = 4_096;
/// Readings that may wait. More are refused, the newest first: those that wait were taken.
const WAITING_MOST: usize = 65_536;
/// Bytes that may wait, as they weigh in memory.
const WAITING_BYTES_MOST: usize = 128 * 1024 * 1024;
/// Bytes of one batch: far below what core takes in one message, and small enough to be written in one go.
const BATCH_BYTES_MOST: usize = 8 * 1024 * 1024;
/// What a point weighs beside its text.
const POINT_BYTES: usize = 96;
/// So often it is said that the stream ended, again and again.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// An answer that takes longer does not come: the stream is made anew.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// With several cores, readings wait so long for one that takes them. Then their devices are told.
const RESEND_WITHIN: Duration = Duration::from_secs(15);

/// The longest pause before the stream is tried again: meanwhile devices may be closed for their readings.
const PAUSE_MOST: Duration = Duration::from_secs(1);
/// What health calls it.
const THING: &str = "readings";
/// The stream is to be there within this time.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// Who waits for a reading, and since when.
struct Waiting {
    /// Its trace, if it has one; ends with it.
    span: Option<Box<Span>>,
    who: Option<(Arc<Handle>, PublishToken)>,
    since: Instant,
    weight: usize,
}

#[derive(Default)]
struct Pending {
    open: bool,
    bytes: usize,
    readings: Vec<Reading>,
    waiting: Vec<Waiting>,
}

/// What waits for the next batch.
#[derive(Default)]
pub(crate) struct Uplink {
    pending: Mutex<Pending>,
    some: Notify,
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Uplink").field(&self.waiting()).finish()
    }
}

impl Uplink {
    /// How many readings wait, and how many bytes they weigh.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let pending = self.pending.lock();
        (pending.readings.len(), pending.bytes)
    }

    /// Hands a reading over. False: core is not there or cannot keep up; nothing was taken.
    pub(crate) fn put(
        &self,
        reading: Reading,
        bytes: usize,
        who: Option<(Arc<Handle>, PublishToken)>,
        span: Option<Box<Span>>,
    ) -> bool {
        let weight = bytes + POINT_BYTES * reading.points.len();
        let mut pending = self.pending.lock();
        let room = pending.readings.len() < WAITING_MOST && pending.bytes + weight <= WAITING_BYTES_MOST;
        if !pending.open || !room {
            return false;
        }
        pending.bytes += weight;
        pending.readings.push(reading);
        pending.waiting.push(Waiting { span, who, since: Instant::now(), weight });
        let first = pending.readings.len() == 1;
        drop(pending);
        if first {
            self.some.notify_one();
        }
        true
    }

    fn take(&self) -> (Vec<Reading>, Vec<Waiting>) {
        let mut pending = self.pending.lock();
        let (mut count, mut bytes) = (0, 0);
        for waiting in pending.waiting.iter().take(BATCH_MOST) {
            // At least one: a single reading is bounded by its packet.
            if count > 0 && bytes + waiting.weight > BATCH_BYTES_MOST {
                break;
            }
            count += 1;
            bytes += waiting.weight;
        }
        pending.bytes -= bytes;
        if count == pending.readings.len() {
            return (std::mem::take(&mut pending.readings), std::mem::take(&mut pending.waiting));
        }
        (pending.readings.drain(..count).collect(), pending.waiting.drain(..count).collect())
    }

    fn is_empty(&self) -> bool {
        self.pending.lock().readings.is_empty()
    }

    fn open(&self) {
        self.pending.lock().open = true;
    }

    /// Takes nothing any more; whoever waits is to be told.
    fn close(&self) -> Vec<Waiting> {
        let mut pending = self.pending.lock();
        pending.open = false;
        pending.bytes = 0;
        pending.readings.clear();
        std::mem::take(&mut pending.waiting)
    }
}

/// Keeps the stream up until shutdown.
///
/// An append needs no owner and may be repeated. So where there are several cores, what one has not answered goes to the
/// next.
pub(crate) async fn run(
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    // A device that came before it would be closed for its first reading. Later on, whether there is a core is for the beats
    // to say.
    shared.health.waiting(THING, "no core has taken the stream of readings yet");
    let mut pause = Duration::from_millis(50);
    let mut again: VecDeque<Batch> = VecDeque::new();
    let mut told = None;
    while !shutdown.is_cancelled() {
        let mut stream = Stream { shared: shared.clone(), under_way: BTreeMap::new(), next: 0, again };
        let opened = Instant::now();
        let ended = stream.serve(&shutdown).await;
        again = stream.under_way.into_values().chain(stream.again).collect();
        let Err(status) = ended else { break };
        // Not once a second for as long as there is no core.
        if told.is_none_or(|told: Instant| told.elapsed() >= TOLD_EVERY) {
            told = Some(Instant::now());
            tracing::warn!(error = %status.message(), "the stream of readings to core ended; it is made anew");
        }
        let oldest = again.front().and_then(|batch| batch.waiting.first());
        let late = oldest.is_some_and(|waiting| waiting.since.elapsed() > RESEND_WITHIN);
        if !shared.several_cores || late {
            fail(&shared, &mut again);
        }
        if opened.elapsed() > Duration::from_secs(10) {
            pause = Duration::from_millis(50);
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(jittered(pause)) => {}
        }
        pause = pause.saturating_mul(2).min(PAUSE_MOST);
    }
    fail(&shared, &mut again);
    Ok(())
}

/// Nobody knows what became of these; nothing of them may be acknowledged.
fn fail(shared: &Shared, again: &mut VecDeque<Batch>) {
    let mut lost = shared.uplink.close();
    lost.extend(again.drain(..).flat_map(|batch| batch.waiting));
    settle(shared, lost, false);
}

/// Between half of it and all of it.
pub(crate) fn jittered(pause: Duration) -> Duration {
    stoker_domain::pause::jittered(pause, getrandom::u32().unwrap_or(u32::MAX))
}

fn settle(shared: &Shared, waiting: Vec<Waiting>, stored: bool) {
    let outcome = if stored { PublishOutcome::Stored } else { PublishOutcome::StoreUnavailable };
    let (mut count, mut dropped) = (0, 0);
    let now = Instant::now();
    let mut times = shared.stats.acknowledged.readings.batch();
    for Waiting { who, since, span: _span, .. } in waiting {
        count += 1;
        if stored {
            times.time(now.saturating_duration_since(since));
        }
        match who {
            Some((handle, token)) => handle.mailbox.answer(token, outcome),
            None => dropped += u64::from(!stored),
        }
    }
    if stored {
        stats::add(&shared.stats.readings_stored, count);
    }
    stats::add(&shared.stats.readings_dropped, dropped);
}

struct Batch {
    sent: Instant,
    waiting: Vec<Waiting>,
    /// To be sent again, if that may be.
    readings: Vec<Reading>,
    /// That of the batch, if any of its readings has one.
    _span: Option<Span>,
}

/// The span of a batch: a child of the first of its readings that has one, with links to others.
fn batch_span(waiting: &[Waiting]) -> Option<Span> {
    let mut members = waiting.iter().filter_map(|waiting| waiting.span.as_deref());
    let first = members.next()?;
    let span = tracing::info_span!(
        parent: first, "readings", otel.name = "readings batch", otel.kind = "client", readings = waiting.len()
    );
    for member in members.take(LINKS_MOST).filter_map(Remote::of) {
        member.is_linked_from(&span);
    }
    Some(span)
}

struct Stream {
    shared: Arc<Shared>,
    /// By their numbers, so in the order in which they were sent.
    under_way: BTreeMap<u64, Batch>,
    next: u64,
    /// Sent by a stream that ended, and not answered.
    again: VecDeque<Batch>,
}

impl Stream {
    async fn serve(&mut self, shutdown: &CancellationToken) -> Result<(), Status> {
        let (batches, outgoing) = mpsc::channel(UNDER_WAY);
        let mut core = self.shared.readings.clone();
        let opening = tokio::time::timeout(OPEN_WITHIN, core.readings(ReceiverStream::new(outgoing)));
        let answers = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            opened = opening => opened.map_err(|_| Status::deadline_exceeded("core took no stream"))??.into_inner(),
        };
        self.shared.uplink.open();
        self.shared.health.ready(THING);
        self.pump(batches, answers, shutdown).await
    }

    async fn pump(
        &mut self,
        batches: mpsc::Sender<ReadingBatch>,
        mut answers: Streaming<BatchAnswer>,
        shutdown: &CancellationToken,
    ) -> Result<(), Status> {
        loop {
            while self.under_way.len() < UNDER_WAY {
                let Some((readings, waiting)) = self.take() else { break };
                let batch = self.next;
                self.next += 1;
                let kept = if self.shared.several_cores { readings.clone() } else { Vec::new() };
                let span = batch_span(&waiting);
                let remote = span.as_ref().and_then(Remote::of);
                let traceparent = remote.map_or_else(String::new, |remote| remote.traceparent());
                let sent = Instant::now();
                self.under_way.insert(batch, Batch { sent, waiting, readings: kept, _span: span });
                let gone = || Status::unavailable("core takes no more readings");
                batches.send(ReadingBatch { batch, readings, traceparent }).await.map_err(|_| gone())?;
            }
            let oldest = self.under_way.values().map(|batch| batch.sent).min();
            let late = oldest.map(|sent| tokio::time::Instant::from_std(sent + ANSWER_WITHIN));
            tokio::select! {
                answer = answers.message() => match answer? {
                    Some(answer) => self.answered(answer)?,
                    None => return Err(Status::unavailable("core has ended the stream")),
                },
                () = self.shared.uplink.some.notified(), if self.under_way.len() < UNDER_WAY => {}
                () = tokio::time::sleep_until(late.unwrap_or_else(tokio::time::Instant::now)), if late.is_some() => {
                    return Err(Status::deadline_exceeded("core has not answered a batch in time"));
                }
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// What is to be sent next.
    fn take(&mut self) -> Option<(Vec<Reading>, Vec<Waiting>)> {
        if let Some(Batch { readings, waiting, .. }) = self.again.pop_front() {
            return Some((readings, waiting));
        }
        if self.shared.uplink.is_empty() {
            return None;
        }
        let (readings, waiting) = self.shared.uplink.take();
        stats::add(&self.shared.stats.readings, u64::try_from(readings.len()).unwrap_or(u64::MAX));
        Some((readings, waiting))
    }

    /// An error: this core is of no use, and another is to have the batch.
    fn answered(&mut self, answer: BatchAnswer) -> Result<(), Status> {
        let Some(batch) = self.under_way.remove(&answer.batch) else { return Ok(()) };
        if !answer.stored && self.shared.several_cores {
            self.again.push_front(batch);
            return Err(Status::unavailable(answer.detail));
        }
        if !answer.stored {
            tracing::warn!(
                reason = answer.detail,
                readings = batch.waiting.len(),
                "core could not store readings"
            );
        }
        if answer.refused.is_empty() {
            settle(&self.shared, batch.waiting, answer.stored);
            return Ok(());
        }
        tracing::warn!(reason = answer.detail, readings = answer.refused.len(), "core refused readings");
        // Nobody has stored these, so nobody may acknowledge them: their devices alone are closed.
        let refused: HashSet<u32> = answer.refused.into_iter().collect();
        let (refused, stored): (Vec<_>, Vec<_>) =
            (0..).zip(batch.waiting).partition(|(place, _)| refused.contains(place));
        let waiting = |placed: Vec<(u32, Waiting)>| placed.into_iter().map(|(_, waiting)| waiting).collect();
        settle(&self.shared, waiting(stored), answer.stored);
        settle(&self.shared, waiting(refused), false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoker_proto::core::v1::Point;

    fn reading(points: usize) -> Reading {
        Reading { device: None, points: vec![Point::default(); points] }
    }

    #[test]
    fn a_batch_is_bounded_by_count_and_by_weight() {
        let uplink = Uplink::default();
        assert!(!uplink.put(reading(1), 10, None, None), "nothing is taken while core is not there");
        uplink.open();
        for _ in 0..BATCH_MOST + 10 {
            assert!(uplink.put(reading(1), 10, None, None));
        }
        assert_eq!((uplink.take().0.len(), uplink.take().0.len()), (BATCH_MOST, 10));
        assert!(uplink.is_empty());
        for _ in 0..3 {
            assert!(uplink.put(reading(40_000), 256 * 1024, None, None));
        }
        let taken: Vec<usize> = (0..2).map(|_| uplink.take().0.len()).collect();
        assert_eq!(taken, [2, 1], "two weigh less than a batch may, three more");
        assert!(uplink.is_empty());
        assert_eq!(uplink.pending.lock().bytes, 0);
    }

    #[test]
    fn what_waits_is_bounded_and_the_newest_is_refused() {
        let uplink = Uplink::default();
        uplink.open();
        let taken = (0..1_000).filter(|_| uplink.put(reading(8_192), 256 * 1024, None, None)).count();
        assert_eq!(taken, WAITING_BYTES_MOST / (256 * 1024 + 8_192 * POINT_BYTES));
        assert_eq!(uplink.close().len(), taken);
    }
}
