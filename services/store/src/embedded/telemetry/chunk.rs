//! Chunks: the points of one device that were stored together, as one row.
//!
//! Key: `device ‖ newest time (8, oldest first) ‖ sequence (8)`. Value: format (1), span = newest − oldest time, the
//! keys once each, then the points in order of time: time since the one before, index of the key, value.
//!
//! Of two points of one key and time the one in the chunk with the greater sequence holds.

use std::sync::Arc;

use stoker_domain::{Millis, Point, Value};

use super::value::{
    CodecError, put_bytes, put_value, put_varint, take, take_raw, take_text, take_value, take_varint,
};
use crate::keys::{KeyBuilder, read_time};

const FORMAT: u8 = 1;

/// A chunk covers at most so much time: what a query in one direction may have to look at too much. Points that come
/// as they are measured lie milliseconds apart; only backfilled ones are cut by it.
pub(super) const SPAN_MAX: i64 = 600_000;

/// A chunk of more bytes than this takes no further point, so that no reader has to hold much at once.
const BYTES_MAX: usize = 32 * 1024;

/// One chunk, ready to be stored.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The oldest time in it.
    pub(super) oldest: Millis,
    /// The newest time in it.
    pub(super) newest: Millis,
    /// The row's value.
    pub(super) bytes: Vec<u8>,
    /// How many points it holds.
    pub(super) points: usize,
}

/// The key of a chunk.
pub(super) fn chunk_key(device_prefix: &[u8], newest: Millis, sequence: u64) -> Vec<u8> {
    KeyBuilder::new().bytes(device_prefix).oldest_first(newest).bytes(&sequence.to_be_bytes()).build()
}

/// The newest time and the sequence out of a chunk's key.
pub(super) fn read_chunk_key(key: &[u8]) -> Result<(Millis, u64), CodecError> {
    const WRONG: CodecError = CodecError("the key of a chunk is too short");
    let (rest, sequence) = key.split_last_chunk::<8>().ok_or(WRONG)?;
    let (_, newest) = rest.split_last_chunk::<8>().ok_or(WRONG)?;
    Ok((read_time(*newest), u64::from_be_bytes(*sequence)))
}

/// Puts points, in order of (time, key) and without repeats, into as few chunks as the limits allow.
pub(super) fn build_chunks(points: &[&Point]) -> Vec<Chunk> {
    let mut chunks = Vec::with_capacity(1);
    let mut rest = points;
    while let Some(first) = rest.first() {
        let mut keys: Vec<&str> = Vec::new();
        let mut body = Vec::new();
        let mut newest = first.ts;
        let mut taken = 0;
        let mut expected = 0;
        for point in rest {
            // Saturating: times far apart are apart, however far.
            if point.ts.saturating_sub(first.ts) > SPAN_MAX || body.len() > BYTES_MAX {
                break;
            }
            let index = key_index(&mut keys, expected, &point.key);
            expected = index + 1;
            put_varint(point.ts.abs_diff(newest), &mut body);
            put_varint(index as u64, &mut body);
            put_value(&point.value, &mut body);
            newest = point.ts;
            taken += 1;
        }
        let mut bytes = Vec::with_capacity(body.len() + 64);
        bytes.push(FORMAT);
        put_varint(newest.abs_diff(first.ts), &mut bytes);
        put_varint(keys.len() as u64, &mut bytes);
        for key in keys {
            put_bytes(key.as_bytes(), &mut bytes);
        }
        bytes.extend_from_slice(&body);
        chunks.push(Chunk { oldest: first.ts, newest, bytes, points: taken });
        rest = rest.get(taken..).unwrap_or_default();
    }
    chunks
}

/// Where `key` stands among `keys`, put there if it is new. Messages of one device mostly carry the same keys, so it is
/// looked for first where it would be if this message were like the one before.
fn key_index<'a>(keys: &mut Vec<&'a str>, expected: usize, key: &'a str) -> usize {
    let expected = if expected < keys.len() { expected } else { 0 };
    if keys.get(expected).is_some_and(|known| *known == key) {
        return expected;
    }
    keys.iter().position(|known| *known == key).unwrap_or_else(|| {
        keys.push(key);
        keys.len() - 1
    })
}

