//! Reading an export. Every length is bounded before anything is made room for, and nothing is believed unchecked.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use prost::Message;
use stoker_domain::{SLOT_COUNT, SLOT_HASH_NAME, SlotEpoch};
use xxhash_rust::xxh3::Xxh3;

use super::record::from_kind;
use super::{
    BLOCK_HEAD, BLOCK_MAX, EXPORT_FORMAT, ExportCounts, ExportRecord, MAGIC, RECORD_MAX, TransferError,
    block_hash,
};
use crate::rows::proto::{self, export_record::Kind};

/// Reads an export, block by block. Its end is checked by whoever reads up to it.
pub struct ExportReader<R> {
    from: R,
    /// Bytes read so far, and where the block at hand begins.
    at: u64,
    block_at: u64,
    /// Of all bytes up to the block at hand, and with it.
    before: u128,
    whole: Xxh3,
    counts: ExportCounts,
    version: String,
    /// The checksum, once the end was read.
    ended: Option<u128>,
}

impl<R> std::fmt::Debug for ExportReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportReader")
            .field("at", &self.at)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl<R: Read> ExportReader<R> {
    /// Reads the head of an export.
    ///
    /// # Errors
    /// [`TransferError`] when it is none, of a newer format or of other slots.
    pub fn new(from: R) -> Result<Self, TransferError> {
        let mut reader = Self {
            from,
            at: 0,
            block_at: 0,
            before: 0,
            whole: Xxh3::new(),
            counts: ExportCounts::default(),
            version: String::new(),
            ended: None,
        };
        let mut magic = [0; MAGIC.len()];
        match reader.fill(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) | Err(TransferError::Truncated { .. }) => return Err(TransferError::NoExport),
            Err(error) => return Err(error),
        }
        let block = reader.block()?.ok_or(TransferError::Truncated { bytes: reader.at })?;
        match reader.kinds(&block)?.as_slice() {
            [Kind::Header(header)] => {
                reader.version.clone_from(&header.version);
                check(header)?;
            }
            _ => return Err(reader.damaged("the header is not there")),
        }
        Ok(reader)
    }

    /// The version of the program that wrote it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The records of the next block; none after the end, which was there and is right.
    ///
    /// # Errors
    /// [`TransferError`] when the stream is cut off or damaged.
    pub fn next_block(&mut self) -> Result<Option<Vec<ExportRecord>>, TransferError> {
        let Some(block) = self.block()? else {
            return match self.ended {
                Some(_) => Ok(None),
                None => Err(TransferError::Truncated { bytes: self.at }),
            };
        };
        if self.ended.is_some() {
            return Err(self.damaged("something follows the end"));
        }
        let kinds = self.kinds(&block)?;
        if let [Kind::End(end)] = kinds.as_slice() {
            self.end(end)?;
            return Ok(Some(Vec::new()));
        }
        let mut records = Vec::with_capacity(kinds.len());
        for kind in kinds {
            self.counts.add(&kind);
            match from_kind(kind) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => return Err(self.damaged("a header or an end stands in the middle")),
                Err(error) => return Err(self.damaged(error.to_string())),
            }
        }
        Ok(Some(records))
    }

    fn end(&mut self, end: &proto::ExportEnd) -> Result<(), TransferError> {
        if end.checksum != self.before.to_be_bytes() {
            return Err(self.damaged("its checksum is another"));
        }
        if end.counts.as_ref().map(ExportCounts::from_row) != Some(self.counts) {
            return Err(self.damaged("it does not hold as much as its end says"));
        }
        self.ended = Some(self.before);
        Ok(())
    }

    /// The raw bytes of the next block; none when there is nothing more.
    fn block(&mut self) -> Result<Option<Vec<u8>>, TransferError> {
        self.block_at = self.at;
        self.before = self.whole.digest128();
        let mut head = [0; BLOCK_HEAD];
        match self.fill(&mut head) {
            Ok(()) => {}
            // Exactly between two blocks.
            Err(TransferError::Truncated { bytes }) if bytes == self.block_at => return Ok(None),
            Err(error) => return Err(error),
        }
        let (lengths, hash) = head.split_at(8);
        let (compressed, raw) = lengths.split_at(4);
        let length =
            |bytes: &[u8]| bytes.try_into().map_or(usize::MAX, |four| u32::from_le_bytes(four) as usize);
        let (compressed, raw) = (length(compressed), length(raw));
        if raw > BLOCK_MAX || compressed > lz4_flex::block::get_maximum_output_size(BLOCK_MAX) {
            return Err(self.damaged("a block is greater than any may be"));
        }
        let mut bytes = vec![0; compressed];
        self.fill(&mut bytes)?;
        if hash != block_hash(lengths, &bytes).to_le_bytes() {
            return Err(self.damaged("a block has another checksum"));
        }
        match lz4_flex::block::decompress(&bytes, raw) {
            Ok(block) if block.len() == raw => Ok(Some(block)),
            _ => Err(self.damaged("a block cannot be decompressed")),
        }
    }

    /// The records of a block.
    fn kinds(&self, mut block: &[u8]) -> Result<Vec<Kind>, TransferError> {
        let mut kinds = Vec::new();
        while !block.is_empty() {
            let length = prost::decode_length_delimiter(&mut block).unwrap_or(usize::MAX);
            let (record, rest) = (length <= RECORD_MAX)
                .then(|| block.split_at_checked(length))
                .flatten()
                .ok_or_else(|| self.damaged("a record is longer than its block"))?;
            block = rest;
            let record =
                proto::ExportRecord::decode(record).map_err(|error| self.damaged(error.to_string()))?;
            kinds.push(record.kind.ok_or_else(|| self.damaged("a record of no known kind"))?);
        }
        Ok(kinds)
    }

    /// Reads as many bytes as there is room for.
    fn fill(&mut self, mut room: &mut [u8]) -> Result<(), TransferError> {
        while !room.is_empty() {
            match self.from.read(room) {
                Ok(0) => return Err(TransferError::Truncated { bytes: self.at }),
                Ok(many) => {
                    let (read, rest) = room.split_at_mut(many);
                    self.whole.update(read);
                    self.at += many as u64;
                    room = rest;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(TransferError::io("read")(error)),
            }
        }
        Ok(())
    }

    fn damaged(&self, what: impl Into<String>) -> TransferError {
        TransferError::Damaged { at: self.block_at, what: what.into() }
    }
}

