//! Writing an export: records into blocks, blocks into the stream.

use std::io::{self, Write};

use prost::Message;
use stoker_domain::{SLOT_COUNT, SLOT_HASH_NAME};
use xxhash_rust::xxh3::Xxh3;

use super::{BLOCK_BYTES, EXPORT_FORMAT, ExportCounts, MAGIC, RECORD_MAX, block_hash};
use crate::rows::proto::{self, export_record::Kind};

/// Writes an export. What is dropped before [`StreamWriter::finish`] has no end, and no reader takes it.
pub(crate) struct StreamWriter<W> {
    out: W,
    block: Vec<u8>,
    counts: ExportCounts,
    /// Of all bytes so far.
    whole: Xxh3,
}

impl<W: Write> StreamWriter<W> {
    /// Begins an export by a program of that version.
    pub(crate) fn begin(out: W, version: &str) -> io::Result<Self> {
        let mut writer = Self {
            out,
            block: Vec::with_capacity(BLOCK_BYTES),
            counts: ExportCounts::default(),
            whole: Xxh3::new(),
        };
        writer.write(MAGIC)?;
        writer.put(Kind::Header(proto::ExportHeader {
            format: EXPORT_FORMAT,
            slot_count: u32::try_from(SLOT_COUNT).unwrap_or(u32::MAX),
            slot_hash: SLOT_HASH_NAME.to_owned(),
            version: version.to_owned(),
        }))?;
        writer.end_block()?;
        Ok(writer)
    }

    /// Adds a record.
    pub(crate) fn put(&mut self, kind: Kind) -> io::Result<()> {
        self.counts.add(&kind);
        let record = proto::ExportRecord { kind: Some(kind) };
        if record.encoded_len() > RECORD_MAX {
            let what = format!("a row of {} bytes is greater than any may be", record.encoded_len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        record.encode_length_delimited(&mut self.block).map_err(io::Error::other)?;
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    /// Writes the end; what was written, and what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<(W, ExportCounts)> {
        self.end_block()?;
        let checksum = self.whole.digest128().to_be_bytes().to_vec();
        let counts = self.counts;
        self.put(Kind::End(proto::ExportEnd { counts: Some(counts.to_row()), checksum }))?;
        self.end_block()?;
        self.out.flush()?;
        Ok((self.out, counts))
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let raw = std::mem::take(&mut self.block);
        let compressed = lz4_flex::block::compress(&raw);
        // Both are bounded far below 4 GiB.
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
        let mut head = length(&compressed)?.to_le_bytes().to_vec();
        head.extend_from_slice(&length(&raw)?.to_le_bytes());
        let hash = block_hash(&head, &compressed);
        head.extend_from_slice(&hash.to_le_bytes());
        self.write(&head)?;
        self.write(&compressed)?;
        self.block = raw;
        self.block.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.whole.update(bytes);
        self.out.write_all(bytes)
    }
}
