//! What a run has found: for people as a table, for machines as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::histogram::Histogram;
use crate::process::Machine;

/// How many examples of what is wrong are shown.
pub(crate) const EXAMPLES: usize = 5;

struct Row {
    name: String,
    shown: String,
    value: Value,
}

struct Check {
    what: String,
    expected: u64,
    found: u64,
    holds: bool,
}

struct Table {
    name: &'static str,
    head: Vec<String>,
    /// What each line is about, where they are not about numbers alone.
    names: Vec<String>,
    lines: Vec<Vec<f64>>,
}

/// What a run has found.
pub(crate) struct Report {
    title: String,
    machine: Machine,
    rows: Vec<Row>,
    tables: Vec<Table>,
    checks: Vec<Check>,
    promises: Vec<(bool, String)>,
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Three figures or so: more would claim a precision that no run has. A dash for what was not measured.
pub(crate) fn figures(number: f64) -> String {
    if number.is_nan() {
        return "–".to_owned();
    }
    match number.abs() {
        1_000.0.. => {
            let sign = if number < 0.0 { "-" } else { "" };
            format!("{sign}{}", grouped(number.round().abs() as u64))
        }
        100.0..1_000.0 => format!("{number:.0}"),
        10.0..100.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

impl Report {
    /// One about what `title` says, on this machine.
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            machine: Machine::here(),
            rows: Vec::new(),
            tables: Vec::new(),
            checks: Vec::new(),
            promises: Vec::new(),
        }
    }

    fn row(&mut self, name: impl Into<String>, shown: String, value: Value) {
        self.rows.push(Row { name: name.into(), shown, value });
    }

    /// A word, such as a version.
    pub(crate) fn word(&mut self, name: impl Into<String>, word: &str) {
        self.row(name, word.to_owned(), json!(word));
    }

    /// A count.
    pub(crate) fn count(&mut self, name: impl Into<String>, count: u64) {
        self.row(name, grouped(count), json!(count));
    }

    /// A measured number with its unit.
    pub(crate) fn number(&mut self, name: impl Into<String>, number: f64, unit: &str) {
        let shown = if unit.is_empty() { figures(number) } else { format!("{} {unit}", figures(number)) };
        self.row(name, shown, json!((number * 1_000.0).round() / 1_000.0));
    }

    /// A time; in JSON in milliseconds.
    pub(crate) fn time(&mut self, name: impl Into<String>, time: Duration) {
        self.number(name, time.as_secs_f64() * 1_000.0, "ms");
    }

    /// Median, p99 and the longest of some times.
    pub(crate) fn times(&mut self, name: &str, times: &Histogram) {
        for (part, time) in
            [("p50", times.quantile(0.5)), ("p99", times.quantile(0.99)), ("max", times.max())]
        {
            self.time(format!("{name} {part}"), time);
        }
    }

    /// Numbers over time.
    pub(crate) fn table(&mut self, name: &'static str, head: &[&'static str], lines: Vec<Vec<f64>>) {
        let head = head.iter().map(|&head| head.to_owned()).collect();
        self.tables.push(Table { name, head, names: Vec::new(), lines });
    }

    /// Numbers of several things, each with its name before its line.
    pub(crate) fn named(&mut self, name: &'static str, head: Vec<String>, lines: Vec<(String, Vec<f64>)>) {
        let (names, lines) = lines.into_iter().unzip();
        self.tables.push(Table { name, head, names, lines });
    }

    /// A promise in a sentence, which is shown when it was not kept.
    pub(crate) fn promise(&mut self, holds: bool, sentence: impl Into<String>) {
        self.promises.push((holds, sentence.into()));
    }

    /// A promise that nothing breaks; shows some of what did.
    pub(crate) fn none(&mut self, what: &str, broken: &[String]) {
        for example in broken.iter().take(EXAMPLES) {
            eprintln!("{what}: {example}");
        }
        self.exactly(what, 0, u64::try_from(broken.len()).unwrap_or(u64::MAX));
    }

    /// A promise: this many, no more and no less. Of one that is made again, as by several platforms of one run, the
    /// counts are summed.
    pub(crate) fn exactly(&mut self, what: impl Into<String>, expected: u64, found: u64) {
        let (what, holds) = (what.into(), expected == found);
        match self.checks.iter_mut().find(|check| check.what == what) {
            Some(check) => {
                check.expected += expected;
                check.found += found;
                check.holds &= holds;
            }
            None => self.checks.push(Check { what, expected, found, holds }),
        }
    }

