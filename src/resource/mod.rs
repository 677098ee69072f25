//! The protected resource: its metadata (RFC 9728), the challenge (RFC 6750 §3) and the step from a
//! bearer token to a [`Principal`].

pub mod challenge;
pub mod metadata;

use std::sync::Arc;

use hyper::HeaderMap;

use crate::clock::{Clock, Timestamp};
use crate::grant::{ClientId, GrantId, Grants, ResourceUri, Scopes};
use crate::http::{ExternalUrl, Reply};
use crate::identity::Identity;

/// Who is calling, through what, allowed what.
#[derive(Clone, Debug)]
pub struct Principal {
    pub identity: Arc<Identity>,
    pub client: ClientId,
    pub grant: GrantId,
    pub scopes: Scopes,
    pub resource: ResourceUri,
    /// When the access token expires; long-lived streams end then.
    pub expires_at: Timestamp,
}

/// Why a request is not let in. [`challenge`] turns it into 401, 400, 403 or 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No credentials at all: 401 without `error`.
    NoToken,
    /// Unknown, expired, revoked, of another resource or malformed: 401 `invalid_token`.
    InvalidToken,
    /// Two credentials, or one in the query: 400 `invalid_request`.
    InvalidRequest(&'static str),
    /// The store did not answer: 503 with `Retry-After`.
    Unavailable,
}

/// One guarded MCP endpoint.
pub struct ProtectedResource {}

impl ProtectedResource {
    /// `path` is the endpoint's public path below the external URL, e.g. `/mcp`.
    pub fn new(external: ExternalUrl, path: &str, grants: Grants, clock: Clock) -> Arc<Self> {
        let _ = (external, path, grants, clock);
        todo!()
    }

    /// The canonical resource URL.
    pub fn uri(&self) -> &ResourceUri {
        todo!()
    }

    /// Bearer token → principal. At most 2 µs when cached; the cache forgets within 5 s, and at once
    /// on a local revocation.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Arc<Principal>, Denied> {
        let _ = (headers, query);
        todo!()
    }

    /// The refusal with its `WWW-Authenticate` challenge; an empty body unless `html`, the page for
    /// a person who opened the MCP URL in a browser.
    pub fn refuse(&self, denied: Denied, html: Option<String>) -> Reply {
        let _ = (denied, html);
        todo!()
    }

    /// The RFC 9728 document.
    pub fn metadata(&self) -> Reply {
        todo!()
    }
}
