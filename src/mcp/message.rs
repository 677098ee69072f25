//! One JSON-RPC message: the bytes that arrived, plus where the few members stand that the guard
//! cares about. Rewriting replaces those spans and copies every other byte as it came.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// A JSON-RPC id exactly as it was written: `1`, `"1"` and `1.0` are three ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawId(Bytes);

impl RawId {
    /// The JSON text of the id.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same id on its own, to be kept: a [`Message::id`] holds on to the bytes of the whole
    /// message.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

/// What a message is (JSON-RPC 2.0 §4, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Notification,
    /// A result or an error.
    Response {
        is_error: bool,
    },
}

/// A message: shared bytes and spans into them. Cloning is cheap.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    kind: Kind,
    spans: Spans,
    modern: bool,
}

/// Where members stand in the bytes; each span covers the raw JSON value. None lies in another.
#[derive(Clone, Debug)]
pub(super) struct Spans {
    pub(super) id: Option<Range<u32>>,
    pub(super) method: Option<Range<u32>>,
    pub(super) progress_token: Option<Range<u32>>,
    pub(super) cancelled_id: Option<Range<u32>>,
    pub(super) name: Option<Range<u32>>,
    pub(super) uri: Option<Range<u32>>,
    pub(super) protocol_version: Option<Range<u32>>,
}

/// Why bytes are no message that the guard would pass on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// JSON-RPC -32700.
    #[error("not valid JSON: {0}")]
    NotJson(String),
    /// JSON-RPC -32600.
    #[error("not a JSON-RPC message: {0}")]
    NotMessage(&'static str),
    /// An array: a batch, which the caller may allow (2025-03-26) or refuse.
    #[error("a batch is not accepted here")]
    Batch,
}

impl Message {
    /// Parses in one pass. Refuses duplicate and look-alike keys (A-101), nesting deeper than 64
    /// (A-119), ids that are neither string nor number, and anything behind the value.
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        super::parse::parse(bytes)
    }

    /// `spans` must be spans of `bytes`.
    pub(super) fn from_parts(bytes: Bytes, kind: Kind, spans: Spans, modern: bool) -> Self {
        Self {
            bytes,
            kind,
            spans,
            modern,
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The id of a request or response; `None` for notifications, and for error responses to a
    /// request that could not be read (`"id": null`).
    pub fn id(&self) -> Option<RawId> {
        self.raw_id(self.spans.id.as_ref())
    }

    /// The method of a request or notification. Escapes and control characters in it are refused
    /// when parsing.
    pub fn method(&self) -> Option<&str> {
        let raw = std::str::from_utf8(self.raw(self.spans.method.as_ref()?)).ok()?;
        raw.strip_prefix('"')?.strip_suffix('"')
    }

    /// Raw `params._meta.progressToken` of a request, or `params.progressToken` of a
    /// `notifications/progress`.
    pub fn progress_token(&self) -> Option<RawId> {
        self.raw_id(self.spans.progress_token.as_ref())
    }

    /// Raw `params.requestId` of a `notifications/cancelled`.
    pub fn cancelled_id(&self) -> Option<RawId> {
        self.raw_id(self.spans.cancelled_id.as_ref())
    }

    /// `params.name` (tools, prompts), unescaped; `None` if it is no string.
    pub fn name(&self) -> Option<String> {
        self.text(self.spans.name.as_ref())
    }

    /// `params.uri` (resources), unescaped; `None` if it is no string.
    pub fn uri(&self) -> Option<String> {
        self.text(self.spans.uri.as_ref())
    }

    /// `params.protocolVersion` of an `initialize` request, or `result.protocolVersion` of its
    /// response.
    pub fn protocol_version(&self) -> Option<String> {
        self.text(self.spans.protocol_version.as_ref())
    }

    /// Whether `params._meta` carries `io.modelcontextprotocol/protocolVersion`: the modern era's
    /// mark (2026-07-28, "Per-request fields").
    pub fn is_modern(&self) -> bool {
        self.modern
    }

    /// The message as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Appends the message to `out` with the id (and the progress token or cancelled id, if given)
    /// replaced by other raw JSON values, every other byte as it came. With `one_line`, raw CR and
    /// LF between tokens are left out and a final LF is added: one line for a child's stdin (A-131).
    pub fn write(&self, out: &mut BytesMut, replace: Replace<'_>, one_line: bool) {
        let edits = self.edits(replace);
        let added: usize = edits.iter().map(|edit| edit.value.len()).sum();
        out.reserve(self.bytes.len() + added + 1);
        let copy = if one_line {
            copy_without_breaks
        } else {
            BytesMut::extend_from_slice
        };
        let mut copied = 0;
        for edit in &edits {
            copy(out, self.bytes.get(copied..edit.start).unwrap_or_default());
            copy(out, edit.value);
            copied = copied.max(edit.end);
        }
        copy(out, self.bytes.get(copied..).unwrap_or_default());
        if one_line {
            out.extend_from_slice(b"\n");
        }
    }

    /// [`Self::write`] into fresh bytes.
    pub fn rewritten(&self, replace: Replace<'_>) -> Self {
        let mut bytes = BytesMut::new();
        self.write(&mut bytes, replace, false);
        let edits = self.edits(replace);
        Self {
            bytes: bytes.freeze(),
            spans: self.spans.moved(&edits),
            ..*self
        }
    }

    /// What to replace, in the order of the bytes. Without a span there is an edit of nothing by
    /// nothing, at the start.
    fn edits<'a>(&self, replace: Replace<'a>) -> [Edit<'a>; 3] {
        let mut edits = [
            Edit::new(self.spans.id.as_ref(), replace.id),
            Edit::new(self.spans.progress_token.as_ref(), replace.progress_token),
            Edit::new(self.spans.cancelled_id.as_ref(), replace.cancelled_id),
        ];
        edits.sort_unstable_by_key(|edit| edit.start);
        edits
    }

    fn raw_id(&self, span: Option<&Range<u32>>) -> Option<RawId> {
        span.map(|span| RawId(self.bytes.slice_ref(self.raw(span))))
    }

    fn text(&self, span: Option<&Range<u32>>) -> Option<String> {
        serde_json::from_slice(self.raw(span?)).ok()
    }

    fn raw(&self, span: &Range<u32>) -> &[u8] {
        let range = span.start as usize..span.end as usize;
        self.bytes.get(range).unwrap_or_default()
    }
}

