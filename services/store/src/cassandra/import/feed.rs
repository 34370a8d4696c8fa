//! The way from the file to the keyspace: one task reads, a bounded number of writes is under way.

use futures_util::stream::{FuturesUnordered, StreamExt};
use stoker_domain::ports::store::{Append, RegistryRow, StateRow, StoreError};
use stoker_domain::{Slot, SlotEpoch};
use tokio::sync::mpsc;

use super::ImportProgress;
use super::write::Work;
use crate::cassandra::CassandraStore;
use crate::transfer::{ExportFile, ExportRecord, TransferError};

/// Writes under way at once.
const AT_ONCE: usize = 16;

/// Blocks of the file that wait to be written.
const BLOCKS: usize = 2;

/// One write takes no further row after so many of them, or so many bytes: far below what a commit may have.
const ROWS: usize = 500;
const BYTES: usize = 512 << 10;

/// A block's records, and how many bytes of the file were read with it.
type Block = (Vec<ExportRecord>, u64);

/// Puts records of one kind together.
#[derive(Default)]
struct Batches {
    slot: Option<(Slot, SlotEpoch)>,
    registry: Vec<RegistryRow>,
    state: (Vec<StateRow>, usize),
    history: (Vec<Append>, usize),
}

impl Batches {
    /// Takes a record; what is full by it.
    fn take(&mut self, record: ExportRecord, epochs: &[SlotEpoch]) -> Option<Work> {
        let item = match record {
            ExportRecord::Registry(row) => {
                self.registry.push(row);
                return (self.registry.len() >= ROWS)
                    .then(|| Work::Registry(std::mem::take(&mut self.registry)));
            }
            ExportRecord::Slot(slot, _) => {
                let before = self.commit();
                self.slot = epochs.get(usize::from(slot.0)).map(|epoch| (slot, *epoch));
                return before;
            }
            ExportRecord::State(row) => {
                self.state.1 += row.weight();
                self.state.0.push(*row);
                let is_full = self.state.0.len() >= ROWS || self.state.1 >= BYTES;
                return is_full.then(|| self.commit()).flatten();
            }
            ExportRecord::Points(reading) => Append::Reading(reading),
            ExportRecord::Event(item) => Append::Event(item),
            ExportRecord::Command(item) => Append::Command(item),
            ExportRecord::Alarm(item) => Append::Alarm(item),
            ExportRecord::Notification(item) => Append::Notification(item),
        };
        // A point is a row of its own.
        let rows = match &item {
            Append::Reading(reading) => reading.points.len(),
            _ => 1,
        };
        self.history.1 += item.weight().max(rows * (BYTES / ROWS));
        self.history.0.push(item);
        (self.history.0.len() >= ROWS || self.history.1 >= BYTES).then(|| self.append()).flatten()
    }

    fn commit(&mut self) -> Option<Work> {
        let (rows, _) = std::mem::take(&mut self.state);
        let (slot, epoch) = self.slot.filter(|_| !rows.is_empty())?;
        Some(Work::Commit(slot, epoch, rows))
    }

    fn append(&mut self) -> Option<Work> {
        let (items, _) = std::mem::take(&mut self.history);
        (!items.is_empty()).then_some(Work::Append(items))
    }

    /// What is left.
    fn rest(&mut self) -> impl Iterator<Item = Work> {
        let registry = std::mem::take(&mut self.registry);
        let registry = (!registry.is_empty()).then_some(Work::Registry(registry));
        [registry, self.commit(), self.append()].into_iter().flatten()
    }
}

/// How much a piece of work counts, in the words of [`crate::ExportCounts::total`].
fn weight(work: &Work) -> u64 {
    match work {
        Work::Registry(rows) => rows.len() as u64,
        Work::Commit(_, _, rows) => rows.len() as u64,
        Work::Append(items) => items
            .iter()
            .map(|item| match item {
                Append::Reading(reading) => reading.points.len() as u64,
                _ => 1,
            })
            .sum(),
    }
}

fn read(file: &ExportFile, to: &mpsc::Sender<Result<Block, TransferError>>) {
    let every = || {
        let mut reader = file.reader()?;
        while let Some(records) = reader.next_block()? {
            // Nobody wants any more of it.
            if to.blocking_send(Ok((records, reader.position()))).is_err() {
                break;
            }
        }
        Ok(())
    };
    if let Err(error) = every() {
        // The same.
        drop(to.blocking_send(Err(error)));
    }
}

impl CassandraStore {
    /// Writes everything that the file holds into slots of those epochs.
    pub(super) async fn feed(
        &self,
        file: &ExportFile,
        epochs: &[SlotEpoch],
        mut told: impl FnMut(ImportProgress) + Send,
    ) -> Result<(), TransferError> {
        let (to, mut blocks) = mpsc::channel(BLOCKS);
        let read_from = file.clone();
        let reading = tokio::task::spawn_blocking(move || read(&read_from, &to));
        let (mut batches, mut progress) = (Batches::default(), ImportProgress::default());
        let mut under_way = FuturesUnordered::new();
        let filled = async {
            while let Some(block) = blocks.recv().await {
                let (records, bytes) = block?;
                for record in records {
                    let Some(work) = batches.take(record, epochs) else { continue };
                    under_way.push(self.weighed(work));
                    while under_way.len() >= AT_ONCE
                        && let Some(done) = under_way.next().await
                    {
                        progress.records += done?;
                    }
                }
                progress.bytes = bytes;
                told(progress);
            }
            under_way.extend(batches.rest().map(|work| self.weighed(work)));
            while let Some(done) = under_way.next().await {
                progress.records += done?;
                told(progress);
            }
            Ok(())
        };
        let filled = Box::pin(filled).await;
        drop(blocks);
        match reading.await {
            Ok(()) => filled,
            Err(error) => filled.and(Err(TransferError::Read(StoreError::Failed(error.to_string())))),
        }
    }

    async fn weighed(&self, work: Work) -> Result<u64, TransferError> {
        let weight = weight(&work);
        Box::pin(self.work(work)).await.map(|()| weight)
    }
}
