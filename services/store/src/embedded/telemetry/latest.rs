//! The newest point of each key of a device, as one row per device that is merged with what a commit brings.
//!
//! Value: format (1), count, then by key: key, time (8), day of storing, and either the value's bytes or, for a long
//! one, where its chunk is. A value vanishes together with the telemetry of the day on which it was stored.
//!
//! A device has at most [`KEYS_MAX`] keys here; one more takes the place of the one that was measured longest ago.

use std::collections::BTreeMap;

use stoker_domain::Millis;

use super::value::{CodecError, put_bytes, put_varint, take, take_raw, take_text, take_varint};

const FORMAT: u8 = 1;
const INLINE: u8 = 0;
const REFERENCE: u8 = 1;

/// How many keys of one device have a newest point: a controller that invents keys must not grow this row for ever,
/// as it is rewritten with each commit.
pub(super) const KEYS_MAX: usize = 4_096;

/// A value of more bytes than this stays in its chunk and is looked up there: texts and JSON, which would make the
/// rewriting dear.
const INLINE_MAX: usize = 128;

/// The newest point of one key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LatestEntry<'a> {
    /// When it was measured.
    pub(super) ts: Millis,
    /// On which day it was stored.
    pub(super) day: u32,
    /// What was measured.
    pub(super) value: LatestBytes<'a>,
}

/// A value or where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LatestBytes<'a> {
    /// Its bytes.
    Inline(&'a [u8]),
    /// In the chunk of that key, among those stored on the entry's day.
    In {
        /// The chunk's newest time.
        newest: Millis,
        /// The chunk's sequence.
        sequence: u64,
    },
}

impl<'a> LatestEntry<'a> {
    /// The entry of a point in a chunk.
    pub(super) fn of(ts: Millis, day: u32, raw: &'a [u8], newest: Millis, sequence: u64) -> Self {
        let value = if raw.len() <= INLINE_MAX {
            LatestBytes::Inline(raw)
        } else {
            LatestBytes::In { newest, sequence }
        };
        Self { ts, day, value }
    }
}

/// All keys of a device.
pub(super) type LatestMap<'a> = BTreeMap<&'a str, LatestEntry<'a>>;

/// Reads a row.
pub(super) fn read_latest(mut bytes: &[u8]) -> Result<LatestMap<'_>, CodecError> {
    if take(&mut bytes, 1)? != [FORMAT] {
        return Err(CodecError("newest points of an unknown format"));
    }
    let count = take_varint(&mut bytes)?;
    let mut map = BTreeMap::new();
    for _ in 0..count {
        let key = take_text(&mut bytes)?;
        let ts = take_time(&mut bytes)?;
        let day = u32::try_from(take_varint(&mut bytes)?).map_err(|_| CodecError("a day is out of range"))?;
        let value = match take(&mut bytes, 1)? {
            [INLINE] => LatestBytes::Inline(take_raw(&mut bytes)?),
            [REFERENCE] => {
                LatestBytes::In { newest: take_time(&mut bytes)?, sequence: take_varint(&mut bytes)? }
            }
            _ => return Err(CodecError("a newest point of an unknown form")),
        };
        map.insert(key, LatestEntry { ts, day, value });
    }
    Ok(map)
}

fn take_time(bytes: &mut &[u8]) -> Result<Millis, CodecError> {
    let time = take(bytes, 8)?.try_into().map_err(|_| CodecError("bytes end too early"))?;
    Ok(Millis::from_le_bytes(time))
}

/// Writes a row.
pub(super) fn write_latest(map: &LatestMap<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + map.len() * 32);
    out.push(FORMAT);
    put_varint(map.len() as u64, &mut out);
    for (key, entry) in map {
        put_bytes(key.as_bytes(), &mut out);
        out.extend_from_slice(&entry.ts.to_le_bytes());
        put_varint(u64::from(entry.day), &mut out);
        match entry.value {
            LatestBytes::Inline(raw) => {
                out.push(INLINE);
                out.extend_from_slice(raw);
            }
            LatestBytes::In { newest, sequence } => {
                out.push(REFERENCE);
                out.extend_from_slice(&newest.to_le_bytes());
                put_varint(sequence, &mut out);
            }
        }
    }
    out
}

/// Takes a point in, unless a newer one is there. Of two with the same time the later given one stays.
pub(super) fn merge<'a>(map: &mut LatestMap<'a>, key: &'a str, entry: LatestEntry<'a>) {
    match map.get_mut(key) {
        Some(known) if known.ts > entry.ts => {}
        Some(known) => *known = entry,
        None => drop(map.insert(key, entry)),
    }
}

/// Takes away the keys above the limit, those that were measured longest ago first.
pub(super) fn cut(map: &mut LatestMap<'_>) {
    let Some(excess) = map.len().checked_sub(KEYS_MAX).filter(|excess| *excess > 0) else { return };
    let mut by_age: Vec<(Millis, &str)> = map.iter().map(|(key, entry)| (entry.ts, *key)).collect();
    by_age.sort_unstable();
    for (_, key) in by_age.into_iter().take(excess) {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ts: Millis, raw: &[u8]) -> LatestEntry<'_> {
        LatestEntry::of(ts, 20_000, raw, ts + 5, 7)
    }

    #[test]
    fn rows_come_back_with_short_and_long_values() {
        let long = [&[4u8, 200, 1][..], &[b'x'; 200][..]].concat();
        let mut map = LatestMap::new();
        merge(&mut map, "short", entry(-5, &[1]));
        merge(&mut map, "long", entry(9, &long));
        let bytes = write_latest(&map);
        assert!(bytes.len() < 100, "the long value is not in the row");
        assert_eq!(read_latest(&bytes), Ok(map));
    }

    #[test]
    fn the_greatest_time_stays_and_of_equal_ones_the_later() {
        let mut map = LatestMap::new();
        merge(&mut map, "a", entry(10, &[1]));
        merge(&mut map, "a", entry(9, &[0]));
        assert_eq!(map["a"], entry(10, &[1]));
        merge(&mut map, "a", entry(10, &[0]));
        assert_eq!(map["a"], entry(10, &[0]));
    }

    #[test]
    fn above_the_limit_the_longest_unmeasured_key_goes() {
        let keys: Vec<String> = (0..KEYS_MAX + 2).map(|n| format!("k{n}")).collect();
        let mut map = LatestMap::new();
        for (n, key) in keys.iter().enumerate() {
            merge(&mut map, key, entry(1_000_000 - n as i64, &[1]));
        }
        cut(&mut map);
        assert_eq!(map.len(), KEYS_MAX);
        assert!(map.contains_key("k0") && !map.contains_key(keys[KEYS_MAX].as_str()));
    }
}
