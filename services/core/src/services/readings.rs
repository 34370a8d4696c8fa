//! The lane of readings: one stream per gateway, apart from everything else.

use std::pin::Pin;
use std::sync::Arc;

use stoker_domain::model::Reading;
use stoker_domain::ports::bus::Activity;
use stoker_domain::ports::store::{Append, StoreError};
use stoker_proto::convert;
use stoker_proto::core::v1::{BatchAnswer, ReadingBatch};
use stoker_telemetry::trace::Remote;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::{Instrument, Span};

use crate::shared::Shared;
use crate::tasks::Tasks;

/// Batches of one stream that are written at once. Gateways send a few; more would only queue in the store.
const BATCHES_AT_ONCE: usize = 8;

/// Readings of one batch.
const BATCH_MOST: usize = 10_000;

pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<BatchAnswer, Status>> + Send>>;

/// Stores what comes until the gateway ends the stream or this process ends.
pub(crate) fn serve(shared: Arc<Shared>, tasks: &Tasks, batches: Streaming<ReadingBatch>) -> Answers {
    let (answers, stream) = mpsc::channel(BATCHES_AT_ONCE);
    tasks.spawn(pump(shared, batches, answers, tasks.shutdown()));
    Box::pin(ReceiverStream::new(stream))
}

async fn pump(
    shared: Arc<Shared>,
    mut batches: Streaming<ReadingBatch>,
    answers: mpsc::Sender<Result<BatchAnswer, Status>>,
    shutdown: tokio_util::sync::CancellationToken,
) {
    let mut writing: JoinSet<BatchAnswer> = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(answer) = writing.join_next(), if !writing.is_empty() => {
                // A panic leaves its batch unanswered; ending the stream tells the gateway so.
                let Ok(answer) = answer else { return };
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
            batch = batches.message(), if writing.len() < BATCHES_AT_ONCE => match batch {
                Ok(Some(batch)) => {
                    writing.spawn(store(shared.clone(), batch));
                }
                Ok(None) | Err(_) => break,
            },
        }
    }
    // What was taken is finished and answered, also while shutting down.
    while let Some(Ok(answer)) = writing.join_next().await {
        if answers.send(Ok(answer)).await.is_err() {
            return;
        }
    }
}

/// A reading with its place in its batch.
type Placed = (u32, Reading);

/// What became of the readings of a batch that were not stored though the others were.
#[derive(Default)]
struct Refused {
    places: Vec<u32>,
    /// What was wrong with the first.
    why: Option<String>,
}

impl Refused {
    fn add(&mut self, places: impl IntoIterator<Item = u32>, why: impl ToString) {
        self.places.extend(places);
        self.why.get_or_insert_with(|| why.to_string());
    }
}

async fn store(shared: Arc<Shared>, batch: ReadingBatch) -> BatchAnswer {
    let number = batch.batch;
    let span = match Remote::parse(&batch.traceparent) {
        Some(parent) => {
            let readings = batch.readings.len();
            let span = tracing::info_span!("store readings", otel.kind = "server", readings);
            parent.is_parent_of(&span);
            span
        }
        None => Span::none(),
    };
    match write(&shared, batch).instrument(span).await {
        Ok(Refused { places: refused, why }) => {
            let detail = why.unwrap_or_default();
            if !refused.is_empty() {
                tracing::warn!(batch = number, readings = refused.len(), detail, "readings were refused");
            }
            BatchAnswer { batch: number, stored: true, detail, refused }
        }
        Err(detail) => {
            tracing::warn!(batch = number, detail, "a batch of readings was not stored");
            BatchAnswer { batch: number, stored: false, detail, refused: Vec::new() }
        }
    }
}

async fn write(shared: &Shared, batch: ReadingBatch) -> Result<Refused, String> {
    if batch.readings.len() > BATCH_MOST {
        return Err(format!("a batch has at most {BATCH_MOST} readings"));
    }
    let mut refused = Refused::default();
    let mut readings: Vec<Placed> = Vec::with_capacity(batch.readings.len());
    for (place, reading) in (0..).zip(batch.readings) {
        match convert::reading_from_wire(reading) {
            Ok(reading) => readings.push((place, reading)),
            // Its neighbours are other devices'.
            Err(error) => refused.add([place], error),
        }
    }
    let now = shared.clock.now_ms();
    for (_, reading) in &readings {
        shared.seen.message(&reading.device, now);
    }
    append(shared, readings, &mut refused).await.map_err(|error| error.to_string())?;
    Ok(refused)
}

/// Stores readings and tells of them. What the store holds of one device and cannot read keeps no other device's out.
async fn append(shared: &Shared, readings: Vec<Placed>, refused: &mut Refused) -> Result<(), StoreError> {
    let mut parts = vec![readings];
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        // Stable: the readings of one device stay in order.
        let alone = part
            .iter()
            .all(|(_, reading)| Some(&reading.device) == part.first().map(|(_, first)| &first.device));
        let batch = part.iter().map(|(_, reading)| Append::Reading(reading.clone())).collect();
        match shared.store.append(batch).await {
            Ok(()) if shared.bus.feed_wanted() => {
                for (_, reading) in part {
                    shared.bus.publish_activity(Activity::Telemetry(reading));
                }
            }
            Ok(()) => {}
            Err(error @ StoreError::Corrupt(_)) if alone => {
                refused.add(part.into_iter().map(|(place, _)| place), error);
            }
            Err(StoreError::Corrupt(_)) => {
                part.sort_by(|(_, a), (_, b)| a.device.cmp(&b.device));
                let rest = part.split_off(boundary(&part));
                parts.extend([rest, part]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// About the middle of readings that are in order of their devices, of which there are two at least: where one device
/// ends and the next begins.
fn boundary(part: &[Placed]) -> usize {
    let middle = part.len() / 2;
    let device = |at: usize| part.get(at).map(|(_, reading)| &reading.device);
    let begins = |at: &usize| device(*at) != device(at - 1);
    (middle.max(1)..part.len()).find(begins).or_else(|| (1..middle).rev().find(begins)).unwrap_or(part.len())
}