    /// All promises were kept.
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds) && self.promises.iter().all(|(holds, _)| *holds)
    }

    /// The report for machines.
    pub(crate) fn json(&self) -> Value {
        let results: Map<String, Value> =
            self.rows.iter().map(|row| (row.name.clone(), row.value.clone())).collect();
        let tables: Map<String, Value> = self
            .tables
            .iter()
            .map(|table| {
                (
                    table.name.to_owned(),
                    json!({ "head": table.head, "names": table.names, "lines": table.lines }),
                )
            })
            .collect();
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|check| {
                json!({
                    "what": check.what,
                    "expected": check.expected,
                    "found": check.found,
                    "holds": check.holds,
                })
            })
            .collect();
        let promises: Vec<Value> = self
            .promises
            .iter()
            .map(|(holds, sentence)| json!({ "sentence": sentence, "holds": holds }))
            .collect();
        json!({
            "title": self.title,
            "command": command_line(),
            "machine": self.machine,
            "results": results,
            "tables": tables,
            "checks": checks,
            "promises": promises,
            "holds": self.holds(),
        })
    }
}

/// The command that runs now.
pub(crate) fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("stoker-bench {}", arguments.join(" "))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cores, cpu, memory_gb, kernel, load } = &self.machine;
        writeln!(f, "{}", self.title)?;
        writeln!(f, "$ {}", command_line())?;
        writeln!(f, "{cores} cores ({cpu}), {memory_gb} GB, Linux {kernel}, load before {load}\n")?;
        let names = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let values = self.rows.iter().map(|row| row.shown.chars().count()).max().unwrap_or(0).min(20);
        for row in &self.rows {
            writeln!(f, "{:<names$}  {:>values$}", row.name, row.shown)?;
        }
        for table in &self.tables {
            writeln!(f, "\n{}", table.name)?;
            let width = table.head.iter().map(|head| head.chars().count() + 2).max().unwrap_or(0).max(10);
            let first = table.names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
            write!(f, "{:first$}", "")?;
            for head in &table.head {
                write!(f, "{head:>width$}")?;
            }
            writeln!(f)?;
            for (index, line) in table.lines.iter().enumerate() {
                write!(f, "{:<first$}", table.names.get(index).map_or("", String::as_str))?;
                for number in line {
                    write!(f, "{:>width$}", figures(*number))?;
                }
                writeln!(f)?;
            }
        }
        if !self.checks.is_empty() {
            writeln!(f)?;
        }
        let names = self.checks.iter().map(|check| check.what.chars().count()).max().unwrap_or(0);
        for Check { what, expected, found, holds } in &self.checks {
            let (found, expected) = (grouped(*found), grouped(*expected));
            let verdict = if *holds { "holds" } else { "BROKEN" };
            writeln!(f, "{what:<names$}  {found:>12} of {expected:>12}  {verdict}")?;
        }
        if !self.promises.is_empty() {
            writeln!(f)?;
        }
        for (holds, sentence) in &self.promises {
            writeln!(f, "{}  {sentence}", if *holds { "holds" } else { "BROKEN" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_the_precision_they_have() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
        for (number, shown) in [
            (0.123, "0.12"),
            (12.34, "12.3"),
            (123.4, "123"),
            (12_345.6, "12,346"),
            (-1_234.0, "-1,234"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(figures(number), shown);
        }
    }

    #[test]
    fn one_count_that_is_wrong_breaks_the_run_and_is_shown() {
        let mut report = Report::new("x");
        report.exactly("kept", 2, 2);
        assert!(report.holds());
        report.exactly("lost", 0, 1);
        assert!(!report.holds() && report.to_string().contains("BROKEN"));
        assert_eq!(report.json().get("holds"), Some(&json!(false)));
    }

    #[test]
    fn a_sentence_that_is_not_so_breaks_the_run_and_is_shown() {
        let mut report = Report::new("x");
        report.promise(true, "this is so");
        assert!(report.holds());
        report.promise(false, "that is so");
        assert!(!report.holds() && report.to_string().contains("BROKEN  that is so"));
    }

    #[test]
    fn lines_of_a_table_may_have_names() {
        let mut report = Report::new("x");
        report.named("steps", vec!["p99".to_owned()], vec![("at twice the load".to_owned(), vec![12.0])]);
        assert!(report.to_string().contains("at twice the load      12.0"), "{report}");
    }
}
