//! The wire vocabulary of MCP: messages, methods, revisions, SSE and line framing, JSON-RPC errors.
//! Pure: no I/O, nothing of ours imported.

mod error;
mod line;
mod message;
pub mod sse;
mod version;

pub use error::{ErrorCode, error_for, error_without_id};
pub use line::{Line, LineSplitter};
pub use message::{Kind, Message, ParseError, RawId, Replace, parse_batch};
pub use version::Version;
