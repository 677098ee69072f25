//! JSON-RPC errors that the guard itself makes (JSON-RPC 2.0 §5.1). Each is one line.

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
    let body = body(code, message);
    let parts = [
        br#"{"jsonrpc":"2.0","id":"#,
        id.as_bytes(),
        b",",
        body.as_bytes(),
    ];
    Bytes::from(parts.concat())
}

/// An error about no request in particular: no `id` member at all, for clients whose schema
/// refuses `null`.
pub fn error_without_id(code: ErrorCode, message: &str) -> Bytes {
    Bytes::from(format!(r#"{{"jsonrpc":"2.0",{}"#, body(code, message)))
}

/// The `error` member and the message's end.
fn body(code: ErrorCode, message: &str) -> String {
    let message = serde_json::Value::from(message);
    format!(
        r#""error":{{"code":{},"message":{message}}}}}"#,
        code as i32
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Kind, Message};

    #[test]
    fn an_error_answer_carries_the_id_as_it_was_written() {
        for id in [
            "1",
            "\"1\"",
            "1.0",
            "1e0",
            "\"\\u0041\"",
            "9007199254740993",
        ] {
            let request = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let request = Message::parse(Bytes::from(request)).unwrap();
            let error = error_for(&request.id().unwrap(), ErrorCode::InternalError, "no");
            let error = Message::parse(error).unwrap();
            assert_eq!(error.kind(), Kind::Response { is_error: true });
            assert_eq!(error.id(), request.id());
        }
    }

    #[test]
    fn a_message_cannot_break_out_of_the_error() {
        let text = "\"},\"id\":7,\n\r\\ \u{0}é";
        let error = error_without_id(ErrorCode::ParseError, text);
        let value: serde_json::Value = serde_json::from_slice(&error).unwrap();
        assert_eq!(value["error"]["message"], text);
        assert_eq!(value["error"]["code"], -32700);
        assert_eq!(value["id"], serde_json::Value::Null);
        assert!(!error.contains(&b'\n'));
    }
}