/// What the message says is its user's business: only its outline is shown.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind)
            .field("method", &self.method())
            .field("id", &self.id())
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Spans {
    /// Where the members stand after the edits.
    fn moved(&self, edits: &[Edit<'_>]) -> Self {
        let moved = |span: &Option<Range<u32>>| {
            let span = span.as_ref()?;
            Some(moved(span.start, edits)..moved(span.end, edits))
        };
        Self {
            id: moved(&self.id),
            method: moved(&self.method),
            progress_token: moved(&self.progress_token),
            cancelled_id: moved(&self.cancelled_id),
            name: moved(&self.name),
            uri: moved(&self.uri),
            protocol_version: moved(&self.protocol_version),
        }
    }
}

/// Where the byte at `at` stands after the edits that end before it. Parsing keeps messages to
/// half of `u32`, and replacements are ids, so the sum stays in range.
fn moved(at: u32, edits: &[Edit<'_>]) -> u32 {
    let before = edits.iter().filter(|edit| edit.end <= at as usize);
    let (added, left_out) = before.fold((0, 0), |(added, left_out), edit| {
        (added + edit.value.len(), left_out + edit.end - edit.start)
    });
    u32::try_from(at as usize + added - left_out).unwrap_or(u32::MAX)
}

/// Raw JSON values to put in place of those in a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replace<'a> {
    pub id: Option<&'a [u8]>,
    pub progress_token: Option<&'a [u8]>,
    pub cancelled_id: Option<&'a [u8]>,
}

/// One replacement.
struct Edit<'a> {
    start: usize,
    end: usize,
    value: &'a [u8],
}

impl<'a> Edit<'a> {
    fn new(span: Option<&Range<u32>>, value: Option<&'a [u8]>) -> Self {
        let (start, end, value) = match (span, value) {
            (Some(span), Some(value)) => (span.start as usize, span.end as usize, value),
            _ => (0, 0, [].as_slice()),
        };
        Self { start, end, value }
    }
}

