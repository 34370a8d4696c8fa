//! Reads JSON (RFC 8259) from front to back, without a tree and without recursion.
//!
//! What a device sends goes straight into points, and what stays JSON is copied with its spelling and order kept, only
//! without its white space. A general parser would give either a tree of everything or none of the bounds; this one
//! says at which byte which bound was met. The tests hold it against `serde_json`: both take the same texts.

use std::borrow::Cow;

use super::limits::{Limit, PayloadError, PayloadLimits};

type Result<T> = std::result::Result<T, PayloadError>;

/// What begins at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Number,
    True,
    False,
    Null,
}

/// A place in a payload.
#[derive(Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    max_depth: usize,
}

impl<'a> Scanner<'a> {
    /// At the front of `payload`, which is at most as long as it may be, and UTF-8.
    pub(super) fn new(payload: &'a [u8], limits: &PayloadLimits) -> Result<Self> {
        if payload.len() > limits.payload_bytes {
            return Err(PayloadError::over(Limit::PayloadBytes, limits.payload_bytes, limits.payload_bytes));
        }
        let text =
            std::str::from_utf8(payload).map_err(|e| PayloadError::syntax("utf-8", e.valid_up_to()))?;
        Ok(Self { text, at: 0, depth: 0, max_depth: limits.depth })
    }

    /// Bytes before this place.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn slice(&self, from: usize) -> &'a str {
        // Both ends lie beside ASCII, so they are boundaries of characters.
        self.text.get(from..self.at).unwrap_or_default()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<()> {
        if self.byte() != Some(byte) {
            return Err(PayloadError::syntax(expected, self.at));
        }
        self.at += 1;
        Ok(())
    }

