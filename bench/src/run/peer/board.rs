//! What all rounds have measured: medians side by side, for the terminal and for the page in the docs.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};

use super::target::Who;
use crate::report::{Report, figures};

/// Between these lines of the page stands what a run writes; all else of it is written by people.
const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// One thing that was measured, once in each round of each.
#[derive(Debug)]
struct Row {
    what: String,
    unit: &'static str,
    stoker: Vec<f64>,
    mosquitto: Vec<f64>,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Board {
    figures: Vec<Row>,
    load: Vec<Row>,
}

/// The middle of some numbers, the smallest and the greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// Of no numbers there is none. Of an even count the middle is the mean of the two that stand there.
    fn of(numbers: &[f64]) -> Option<Self> {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), low, high })
    }

    /// `3.20 (3.10–3.40)`.
    fn shown(of: Option<Self>) -> String {
        let Some(Self { median, low, high }) = of else { return String::new() };
        if figures(low) == figures(high) {
            return figures(median);
        }
        format!("{} ({}–{})", figures(median), figures(low), figures(high))
    }
}

impl Row {
    fn spreads(&self) -> (Option<Spread>, Option<Spread>) {
        (Spread::of(&self.stoker), Spread::of(&self.mosquitto))
    }

    /// How much Stoker's median is of mosquitto's; none where one of them is not there, or nothing.
    fn ratio(&self) -> Option<f64> {
        let (stoker, mosquitto) = self.spreads();
        let (stoker, mosquitto) = (stoker?.median, mosquitto?.median);
        (mosquitto > 0.0).then(|| stoker / mosquitto)
    }

    fn name(&self) -> String {
        if self.unit.is_empty() { self.what.clone() } else { format!("{}, {}", self.what, self.unit) }
    }
}

fn note(rows: &mut Vec<Row>, who: Who, what: &str, unit: &'static str, value: f64) {
    let at = rows.iter().position(|row| row.what == what).unwrap_or_else(|| {
        rows.push(Row { what: what.to_owned(), unit, stoker: Vec::new(), mosquitto: Vec::new() });
        rows.len() - 1
    });
    if let Some(row) = rows.get_mut(at) {
        let numbers = match who {
            Who::Stoker => &mut row.stoker,
            Who::Mosquitto => &mut row.mosquitto,
        };
        numbers.push(value);
    }
}

impl Board {
    /// A figure of one round.
    pub(super) fn note(&mut self, who: Who, what: &str, unit: &'static str, value: f64) {
        note(&mut self.figures, who, what, unit, value);
    }

    /// Something about the load itself.
    pub(super) fn load(&mut self, who: Who, what: &str, unit: &'static str, value: f64) {
        note(&mut self.load, who, what, unit, value);
    }

    /// Puts all of it into a report.
    pub(super) fn report(&self, report: &mut Report) {
        let head = ["Stoker", "low", "high", "mosquitto", "low", "high", "ratio"];
        for (name, rows) in [("medians of all rounds", &self.figures), ("the load itself", &self.load)] {
            let numbers = |spread: Option<Spread>| {
                spread.map_or([f64::NAN; 3], |spread| [spread.median, spread.low, spread.high])
            };
            let lines = rows.iter().map(|row| {
                let (stoker, mosquitto) = row.spreads();
                let mut line = [numbers(stoker), numbers(mosquitto)].concat();
                line.push(row.ratio().unwrap_or(f64::NAN));
                (row.name(), line)
            });
            let lines: Vec<_> = lines.collect();
            if !lines.is_empty() {
                report.named(name, head.map(str::to_owned).to_vec(), lines);
            }
        }
    }

    /// The tables as Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        for (title, rows) in [("", &self.figures), ("the load itself", &self.load)] {
            if rows.is_empty() {
                continue;
            }
            // To a text nothing can fail to be written.
            let _ = writeln!(text, "\n| {title} | Stoker | mosquitto | Stoker ÷ mosquitto |");
            text.push_str("|---|---|---|---|\n");
            for row in rows {
                let (stoker, mosquitto) = row.spreads();
                let ratio = row.ratio().map(figures).unwrap_or_default();
                let (stoker, mosquitto) = (Spread::shown(stoker), Spread::shown(mosquitto));
                let _ = writeln!(text, "| {} | {stoker} | {mosquitto} | {ratio} |", row.name());
            }
        }
        text
    }
}

/// The page with what stands between the marks replaced.
pub(super) fn put_between(page: &str, figures: &str) -> Result<String> {
    let marks = || format!("the page needs the lines `{BEGIN}` and `{END}`, in this order and once each");
    let (before, rest) = page.split_once(BEGIN).with_context(marks)?;
    let (old, after) = rest.split_once(END).with_context(marks)?;
    ensure!(!old.contains(BEGIN) && !after.contains(BEGIN) && !after.contains(END), marks());
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", figures.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[2.0]), Some(Spread { median: 2.0, low: 2.0, high: 2.0 }));
        assert_eq!(Spread::of(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 9.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 9.0]), Some(Spread { median: 3.0, low: 1.0, high: 9.0 }));
    }

    fn board() -> Board {
        let mut board = Board::default();
        for (stoker, mosquitto) in [(3.0, 1.0), (2.0, 1.0), (4.0, 2.0)] {
            board.note(Who::Stoker, "memory", "kB", stoker);
            board.note(Who::Mosquitto, "memory", "kB", mosquitto);
        }
        board.note(Who::Stoker, "mails", "ms", 7.0);
        board.load(Who::Mosquitto, "busy", "%", 12.0);
        board
    }

    #[test]
    fn the_tables_have_medians_spreads_and_ratios() {
        let text = board().markdown();
        assert!(text.contains("| memory, kB | 3.00 (2.00–4.00) | 1.00 (1.00–2.00) | 3.00 |\n"), "{text}");
        assert!(text.contains("| mails, ms | 7.00 |  |  |\n"), "{text}");
        assert!(
            text.contains("| the load itself |") && text.contains("| busy, % |  | 12.0 |  |\n"),
            "{text}"
        );
        let mut report = Report::new("x");
        board().report(&mut report);
        assert!(report.to_string().contains("mails, ms"), "{report}");
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nwhy\n");
        let written = put_between(&page, "\nnew\n").unwrap();
        assert_eq!(written, format!("# Title\n\n{BEGIN}\nnew\n{END}\n\nwhy\n"));
        assert_eq!(put_between(&written, "new").unwrap(), written);
        for bad in ["", "no marks", BEGIN, &format!("{END}{BEGIN}"), &format!("{page}{page}")] {
            assert!(put_between(bad, "new").is_err(), "{bad}");
        }
    }
}
