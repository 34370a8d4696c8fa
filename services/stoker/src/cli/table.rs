//! Tables that fit a terminal.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;

/// A table under way.
#[derive(Debug)]
pub(crate) struct Rows {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// As text of lines at most `width` wide; as wide as need be without one.
    pub(crate) fn render(self, width: Option<u16>) -> String {
        let mut table = table(width);
        table.set_header(self.header);
        for row in self.rows {
            table.add_row(row.iter().map(|cell| plain(cell)));
        }
        trimmed(table)
    }
}

fn table(width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

/// Lines without the blanks that fill a table's last column, nor one before the first.
fn trimmed(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
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

/// The text without control characters: what a device says must not steer somebody's terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
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
    let Ok(at) = text.parse::<Timestamp>() else { return text.to_owned() };
    let seconds = (now.as_second() - at.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
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
    fn a_table_for_another_program_has_one_line_a_row() {
        let mut rows = Rows::new(&["ID", "TEXT"]);
        rows.push(vec!["a".to_owned(), "x".repeat(500)]);
        assert_eq!(rows.render(None).lines().count(), 2);
    }

    #[test]
    fn what_a_device_says_does_not_steer_the_terminal() {
        let mut rows = Rows::new(&["TEXT"]);
        rows.push(vec!["\u{1b}[2J\u{9b}31m\nred\u{7}".to_owned()]);
        let text = rows.render(Some(80));
        assert!(text.lines().count() == 2 && !text.contains(['\u{1b}', '\u{9b}', '\u{7}']), "{text:?}");
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
