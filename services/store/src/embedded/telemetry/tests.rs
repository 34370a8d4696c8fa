//! Chunks: limits, ways back, and bytes that are none.

use std::sync::Arc;

use proptest::prelude::*;
use stoker_domain::{Millis, Point, Value};

use super::chunk::{
    Chunk, ChunkReader, SPAN_MAX, build_chunks, chunk_key, find_in_chunk, in_order, read_chunk_key,
};
use super::latest::read_latest;
use super::value::take_value;
use super::{DayFacts, read_day};

fn point(key: &str, ts: Millis, value: Value) -> Point {
    Point { key: Arc::from(key), ts, value }
}

fn read(chunk: &Chunk) -> Vec<Point> {
    let mut reader = ChunkReader::new(chunk.newest, &chunk.bytes).unwrap();
    assert_eq!(reader.oldest(), chunk.oldest);
    let keys: Vec<String> = reader.keys().iter().map(|k| (*k).to_owned()).collect();
    let mut points = Vec::new();
    while let Some((ts, index, mut raw)) = reader.next_raw().unwrap() {
        points.push(point(&keys[index], ts, take_value(&mut raw).unwrap()));
    }
    assert_eq!(points.len(), chunk.points);
    points
}

#[test]
fn a_chunk_ends_before_its_span_is_too_great() {
    let points: Vec<Point> =
        [0, 1, SPAN_MAX, SPAN_MAX + 1, i64::MAX].map(|ts| point("a", ts, Value::Integer(ts))).to_vec();
    let chunks = build_chunks(&points.iter().collect::<Vec<_>>());
    let spans: Vec<_> = chunks.iter().map(|c| (c.oldest, c.newest, c.points)).collect();
    assert_eq!(spans, [(0, SPAN_MAX, 3), (SPAN_MAX + 1, SPAN_MAX + 1, 1), (i64::MAX, i64::MAX, 1)]);
}

#[test]
fn a_chunk_ends_when_it_has_many_bytes() {
    let points: Vec<Point> = (0..20).map(|n| point("a", n, Value::Text("x".repeat(8_192)))).collect();
    let chunks = build_chunks(&points.iter().collect::<Vec<_>>());
    assert!(chunks.len() > 2);
    assert!(chunks.iter().all(|chunk| chunk.bytes.len() < 48 * 1024));
    let back: Vec<Point> = chunks.iter().flat_map(read).collect();
    assert_eq!(back, points);
}

#[test]
fn the_key_of_a_chunk_tells_its_newest_time_and_sequence() {
    for newest in [i64::MIN, -1, 0, 1_750_000_000_000, i64::MAX] {
        assert_eq!(read_chunk_key(&chunk_key(b"a\0b\0", newest, 7)), Ok((newest, 7)));
    }
    assert!(read_chunk_key(b"short").is_err());
}

#[test]
fn of_repeated_points_the_last_stays() {
    let points = [("b", 1, 1), ("a", 1, 2), ("b", 1, 3), ("a", 0, 4), ("b", 1, 5)]
        .map(|(key, ts, value)| point(key, ts, Value::Integer(value)));
    let kept: Vec<i64> = in_order(points.iter().collect())
        .into_iter()
        .map(|p| if let Value::Integer(value) = p.value { value } else { panic!("another kind") })
        .collect();
    assert_eq!(kept, [4, 2, 5]);
}

#[test]
fn facts_of_a_day_come_back() {
    let facts = DayFacts { oldest: -5, newest: i64::MAX, span: 9 };
    assert_eq!(DayFacts::from_bytes(&facts.to_bytes()), Some(facts));
    let (day, read) = read_day(&20_000u32.to_be_bytes(), &facts.to_bytes()).unwrap();
    assert_eq!((day, read), (20_000, facts));
    assert!(read_day(&[1], &facts.to_bytes()).is_err());
    assert!(read_day(&20_000u32.to_be_bytes(), &[0; 23]).is_err());
}

proptest! {
    #[test]
    fn any_points_come_back(
        points in prop::collection::vec(("[a-e]{1,2}", -2_000_000..2_000_000i64, any::<i64>()), 1..60),
    ) {
        let points: Vec<Point> =
            points.into_iter().map(|(key, ts, value)| point(&key, ts, Value::Integer(value))).collect();
        let sorted = in_order(points.iter().collect());
        let chunks = build_chunks(&sorted);
        prop_assert!(chunks.iter().all(|chunk| chunk.newest - chunk.oldest <= SPAN_MAX));
        let back: Vec<Point> = chunks.iter().flat_map(read).collect();
        let expected: Vec<Point> = sorted.into_iter().cloned().collect();
        prop_assert_eq!(&back, &expected);
        for wanted in &expected {
            let found = chunks.iter().find_map(|chunk| {
                find_in_chunk(chunk.newest, &chunk.bytes, &wanted.key, wanted.ts).unwrap()
            });
            prop_assert_eq!(found.as_ref(), Some(&wanted.value));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes: Vec<u8>, newest: i64) {
        if let Some(format) = bytes.first_mut() {
            *format = 1;
        }
        if let Ok(mut reader) = ChunkReader::new(newest, &bytes) {
            while let Ok(Some(_)) = reader.next_raw() {}
        }
        drop(read_latest(&bytes));
    }
}