fn check(header: &proto::ExportHeader) -> Result<(), TransferError> {
    if header.format > EXPORT_FORMAT {
        let (found, version) = (header.format, header.version.clone());
        return Err(TransferError::Newer { found, known: EXPORT_FORMAT, version });
    }
    let found = format!("{} slots by {}", header.slot_count, header.slot_hash);
    let known = format!("{SLOT_COUNT} slots by {SLOT_HASH_NAME}");
    if found == known { Ok(()) } else { Err(TransferError::SlotsDiffer { found, known }) }
}

/// An export in a file that was read to its end once, and is whole.
#[derive(Debug, Clone)]
pub struct ExportFile {
    path: PathBuf,
    /// What it holds.
    pub counts: ExportCounts,
    /// The version of the program that wrote it.
    pub version: String,
    /// How long it is.
    pub bytes: u64,
    /// Its checksum, in hexadecimal.
    pub checksum: String,
    /// The epochs of all slots.
    pub(crate) epochs: Vec<SlotEpoch>,
}

impl ExportFile {
    /// Reads the file to its end. Blocks as long as that takes.
    ///
    /// # Errors
    /// [`TransferError`] when it is not there, is none, or is cut off or damaged.
    pub fn check(path: &Path) -> Result<Self, TransferError> {
        let mut reader = open(path)?;
        let mut epochs = vec![SlotEpoch(0); SLOT_COUNT];
        while let Some(records) = reader.next_block()? {
            for record in records {
                if let ExportRecord::Slot(slot, epoch) = record
                    && let Some(known) = epochs.get_mut(usize::from(slot.0))
                {
                    *known = epoch;
                }
            }
        }
        Ok(Self {
            path: path.to_owned(),
            counts: reader.counts,
            version: reader.version,
            bytes: reader.at,
            checksum: format!("{:032x}", reader.ended.unwrap_or_default()),
            epochs,
        })
    }

    /// Reads it once more.
    pub(crate) fn reader(&self) -> Result<ExportReader<BufReader<File>>, TransferError> {
        open(&self.path)
    }
}

fn open(path: &Path) -> Result<ExportReader<BufReader<File>>, TransferError> {
    ExportReader::new(BufReader::new(File::open(path).map_err(TransferError::io("open"))?))
}
