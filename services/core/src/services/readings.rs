//! The lane of readings: one stream per gateway, apart from everything else.

use std::pin::Pin;
use std::sync::Arc;

use stoker_domain::model::Reading;
use stoker_domain::ports::bus::Activity;
use stoker_domain::ports::store::Append;
use stoker_proto::convert;
use stoker_proto::core::v1::{BatchAnswer, ReadingBatch};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

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

async fn store(shared: Arc<Shared>, batch: ReadingBatch) -> BatchAnswer {
    let number = batch.batch;
    match write(&shared, batch).await {
        Ok(()) => BatchAnswer { batch: number, stored: true, detail: String::new() },
        Err(detail) => {
            tracing::warn!(batch = number, detail, "a batch of readings was not stored");
            BatchAnswer { batch: number, stored: false, detail }
        }
    }
}

async fn write(shared: &Shared, batch: ReadingBatch) -> Result<(), String> {
    if batch.readings.len() > BATCH_MOST {
        return Err(format!("a batch has at most {BATCH_MOST} readings"));
    }
    let readings: Vec<Reading> = batch
        .readings
        .into_iter()
        .map(convert::reading_from_wire)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let now = shared.clock.now_ms();
    for reading in &readings {
        shared.seen.message(&reading.device, now);
    }
    let told = if shared.bus.feed_wanted() { readings.clone() } else { Vec::new() };
    let appends = readings.into_iter().map(Append::Reading).collect();
    shared.store.append(appends).await.map_err(|error| error.to_string())?;
    for reading in told {
        shared.bus.publish_activity(Activity::Telemetry(reading));
    }
    Ok(())
}
