//! The wire vocabulary of MCP: messages, methods, revisions, SSE and line framing, JSON-RPC errors.
//! Pure: no I/O, nothing of ours imported.

mod error;
mod keys;
mod line;
mod message;
mod parse;
mod scan;
pub mod sse;
mod value;
mod version;

pub use error::{ErrorCode, error_for, error_without_id};
pub use line::{Line, LineSplitter};
pub use message::{Kind, Message, ParseError, RawId, Replace};
pub use parse::parse_batch;
pub use version::Version;
