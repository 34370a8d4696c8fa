//! Texts that come from outside, made fit for a header, a line or a field of bounded size; times as people read them.

use jiff::Timestamp;
use stoker_domain::Millis;

/// `text` on one line: each run of control characters and white space becomes one space. What could end a header or
/// fake a line is gone.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_control() || c.is_whitespace() || is_invisible(c)) {
        if !word.is_empty() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    line
}

/// Marks that turn the direction of writing, or break lines without being control characters: with them a text can
/// show as another than it is.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `text` cut to at most `bytes` bytes; one that was cut ends in an ellipsis.
pub(crate) fn bounded(text: &str, bytes: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes.saturating_sub(ELLIPSIS.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ELLIPSIS}", text.get(..end).unwrap_or_default().trim_end())
}

/// RFC 3339 in UTC with milliseconds: `2026-11-21T09:30:00.000Z`.
pub(crate) fn rfc3339(at: Millis) -> String {
    format!("{:.3}", timestamp(at))
}

/// For people: `2026-11-21 09:30:00 UTC`.
pub(crate) fn for_people(at: Millis) -> String {
    timestamp(at).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A time outside the years that can be written becomes the nearest that can.
fn timestamp(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap_or(if at < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// How long something took, in its two greatest units: `1 h 5 min`.
pub(crate) fn duration(ms: Millis) -> String {
    let seconds = ms.max(0) / 1_000;
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let first = units.iter().position(|&(_, size)| seconds >= size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let parts: Vec<String> = units
        .iter()
        .skip(first)
        .take(2)
        .filter_map(|&(unit, size)| {
            let count = rest / size;
            rest %= size;
            (count > 0 || size == 1 && first == units.len() - 1).then(|| format!("{count} {unit}"))
        })
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        for (text, line) in [
            ("flame lost", "flame lost"),
            ("flame\r\nBcc: all@example.com", "flame Bcc: all@example.com"),
            ("  a\t\tb\u{0}\u{1b}[31mc\u{85}d\u{2028}e  ", "a b [31mc d e"),
            ("right\u{202e}tfel", "right tfel"),
            ("\r\n", ""),
            ("Störung 火", "Störung 火"),
        ] {
            assert_eq!(one_line(text), line, "{text:?}");
        }
    }

    #[test]
    fn a_cut_respects_characters_and_the_bound() {
        assert_eq!(bounded("flame", 5), "flame");
        assert_eq!(bounded("flame lost", 9), "flame…");
        for bytes in 3..12 {
            assert!(bounded("ääääääää", bytes).len() <= bytes, "{bytes}");
        }
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(rfc3339(1_700_000_000_007), "2023-11-14T22:13:20.007Z");
        assert_eq!(for_people(1_700_000_000_999), "2023-11-14 22:13:20 UTC");
        assert_eq!(rfc3339(i64::MAX), rfc3339(i64::MAX - 1), "no time is refused");
        assert!(rfc3339(i64::MIN).starts_with('-'));
    }

    #[test]
    fn durations_name_their_two_greatest_units() {
        for (ms, text) in [
            (-5, "0 s"),
            (999, "0 s"),
            (1_000, "1 s"),
            (61_000, "1 min 1 s"),
            (60_000, "1 min"),
            (3_900_000, "1 h 5 min"),
            (90_061_000, "1 d 1 h"),
            (86_400_000, "1 d"),
        ] {
            assert_eq!(duration(ms), text, "{ms}");
        }
    }
}
