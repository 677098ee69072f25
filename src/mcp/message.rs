//! One JSON-RPC message: the bytes that arrived, plus where the few members stand that the guard
//! cares about. Rewriting replaces those spans and copies every other byte as it came.

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
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    kind: Kind,
    // Spans into `bytes`; each covers the raw JSON value.
    id: Option<Range<u32>>,
    method: Option<Range<u32>>,
    progress_token: Option<Range<u32>>,
    request_id: Option<Range<u32>>,
    name: Option<Range<u32>>,
    uri: Option<Range<u32>>,
    protocol_version: Option<Range<u32>>,
    modern: bool,
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
    /// Parses in one pass. Refuses duplicate and look-alike keys, nesting deeper than 64
    /// ids that are neither string nor number, and anything behind the value.
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        let _ = bytes;
        todo!()
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The id of a request or response; `None` for notifications, and for error responses to a
    /// request that could not be read (`"id": null`).
    pub fn id(&self) -> Option<RawId> {
        self.id.clone().map(|span| RawId(self.slice(&span)))
    }

    /// The method of a request or notification, unescaped.
    pub fn method(&self) -> Option<&str> {
        let _ = &self.method;
        todo!()
    }

    /// Raw `params._meta.progressToken` of a request, or `params.progressToken` of a
    /// `notifications/progress`.
    pub fn progress_token(&self) -> Option<RawId> {
        self.progress_token
            .clone()
            .map(|span| RawId(self.slice(&span)))
    }

    /// Raw `params.requestId` of a `notifications/cancelled`.
    pub fn cancelled_id(&self) -> Option<RawId> {
        self.request_id.clone().map(|span| RawId(self.slice(&span)))
    }

    /// `params.name` (tools, prompts), unescaped.
    pub fn name(&self) -> Option<String> {
        let _ = &self.name;
        todo!()
    }

    /// `params.uri` (resources), unescaped.
    pub fn uri(&self) -> Option<String> {
        let _ = &self.uri;
        todo!()
    }

    /// `params.protocolVersion` of an `initialize` request, or `result.protocolVersion` of its
    /// response.
    pub fn protocol_version(&self) -> Option<String> {
        let _ = &self.protocol_version;
        todo!()
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
    /// LF between tokens are left out and a final LF is added: one line for a child's stdin.
    pub fn write(&self, out: &mut BytesMut, replace: Replace<'_>, one_line: bool) {
        let _ = (out, replace, one_line);
        todo!()
    }

    /// [`Self::write`] into fresh bytes.
    pub fn rewritten(&self, replace: Replace<'_>) -> Self {
        let _ = replace;
        todo!()
    }

    fn slice(&self, span: &Range<u32>) -> Bytes {
        self.bytes.slice(span.start as usize..span.end as usize)
    }
}

/// Raw JSON values to put in place of those in a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replace<'a> {
    pub id: Option<&'a [u8]>,
    pub progress_token: Option<&'a [u8]>,
    pub cancelled_id: Option<&'a [u8]>,
}

/// The members of a batch (2025-03-26, Batching): 1 to 50 messages.
pub fn parse_batch(bytes: &Bytes) -> Result<Vec<Message>, ParseError> {
    let _ = bytes;
    todo!()
}
