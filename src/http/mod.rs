//! HTTP as the rest of the guard sees it: one canonical request, one body type, strict parsers for
//! forms, queries and cookies, the Host and Origin rules. Knows nothing of OAuth or MCP.

mod body;
pub mod canonical;
pub mod cookie;
mod external_url;
pub mod form;
mod origin;
pub mod proxies;

use std::net::IpAddr;

use bytes::Bytes;
use hyper::{HeaderMap, Method};

pub use body::{Body, BodyError, RequestBody};
pub use external_url::{ExternalUrl, ExternalUrlError};
pub use origin::Origins;

/// A request that passed [`canonical`]: what was checked is what every later part sees.
pub struct Inbound {
    pub method: Method,
    /// Origin-form path, byte for byte as it was checked. Starts with `/`.
    pub path: String,
    /// Without the `?`.
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: RequestBody,
    /// The client's address: the TCP peer, or the one that trusted proxies report.
    pub client: IpAddr,
}

/// What every handler answers with.
pub type Reply = hyper::Response<Body>;

impl Inbound {
    /// The one value of a header: `None` if absent, repeated or not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        single(&self.headers, name)
    }
}

/// The one value of a header: `None` if absent, repeated or not visible ASCII.
pub fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// A body known whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Body::Full(Some(bytes.into()))
}
