//! Tables that fit a terminal.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use jiff::Timestamp;

/// What names a row is not broken over lines up to this width, so that it can be copied. A UUID has 36.
const WHOLE: u16 = 40;
/// On a narrower terminal columns would be slivers: there lines are left whole, and the terminal breaks them.
const NARROWEST: u16 = 40;
/// Fills the row by which a part of a table learns how wide the parts before it were. No cell has it.
const RULER: char = '\u{fdd0}';

/// A table under way. It may be rendered part by part: only the first has the header, and columns do not get
/// narrower.
#[derive(Debug)]
pub(crate) struct Rows {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    widths: Vec<u16>,
}

impl Rows {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new(), widths: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The rows pushed since the last time, as text of lines at most `width` wide; as wide as need be without one.
    pub(crate) fn render(&mut self, width: Option<u16>) -> String {
        let mut table = table(width);
        if self.widths.is_empty() {
            table.set_header(&self.header);
        } else {
            table.add_row(self.widths.iter().map(|width| RULER.to_string().repeat(usize::from(*width))));
        }
        for row in self.rows.drain(..) {
            table.add_row(row.iter().map(|cell| plain(cell)));
        }
        self.widths = table.column_max_content_widths();
        trimmed(table)
    }
}

fn table(width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    match width.filter(|width| *width >= NARROWEST) {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

/// Lines without the blanks that fill a table's last column, nor one before the first.
fn trimmed(mut table: Table) -> String {
    let first = table.column_max_content_widths().first().copied().unwrap_or_default();
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if column.index == 0 && first <= WHOLE {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let ruler = |line: &str| line.contains(RULER);
    let lines = table.lines().filter(|line| !ruler(line)).map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Names and values, one pair a line.
pub(crate) fn pairs(pairs: Vec<(&'static str, String)>, width: Option<u16>) -> String {
    let mut table = table(width);
    for (name, value) in pairs {
        if !value.is_empty() {
            table.add_row([name.to_owned(), plain(&value)]);
        }
    }
    trimmed(table)
}

/// The text without what steers a terminal or the order of its characters: what a device says must not pass for what
/// it is not.
pub(crate) fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | RULER)
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// A time of the API as a person reads it, to the second and in UTC.
pub(crate) fn time(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// Milliseconds since the epoch likewise, to the millisecond.
pub(crate) fn millis(ts: i64) -> String {
    match Timestamp::from_millisecond(ts) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string(),
        Err(_) => ts.to_string(),
    }
}

/// How long ago a time of the API was.
pub(crate) fn ago(text: &str, now: Timestamp) -> String {
    text.parse::<Timestamp>().map_or_else(|_| text.to_owned(), |at| span(now.as_second() - at.as_second()))
}

/// How long it is until then.
pub(crate) fn until(text: &str, now: Timestamp) -> String {
    text.parse::<Timestamp>().map_or_else(|_| text.to_owned(), |at| span(at.as_second() - now.as_second()))
}

fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A value that may be missing.
pub(crate) fn or_dash(value: Option<String>) -> String {
    value.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_its_width_and_loses_nothing() {
        let mut rows = Rows::new(&["ID", "TEXT"]);
        rows.push(vec!["alm-0a-12-ff".to_owned(), "water pressure low ".repeat(12)]);
        let text = rows.render(Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text.matches("pressure").count(), 12, "{text}");
    }

    #[test]
    fn what_names_a_row_stays_whole_and_slivers_are_left_to_the_terminal() {
        let id = "0b5e9d2c-7c3a-4d6e-9f10-1234567890ab";
        for (width, whole) in [(100, true), (60, true), (39, true)] {
            let mut rows = Rows::new(&["ID", "MODEL", "SITE", "TAGS", "STATE", "SINCE"]);
            rows.push(
                [id, "SimTherm 24", "site-1", "simulated, north", "online", "30s"].map(String::from).to_vec(),
            );
            assert_eq!(rows.render(Some(width)).contains(id), whole, "{width}");
        }
        assert!(pairs(vec![("Connection", "x ".repeat(60))], Some(40)).starts_with("Connection  x x"));
    }

    #[test]
    fn the_parts_of_a_table_stand_under_one_header_and_in_line() {
        for width in [None, Some(80)] {
            let mut rows = Rows::new(&["ID", "STATE", "TEXT"]);
            rows.push(["boiler-number-1", "online", "a"].map(String::from).to_vec());
            let first = rows.render(width);
            rows.push(["b", "on", "z"].map(String::from).to_vec());
            let second = rows.render(width);
            assert_eq!((first.lines().count(), second.lines().count()), (2, 1), "{second}");
            assert_eq!(first.lines().nth(1).unwrap().find(" a"), second.find(" z"), "{first}\n{second}");
        }
    }

    #[test]
    fn a_table_for_another_program_has_one_line_a_row() {
        let mut rows = Rows::new(&["ID", "TEXT"]);
        rows.push(vec!["a".to_owned(), "x".repeat(500)]);
        assert_eq!(rows.render(None).lines().count(), 2);
    }

    #[test]
    fn what_a_device_says_does_not_steer_the_terminal() {
        let mut rows = Rows::new(&["TEXT"]);
        rows.push(vec!["\u{1b}[2J\u{9b}31m\nred\u{7}\u{202e}der".to_owned()]);
        let text = rows.render(Some(80));
        let steers = ['\u{1b}', '\u{9b}', '\u{7}', '\u{202e}'];
        assert!(text.lines().count() == 2 && !text.contains(steers), "{text:?}");
    }

    #[test]
    fn times_are_short_and_whole() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        assert_eq!(time("2026-11-21T10:15:30.123Z"), "2026-11-21 10:15:30Z");
        assert_eq!(millis(1_700_000_000_007), "2023-11-14 22:13:20.007Z");
        for (text, short) in [
            ("2026-11-21T11:59:23.000Z", "37s"),
            ("2026-11-21T11:00:00.000Z", "60m"),
            ("2026-11-20T12:00:00.000Z", "24h"),
            ("2026-11-01T12:00:00.000Z", "20d"),
            ("2026-11-21T12:00:09.000Z", "0s"),
        ] {
            assert_eq!(ago(text, now), short);
        }
    }
}
