//! From bytes to a [`Message`]: which members it has and whether they make sense together
//! (JSON-RPC 2.0 §4, §5; MCP, Base Protocol, Messages).
//!
//! Only what the guard acts on is read and held to rules. `params.arguments`, results and
//! everything else must be valid JSON, but may hold any keys.

use std::ops::Range;

use bytes::Bytes;

use super::keys::Keys;
use super::message::{Kind, Message, ParseError, Spans};
use super::scan::Scanner;
use super::value::{Type, Value, is_version_2, method, text_value};

/// The members of a batch (2025-03-26, Batching).
const MAX_BATCH: usize = 50;

const TOP_LEVEL: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS: &[&str] = &[
    "_meta",
    "name",
    "uri",
    "progressToken",
    "requestId",
    "protocolVersion",
];
const META: &[&str] = &["progressToken", MODERN];
const RESULT: &[&str] = &["protocolVersion"];

/// Stands in every request of the modern era (2026-07-28, Per-request fields).
const MODERN: &str = "io.modelcontextprotocol/protocolVersion";

/// Parses one message.
pub(super) fn parse(bytes: Bytes) -> Result<Message, ParseError> {
    let mut scanner = Scanner::new(text(&bytes)?);
    match scanner.peek() {
        Some(b'{') => {}
        Some(b'[') => return Err(ParseError::Batch),
        _ => {
            scanner.value(0)?;
            return Err(ParseError::NotMessage("not an object"));
        }
    }
    let envelope = Envelope::read(&mut scanner)?;
    scanner.end()?;
    let kind = envelope.kind()?;
    if kind == Kind::Request && envelope.names_a_notification(&bytes) {
        return Err(ParseError::NotMessage("a notification with an id"));
    }
    let spans = envelope.spans(kind, &bytes)?;
    let modern = envelope.params.is_some_and(|params| params.modern);
    Ok(Message::from_parts(bytes, kind, spans, modern))
}

/// The members of a batch (2025-03-26, Batching): 1 to 50 messages, which share the bytes.
pub fn parse_batch(bytes: &Bytes) -> Result<Vec<Message>, ParseError> {
    let mut scanner = Scanner::new(text(bytes)?);
    let mut messages = Vec::new();
    scanner.expect(b'[')?;
    if scanner.eat(b']') {
        return Err(ParseError::NotMessage("an empty batch"));
    }
    loop {
        if messages.len() == MAX_BATCH {
            return Err(ParseError::NotMessage("more than 50 messages in a batch"));
        }
        let member = Value::skip(&mut scanner, 0)?;
        messages.push(parse(bytes.slice(member.range())).map_err(no_batch)?);
        if scanner.eat(b']') {
            break;
        }
        scanner.expect(b',')?;
    }
    scanner.end()?;
    Ok(messages)
}

fn no_batch(error: ParseError) -> ParseError {
    match error {
        ParseError::Batch => ParseError::NotMessage("a batch within a batch"),
        other => other,
    }
}

fn text(bytes: &Bytes) -> Result<&str, ParseError> {
    // Half of what the spans can hold, so that rewritten messages fit as well.
    if bytes.len() > u32::MAX as usize / 2 {
        return Err(ParseError::NotMessage("larger than 2 GiB"));
    }
    std::str::from_utf8(bytes)
        .map_err(|error| ParseError::NotJson(format!("not UTF-8 at {}", error.valid_up_to())))
}

/// The members of the message itself.
#[derive(Default)]
struct Envelope {
    is_version_2: bool,
    id: Option<Value>,
    method: Option<Value>,
    params: Option<Params>,
    has_result: bool,
    /// `result.protocolVersion`.
    agreed_version: Option<Value>,
    has_error: bool,
}

impl Envelope {
    fn read(scanner: &mut Scanner<'_>) -> Result<Self, ParseError> {
        let mut all = Self::default();
        let mut keys = Keys::unique(TOP_LEVEL);
        scanner.object(|scanner, key| {
            match keys.admit(key)? {
                Some("jsonrpc") => all.is_version_2 = is_version_2(scanner)?,
                Some("id") => all.id = Some(Value::skip(scanner, 1)?),
                Some("method") => all.method = Some(method(scanner)?),
                Some("params") => all.params = Some(Params::read(scanner)?),
                Some("result") => {
                    all.has_result = true;
                    all.agreed_version = agreed_version(scanner)?;
                }
                found => {
                    all.has_error |= found == Some("error");
                    scanner.value(1)?;
                }
            }
            Ok(())
        })?;
        keys.finish().map(|()| all)
    }

