//! A scanner over one JSON text (RFC 8259): checks all of its grammar, reads only the members that
//! its caller asks for, and skips the rest without building anything.
//!
//! It never recurses and looks at each byte once, so neither depth nor size makes it slow (A-119).

use std::borrow::Cow;

use super::message::ParseError;

/// How deep containers may nest, the outermost included (A-119). Also the bits of the stack in
/// [`Scanner::skip_value`].
const MAX_DEPTH: u32 = 64;

/// A position in a JSON text.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// A string as it stands in the text.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    quoted: &'a [u8],
    pub(super) escaped: bool,
}

/// Why scanning stopped where it stands. A byte, so that the inner loops stay light; callers get
/// a [`ParseError`].
#[derive(Clone, Copy)]
enum Fault {
    Unexpected,
    TooDeep,
}

impl<'a> Text<'a> {
    /// What stands between the quotes, escapes included.
    pub(super) fn raw(&self) -> &'a [u8] {
        match self.quoted {
            [_, raw @ .., _] => raw,
            _ => &[],
        }
    }

    /// The string meant. `None` if it has a lone surrogate, which parsers read differently.
    pub(super) fn decoded(&self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return std::str::from_utf8(self.raw()).ok().map(Cow::Borrowed);
        }
        serde_json::from_slice(self.quoted).ok().map(Cow::Owned)
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let text = text.as_bytes();
        Self { text, at: 0 }
    }

    /// How many bytes lie behind.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The byte at hand, whitespace skipped.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Takes `byte` if it comes next, whitespace skipped.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes `byte`, which must come next.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), ParseError> {
        self.take(byte).map_err(|fault| self.error(fault))
    }

    /// Nothing but whitespace may follow.
    pub(super) fn end(&mut self) -> Result<(), ParseError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error(Fault::Unexpected)),
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
            let key = self.string()?;
            self.expect(b':')?;
            member(self, key)?;
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// A string, which must come next.
    pub(super) fn string(&mut self) -> Result<Text<'a>, ParseError> {
        self.peek();
        let start = self.at;
        let escaped = self.skip_string().map_err(|fault| self.error(fault))?;
        let quoted = self.text.get(start..self.at).unwrap_or_default();
        Ok(Text { quoted, escaped })
    }

    /// Takes any value, `outer` containers deep.
    pub(super) fn value(&mut self, outer: u32) -> Result<(), ParseError> {
        self.skip_value(outer).map_err(|fault| self.error(fault))
    }

    fn skip_value(&mut self, outer: u32) -> Result<(), Fault> {
        // One bit per open container, 1 for an object: no recursion, no allocation.
        let (mut objects, mut depth) = (0_u64, 0_u32);
        loop {
            if let Some(is_object) = self.scalar_or_opening()? {
                depth += 1;
                if outer + depth > MAX_DEPTH {
                    return Err(Fault::TooDeep);
                }
                objects = (objects << 1) | u64::from(is_object);
                if self.peek() != Some(closing(is_object)) {
                    self.skip_key_if(is_object)?;
                    continue;
                }
            }
            while depth > 0 && self.eat(closing(objects & 1 == 1)) {
                depth -= 1;
                objects >>= 1;
            }
            if depth == 0 {
                return Ok(());
            }
            self.take(b',')?;
            self.skip_key_if(objects & 1 == 1)?;
        }
    }

    #[cold]
    fn error(&self, fault: Fault) -> ParseError {
        match (fault, self.byte()) {
            (Fault::TooDeep, _) => ParseError::NotMessage("nested deeper than 64"),
            (Fault::Unexpected, Some(byte)) => {
                ParseError::NotJson(format!("unexpected byte 0x{byte:02x} at {}", self.at))
            }
            (Fault::Unexpected, None) => ParseError::NotJson("it ends too early".to_owned()),
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Result<(), Fault> {
        if self.eat(byte) {
            return Ok(());
        }
        Err(Fault::Unexpected)
    }

    #[inline]
    fn skip_key_if(&mut self, in_object: bool) -> Result<(), Fault> {
        if !in_object {
            return Ok(());
        }
        self.peek();
        self.skip_string()?;
        self.take(b':')
    }

    /// Takes a scalar, or the opening of an object (`true`) or array (`false`).
    #[inline]
    fn scalar_or_opening(&mut self) -> Result<Option<bool>, Fault> {
        match self.peek() {
            Some(b'"') => self.skip_string().map(|_| None),
            Some(b'{') => {
                self.at += 1;
                Ok(Some(true))
            }
            Some(b'[') => {
                self.at += 1;
                Ok(Some(false))
            }
            Some(b'-' | b'0'..=b'9') => self.skip_number().map(|()| None),
            Some(b't') => self.skip_literal(b"true").map(|()| None),
            Some(b'f') => self.skip_literal(b"false").map(|()| None),
            Some(b'n') => self.skip_literal(b"null").map(|()| None),
            _ => Err(Fault::Unexpected),
        }
    }

    /// Whether the string had escapes.
    fn skip_string(&mut self) -> Result<bool, Fault> {
        if self.byte() != Some(b'"') {
            return Err(Fault::Unexpected);
        }
        let (mut at, mut escaped) = (self.at + 1, false);
        loop {
            at = plain_end(self.text, at);
            match self.text.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at = self.escape_end(at)?,
                _ => return self.unexpected_at(at),
            }
            escaped = true;
        }
        self.at = at + 1;
        Ok(escaped)
    }

    fn escape_end(&mut self, at: usize) -> Result<usize, Fault> {
        match self.text.get(at + 1..) {
            Some([b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..]) => Ok(at + 2),
            Some([b'u', digits @ ..]) => match digits.first_chunk::<4>() {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
                _ => self.unexpected_at(at),
            },
            _ => self.unexpected_at(at),
        }
    }

    #[cold]
    fn unexpected_at<T>(&mut self, at: usize) -> Result<T, Fault> {
        self.at = at;
        Err(Fault::Unexpected)
    }

    fn skip_number(&mut self) -> Result<(), Fault> {
        self.skip(|byte| byte == b'-');
        if !self.skip(|byte| byte == b'0') {
            self.skip_digits()?;
        }
        if self.skip(|byte| byte == b'.') {
            self.skip_digits()?;
        }
        if self.skip(|byte| matches!(byte, b'e' | b'E')) {
            self.skip(|byte| matches!(byte, b'+' | b'-'));
            self.skip_digits()?;
        }
        Ok(())
    }

    fn skip_digits(&mut self) -> Result<(), Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err(Fault::Unexpected);
        }
        self.at += digits;
        Ok(())
    }

    fn skip_literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(Fault::Unexpected);
        }
        self.at += word.len();
        Ok(())
    }

    /// Takes one byte if it is of that sort, whitespace not skipped.
    #[inline]
    fn skip(&mut self, is: impl Fn(u8) -> bool) -> bool {
        let found = self.byte().is_some_and(is);
        self.at += usize::from(found);
        found
    }
}

fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

/// Where the next quote, backslash or control character stands, or the end; eight bytes at a time.
#[inline]
fn plain_end(text: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = specials(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while text
        .get(at)
        .is_some_and(|&byte| byte >= b' ' && byte != b'"' && byte != b'\\')
    {
        at += 1;
    }
    at
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
