//! A series drawn as SVG. Everything that has a colour or a size has it from the style sheet; labels are text beside the
//! drawing, so that they keep their size at any width.

use std::fmt::Write;

use maud::{Markup, html};
use stoker_domain::Millis;

use crate::telemetry::Part;
use crate::time::Time;

/// The drawing's own units, in both directions.
const UNITS: f64 = 1_000.0;
/// Into so many spans the time is divided by labels.
const TIMES: i64 = 4;
/// A line is broken where so many parts in a row have no number, and points stand alone if they are that sparse.
const BROKEN_AFTER: i64 = 3;

/// A span of values with evenly spaced round marks: from the lowest to the highest.
#[derive(Debug, PartialEq)]
struct Scale {
    low: f64,
    step: f64,
    steps: u32,
}

impl Scale {
    fn over(low: f64, high: f64) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
        let wide = high - low;
        // Greater than any number there is, or too fine for the numbers at hand: marks that are not round must do.
        if !wide.is_finite() || wide <= low.abs().max(high.abs()) * 1e-12 {
            let (low, high) = (low.max(f64::MIN / 4.0), high.min(f64::MAX / 4.0));
            return Self { low, step: ((high - low) / 2.0).max(f64::MIN_POSITIVE), steps: 2 };
        }
        let magnitude = 10_f64.powf((wide / 4.0).log10().floor());
        let rough = wide / 4.0 / magnitude;
        let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| rough <= *factor).unwrap_or(10.0);
        let step = factor * magnitude;
        let first = (low / step).floor();
        let last = (high / step).ceil();
        // Six at most: the step is no smaller than a quarter of the span.
        Self { low: first * step, step, steps: (last - first).clamp(1.0, 6.0) as u32 }
    }

    fn mark(&self, at: u32) -> f64 {
        self.low + self.step * f64::from(at)
    }

    /// Where a value stands, from the top.
    fn place(&self, value: f64) -> f64 {
        let high = self.mark(self.steps);
        let share = (value - self.low) / (high - self.low);
        if share.is_finite() { UNITS * (1.0 - share.clamp(0.0, 1.0)) } else { UNITS / 2.0 }
    }
}

/// A number as it is shown: as many digits as tell it from its neighbours.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e9).contains(&size) {
        return format!("{value:.3e}");
    }
    let digits = if size >= 1_000.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        5
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// What to draw.
pub(super) struct Chart<'a> {
    pub(super) key: &'a str,
    pub(super) from: Millis,
    pub(super) to: Millis,
    pub(super) part_ms: i64,
    pub(super) parts: &'a [Part],
}