    fn kind(&self) -> Result<Kind, ParseError> {
        if !self.is_version_2 {
            return Err(ParseError::NotMessage("jsonrpc is not \"2.0\""));
        }
        let id = self.id.map(|id| id.kind);
        match (self.method.is_some(), self.has_result, self.has_error) {
            (true, false, false) => match id {
                None => Ok(Kind::Notification),
                // MCP: the id MUST NOT be null.
                Some(Type::Null) => Err(ParseError::NotMessage("a request's id is null")),
                Some(_) => Ok(Kind::Request),
            },
            (false, ..) if self.params.is_some() => {
                Err(ParseError::NotMessage("params, but no method"))
            }
            (false, true, false) => match id {
                None | Some(Type::Null) => Err(ParseError::NotMessage("a result without an id")),
                Some(_) => Ok(Kind::Response { is_error: false }),
            },
            // JSON-RPC 2.0 §5: null, if the request could not be read; absent since 2025-11-25.
            (false, false, true) => Ok(Kind::Response { is_error: true }),
            (false, false, false) => Err(ParseError::NotMessage(
                "neither a method nor a result nor an error",
            )),
            _ => Err(ParseError::NotMessage(
                "more than one of method, result and error",
            )),
        }
    }

    /// A server might act on it as a notification all the same, past the rules for those.
    fn names_a_notification(&self, bytes: &[u8]) -> bool {
        let method = self.method.and_then(|method| bytes.get(method.range()));
        method.is_some_and(|method| method.starts_with(b"\"notifications/"))
    }

    fn spans(&self, kind: Kind, bytes: &[u8]) -> Result<Spans, ParseError> {
        let method = self.method.map(Value::span);
        let name = self.method.and_then(|method| bytes.get(method.range()));
        let params = self.params.unwrap_or_default();
        let is = |wanted: &[u8]| name == Some(wanted);
        let (progress_token, version) = match kind {
            Kind::Request if is(b"\"initialize\"") => (params.meta_token, params.version),
            Kind::Request => (params.meta_token, None),
            Kind::Notification if is(b"\"notifications/progress\"") => (params.token, None),
            Kind::Notification => (None, None),
            Kind::Response { .. } => (None, self.agreed_version),
        };
        let cancelled = params
            .request_id
            .filter(|_| kind == Kind::Notification && is(b"\"notifications/cancelled\""));
        Ok(Spans {
            id: id_span(self.id)?,
            method,
            progress_token: id_span(progress_token)?,
            cancelled_id: id_span(cancelled)?,
            name: params.name.map(Value::span),
            uri: params.uri.map(Value::span),
            protocol_version: version.map(Value::span),
        })
    }
}

/// The members of `params`.
#[derive(Clone, Copy, Default)]
struct Params {
    name: Option<Value>,
    uri: Option<Value>,
    token: Option<Value>,
    request_id: Option<Value>,
    version: Option<Value>,
    /// `_meta.progressToken`.
    meta_token: Option<Value>,
    modern: bool,
}

impl Params {
    fn read(scanner: &mut Scanner<'_>) -> Result<Self, ParseError> {
        let mut all = Self::default();
        if is_null_object(scanner, 1)? {
            return Ok(all);
        }
        let mut keys = Keys::unique(PARAMS);
        scanner.object(|scanner, key| {
            match keys.admit(key)? {
                Some("_meta") => all.read_meta(scanner)?,
                Some("name") => all.name = text_value(scanner)?,
                Some("uri") => all.uri = text_value(scanner)?,
                Some("protocolVersion") => all.version = text_value(scanner)?,
                Some("progressToken") => all.token = Some(Value::skip(scanner, 2)?),
                Some("requestId") => all.request_id = Some(Value::skip(scanner, 2)?),
                _ => scanner.value(2)?,
            }
            Ok(())
        })?;
        keys.finish().map(|()| all)
    }

    fn read_meta(&mut self, scanner: &mut Scanner<'_>) -> Result<(), ParseError> {
        if is_null_object(scanner, 2)? {
            return Ok(());
        }
        let mut keys = Keys::unique(META);
        scanner.object(|scanner, key| {
            let found = keys.admit(key)?;
            let value = Value::skip(scanner, 3)?;
            match found {
                Some("progressToken") => self.meta_token = Some(value),
                Some(_) => self.modern = true,
                None => {}
            }
            Ok(())
        })?;
        keys.finish()
    }
}

/// `params` and `_meta` are objects. Some clients write out an absent one as `null`, which is
/// taken here (`true`).
fn is_null_object(scanner: &mut Scanner<'_>, outer: u32) -> Result<bool, ParseError> {
    match Type::at(scanner) {
        Type::Object => Ok(false),
        Type::Null => scanner.value(outer).map(|()| true),
        _ => Err(ParseError::NotMessage("params or _meta is no object")),
    }
}

/// `result.protocolVersion`. Duplicates of other keys are between client and server.
fn agreed_version(scanner: &mut Scanner<'_>) -> Result<Option<Value>, ParseError> {
    if Type::at(scanner) != Type::Object {
        return scanner.value(1).map(|()| None);
    }
    let mut version = None;
    let mut keys = Keys::watching(RESULT);
    scanner.object(|scanner, key| {
        match keys.admit(key)? {
            Some(_) => version = text_value(scanner)?,
            None => scanner.value(2)?,
        }
        Ok(())
    })?;
    Ok(version)
}

fn id_span(value: Option<Value>) -> Result<Option<Range<u32>>, ParseError> {
    value.map_or(Ok(None), Value::id)
}

#[cfg(test)]
mod tests;
