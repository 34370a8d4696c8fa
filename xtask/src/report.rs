//! What a run of parts comes to: the table and the closing line.

use std::time::Duration;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
}

/// How a part ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// With the reason.
    Failed(String),
    /// With the reason and the way out.
    CannotRun(String),
    /// Somebody named it after `--exclude`, or didn't after `--only` or `--quick`.
    Excluded,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) part: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) took: Duration,
    /// Nothing for a part that is one check by itself.
    pub(crate) tests: Option<Counts>,
}

/// All rows, in the order in which they ran.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Whether nothing failed and something ran.
    pub(crate) fn passed(&self) -> bool {
        let (passed, failed) = self.totals();
        failed == 0 && passed > 0
    }

    /// A part that counts its tests counts as that many, any other as one. A failed part adds at least one
    /// failure, so that no sum of passed tests hides it.
    fn totals(&self) -> (usize, usize) {
        let mut totals = (0, 0);
        for row in &self.rows {
            let tests = row.tests.unwrap_or_default();
            let (passed, failed) = match row.verdict {
                Verdict::Passed => (row.tests.map_or(1, |tests| tests.passed), tests.failed),
                Verdict::Failed(_) | Verdict::CannotRun(_) => (tests.passed, tests.failed.max(1)),
                Verdict::Excluded => (0, 0),
            };
            totals.0 += passed;
            totals.1 += failed;
        }
        totals
    }

    /// The table, the reasons, what was left out, and last the line that counts.
    pub(crate) fn shown(&self) -> String {
        let width = self.rows.iter().map(|row| row.part.len()).max().unwrap_or(0).max("part".len());
        let mut text = format!("{:width$}  {:10}  {:>8}  tests\n", "part", "result", "seconds");
        for row in &self.rows {
            let (result, took) = match row.verdict {
                Verdict::Passed => ("passed", Some(row.took)),
                Verdict::Failed(_) => ("FAILED", Some(row.took)),
                Verdict::CannotRun(_) => ("CANNOT RUN", Some(row.took)),
                Verdict::Excluded => continue,
            };
            let took = took.map_or_else(String::new, |took| format!("{:.1}", took.as_secs_f64()));
            let tests = row.tests.map_or_else(String::new, |tests| {
                let mut said = format!("{} passed", tests.passed);
                for (count, what) in [(tests.failed, "failed"), (tests.ignored, "ignored")] {
                    if count > 0 {
                        said.push_str(&format!(", {count} {what}"));
                    }
                }
                said
            });
            text.push_str(format!("{:width$}  {result:10}  {took:>8}  {tests}", row.part).trim_end());
            text.push('\n');
        }
        for row in &self.rows {
            if let Verdict::Failed(reason) | Verdict::CannotRun(reason) = &row.verdict {
                text.push_str(&format!("\n{}: {}\n", row.part, reason));
            }
        }
        let excluded: Vec<&str> =
            self.rows.iter().filter(|row| row.verdict == Verdict::Excluded).map(|row| row.part).collect();
        if !excluded.is_empty() {
            text.push_str(&format!("\nleft out, so neither passed nor failed: {}\n", excluded.join(", ")));
        }
        let (passed, failed) = self.totals();
        text.push_str(&format!("\n{passed} passed, {failed} failed\n"));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(part: &'static str, verdict: Verdict, tests: Option<Counts>) -> Row {
        Row { part, verdict, took: Duration::from_millis(1234), tests }
    }

    #[test]
    fn tests_are_counted_where_known_and_parts_elsewhere() {
        let counts = Counts { passed: 40, failed: 0, ignored: 0 };
        let report = Report {
            rows: vec![
                row("fmt", Verdict::Passed, None),
                row("unit", Verdict::Passed, Some(counts)),
                row("e2e", Verdict::Excluded, None),
            ],
        };
        assert!(report.passed());
        let shown = report.shown();
        assert_eq!(shown.lines().last(), Some("41 passed, 0 failed"));
        assert!(shown.contains("neither passed nor failed: e2e"), "{shown}");
    }

    #[test]
    fn a_part_that_cannot_run_fails_the_run_with_its_reason() {
        let report = Report {
            rows: vec![
                row("fmt", Verdict::Passed, None),
                row("deny", Verdict::CannotRun("no cargo-deny".into()), None),
            ],
        };
        assert!(!report.passed());
        let shown = report.shown();
        assert!(shown.contains("deny: no cargo-deny"), "{shown}");
        assert_eq!(shown.lines().last(), Some("1 passed, 1 failed"));
    }

    #[test]
    fn passed_tests_do_not_hide_a_failed_part() {
        let counts = Counts { passed: 7, failed: 0, ignored: 1 };
        let report = Report { rows: vec![row("unit", Verdict::Failed("ignored".into()), Some(counts))] };
        assert!(!report.passed());
        assert_eq!(report.shown().lines().last(), Some("7 passed, 1 failed"));
    }

    #[test]
    fn a_run_of_nothing_has_not_passed() {
        assert!(!Report::default().passed());
        assert!(!Report { rows: vec![row("fmt", Verdict::Excluded, None)] }.passed());
    }
}
