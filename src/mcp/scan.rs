//! A scanner over one JSON text (RFC 8259): checks all of its grammar, reads only the members that
//! its caller asks for, and skips the rest without building anything.
//!
//! It never recurses and looks at each byte once, so neither depth nor size makes it slow (A-119).

use std::borrow::Cow;

use super::message::ParseError;

/// How deep containers may nest, the outermost included (A-119). Also the bits of the stack in
/// [`Scanner::value`].
const MAX_DEPTH: u32 = 64;

/// A position in a JSON text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// A string as it stands in the text.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    quoted: &'a str,
    pub(super) escaped: bool,
}

impl<'a> Text<'a> {
    /// What stands between the quotes, escapes included.
    pub(super) fn raw(&self) -> &'a str {
        self.quoted.get(1..self.quoted.len() - 1).unwrap_or("")
    }

    /// The string meant. `None` if it has a lone surrogate, which parsers read differently.
    pub(super) fn decoded(&self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.raw()));
        }
        serde_json::from_str(self.quoted).ok().map(Cow::Owned)
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes lie behind.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The byte at hand, whitespace skipped.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Takes `byte` if it comes next, whitespace skipped.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes `byte`, which must come next.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), ParseError> {
        if self.eat(byte) {
            return Ok(());
        }
        Err(self.unexpected())
    }

    /// Nothing but whitespace may follow.
    pub(super) fn end(&mut self) -> Result<(), ParseError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected()),
        }
    }

    /// Reads an object; `member` is called in front of each value and must take it.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Text<'a>) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        self.expect(b'{')?;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            member(self, key)?;
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// A string, which must come next.
    pub(super) fn string(&mut self) -> Result<Text<'a>, ParseError> {
        self.expect(b'"')?;
        let start = self.at - 1;
        let mut escaped = false;
        loop {
            self.plain_run();
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                _ => return Err(self.unexpected()),
            }
            escaped = true;
        }
        self.at += 1;
        let quoted = self.text.get(start..self.at).unwrap_or("\"\"");
        Ok(Text { quoted, escaped })
    }

    /// Takes any value, `outer` containers deep.
    pub(super) fn value(&mut self, outer: u32) -> Result<(), ParseError> {
        // One bit per open container, 1 for an object: no recursion, no allocation.
        let (mut objects, mut depth) = (0_u64, 0_u32);
        loop {
            let opened = self.scalar_or_opening()?;
            if let Some(is_object) = opened {
                depth += 1;
                if outer + depth > MAX_DEPTH {
                    return Err(ParseError::NotMessage("nested deeper than 64"));
                }
                objects = objects << 1 | u64::from(is_object);
                if !self.eat(closing(is_object)) {
                    if is_object {
                        self.key()?;
                    }
                    continue;
                }
                depth -= 1;
                objects >>= 1;
            }
            while depth > 0 && self.eat(closing(objects & 1 == 1)) {
                depth -= 1;
                objects >>= 1;
            }
            if depth == 0 {
                return Ok(());
            }
            self.expect(b',')?;
            if objects & 1 == 1 {
                self.key()?;
            }
        }
    }

    /// The error for what stands here.
    pub(super) fn unexpected(&self) -> ParseError {
        ParseError::NotJson(match self.byte() {
            Some(byte) => format!("unexpected byte 0x{byte:02x} at {}", self.at),
            None => "it ends too early".to_owned(),
        })
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn key(&mut self) -> Result<Text<'a>, ParseError> {
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// Takes a scalar, or the opening of an object (`true`) or array (`false`).
    fn scalar_or_opening(&mut self) -> Result<Option<bool>, ParseError> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| None),
            Some(b'{') => {
                self.at += 1;
                Ok(Some(true))
            }
            Some(b'[') => {
                self.at += 1;
                Ok(Some(false))
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| None),
            Some(b't') => self.literal("true").map(|()| None),
            Some(b'f') => self.literal("false").map(|()| None),
            Some(b'n') => self.literal("null").map(|()| None),
            _ => Err(self.unexpected()),
        }
    }

    /// Skips to the next quote, backslash or control character, eight bytes at a time.
    fn plain_run(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(chunk) = bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let found = specials(u64::from_le_bytes(*chunk));
            if found != 0 {
                self.at += (found.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        while matches!(self.byte(), Some(byte) if byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), ParseError> {
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.byte().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.unexpected());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), ParseError> {
        self.skip(|byte| byte == b'-');
        if !self.skip(|byte| byte == b'0') {
            self.digits()?;
        }
        if self.skip(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.skip(|byte| matches!(byte, b'e' | b'E')) {
            self.skip(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        if !self.skip(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected());
        }
        while self.skip(|byte| byte.is_ascii_digit()) {}
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), ParseError> {
        for expected in word.bytes() {
            if !self.skip(|byte| byte == expected) {
                return Err(self.unexpected());
            }
        }
        Ok(())
    }

    /// Takes one byte if it is of that sort, whitespace not skipped.
    fn skip(&mut self, is: impl Fn(u8) -> bool) -> bool {
        let found = self.byte().is_some_and(is);
        self.at += usize::from(found);
        found
    }
}

fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

/// The high bit of each byte that is a quote, a backslash or below 0x20. Exact for the lowest such
/// byte; those above it may be marked by the borrow.
fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGH;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, 0x20) | equal(b'"') | equal(b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.value(0).and_then(|()| scanner.end()).is_ok()
    }

    #[test]
    fn what_json_allows_is_accepted() {
        for text in [
            "0",
            "-0",
            "1.5e+30",
            "1E400",
            "true",
            "false",
            "null",
            r#""""#,
            " [ ] ",
            "{}",
            r#"{"a":[{},[],"x",1],"b":{"c":null}}"#,
            r#""\u0000\ud800\/\"\\""#,
            "\"\u{2028}é\"",
            "[\n1\r,\t2 ]",
            "\"1234567\\\"890\"",
        ] {
            assert!(accepts(text), "{text}");
        }
    }

    #[test]
    fn what_json_forbids_is_refused() {
        for text in [
            "",
            " ",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "NaN",
            "Infinity",
            "tru",
            "truE",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12",
            "\"\n\"",
            "\"\0\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "[}",
            "{]",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "[] []",
            "\u{feff}1",
            "/* */1",
            "]",
            "}",
            "[[1]",
            "tr\nue",
        ] {
            assert!(!accepts(text), "{text}");
        }
    }

    #[test]
    fn a119_depth_64_is_the_deepest() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(accepts(&nested(64)));
        assert!(!accepts(&nested(65)));
        assert!(!accepts(&"[".repeat(1_000_000)));
        assert!(!accepts(&r#"{"a":"#.repeat(1_000_000)));
    }

    #[test]
    fn every_byte_position_in_a_word_is_looked_at() {
        for special in ['"', '\\', '\n', '\0', '\u{1f}'] {
            for before in 0..20 {
                let text = format!("\"{}{special}{}", "é".repeat(before), "x".repeat(20));
                assert!(!accepts(&text), "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json(text in r#"[\[\]{}:,"\\a1e0.\-+u tfn\n]{0,12}"#) {
            let known = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(accepts(&text), known);
        }

        #[test]
        fn strings_agree_with_serde_json(inner in any::<String>()) {
            let text = format!("\"{inner}\"");
            prop_assert_eq!(accepts(&text), serde_json::from_str::<String>(&text).is_ok());
            let quoted = serde_json::Value::from(inner.as_str()).to_string();
            let read = Scanner::new(&quoted).string().ok().and_then(|text| text.decoded());
            prop_assert_eq!(read.as_deref(), Some(inner.as_str()));
        }
    }
}