    /// Goes to the next value and tells its kind.
    pub(super) fn peek(&mut self) -> Result<Kind> {
        self.space();
        Ok(match self.byte() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::Text,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b't') => Kind::True,
            Some(b'f') => Kind::False,
            Some(b'n') => Kind::Null,
            _ => return Err(PayloadError::syntax("a value", self.at)),
        })
    }

    /// Only white space may follow.
    pub(super) fn end(&mut self) -> Result<()> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(PayloadError::syntax("the end", self.at)) }
    }

    fn enter(&mut self) -> Result<()> {
        if self.depth == self.max_depth {
            return Err(PayloadError::over(Limit::Depth, self.max_depth, self.at));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.at += 1;
    }

    /// Reads an object; `member` reads the value of each key.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>,
    ) -> Result<()> {
        if self.peek()? != Kind::Object {
            return Err(PayloadError::form("an object", self.at));
        }
        self.enter()?;
        self.space();
        if self.byte() == Some(b'}') {
            self.leave();
            return Ok(());
        }
        loop {
            let key = self.key()?;
            member(self, key)?;
            self.space();
            match self.byte() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(PayloadError::syntax("',' or '}'", self.at)),
            }
        }
    }

    /// Reads an array; `element` reads each value.
    pub(super) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        if self.peek()? != Kind::Array {
            return Err(PayloadError::form("an array", self.at));
        }
        self.enter()?;
        self.space();
        if self.byte() == Some(b']') {
            self.leave();
            return Ok(());
        }
        loop {
            element(self)?;
            self.space();
            match self.byte() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(PayloadError::syntax("',' or ']'", self.at)),
            }
        }
    }

    fn key(&mut self) -> Result<Cow<'a, str>> {
        self.space();
        if self.byte() != Some(b'"') {
            return Err(PayloadError::syntax("a key in quotes", self.at));
        }
        let key = self.text()?;
        self.space();
        self.expect(b':', "':'")?;
        Ok(key)
    }

    /// Reads a text and undoes its escapes.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>> {
        self.expect(b'"', "a text")?;
        let plain = self.plain();
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = String::from(plain);
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => text.push(self.escape()?),
                _ => return Err(self.broken_text()),
            }
            text.push_str(self.plain());
        }
    }

    /// Reads a text and gives it as it is spelled, quotes included.
    fn spelled_text(&mut self) -> Result<&'a str> {
        let from = self.at;
        self.expect(b'"', "a text")?;
        loop {
            self.plain();
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(self.slice(from));
                }
                Some(b'\\') => {
                    self.escape()?;
                }
                _ => return Err(self.broken_text()),
            }
        }
    }

    fn broken_text(&self) -> PayloadError {
        let expected = if self.byte().is_some() { "no bare control character in a text" } else { "'\"'" };
        PayloadError::syntax(expected, self.at)
    }

    /// Goes to the next quote, backslash or control character.
    fn plain(&mut self) -> &'a str {
        let from = self.at;
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        self.at += rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
        self.slice(from)
    }

    fn escape(&mut self) -> Result<char> {
        let from = self.at;
        self.at += 1;
        let letter = self.byte();
        self.at += 1;
        Ok(match letter {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                // Half a character can't be kept as UTF-8, and every reader after us would stumble over it.
                let halved = || PayloadError::syntax("a whole character behind \\u", from);
                let unit = self.hex()?;
                let code = match unit {
                    0xD800..=0xDBFF => {
                        if !self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u")) {
                            return Err(halved());
                        }
                        self.at += 2;
                        let low = self.hex()?;
                        if !(0xDC00..=0xDFFF).contains(&low) {
                            return Err(halved());
                        }
                        0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
                    }
                    _ => unit,
                };
                char::from_u32(code).ok_or_else(halved)?
            }
            _ => return Err(PayloadError::syntax("an escape", from)),
        })
    }

    fn hex(&mut self) -> Result<u32> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|b| char::from(b).to_digit(16));
            let digit = digit.ok_or_else(|| PayloadError::syntax("a hexadecimal digit", self.at))?;
            value = value << 4 | digit;
            self.at += 1;
        }
        Ok(value)
    }

    fn digits(&mut self) -> Result<()> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at == from { Err(PayloadError::syntax("a digit", self.at)) } else { Ok(()) }
    }

    /// Reads a number and gives its spelling, and whether it is written as a whole one.
    pub(super) fn number(&mut self) -> Result<(&'a str, bool)> {
        let from = self.at;
        let mut whole = true;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            whole = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        let spelled = self.slice(from);
        // One that no f64 holds is refused wherever it stands: whoever reads the stored JSON would stumble over it.
        // Without an exponent it takes 309 digits to get there.
        if (!whole || spelled.len() > 300) && !spelled.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(PayloadError::syntax("a number below 1.8e308", from));
        }
        Ok((spelled, whole))
    }

    /// Reads `true`, `false` or `null`, by the kind that was told.
    pub(super) fn word(&mut self, word: &'static str) -> Result<()> {
        let there = self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        if !there {
            return Err(PayloadError::syntax(word, self.at));
        }
        self.at += word.len();
        Ok(())
    }

    /// Reads any value and forgets it.
    pub(super) fn skip(&mut self) -> Result<()> {
        self.copy(|_| {})
    }

    /// Reads any value as JSON text without white space, otherwise spelled as it was.
    pub(super) fn compact(&mut self) -> Result<String> {
        let mut out = String::new();
        self.copy(|part| out.push_str(part))?;
        Ok(out)
    }

    fn copy(&mut self, mut put: impl FnMut(&str)) -> Result<()> {
        // What closes each object and array that is open here: at most as many as the depth allows.
        let mut open: Vec<u8> = Vec::new();
        loop {
            match self.peek()? {
                kind @ (Kind::Object | Kind::Array) => {
                    let (begin, end, closer) =
                        if kind == Kind::Object { ("{", "{}", b'}') } else { ("[", "[]", b']') };
                    self.enter()?;
                    self.space();
                    if self.byte() == Some(closer) {
                        self.leave();
                        put(end);
                    } else {
                        put(begin);
                        open.push(closer);
                        if kind == Kind::Object {
                            self.copy_key(&mut put)?;
                        }
                        continue;
                    }
                }
                Kind::Text => put(self.spelled_text()?),
                Kind::Number => put(self.number()?.0),
                Kind::True => self.word("true").map(|()| put("true"))?,
                Kind::False => self.word("false").map(|()| put("false"))?,
                Kind::Null => self.word("null").map(|()| put("null"))?,
            }
            // A value is complete: close what ends with it, or go on to the next one.
            loop {
                let Some(closer) = open.last().copied() else { return Ok(()) };
                self.space();
                match self.byte() {
                    Some(b',') => {
                        self.at += 1;
                        put(",");
                        if closer == b'}' {
                            self.copy_key(&mut put)?;
                        }
                        break;
                    }
                    Some(byte) if byte == closer => {
                        self.leave();
                        open.pop();
                        put(if closer == b'}' { "}" } else { "]" });
                    }
                    _ => return Err(PayloadError::syntax("',' or an end", self.at)),
                }
            }
        }
    }

    fn copy_key(&mut self, put: &mut impl FnMut(&str)) -> Result<()> {
        self.space();
        if self.byte() != Some(b'"') {
            return Err(PayloadError::syntax("a key in quotes", self.at));
        }
        put(self.spelled_text()?);
        self.space();
        self.expect(b':', "':'")?;
        put(":");
        Ok(())
    }
}