/// A point as it is in a chunk: its time, the index of its key, the bytes of its value.
type RawPoint<'a> = (Millis, usize, &'a [u8]);

/// Reads one chunk, point by point.
#[derive(Debug)]
pub(super) struct ChunkReader<'a> {
    keys: Vec<&'a str>,
    rest: &'a [u8],
    oldest: Millis,
    ts: Millis,
}

impl<'a> ChunkReader<'a> {
    /// Reads the head of a chunk; `newest` comes from its key.
    pub(super) fn new(newest: Millis, mut bytes: &'a [u8]) -> Result<Self, CodecError> {
        if take(&mut bytes, 1)? != [FORMAT] {
            return Err(CodecError("a chunk of an unknown format"));
        }
        let span =
            i64::try_from(take_varint(&mut bytes)?).map_err(|_| CodecError("the span is too great"))?;
        let oldest = newest.checked_sub(span).ok_or(CodecError("the span is too great"))?;
        let count = take_varint(&mut bytes)?;
        let mut keys = Vec::new();
        for _ in 0..count {
            keys.push(take_text(&mut bytes)?);
        }
        Ok(Self { keys, rest: bytes, oldest, ts: oldest })
    }

    /// The oldest time in it.
    pub(super) fn oldest(&self) -> Millis {
        self.oldest
    }

    /// The keys in it.
    pub(super) fn keys(&self) -> &[&'a str] {
        &self.keys
    }

    /// The next point.
    pub(super) fn next_raw(&mut self) -> Result<Option<RawPoint<'a>>, CodecError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let step =
            i64::try_from(take_varint(&mut self.rest)?).map_err(|_| CodecError("a step is too great"))?;
        self.ts = self.ts.checked_add(step).ok_or(CodecError("a step is too great"))?;
        let index = usize::try_from(take_varint(&mut self.rest)?).unwrap_or(usize::MAX);
        if index >= self.keys.len() {
            return Err(CodecError("a point of an unknown key"));
        }
        Ok(Some((self.ts, index, take_raw(&mut self.rest)?)))
    }
}

/// The value of `key` at `ts` within a chunk, if it is there.
pub(super) fn find_in_chunk(
    newest: Millis,
    bytes: &[u8],
    key: &str,
    ts: Millis,
) -> Result<Option<Value>, CodecError> {
    let mut reader = ChunkReader::new(newest, bytes)?;
    let Some(wanted) = reader.keys().iter().position(|k| *k == key) else { return Ok(None) };
    while let Some((at, index, mut raw)) = reader.next_raw()? {
        if index == wanted && at == ts {
            return take_value(&mut raw).map(Some);
        }
    }
    Ok(None)
}

/// Sorts points by (time, key); of repeats the last one given stays.
pub(super) fn in_order<'a>(mut points: Vec<&'a Point>) -> Vec<&'a Point> {
    let before = |a: &&Point, b: &&Point| (a.ts, &a.key) < (b.ts, &b.key);
    if points.is_sorted_by(before) {
        return points;
    }
    points.sort_by(|a, b| (a.ts, &a.key).cmp(&(b.ts, &b.key)));
    let mut kept: Vec<&'a Point> = Vec::with_capacity(points.len());
    for point in points {
        match kept.last_mut() {
            Some(last) if last.ts == point.ts && last.key == point.key => *last = point,
            _ => kept.push(point),
        }
    }
    kept
}

/// The key of a point, shared if it was seen before: the points of a page have few keys.
#[derive(Debug, Default)]
pub(super) struct KeyPool(std::collections::HashSet<Arc<str>>);

impl KeyPool {
    pub(super) fn get(&mut self, key: &str) -> Arc<str> {
        if let Some(known) = self.0.get(key) {
            return known.clone();
        }
        let fresh: Arc<str> = Arc::from(key);
        self.0.insert(fresh.clone());
        fresh
    }
}
