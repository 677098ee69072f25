//! The values that the guard reads: their types, where they stand, and what is asked of them.

use std::ops::Range;

use super::message::ParseError;
use super::scan::Scanner;

/// Bytes of an id or token with its quotes; they are kept while a request is in flight.
const MAX_ID: usize = 4096;

/// Bytes of a method's name; it ends up in logs and metrics.
const MAX_METHOD: usize = 256;

/// The type of a JSON value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Number,
    Null,
    Object,
    Other,
}

/// A value that was skipped: where it stands, and its type.
#[derive(Clone, Copy)]
pub(super) struct Value {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Type,
}

impl Value {
    pub(super) fn skip(scanner: &mut Scanner<'_>, outer: u32) -> Result<Self, ParseError> {
        let kind = Type::at(scanner);
        let start = scanner.at();
        scanner.value(outer)?;
        let end = scanner.at();
        Ok(Self { start, end, kind })
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// Parsing has made sure that it fits: it takes no more than half of `u32`.
    pub(super) fn span(self) -> Range<u32> {
        let fit = |at| u32::try_from(at).unwrap_or(u32::MAX);
        fit(self.start)..fit(self.end)
    }

    /// The span of an id or token: text or number; `null` counts as absent.
    pub(super) fn id(self) -> Result<Option<Range<u32>>, ParseError> {
        match self.kind {
            Type::Null => Ok(None),
            Type::Text | Type::Number if self.range().len() > MAX_ID => Err(
                ParseError::NotMessage("an id or token is longer than 4 KiB"),
            ),
            Type::Text | Type::Number => Ok(Some(self.span())),
            _ => Err(ParseError::NotMessage(
                "an id or token is neither string nor number",
            )),
        }
    }
}

impl Type {
    /// The type of what comes next.
    pub(super) fn at(scanner: &mut Scanner<'_>) -> Self {
        match scanner.peek() {
            Some(b'"') => Self::Text,
            Some(b'-' | b'0'..=b'9') => Self::Number,
            Some(b'n') => Self::Null,
            Some(b'{') => Self::Object,
            _ => Self::Other,
        }
    }
}

pub(super) fn is_version_2(scanner: &mut Scanner<'_>) -> Result<bool, ParseError> {
    if Type::at(scanner) == Type::Text {
        return Ok(scanner.string()?.raw() == b"2.0");
    }
    scanner.value(1).map(|()| false)
}

/// A method stands as it is meant, so that no two readers can take it for two.
pub(super) fn method(scanner: &mut Scanner<'_>) -> Result<Value, ParseError> {
    if Type::at(scanner) != Type::Text {
        return Err(ParseError::NotMessage("the method is no string"));
    }
    let start = scanner.at();
    let method = scanner.string()?;
    if method.escaped || method.raw().len() > MAX_METHOD {
        return Err(ParseError::NotMessage("the method is escaped or too long"));
    }
    if method
        .decoded()
        .is_none_or(|method| method.contains(char::is_control))
    {
        return Err(ParseError::NotMessage("the method has control characters"));
    }
    let (end, kind) = (scanner.at(), Type::Text);
    Ok(Value { start, end, kind })
}

/// A string that the guard decides by, so it must have one meaning. Other types are the server's
/// to refuse.
pub(super) fn text_value(scanner: &mut Scanner<'_>) -> Result<Option<Value>, ParseError> {
    if Type::at(scanner) != Type::Text {
        return scanner.value(2).map(|()| None);
    }
    let start = scanner.at();
    let text = scanner.string()?;
    if text.escaped && text.decoded().is_none() {
        return Err(ParseError::NotMessage("a name has a lone surrogate"));
    }
    let (end, kind) = (scanner.at(), Type::Text);
    Ok(Some(Value { start, end, kind }))
}
