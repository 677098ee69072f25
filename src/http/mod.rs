//! HTTP as the rest of the guard sees it: one canonical request, one body type, strict parsers for
//! forms, queries and cookies, the Host and Origin rules, what passes a proxy, a client for requests
//! of our own. Knows nothing of OAuth or MCP.

mod body;
pub mod canonical;
pub mod client;
pub mod cookie;
mod external_url;
pub mod form;
pub mod headers;
mod origin;
mod pace;
pub mod proxies;
pub mod trust;
mod wakeup;

use std::net::IpAddr;

use bytes::Bytes;
use hyper::header::AsHeaderName;
use hyper::{HeaderMap, Method, Uri};

pub use body::{Body, BodyError, Cut, RequestBody};
pub use canonical::{Refusal, canonicalise};
pub use external_url::{ExternalUrl, ExternalUrlError};
pub use origin::Origins;
pub use pace::Pace;
pub use wakeup::Wakeup;

/// A request that passed [`canonicalise`]: what was checked is what every later part sees.
pub struct Inbound {
    pub method: Method,
    /// As it was checked; hyper's own value, so that nothing is copied on the way.
    target: Uri,
    pub headers: HeaderMap,
    pub body: RequestBody,
    /// The client's address: the TCP peer, or the one that trusted proxies report.
    pub client: IpAddr,
}

/// What every handler answers with.
pub type Reply = hyper::Response<Body>;

impl Inbound {
    /// A request that did not come over a socket, taken as canonical.
    pub const fn new(
        method: Method,
        target: Uri,
        headers: HeaderMap,
        body: RequestBody,
        client: IpAddr,
    ) -> Self {
        Self {
            method,
            target,
            headers,
            body,
            client,
        }
    }

    /// Path and query as they were checked; of an absolute target also the rest.
    pub const fn target(&self) -> &Uri {
        &self.target
    }

    /// The path, byte for byte as it was checked. Starts with `/`.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The query, without the `?`.
    pub fn query(&self) -> Option<&str> {
        self.target.query()
    }

    /// The one value of a header: `None` if absent, repeated or not visible ASCII.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        single(&self.headers, name)
    }
}

/// The one value of a header: `None` if absent, repeated or not visible ASCII.
pub fn single(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_header_counts_as_none() {
        let mut headers = HeaderMap::new();
        headers.append("mcp-session-id", "a".parse().unwrap());
        assert_eq!(single(&headers, "mcp-session-id"), Some("a"));
        headers.append("mcp-session-id", "a".parse().unwrap());
        assert_eq!(single(&headers, "mcp-session-id"), None);
        assert_eq!(single(&headers, "absent"), None);
    }
}
