//! Server-sent events (HTML Living Standard §9.2): writing them.

use bytes::Bytes;

/// A comment: keeps a connection and the proxies on its way awake.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// One `message` event with an id. `data` is a JSON text; raw CR and LF in it are left out, so it
/// cannot break out of its field.
pub fn event(id: Option<&str>, data: &[u8]) -> Bytes {
    let _ = (id, data);
    todo!()
}

/// An event with an id and empty data (2025-11-25, "Sending Messages" 6: priming), with `retry`
/// in milliseconds if given.
pub fn priming(id: &str, retry_millis: Option<u64>) -> Bytes {
    let _ = (id, retry_millis);
    todo!()
}