/// Raw CR and LF cannot stand within a JSON string, only between tokens, where they mean nothing.
fn copy_without_breaks(out: &mut BytesMut, mut bytes: &[u8]) {
    while let Some(at) = memchr::memchr2(b'\n', b'\r', bytes) {
        let (run, rest) = bytes.split_at(at);
        out.extend_from_slice(run);
        bytes = rest.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Message {
        Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn line(message: &Message, replace: Replace<'_>) -> String {
        let mut out = BytesMut::from("before ");
        message.write(&mut out, replace, true);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a131_a_message_becomes_one_line() {
        let text = "{\"jsonrpc\":\"2.0\",\r\n \"id\":1,\n\"method\":\"m\",\"params\":{\"name\":\"a\\n\u{2028}\u{2029}\u{85}b\"}\n}\r\n";
        let one = line(&parse(text), Replace::default());
        let expected = "before {\"jsonrpc\":\"2.0\", \"id\":1,\"method\":\"m\",\"params\":{\"name\":\"a\\n\u{2028}\u{2029}\u{85}b\"}}\n";
        assert_eq!(one, expected);
    }

    #[test]
    fn replacing_changes_the_named_members_alone() {
        let text = r#"{"z":12345678901234567890123456789e0,"params":{"_meta":{"progressToken":"p","x":1}, "name":"n"},
"id": "one" ,"method":"tools/call","jsonrpc":"2.0"}"#;
        let message = parse(text);
        let replace = Replace {
            id: Some(b"77"),
            progress_token: Some(b"8"),
            cancelled_id: Some(b"9"),
        };
        let expected = text.replace("\"p\"", "8").replace("\"one\"", "77");
        let changed = message.rewritten(replace);
        assert_eq!(changed.bytes(), expected.as_bytes());
        assert_eq!(
            line(&message, replace),
            format!("before {}\n", expected.replace('\n', ""))
        );
        assert_eq!(
            message.rewritten(Replace::default()).bytes(),
            text.as_bytes()
        );
    }

    #[test]
    fn a_cancelled_id_is_replaced() {
        let text = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a","reason":"r"}}"#;
        let cancelled_id = Some(b"4".as_slice());
        let changed = parse(text).rewritten(Replace {
            cancelled_id,
            ..Replace::default()
        });
        assert_eq!(changed.bytes(), text.replace("\"a\"", "4").as_bytes());
        assert_eq!(changed.cancelled_id().unwrap().as_bytes(), b"4");
    }

    #[test]
    fn an_error_without_an_id_is_not_given_one() {
        let text = r#"{"jsonrpc":"2.0","id":null,"error":{}}"#;
        let changed = parse(text).rewritten(Replace {
            id: Some(b"4"),
            ..Replace::default()
        });
        assert_eq!(changed.bytes(), text.as_bytes());
    }

    #[test]
    fn debug_output_does_not_tell_what_was_said() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"secret"}}"#;
        let shown = format!("{:?}", parse(text));
        assert!(
            shown.contains("\"m\"") && !shown.contains("secret"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn rewriting_and_parsing_again_agree(
            id in r#"-?[1-9][0-9]{0,20}|"[a-z]{0,30}""#,
            token in r#"[1-9][0-9]{0,20}|"[a-z]{0,30}""#,
            new in r#"[1-9][0-9]{0,20}|"[a-z]{0,30}""#,
            order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
            both in any::<bool>(),
        ) {
            let members = [
                r#""jsonrpc":"2.0""#.to_owned(),
                format!(r#" "id" : {id} "#),
                r#""method":"initialize""#.to_owned(),
                format!("\n\"params\":{{\"uri\":\"u\",\"_meta\":{{\"progressToken\":{token}}},\"name\":\"n\",\"protocolVersion\":\"v\"}}"),
            ];
            let members: Vec<&str> = order.iter().map(|&at| members[at].as_str()).collect();
            let message = parse(&format!("{{{}}}", members.join(",")));
            let new = Some(new.as_bytes());
            let progress_token = new.filter(|_| both);
            let changed = message.rewritten(Replace { id: new, progress_token, cancelled_id: None });
            let again = Message::parse(changed.bytes().clone()).unwrap();
            prop_assert_eq!(format!("{:?}", &changed.spans), format!("{:?}", &again.spans));
            let id_now = changed.id();
            prop_assert_eq!(id_now.as_ref().map(RawId::as_bytes), new);
            prop_assert_eq!(changed.name(), Some("n".to_owned()));
            let back = changed.rewritten(Replace {
                id: Some(id.as_bytes()),
                progress_token: Some(token.as_bytes()),
                cancelled_id: None,
            });
            prop_assert_eq!(back.bytes(), message.bytes());
        }
    }
}
