//! JSON-RPC errors that the guard itself makes (JSON-RPC 2.0 §5.1).

use bytes::Bytes;

use super::RawId;

/// The codes in use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    ParseError = -32700,
    InvalidRequest = -32600,
    InternalError = -32603,
}

/// An error answer to the request `id`.
pub fn error_for(id: &RawId, code: ErrorCode, message: &str) -> Bytes {
    let _ = (id, code, message);
    todo!()
}

/// An error about no request in particular: no `id` member at all, for clients whose schema
/// refuses `null`.
pub fn error_without_id(code: ErrorCode, message: &str) -> Bytes {
    let _ = (code, message);
    todo!()
}
