//! A whole store as one stream: written out of an embedded store, read into a Cassandra cluster.
//!
//! `proto/stoker/store/v1/export.proto` says what the stream is made of.

mod error;
mod reader;
mod record;
mod writer;

pub use error::TransferError;
pub use reader::{ExportFile, ExportReader};
pub(crate) use record::points_kind;
pub use record::{ExportCounts, ExportRecord};
pub(crate) use writer::StreamWriter;

/// The format that this version writes, and the newest that it reads.
pub const EXPORT_FORMAT: u32 = 1;

/// What every export begins with.
const MAGIC: &[u8; 8] = b"STOKEREX";

/// A block is full when it has so many raw bytes.
const BLOCK_BYTES: usize = 256 << 10;

/// The greatest record: more than the attributes of a device can be.
const RECORD_MAX: usize = 8 << 20;

/// The greatest block: a full one takes no further record.
const BLOCK_MAX: usize = BLOCK_BYTES + RECORD_MAX + 10;

/// Bytes before those of a block: its two lengths and its hash.
const BLOCK_HEAD: usize = 16;

/// XXH3-64 of a block's lengths and bytes.
fn block_hash(lengths: &[u8], bytes: &[u8]) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(lengths);
    hash.update(bytes);
    hash.digest()
}
