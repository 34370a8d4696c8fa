//! Rust sources as the rules see them: without what stands in comments and literals, and with the lines known that
//! only tests compile.

use std::ops::Range;

use super::allowed;

/// A Rust source.
pub(super) struct Code<'a> {
    lines: Vec<&'a str>,
    masked: String,
    /// Where each line of `masked` begins.
    starts: Vec<usize>,
    tests: Vec<Range<usize>>,
}

impl<'a> Code<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let masked = mask(text);
        let starts = std::iter::once(0).chain(masked.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let tests = test_ranges(&masked);
        Self { lines: text.lines().collect(), masked, starts, tests }
    }

    pub(super) fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// The text with blanks for comments and the insides of literals, bytes and lines kept where they were.
    pub(super) fn masked(&self) -> &str {
        &self.masked
    }

    /// The line, from 1, of a place in the masked text.
    pub(super) fn line_at(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// Whether that place is compiled for tests only.
    pub(super) fn in_tests(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    pub(super) fn allows(&self, rule: &str, line: usize) -> bool {
        allowed(&self.lines, line.saturating_sub(1), rule)
    }
}

/// Replaces comments and the insides of string and character literals by blanks, byte for byte.
fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => comment_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' if !after_word(bytes, at) => raw_string_end(bytes, at),
            b'\'' => char_end(bytes, at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        // Something must stand where a literal stood, or `f("x")` would look like `f()`.
        if matches!(bytes[at], b'"' | b'r' | b'\'') {
            out[at] = b'"';
        }
        at = end;
    }
    // Whole characters were replaced, so this loses nothing.
    String::from_utf8_lossy(&out).into_owned()
}

fn after_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` and `cr"…"` are raw strings too; no word ends there.
    let before = at.checked_sub(1).map(|index| bytes[index]);
    let prefix = matches!(before, Some(b'b' | b'c'))
        && !at
            .checked_sub(2)
            .is_some_and(|index| bytes[index].is_ascii_alphanumeric() || bytes[index] == b'_');
    !prefix && before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    bytes[from..]
        .windows(what.len())
        .position(|window| window == what)
        .map_or(bytes.len(), |found| from + found)
}

fn comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a raw string that begins at the `r`, or `start` when none does.
fn raw_string_end(bytes: &[u8], start: usize) -> usize {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return start;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    (find(bytes, open + 1, &close) + close.len()).min(bytes.len())
}

/// The end of a character literal, or `start` when the quote begins a lifetime.
fn char_end(bytes: &[u8], start: usize) -> usize {
    match bytes.get(start + 1) {
        // The escaped character itself may be a quote.
        Some(b'\\') => (find(bytes, (start + 3).min(bytes.len()), b"'") + 1).min(bytes.len()),
        Some(first) => {
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            let close = start + 1 + width;
            if bytes.get(close) == Some(&b'\'') { close + 1 } else { start }
        }
        None => start,
    }
}

/// What stands between the braces after each `#[cfg(test)]`.
fn test_ranges(masked: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    for (at, _) in masked.match_indices("#[cfg(") {
        let Some(close) = masked[at..].find(']').map(|found| at + found) else { continue };
        let condition = &masked[at..close];
        if super::whole_words(condition, "test").next().is_none() || condition.contains("not(test") {
            continue;
        }
        let Some(open) = masked[close..].find(['{', ';']).map(|found| close + found) else { continue };
        let end = if masked.as_bytes()[open] == b'{' { closing(masked, open) } else { open + 1 };
        ranges.push(at..end);
    }
    ranges
}

/// The place after the bracket that closes the one at `open`.
pub(super) fn closing(masked: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in masked.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    masked.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        assert_eq!(masked.matches('\n').count(), text.matches('\n').count());
        masked
    }

    #[test]
    fn comments_are_blank() {
        assert_eq!(masked("a // b\nc"), "a     \nc");
        assert_eq!(masked("a /* b /* c */ d */ e"), "a                   e");
    }

    #[test]
    fn literals_are_blank() {
        assert_eq!(masked(r#"f("a\"b", x)"#), r#"f("     , x)"#);
        assert_eq!(masked("f(r#\"a\"b\"#, x)"), "f(\"       , x)");
        assert_eq!(masked("f(br\"a\\\", x)"), "f(b\"    , x)");
        assert_eq!(masked("f('\"', '\\'', 'é', x)"), "f(\"  , \"   , \"   , x)");
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        let text = "fn f<'a>(r#type: &'a str, for_: X)";
        assert_eq!(masked(text), text);
    }

    #[test]
    fn test_code_is_known() {
        let code = Code::new("fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { { } }\n}\nfn c() {}\n");
        let at = |name: &str| code.masked().find(name).unwrap();
        assert!(!code.in_tests(at("fn a")) && code.in_tests(at("fn b")) && !code.in_tests(at("fn c")));
        assert_eq!((code.line_at(at("fn a")), code.line_at(at("fn b"))), (1, 4));
        let code = Code::new("#[cfg(not(test))]\nfn a() {}\n#[cfg(all(test, unix))]\nfn b() {}\n");
        let at = |name: &str| code.masked().find(name).unwrap();
        assert!(!code.in_tests(at("fn a")) && code.in_tests(at("fn b")));
    }
}