impl Chart<'_> {
    fn across(&self, ts: Millis) -> f64 {
        // The middle of a part stands for it; only a ratio of times is drawn.
        let into = ts.saturating_sub(self.from).saturating_add(self.part_ms / 2) as f64;
        let wide = self.to.saturating_sub(self.from).max(1) as f64;
        UNITS * (into / wide).clamp(0.0, 1.0)
    }

    /// Runs of parts without a gap between them.
    fn runs(&self) -> Vec<&[Part]> {
        let mut apart: Vec<i64> = self
            .parts
            .windows(2)
            .filter_map(|pair| match pair {
                [a, b] => Some(b.ts.saturating_sub(a.ts)),
                _ => None,
            })
            .collect();
        apart.sort_unstable();
        let usual = apart.get(apart.len() / 2).copied().unwrap_or_default().max(self.part_ms);
        let longest = usual.saturating_mul(BROKEN_AFTER);
        self.parts.chunk_by(|a, b| b.ts.saturating_sub(a.ts) <= longest).collect()
    }

    fn paths(&self, scale: &Scale) -> (String, String) {
        let (mut line, mut band) = (String::new(), String::new());
        for run in self.runs() {
            for (at, part) in run.iter().enumerate() {
                let (x, y) = (self.across(part.ts), scale.place(part.mean));
                // To a text nothing can fail to be written.
                let _ = write!(line, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
                let y = scale.place(part.max);
                let _ = write!(band, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
            }
            // A single point is a line of no length with round ends.
            if run.len() == 1 {
                line.push_str("h0");
            }
            for part in run.iter().rev() {
                let (x, y) = (self.across(part.ts), scale.place(part.min));
                let _ = write!(band, "L{x:.1} {y:.1}");
            }
            band.push('Z');
        }
        (line, band)
    }

    /// The lowest, the highest and the mean of all.
    fn facts(&self) -> (f64, f64, f64) {
        let mut count = 0.0;
        let (mut low, mut high, mut mean) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
        for part in self.parts {
            let weight = part.count as f64;
            count += weight;
            // So that no sum grows beyond what a number can be.
            mean = mean * (1.0 - weight / count) + part.mean * (weight / count);
            low = low.min(part.min);
            high = high.max(part.max);
        }
        (low, high, mean)
    }

    pub(super) fn drawn(&self) -> Markup {
        let (low, high, mean) = self.facts();
        let scale = Scale::over(low, high);
        let (line, band) = self.paths(&scale);
        let count: u64 = self.parts.iter().map(|part| part.count).sum();
        let said = format!(
            "{}: {count} values from {} to {}, lowest {}, highest {}, mean {}",
            self.key,
            label(self.from, false),
            label(self.to, false),
            number(low),
            number(high),
            number(mean)
        );
        let days = self.to.saturating_sub(self.from) > 2 * 86_400_000;
        html! {
            div.plot {
                div.marks aria-hidden="true" {
                    @for at in (0..=scale.steps).rev() { span { (number(scale.mark(at))) } }
                }
                svg.chart viewBox={ "0 0 " (UNITS) " " (UNITS) } preserveAspectRatio="none" role="img" aria-label=(said) {
                    @for at in 0..=scale.steps {
                        path.grid d={ "M0 " (scale.place(scale.mark(at))) "H" (UNITS) } {}
                    }
                    path.band d=(band) {}
                    path.line d=(line) {}
                }
                div.times aria-hidden="true" {
                    @for at in 0..=TIMES {
                        span { (label(self.from.saturating_add(self.to.saturating_sub(self.from) / TIMES * at), days)) }
                    }
                }
            }
            p.small.facts {
                "Lowest " b { (number(low)) } ", highest " b { (number(high)) } ", mean " b { (number(mean)) }
                " of " (count) @if count == 1 { " value" } @else { " values" }
            }
        }
    }
}

/// A time beside the drawing: the day of a long one, the hour of a short one.
fn label(at: Millis, days: bool) -> String {
    let text = Time(at).to_string();
    let (day, time) = (text.get(5..10).unwrap_or_default(), text.get(11..16).unwrap_or_default());
    if days { day.to_owned() } else { format!("{time} UTC") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(ts: Millis, min: f64, mean: f64, max: f64) -> Part {
        Part { ts, count: 2, min, max, mean }
    }

    #[test]
    fn marks_are_round_and_hold_all_values() {
        for (low, high) in
            [(60.3, 71.2), (0.0, 0.0), (-5.0, 5.0), (1e6, 1.1e6), (0.001, 0.0013), (71.0, 71.0)]
        {
            let scale = Scale::over(low, high);
            let top = scale.mark(scale.steps);
            assert!(
                scale.low <= low && top >= high && (1..=6).contains(&scale.steps),
                "{low} {high}: {scale:?}"
            );
        }
        assert_eq!(Scale::over(60.3, 71.2), Scale { low: 60.0, step: 5.0, steps: 3 });
    }

    #[test]
    fn numbers_of_any_size_are_drawn_within_the_drawing() {
        for (low, high) in
            [(f64::MIN, f64::MAX), (0.0, f64::MIN_POSITIVE), (1e300, 1.000_000_1e300), (1e17, 1e17 + 64.0)]
        {
            let parts = [part(0, low, low, high), part(10, low, high, high)];
            let chart = Chart { key: "t", from: 0, to: 19, part_ms: 10, parts: &parts };
            let text = chart.drawn().into_string();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{low} {high}: {text}");
        }
    }

    #[test]
    fn a_line_is_broken_where_nothing_came() {
        let parts: Vec<Part> = [0, 10, 20, 80, 90].map(|ts| part(ts, 1.0, 2.0, 3.0)).to_vec();
        let chart = Chart { key: "t", from: 0, to: 99, part_ms: 10, parts: &parts };
        assert_eq!(chart.runs().iter().map(|run| run.len()).collect::<Vec<_>>(), [3, 2]);
        let alone = Chart { key: "t", from: 0, to: 99, part_ms: 10, parts: &parts[..1] };
        assert!(alone.paths(&Scale::over(1.0, 3.0)).0.ends_with("h0"));
    }

    #[test]
    fn a_key_brings_no_markup() {
        let parts = [part(0, 1.0, 2.0, 3.0)];
        let chart = Chart { key: "\"><script>alert(1)</script>", from: 0, to: 9, part_ms: 10, parts: &parts };
        let text = chart.drawn().into_string();
        assert!(!text.contains("<script>") && !text.contains("style="), "{text}");
    }

    #[test]
    fn numbers_are_shown_short() {
        for (value, text) in [
            (71.2, "71.2"),
            (0.0, "0"),
            (-0.0, "0"),
            (1_234_567.0, "1234567"),
            (0.00012, "0.00012"),
            (1e12, "1.000e12"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
