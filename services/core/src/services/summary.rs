//! The numbers of a series over a span, drawn together into parts of the same length: what a chart needs of a month.

use std::collections::BTreeMap;

use stoker_domain::Millis;
use stoker_domain::model::{Point, Value};
use stoker_proto::core::v1 as wire;

/// The most parts: more than a screen is wide is of no use.
const PARTS_MOST: u32 = 1_000;

/// A span in parts of the same length; the last may reach beyond its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    from: Millis,
    part_ms: i64,
}

impl Span {
    /// From and to are included. The error says what is wrong.
    pub(super) fn new(from: Millis, to: Millis, parts: u32) -> Result<Self, String> {
        if !(1..=PARTS_MOST).contains(&parts) {
            return Err(format!("parts is 1 to {PARTS_MOST}, not {parts}"));
        }
        if from > to {
            return Err("from is later than to".to_owned());
        }
        let parts = i128::from(parts);
        let length = i128::from(to) - i128::from(from) + 1;
        let part_ms = (length + parts - 1) / parts;
        Ok(Self { from, part_ms: i64::try_from(part_ms).unwrap_or(i64::MAX) })
    }

    pub(super) fn part_ms(self) -> i64 {
        self.part_ms
    }

    /// When the part begins in which that time is.
    fn begin(self, ts: Millis) -> Millis {
        let into = i128::from(ts) - i128::from(self.from);
        let begin = i128::from(self.from) + into - into.rem_euclid(i128::from(self.part_ms));
        i64::try_from(begin).unwrap_or(self.from)
    }
}

#[derive(Debug, Clone, Copy)]
struct Part {
    count: u64,
    min: f64,
    max: f64,
    mean: f64,
}

/// What has been taken in so far, by part.
#[derive(Debug)]
pub(super) struct Summary {
    span: Span,
    parts: BTreeMap<Millis, Part>,
}

impl Summary {
    pub(super) fn new(span: Span) -> Self {
        Self { span, parts: BTreeMap::new() }
    }

    /// Takes a point in, in any order. What is no number is left out.
    pub(super) fn take(&mut self, point: &Point) {
        let number = match point.value {
            // A chart is drawn of it: the last digits of great ones do not show.
            Value::Integer(number) => number as f64,
            Value::Number(number) => number,
            Value::Boolean(_) | Value::Text(_) | Value::Json(_) => return,
        };
        let fresh = Part { count: 0, min: number, max: number, mean: 0.0 };
        let part = self.parts.entry(self.span.begin(point.ts)).or_insert(fresh);
        part.count += 1;
        part.min = part.min.min(number);
        part.max = part.max.max(number);
        // The mean itself, and no sum: of great numbers that would grow beyond all bounds.
        let count = part.count as f64;
        part.mean += number / count - part.mean / count;
    }

    /// The parts with a number in them, oldest first.
    pub(super) fn parts(self) -> Vec<wire::PointsSummary> {
        let shown = |(ts, Part { count, min, max, mean })| wire::PointsSummary { ts, count, min, max, mean };
        self.parts.into_iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(ts: Millis, value: Value) -> Point {
        Point { key: "t".into(), ts, value }
    }

    #[test]
    fn numbers_are_drawn_together_by_part() {
        let mut summary = Summary::new(Span::new(100, 399, 3).unwrap());
        for (ts, value) in [(399, 7.0), (199, 4.0), (100, 2.0), (150, 9.0)] {
            summary.take(&point(ts, Value::Number(value)));
        }
        summary.take(&point(300, Value::Integer(-1)));
        summary.take(&point(250, Value::Text("on".to_owned())));
        summary.take(&point(250, Value::Boolean(true)));
        let parts: Vec<_> =
            summary.parts().into_iter().map(|p| (p.ts, p.count, p.min, p.max, p.mean)).collect();
        assert_eq!(parts, [(100, 3, 2.0, 9.0, 5.0), (300, 2, -1.0, 7.0, 3.0)]);
    }

    #[test]
    fn a_span_has_at_most_as_many_parts_as_were_asked_for() {
        for (from, to, parts) in [(0, 0, 1), (0, 9, 3), (5, 1_000_003, 1_000), (i64::MIN, i64::MAX, 7)] {
            let span = Span::new(from, to, parts).unwrap();
            let mut summary = Summary::new(span);
            for at in 0..=1_000 {
                let ts = i128::from(from) + (i128::from(to) - i128::from(from)) * at / 1_000;
                summary.take(&point(i64::try_from(ts).unwrap(), Value::Number(f64::MAX)));
            }
            let told = summary.parts();
            assert!(told.len() <= parts as usize, "{from} {to} {parts}: {}", told.len());
            assert!(told.iter().all(|part| part.mean.is_finite()), "{from} {to} {parts}");
        }
        assert!(
            Span::new(1, 0, 1).is_err() && Span::new(0, 1, 0).is_err() && Span::new(0, 1, 1_001).is_err()
        );
    }
}
